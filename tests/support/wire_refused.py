"""The vectors of what is refused, each with its reason."""

from collections.abc import Sequence
from typing import Any

import msgpack

from tests.support import wire_shards
from tests.support.wire_craft import BOOT, FLEET, HEARTBEAT_FIELDS, frame, raw_record, sealed

Case = dict[str, Any]


def rejected_cases() -> list[Case]:
    return [*_refused_frames(), *_refused_fields(), *_refused_parts(), *_refused_records()]


def _refused(name: str, reason: str, *frames: bytes, keys: Sequence[str] = ()) -> Case:
    """All but the last frame are parts of a message that is not complete yet."""
    shown = [each.hex() for each in frames]
    return {"name": name, "keys": list(keys), "frames": shown, "reason": reason}


def _refused_frames() -> list[Case]:
    ring = ["new", "old"]
    good, plain = frame(key="new"), frame()
    invalid_text = plain.replace(b"\xa5web-b", b"\xa5w\xff\xfe-b")
    return [
        _refused("nothing", "malformed", b""),
        _refused("half a header", "malformed", plain[:7]),
        _refused("a header alone", "malformed", plain[:8]),
        _refused("another first byte", "malformed", b"b" + plain[1:]),
        _refused("a record is no frame", "malformed", raw_record()),
        _refused("another major version", "wrong-version", frame(head=b"\x02\x00")),
        _refused(
            "another scheme of authentication", "wrong-version", plain[:3] + b"\x02" + plain[4:]
        ),
        _refused("no tag where keys are", "unsigned", plain, keys=ring),
        _refused("an unknown key", "bad-signature", frame(key="foreign"), keys=ring),
        _refused("a key that was dropped", "bad-signature", frame(key="old"), keys=["new"]),
        _refused("the tag changed", "bad-signature", good[:-1] + bytes([good[-1] ^ 1]), keys=ring),
        _refused(
            "the content changed",
            "bad-signature",
            good.replace(b"\xa5web-b", b"\xa5web-c"),
            keys=ring,
        ),
        _refused(
            "the minor version changed", "bad-signature", good[:2] + b"\x01" + good[3:], keys=ring
        ),
        _refused("the tag cut short", "bad-signature", good[:-1], keys=ring),
        _refused(
            "the tag cut off and no longer announced",
            "unsigned",
            good[:3] + bytes(5) + good[8:-16],
            keys=ring,
        ),
        _refused("no room for a tag", "malformed", good[:23], keys=ring),
        _refused("bytes after the content", "malformed", plain + b"\0"),
        _refused("content cut short", "malformed", plain[:-1]),
        _refused("content that is a map", "malformed", sealed(b"B", b"\x80")),
        _refused(
            "content of seven values",
            "malformed",
            sealed(b"B", msgpack.packb([FLEET, "web-b", 3, BOOT, 12, "", 1])),
        ),
        _refused("text that is not UTF-8", "malformed", invalid_text),
        _refused(
            "map keys that are numbers", "malformed", frame(payload={**HEARTBEAT_FIELDS, 1: 1})
        ),
        _refused("another fleet", "wrong-fleet", frame(fleet="staging")),
        _refused(
            "another fleet with the same key",
            "wrong-fleet",
            frame(fleet="staging", key="new"),
            keys=ring,
        ),
        _refused("for another node", "not-for-us", frame(3, {"ver": 1}, to="web-c")),
        _refused("the next kind", "unknown-kind", frame(11, {})),
        _refused("a kind of the future", "unknown-kind", frame(1000, {"x": 1})),
    ]


