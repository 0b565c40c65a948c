"""Walks `proto/vectors`: what is stated there holds in both directions.

`_pack`, `_sealed` and the field orders here are written from `proto/README.md` alone and share no
code with `beacond.wire`, so that the two check each other.
"""

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest

from beacond.core import relay, relayed, route
from beacond.core.entry import RELAYS_SILENT_TTL
from beacond.core.hashing import live_share_of, rank_in, shard_of, share_of
from beacond.core.messages import Announce, Envelope, Message
from beacond.core.model import Record
from beacond.core.settings import Settings
from beacond.core.voice import JITTER
from beacond.wire import Codec, DecodeError, Keyring
from beacond.wire.limits import EXCEPTED_MAX, MEMBERS_MAX, SHARDS
from beacond.wire.sealed import MAJOR, MINOR
from tests.support.wire_json import (
    Json,
    envelope_from_json,
    message_from_json,
    record_from_json,
    record_to_json,
    to_json,
)

VECTORS = Path(__file__).parents[2] / "proto" / "vectors"


def _load(name: str) -> Json:
    loaded: Json = json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))
    return loaded


FILES = {name: _load(name) for name in ("messages", "tolerated", "records", "rejected", "hashes")}


def _cases(*names: str) -> list[Any]:
    return [
        pytest.param(case, id=f"{name}: {case['name']}")
        for name in names
        for case in FILES[name]["cases"]
    ]


def _secrets(case: Json) -> list[bytes]:
    return [bytes.fromhex(FILES["messages"]["keyring"][key]) for key in case["keys"]]


def _codec(case: Json, node: str = "web-a") -> Codec:
    keys = _secrets(case)
    return Codec(fleet="default", node=node, keyring=Keyring(keys) if keys else None)


def _decode_all(codec: Codec, case: Json) -> tuple[Envelope, Message] | None:
    *parts, last = [bytes.fromhex(each) for each in case["frames"]]
    for part in parts:
        assert codec.decode(part) is None
    return codec.decode(last)


@pytest.mark.parametrize("case", _cases("messages", "tolerated"))
def test_decoding_gives_the_stated_message(case: Json) -> None:
    codec = _codec(case)
    decoded = _decode_all(codec, case)
    assert decoded is not None
    envelope, message = decoded
    assert to_json(envelope) == case["envelope"]
    assert to_json(message) == case["message"]
    assert type(message).__name__.lower() == case["kind"].replace("_", "")
    assert dict(codec.skipped) == case.get("skipped", {})


@pytest.mark.parametrize("case", _cases("messages"))
def test_encoding_the_stated_message_gives_the_stated_frames(case: Json) -> None:
    codec = _codec(case, node=case["envelope"]["sender"])
    envelope = envelope_from_json(case["envelope"])
    message = message_from_json(
        case["kind"], case["message"], lambda raw: codec.open(raw, verify=True)
    )
    assert [each.hex() for each in codec.encode(envelope, message)] == case["frames"]


@pytest.mark.parametrize("case", _cases("messages"))
def test_an_encoder_made_from_the_text_gives_the_stated_frames(case: Json) -> None:
    env = case["envelope"]
    number, payload = _payload(case["kind"], case["message"])
    head = ["default", env["sender"], env["incarnation"], bytes.fromhex(env["boot_id"])]
    content = _pack([*head, env["counter"], env["to"], number, payload])
    assert _sealed(b"B", content, _secrets(case)).hex() == case["frames"][0]


@pytest.mark.parametrize("case", _cases("records"))
def test_sealing_and_opening_give_the_stated_record(case: Json) -> None:
    codec, raw = _codec(case), bytes.fromhex(case["raw"])
    assert record_to_json(codec.open(raw, verify=True)) == case["record"]
    assert codec.seal(record_from_json(case["record"])).raw == raw
    assert _sealed(b"R", _record_content(case["record"]), _secrets(case)) == raw


@pytest.mark.parametrize("case", _cases("records"))
def test_a_record_adds_the_stated_share_to_the_digest(case: Json) -> None:
    said = case["record"]
    numbers = [said[key].to_bytes(8, "big") for key in ("incarnation", "version")]
    text = said["node"].encode() + b"\0" + numbers[0] + bytes.fromhex(said["boot_id"]) + numbers[1]
    assert hashlib.blake2b(text, digest_size=8).hexdigest() == case["share"]
    assert share_of(record_from_json(said)) == int(case["share"], 16)


