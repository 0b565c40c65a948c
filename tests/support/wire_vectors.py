"""Writes `proto/vectors/*.json`: `python -m tests.support.wire_vectors`, from the project's folder.

The files are committed and reviewed; `tests/unit/test_wire_spec.py` checks them against an
encoder of its own, written from `proto/README.md`.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack

from beacond.core.hashing import share_of
from beacond.core.messages import (
    Announce,
    AnnounceRequest,
    Envelope,
    Goodbye,
    Heartbeat,
    Known,
    Message,
    Opinion,
    ShardRequest,
    Superseded,
    SyncEntry,
    SyncReply,
    SyncRequest,
    Tombstone,
)
from beacond.core.model import Body, Mode, Published, Record, Status
from beacond.wire import Codec, Keyring
from tests.support.wire_craft import (
    BOOT,
    FLEET,
    HEARTBEAT_FIELDS,
    KEYS,
    NODE,
    frame,
    raw_record,
    sealed,
)
from tests.support.wire_json import kind_of, record_to_json, to_json
from tests.support.wire_refused import rejected_cases
from tests.support.wire_shards import (
    DIGEST_FIELDS,
    EXCEPTED,
    MEMBERS,
    ask_relays,
    digest,
    hash_cases,
    order_cases,
    relays_say,
)

VECTORS = Path(__file__).parents[2] / "proto" / "vectors"
BODY = Body(
    zone="dc1",
    addresses=("192.0.2.7", "2001:db8::7"),
    agent_version="0.1.0",
    mode=Mode.DRAINING,
    instances=(
        Published(id="plain", service="shop", port=8080),
        Published(
            id="shop 2",
            service="shop",
            port=8081,
            ports=(("admin", 9001), ("metrics", 9000)),
            address="2001:db8::8",
            tags=("blue", "größe", "v2"),
            meta=(("empty", ""), ("team", "núcleo")),
            weight=0,
            status=Status.CRITICAL,
            mode=Mode.MAINTENANCE,
        ),
    ),
    relays=True,
)
RECORD = Record("web-b", 1_760_000_000, BOOT, 7, BODY)
OWN_RECORD = Record("web-b", 3, BOOT, 1, Body(addresses=("127.0.0.1",)))
HEARTBEAT = Heartbeat(41, 7, HEARTBEAT_FIELDS["dig"], 1, 205_000, 5_000, 15_000, Mode.NORMAL)
LARGEST = Heartbeat(
    2**53 - 1,
    2**53 - 1,
    b"\xff" * 8,
    2**53 - 1,
    2**53 - 1,
    10_800_000,
    10_800_000,
    Mode.MAINTENANCE,
)
SMALLEST = Heartbeat(1, 1, bytes(8), 0, 0, 0, 1_000, Mode.NORMAL)
Case = dict[str, Any]


def envelope(sender: str = "web-b", incarnation: int = 3, to: str = "") -> Envelope:
    return Envelope(sender, incarnation, BOOT, 12, to)


def codec(keys: Sequence[str], node: str = NODE, fleet: str = FLEET) -> Codec:
    ring = Keyring([KEYS[key] for key in keys]) if keys else None
    return Codec(fleet=fleet, node=node, keyring=ring)


def message_cases() -> list[Case]:
    own = codec(["new"], "web-b").seal(OWN_RECORD)
    old = codec(["old"], "web-c").seal(Record("web-c", 9, BOOT, 4, BODY))
    said: list[tuple[str, Envelope, Message]] = [
        ("heartbeat", envelope(), HEARTBEAT),
        (
            "heartbeat with the largest numbers",
            Envelope("web-b", 2**33 - 1, b"\xff" * 16, 2**53 - 1),
            LARGEST,
        ),
        ("heartbeat with the smallest numbers", Envelope("b", 1, bytes(16), 1), SMALLEST),
        ("announce of an empty body", envelope(), Announce(own)),
        ("announce request", envelope(to=NODE), AnnounceRequest(8)),
        ("goodbye at once", envelope(), Goodbye(41, 0)),
        ("goodbye that holds", envelope(), Goodbye(41, 60_000)),
        (
            "sync request",
            envelope(to=NODE),
            SyncRequest(
                5, "db-9", "web-c", (Known("web-a", 3, BOOT, 2), Known("web-c", 1, bytes(16), 1))
            ),
        ),
        ("sync request for everything", envelope(to=NODE), SyncRequest(0, "", "", ())),
        (
            "sync reply",
            envelope(to=NODE),
            SyncReply(
                5,
                (SyncEntry(own, 0, 15_000), SyncEntry(old, 4_200, 30_000)),
                (Tombstone("web-0", 4),),
                "web-c",
            ),
        ),
        ("sync reply with nothing", envelope(to=NODE), SyncReply(5, (), (), "")),
        ("superseded", envelope(to=NODE), Superseded(4, bytes(16))),
        (
            "opinion on a node of which something answers",
            envelope(),
            Opinion("web-c", 9, BOOT, 41, ("shop 2",), ("plain",), True),
        ),
        (
            "opinion of an agent that reached nobody",
            envelope(),
            Opinion("web-c", 9, BOOT, 0, (), ("plain", "shop 2"), False),
        ),
        *((name, envelope(), message) for name, message in relays_say(HEARTBEAT, SMALLEST)),
        *((name, envelope(to=NODE), message) for name, message in ask_relays()),
    ]
    return [
        case
        for name, env, message in said
        for case in (
            _said(name, ["new", "old"], env, message),
            _said(f"{name}, unsigned", [], env, _unsigned(message)),
        )
    ]


def _unsigned(message: Message) -> Message:
    if isinstance(message, Announce):
        return Announce(codec([], "web-b").seal(message.record))
    return message


def _said(name: str, keys: list[str], env: Envelope, message: Message) -> Case:
    frames = codec(keys, env.sender).encode(env, message)
    return {"name": name, **_heard(keys, frames, env, message), "canonical": True}


def _heard(keys: list[str], frames: Sequence[bytes], env: Envelope, message: Message) -> Case:
    return {
        "keys": keys,
        "frames": [each.hex() for each in frames],
        "envelope": to_json(env),
        "kind": kind_of(message),
        "message": to_json(message),
    }


def tolerated_cases() -> list[Case]:
    """What no agent of this version sends, and each must understand."""
    env, bye = envelope(), Goodbye(41, 0)
    future = {**HEARTBEAT_FIELDS, "load": [1, {"five": 0.7}], "until": None}
    newer_body = {
        "addrs": ["127.0.0.1"],
        "colour": "red",
        "insts": [{"id": "a", "svc": "shop", "port": 1, "proto": {"x": [True]}}],
    }
    record = raw_record(newer_body, more=["extra"], key="new")
    opened = codec(["new"]).open(record, verify=True)
    forged = raw_record(key="foreign", node="web-c")
    flat = raw_record({"addrs": ["127.0.0.1"], "relays": 0}, key="new")
    good = codec(["new"], "web-b").seal(OWN_RECORD)
    entries = [[forged, 1, 15_000], [good.raw, 2, 15_000, "more"], [b"R\x02", 3, 15_000]]
    reply = {"req": 1, "upto": "", "recs": entries, "tombs": [["web-0", 4, 5]]}
    directed = envelope(to=NODE)
    chunks = [msgpack.packb({"seq": 41, "hold": 0})[i : i + 4] for i in range(0, 12, 4)]
    parts = [
        frame(0, {"kind": 4, "part": i, "of": len(chunks), "data": chunk}, key="new")
        for i, chunk in enumerate(chunks)
    ]
    relayed = digest(HEARTBEAT, excepted=True, members=True)
    relayed = replace(relayed, excepted=EXCEPTED[:1], members=MEMBERS[:1])
    cases = [
        ("unknown fields of a payload", [frame(payload=future, key="new")], env, HEARTBEAT, {}),
        ("unknown fields of a frame", [frame(more=["x", 1], key="new")], env, HEARTBEAT, {}),
        ("a newer minor version", [frame(key="new", head=b"\x01\x09")], env, HEARTBEAT, {}),
        ("signed by another key of the ring", [frame(key="old")], env, HEARTBEAT, {}),
        (
            "fields written though they have their default",
            [frame(payload={**HEARTBEAT_FIELDS, "mode": 0}, key="new")],
            env,
            HEARTBEAT,
            {},
        ),
        ("fields left out that have a default", [frame(4, {"seq": 41}, key="new")], env, bye, {}),
        ("numbers longer than need be", [_long_numbers()], env, bye, {}),
        (
            "unknown fields of a record",
            [frame(2, {"rec": record}, key="new")],
            env,
            Announce(opened),
            {},
        ),
        (
            "records of a reply that can't be used are left out",
            [frame(6, reply, key="new", to=NODE)],
            directed,
            SyncReply(1, (SyncEntry(good, 2, 15_000),), (Tombstone("web-0", 4),), ""),
            {"bad-signature": 1, "malformed": 1},
        ),
        ("parts in order", parts, env, bye, {}),
        (
            "parts in any order, and repeated",
            [parts[2], parts[0], parts[2], parts[1]],
            env,
            bye,
            {},
        ),
        (
            "unknown fields of a shard digest, and of all in it",
            [frame(8, _newer(DIGEST_FIELDS), key="new")],
            env,
            relayed,
            {},
        ),
        (
            "a shard digest's lists written though they are empty",
            [frame(8, DIGEST_FIELDS | {"exc": [], "mem": []}, key="new")],
            env,
            digest(HEARTBEAT),
            {},
        ),
        (
            "unknown fields of a shard request",
            [frame(10, {"sh": 10, "since": 5}, key="new", to=NODE)],
            directed,
            ShardRequest(10),
            {},
        ),
        (
            "a record that says it takes no relay's word",
            [frame(2, {"rec": flat}, key="new")],
            env,
            Announce(codec(["new"]).open(flat, verify=True)),
            {},
        ),
    ]
    keys = ["new", "old"]
    heard = [
        {"name": name, **_heard(keys, frames, e, message), "skipped": skipped, "canonical": False}
        for name, frames, e, message, skipped in cases
    ]
    signed = _heard([], [frame(key="foreign")], env, HEARTBEAT)
    name = "a tag where the receiver has no keys"
    return [*heard, {"name": name, **signed, "canonical": False}]


def _newer(written: Case) -> Case:
    """A shard digest as a later version might send it."""
    lists = {key: [[*each, "more", 1] for each in written[key]] for key in ("exc", "mem")}
    return {**written, "beat": {**written["beat"], "load": 3}, **lists, "since": {"x": [True]}}


def _long_numbers() -> bytes:
    content = msgpack.packb([FLEET, "web-b", 3, BOOT, 12, "", 4, None])[:-1]
    payload = b"\xde\x00\x02\xa3seq\xcf" + (41).to_bytes(8, "big") + b"\xd9\x04hold\xd1\x00\x00"
    return sealed(b"B", content + payload, "new")


def record_cases() -> list[Case]:
    told = [
        ("every field", ["new"], RECORD),
        ("every field, unsigned", [], RECORD),
        ("nothing but addresses", ["new"], OWN_RECORD),
        ("an empty body", ["new"], Record("web-b", 2**33 - 1, bytes(16), 2**53 - 1, Body())),
        ("nothing but relays", ["new"], Record("web-b", 3, BOOT, 2, Body(relays=True))),
    ]
    return [
        {
            "name": name,
            "keys": keys,
            "record": record_to_json(record),
            "share": share_of(record).to_bytes(8, "big").hex(),
            "raw": (codec(keys).seal(record).raw or b"").hex(),
        }
        for name, keys, record in told
    ]


def write(name: str, about: str, cases: list[Case]) -> None:
    keys = {key: secret.hex() for key, secret in KEYS.items()}
    _write(name, {"about": about, "fleet": FLEET, "node": NODE, "keyring": keys, "cases": cases})


def _write(name: str, told: Case) -> None:
    text = json.dumps(told, indent=1, ensure_ascii=False)
    (VECTORS / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def main() -> None:
    write(
        "messages",
        "Encoding gives exactly these frames, and decoding them this message.",
        message_cases(),
    )
    write(
        "tolerated",
        "Decoding gives this message, although nobody of this version sends it so.",
        tolerated_cases(),
    )
    write(
        "records",
        "Sealing gives exactly these bytes, and opening them this record.",
        record_cases(),
    )
    write("rejected", "Decoding the last frame is refused for this reason.", rejected_cases())
    about = "A boot's shard, its part of live, its rank in each shard; who ranks before whom."
    _write("hashes", {"about": about, "cases": hash_cases(), "shards": order_cases()})


if __name__ == "__main__":
    main()