def _refused_fields() -> list[Case]:
    envelopes: list[tuple[str, dict[str, Any]]] = [
        ("sender in capitals", {"sender": "Web-B"}),
        ("sender empty", {"sender": ""}),
        ("sender of 63 letters", {"sender": "a" * 63}),
        ("sender as bytes", {"sender": b"web-b"}),
        ("incarnation 0", {"incarnation": 0}),
        ("incarnation beyond its limit", {"incarnation": 2**33}),
        ("incarnation true", {"incarnation": True}),
        ("boot id of 15 bytes", {"boot": BOOT[1:]}),
        ("boot id as text", {"boot": "0123456789abcdef"}),
        ("counter 0", {"counter": 0}),
        ("counter beyond its limit", {"counter": 2**53}),
        ("destination that is no name", {"to": "web_a"}),
        ("kind as text", {"kind": "1"}),
        ("kind below 0", {"kind": -1}),
        ("payload that is an array", {"payload": [1]}),
    ]
    beats: list[tuple[str, dict[str, Any]]] = [
        ("seq 0", {"seq": 0}),
        ("seq true", {"seq": True}),
        ("seq as a fraction", {"seq": 41.0}),
        ("seq beyond its limit", {"seq": 2**53}),
        ("version 0", {"ver": 0}),
        ("digest of 7 bytes", {"dig": bytes(7)}),
        ("digest as text", {"dig": "01234567"}),
        ("series below 0", {"ser": -1}),
        ("stamp beyond its limit", {"at": 2**53}),
        ("next beyond its limit", {"next": 10_800_001}),
        ("ttl below its limit", {"ttl": 999}),
        ("ttl beyond its limit", {"ttl": 10_800_001}),
        ("mode of the future", {"mode": 3}),
        ("mode false", {"mode": False}),
        ("mode nil", {"mode": None}),
    ]
    known, entry = ["web-c", 1, BOOT, 1], [raw_record(), 0, 15_000]
    request: Case = {"req": 1, "after": "", "upto": "", "known": [known]}
    reply: Case = {"req": 1, "upto": "", "recs": [entry], "tombs": [["web-0", 4]]}
    opinion: Case = {"node": "web-c", "inc": 1, "boot": BOOT, "seq": 1, "up": [], "down": ["a"]}
    others: list[tuple[str, int, Case]] = [
        ("announce without a record", 2, {}),
        ("announce of text", 2, {"rec": "R"}),
        ("announce request without a version", 3, {}),
        ("goodbye without a seq", 4, {"hold": 0}),
        ("goodbye that holds for more than a day", 4, {"seq": 1, "hold": 86_400_001}),
        ("sync request without known nodes", 5, {"req": 1}),
        ("sync request with a known node cut short", 5, request | {"known": [known[:3]]}),
        ("sync request after no name", 5, request | {"after": "WEB"}),
        ("sync reply without entries", 6, {"req": 1, "tombs": []}),
        ("sync reply heard in the future", 6, reply | {"recs": [[raw_record(), -1, 15_000]]}),
        ("sync reply with a ttl of 0", 6, reply | {"recs": [[raw_record(), 0, 0]]}),
        ("sync reply with an entry cut short", 6, reply | {"recs": [entry[:2]]}),
        ("sync reply with a record as text", 6, reply | {"recs": [["R", 0, 15_000]]}),
        ("sync reply with a tombstone of incarnation 0", 6, reply | {"tombs": [["web-0", 0]]}),
        ("superseded without a boot id", 7, {"inc": 1}),
        ("opinion on no node", 9, opinion | {"node": ""}),
        ("opinion without what was reached", 9, {k: opinion[k] for k in opinion if k != "up"}),
        ("opinion with an empty id", 9, opinion | {"down": [""]}),
        ("opinion on 65 instances", 9, opinion | {"up": [f"i{n}" for n in range(65)]}),
        ("opinion with a control of 2", 9, opinion | {"ctl": 2}),
        ("opinion with a control of true", 9, opinion | {"ctl": True}),
        *wire_shards.refused_fields(),
    ]
    missing = [
        (f"heartbeat without {key}", {k: v for k, v in HEARTBEAT_FIELDS.items() if k != key})
        for key in HEARTBEAT_FIELDS
    ]
    return [
        *[_refused(name, "malformed", frame(**change)) for name, change in envelopes],
        *[_refused(name, "malformed", frame(payload=HEARTBEAT_FIELDS | c)) for name, c in beats],
        *[_refused(name, "malformed", frame(payload=rest)) for name, rest in missing],
        *[_refused(name, "malformed", frame(kind, payload)) for name, kind, payload in others],
    ]


def _refused_parts() -> list[Case]:
    part = {"kind": 4, "part": 0, "of": 2, "data": b"\x82"}
    changes: list[tuple[str, str, Case]] = [
        ("part beyond the last", "malformed", {"part": 2}),
        ("a message of 65 parts", "malformed", {"of": 65}),
        ("a message of no parts", "malformed", {"of": 0}),
        ("an empty part", "malformed", {"data": b""}),
        ("a part as text", "malformed", {"data": "x"}),
        ("parts of a part", "unknown-kind", {"kind": 0}),
        ("parts of a kind of the future", "unknown-kind", {"kind": 11}),
    ]
    first, other = frame(0, part), frame(0, part | {"part": 1, "of": 3})
    rubbish = frame(0, part | {"part": 1, "data": b"\xc1"})
    return [
        *[_refused(name, reason, frame(0, part | c)) for name, reason, c in changes],
        _refused("parts that differ on how many they are", "malformed", first, other),
        _refused("parts that are nothing together", "malformed", first, rubbish),
    ]