@pytest.mark.parametrize("case", _cases("hashes"))
def test_a_boot_has_the_stated_shard_part_of_live_and_ranks(case: Json) -> None:
    node, incarnation = case["node"], case["incarnation"]
    boot_id, name = bytes.fromhex(case["boot_id"]), node.encode()
    assert shard_of(node) == case["shard"] == _hash(name) >> 60
    live = _hash(name + b"\0" + incarnation.to_bytes(8, "big") + boot_id)
    assert live_share_of(node, incarnation, boot_id) == int(case["live"], 16) == live
    ranks = [_hash(bytes([shard]) + name) for shard in range(16)]
    assert [rank_in(shard, node) for shard in range(16)] == ranks
    assert [f"{rank:016x}" for rank in ranks] == case["ranks"]


@pytest.mark.parametrize("said", FILES["hashes"]["shards"], ids=lambda said: str(said["shard"]))
def test_nodes_rank_in_each_shard_in_the_stated_order(said: Json) -> None:
    ranks = {case["node"]: case["ranks"][said["shard"]] for case in FILES["hashes"]["cases"]}
    # Hex of one length sorts as the numbers do.
    assert said["order"] == sorted(ranks, key=lambda node: str(ranks[node]), reverse=True)


def test_the_stated_digests_of_a_shard_are_those_of_their_members() -> None:
    checked = 0
    for case in FILES["messages"]["cases"]:
        said = case["message"]
        if case["kind"] == "shard_digest" and said["members"]:
            checked += 1
            live = 0
            for each in said["members"]:
                name, boot_id = each["node"].encode(), bytes.fromhex(each["boot_id"])
                assert _hash(name) >> 60 == said["shard"]
                live ^= _hash(name + b"\0" + each["incarnation"].to_bytes(8, "big") + boot_id)
            assert (f"{live:016x}", len(said["members"])) == (said["live"], said["count"])
    assert checked


@pytest.mark.parametrize("keys", [["new", "old"], []])
def test_an_announce_not_yet_sealed_is_sealed_on_its_way(keys: list[str]) -> None:
    [case] = [
        case
        for case in FILES["messages"]["cases"]
        if case["kind"] == "announce" and case["keys"] == keys
    ]
    codec = _codec(case, node=case["envelope"]["sender"])
    sealed = codec.open(bytes.fromhex(case["message"]["record"]), verify=True)
    bare = Record(sealed.node, sealed.incarnation, sealed.boot_id, sealed.version, sealed.body)
    frames = codec.encode(envelope_from_json(case["envelope"]), Announce(bare))
    assert [each.hex() for each in frames] == case["frames"]


@pytest.mark.parametrize("case", _cases("rejected"))
def test_what_is_stated_as_refused_is_refused_for_that_reason(case: Json) -> None:
    with pytest.raises(DecodeError) as refusal:
        _decode_all(_codec(case), case)
    assert refusal.value.reason == case["reason"]


def test_every_reason_has_a_vector() -> None:
    text = (VECTORS.parent / "README.md").read_text(encoding="utf-8")
    reasons = {case["reason"] for case in FILES["rejected"]["cases"]}
    # A frame beyond 60 KB would make a poor vector; test_wire_codec has it.
    assert all(f"`{reason}`" in text for reason in reasons | {"oversized"})
    assert reasons == {
        "malformed",
        "wrong-version",
        "wrong-fleet",
        "unsigned",
        "bad-signature",
        "unknown-kind",
        "not-for-us",
    }


def test_the_text_gives_the_numbers_of_relays_and_limits_as_they_are() -> None:
    text = (VECTORS.parent / "README.md").read_text(encoding="utf-8")
    missing = [row for row in (*_relay_rows(), *_limit_rows()) if row not in text]
    assert not missing, "\n".join(missing)