def _refused_records() -> list[Case]:
    at = {"id": "a", "svc": "shop", "port": 80}
    v4 = ["127.0.0.1"]
    bodies: list[tuple[str, Any]] = [
        ("instances out of order", {"insts": [at | {"id": "b"}, at]}),
        ("two instances of one id", {"insts": [at, at]}),
        ("instances in a map", {"insts": {}}),
        ("an instance that is no map", {"insts": [[]]}),
        ("an instance without a port", {"insts": [{"id": "a", "svc": "shop"}]}),
        ("more than 2048 instances", {"insts": [0] * 2049}),
        ("port 0", {"insts": [at | {"port": 0}]}),
        ("port 65536", {"insts": [at | {"port": 65536}]}),
        ("id empty", {"insts": [at | {"id": ""}]}),
        ("id with a control character", {"insts": [at | {"id": "a\nb"}]}),
        ("service in capitals", {"insts": [at | {"svc": "Shop"}]}),
        ("weight 65536", {"insts": [at | {"weight": 65536}]}),
        ("weight below 0", {"insts": [at | {"weight": -1}]}),
        ("status of the future", {"insts": [at | {"status": 3}]}),
        ("tags out of order", {"insts": [at | {"tags": ["b", "a"]}]}),
        ("a tag twice", {"insts": [at | {"tags": ["a", "a"]}]}),
        ("a tag of 256 bytes", {"insts": [at | {"tags": ["ä" * 128]}]}),
        ("65 tags", {"insts": [at | {"tags": [f"t{i:02}" for i in range(65)]}]}),
        ("a port named tcp", {"insts": [at | {"ports": {"tcp": 80}}]}),
        ("33 named ports", {"insts": [at | {"ports": {f"p{i}": 80 for i in range(33)}}]}),
        ("65 pairs of meta", {"insts": [at | {"meta": {f"k{i}": "" for i in range(65)}}]}),
        ("a meta key that is empty", {"insts": [at | {"meta": {"": "x"}}]}),
        ("a meta key of 129 bytes", {"insts": [at | {"meta": {"k" * 129: "x"}}]}),
        ("a meta value of 513 bytes", {"insts": [at | {"meta": {"k": "x" * 513}}]}),
        ("a meta value that is a number", {"insts": [at | {"meta": {"k": 1}}]}),
        ("address spelled another way", {"insts": [at | {"addr": "2001:DB8::1"}]}),
        ("address that is IPv4 in IPv6", {"insts": [at | {"addr": "::ffff:7f00:1"}]}),
        ("address that is a name", {"insts": [at | {"addr": "localhost"}]}),
        ("address nil", {"insts": [at | {"addr": None}]}),
        ("the unspecified address", {"addrs": ["0.0.0.0"]}),
        ("two addresses of one family", {"addrs": ["127.0.0.1", "127.0.0.2"]}),
        ("three addresses", {"addrs": ["127.0.0.1", "::1", "127.0.0.2"]}),
        ("an instance without any address", {"addrs": [], "insts": [at]}),
        ("zone that is no name", {"zone": "dc.1"}),
        ("agent version of 65 bytes", {"agent": "1" * 65}),
        ("mode of the host as text", {"mode": "normal"}),
        ("relays 2", {"relays": 2}),
        ("relays true", {"relays": True}),
        ("relays nil", {"relays": None}),
    ]

    def announce(raw: bytes, key: str = "") -> bytes:
        return frame(2, {"rec": raw}, key=key)

    signed = raw_record(key="new")
    broken = signed[:-1] + bytes([signed[-1] ^ 1])
    whole: list[tuple[str, str, bytes, str]] = [
        ("record of another node", "malformed", raw_record(node="web-c"), ""),
        ("record of another incarnation", "malformed", raw_record(incarnation=4), ""),
        ("record of another boot", "malformed", raw_record(boot=bytes(16)), ""),
        ("record of version 0", "malformed", raw_record(version=0), ""),
        ("record of another fleet", "wrong-fleet", raw_record(fleet="staging"), ""),
        ("record of another major version", "wrong-version", b"R\x02" + raw_record()[2:], ""),
        ("record that is a frame", "malformed", frame(), ""),
        ("record whose body is an array", "malformed", raw_record([]), ""),
        ("record cut short", "malformed", raw_record()[:-1], ""),
        ("record without a tag in a signed frame", "unsigned", raw_record(), "new"),
        ("record with a wrong tag in a signed frame", "bad-signature", broken, "new"),
    ]
    return [
        *[
            _refused(name, "malformed", announce(raw_record({"addrs": v4} | body)))
            for name, body in bodies
        ],
        *[
            _refused(name, reason, announce(raw, key), keys=[key] if key else [])
            for name, reason, raw, key in whole
        ],
    ]