def _relay_rows() -> tuple[str, ...]:
    least, most = 1 - JITTER, 1
    listens = f"{relay.LISTEN_BEATS} beats; {relay.LISTEN_SHORT_BEATS} where no relay spoke for"
    asks = f"{relayed.ASK_AFTER_BEATS} intervals after the last that agreed, + up to"
    again = (
        f"{relayed.ASK_SPREAD_BEATS}; again after {relayed.ASK_AGAIN_BEATS},"
        f" then twice as long each time up to {relayed.ASK_SELDOM_BEATS}"
    )
    assert (relayed.SYNC_BEATS, relay.NAMES_MAX) == (1, MEMBERS_MAX)
    assert Settings("a", 1, bytes(16), ()).relay_from == 100
    return (
        f"not any more | 100 (configurable); {route.FLAT_BELOW} of that |",
        f"| broadcast after a start | {route.FLAT_BEATS} intervals |",
        f"first, not confirmed | {route.RELAYS}, {route.RELAYS + route.MORE_RELAYS} |",
        f"to more; to all | {route.MORE_BEATS}, {route.ALL_BEATS} intervals after the last",
        f"confirmation, + up to {route.SPREAD_BEATS} |",
        f"before are sent to as well | {route.FORMER_BEATS} intervals |",
        f"of a broadcast) | {route.UNSPOKEN_BEATS:g} intervals without a relay |",
        f"a heartbeat sent to it alone | {relay.USED_BEATS} beats |",
        f"| it listens first | {listens} {relay.SILENT_BEATS} intervals |",
        f"| it vouches for a node | {relay.VOUCH_BEATS} beats after a heartbeat |",
        f"half of its members | within {relay.OURS_BEATS:g} beats of theirs |",
        f"last word did not come back | {relay.OURS_BEATS:g} periods |",
        f"| it speaks | every {least} to {most} period |",
        f"a better one is there | {relay.SILENT_BEATS} periods after that one |",
        f"| exceptions in a digest | {relay.EXCEPTED_MAX} |",
        f"| gone nodes named as exceptions | {relay.GONE_BEATS:g} intervals |",
        f"| silence told | up to {relay.OURS_BEATS:g} beats |",
        f"once in max(1, vouched for ÷ {relay.NAMES_PER_BEAT}) periods |",
        f"| names are asked for | {asks} {again}; not in the first interval |",
        f"| suspect without a word of relays | {RELAYS_SILENT_TTL} ttl |",
    )


def _limit_rows() -> tuple[str, ...]:
    return (
        f"| shards | {SHARDS} |",
        f"| exceptions, members of a shard digest | {EXCEPTED_MAX}, {MEMBERS_MAX:,} |",
        f"| 2 | 1 | minor version: {MINOR} |",
        f"Protocol version {MAJOR}.{MINOR}.",
    )


def test_names_of_vectors_are_unique() -> None:
    for file in FILES.values():
        names = [case["name"] for case in file["cases"]]
        assert len(set(names)) == len(names)


# ---- written from the text


def _sealed(magic: bytes, content: bytes, secrets: list[bytes]) -> bytes:
    if not secrets:
        return magic + b"\x01\x02\x00" + b"\x00\x00\x00\x00" + content
    key_id = hmac.new(secrets[0], b"beacond key id", hashlib.sha256).digest()[:4]
    signed = magic + b"\x01\x02\x01" + key_id + content
    return signed + hmac.new(secrets[0], signed, hashlib.sha256).digest()[:16]


def _hash(text: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") or 1


def _heartbeat(said: Json) -> dict[str, Any]:
    beat = {
        "seq": said["seq"],
        "ver": said["version"],
        "dig": bytes.fromhex(said["digest"]),
        "ser": said["series"],
        "at": said["stamp_ms"],
        "next": said["next_ms"],
        "ttl": said["ttl_ms"],
    }
    mode = ["normal", "draining", "maintenance"].index(said["mode"])
    return beat | ({"mode": mode} if mode else {})


def _shard_digest(said: Json) -> dict[str, Any]:
    fields = {
        "beat": _heartbeat(said["beat"]),
        "sh": said["shard"],
        "live": bytes.fromhex(said["live"]),
        "n": said["count"],
    }
    excepted = [
        [e["node"], e["incarnation"], bytes.fromhex(e["boot_id"]), e["seq"], e["silent_ms"]]
        for e in said["excepted"]
    ]
    terms = ("version", "seq", "heard_ms", "next_ms", "ttl_ms")
    members = [
        [m["node"], m["incarnation"], bytes.fromhex(m["boot_id"]), *(m[key] for key in terms)]
        for m in said["members"]
    ]
    return fields | ({"exc": excepted} if excepted else {}) | ({"mem": members} if members else {})


def _payload(kind: str, said: Json) -> tuple[int, dict[str, Any]]:
    match kind:
        case "heartbeat":
            return 1, _heartbeat(said)
        case "announce":
            return 2, {"rec": bytes.fromhex(said["record"])}
        case "announce_request":
            return 3, {"ver": said["version"]}
        case "goodbye":
            return 4, {"seq": said["seq"], "hold": said["hold_ms"]}
        case "sync_request":
            known = [
                [k["node"], k["incarnation"], bytes.fromhex(k["boot_id"]), k["version"]]
                for k in said["known"]
            ]
            head = {"req": said["request"], "after": said["after"], "upto": said["upto"]}
            return 5, head | {"known": known}
        case "sync_reply":
            entries = [
                [bytes.fromhex(e["record"]), e["heard_ms"], e["ttl_ms"]] for e in said["entries"]
            ]
            tombstones = [[t["node"], t["incarnation"]] for t in said["tombstones"]]
            head = {"req": said["request"], "upto": said["covered"]}
            return 6, head | {"recs": entries, "tombs": tombstones}
        case "superseded":
            return 7, {"inc": said["incarnation"], "boot": bytes.fromhex(said["boot_id"])}
        case "opinion":
            who = {"node": said["node"], "inc": said["incarnation"]}
            which = {"boot": bytes.fromhex(said["boot_id"]), "seq": said["seq"]}
            found = {"up": said["reached"], "down": said["unreached"]}
            return 9, who | which | found | ({"ctl": 1} if said["control"] else {})
        case "shard_digest":
            return 8, _shard_digest(said)
        case "shard_request":
            return 10, {"sh": said["shard"]}
    raise AssertionError(kind)


def _record_content(record: Json) -> bytes:
    modes, body = ["normal", "draining", "maintenance"], record["body"]
    statuses = ["passing", "warning", "critical"]
    instances = []
    for each in body["instances"]:
        written = {
            "id": each["id"],
            "svc": each["service"],
            "port": each["port"],
            "ports": dict(each["ports"]) or None,
            "addr": each["address"],
            "tags": each["tags"] or None,
            "meta": dict(each["meta"]) or None,
            "weight": None if each["weight"] == 1 else each["weight"],
            "status": statuses.index(each["status"]) or None,
            "mode": modes.index(each["mode"]) or None,
        }
        instances.append({key: value for key, value in written.items() if value is not None})
    written = {
        "zone": body["zone"] or None,
        "addrs": body["addresses"] or None,
        "agent": body["agent_version"] or None,
        "mode": modes.index(body["mode"]) or None,
        "insts": instances or None,
        "relays": 1 if body["relays"] else None,
    }
    kept = {key: value for key, value in written.items() if value is not None}
    boot_id = bytes.fromhex(record["boot_id"])
    return _pack(
        ["default", record["node"], record["incarnation"], boot_id, record["version"], kept]
    )


def _pack(value: Any) -> bytes:
    """Just as much of MessagePack as the protocol uses, in its shortest form."""
    match value:
        case int():
            if value < 128:
                return bytes([value])
            size, head = next(
                (size, head)
                for size, head in ((1, 0xCC), (2, 0xCD), (4, 0xCE), (8, 0xCF))
                if value < 256**size
            )
            return bytes([head]) + value.to_bytes(size, "big")
        case str():
            text = value.encode()
            head = bytes([0xA0 | len(text)]) if len(text) < 32 else _length(0xD9, len(text))
            return head + text
        case bytes():
            return _length(0xC4, len(value)) + value
        case list():
            head = bytes([0x90 | len(value)]) if len(value) < 16 else _length(0xDB, len(value))
            return head + b"".join(map(_pack, value))
        case dict():
            assert len(value) < 16
            pairs = [_pack(key) + _pack(each) for key, each in value.items()]
            return bytes([0x80 | len(value)]) + b"".join(pairs)
    raise AssertionError(value)


def _length(one_byte: int, length: int) -> bytes:
    """Lengths of 8, 16 or 32 bits; arrays have none of 8 (their 16-bit code follows `one_byte`)."""
    if length < 256 and one_byte != 0xDB:
        return bytes([one_byte, length])
    return bytes([one_byte + 1]) + length.to_bytes(2, "big")
