"""The vectors of relays: what they say, and what every agent must hash alike for it."""

from functools import reduce
from typing import Any

from beacond.core.hashing import live_share_of, rank_in, shard_of
from beacond.core.messages import (
    SHARDS,
    Excepted,
    Heartbeat,
    Member,
    Message,
    ShardDigest,
    ShardRequest,
)
from beacond.core.model import INCARNATION_MAX
from tests.support.wire_craft import BOOT, HEARTBEAT_FIELDS

Case = dict[str, Any]
OTHER_BOOT = bytes(range(16, 32))
SHARD = 10
MEMBERS = (
    Member("cache-b", 4, BOOT, 7, 41, 0, 5_000, 15_000),
    Member("db-e", INCARNATION_MAX, OTHER_BOOT, 0, 0, 7_499, 0, 1_000),
    Member("db-g", 1, bytes(16), 2**53 - 1, 2**53 - 1, 2**53 - 1, 10_800_000, 10_800_000),
)
EXCEPTED = (
    Excepted("db-h", 3, BOOT, 39, 12_100),
    Excepted("host-a", 1, OTHER_BOOT, 0, 0),
)
BOOTS = (
    ("a", 1, bytes(16)),
    ("web-a", 3, BOOT),
    ("web-a", 3, OTHER_BOOT),
    ("web-a", 4, BOOT),
    ("web-b", 1_760_000_000, BOOT),
    ("0", INCARNATION_MAX, b"\xff" * 16),
    ("long-" + "z" * 57, 7, OTHER_BOOT),
    *((each.node, each.incarnation, each.boot_id) for each in (*MEMBERS, *EXCEPTED)),
)


def live(*speakers: Member) -> bytes:
    """Over all of these."""
    shares = [live_share_of(each.node, each.incarnation, each.boot_id) for each in speakers]
    return reduce(int.__xor__, shares, 0).to_bytes(8, "big")


def digest(beat: Heartbeat, *, excepted: bool = False, members: bool = False) -> ShardDigest:
    return ShardDigest(
        beat=beat,
        shard=SHARD,
        live=live(*MEMBERS),
        count=len(MEMBERS),
        excepted=EXCEPTED if excepted else (),
        members=MEMBERS if members else (),
    )


def relays_say(beat: Heartbeat, least: Heartbeat) -> list[tuple[str, Message]]:
    return [
        ("shard digest", digest(beat)),
        ("shard digest with exceptions", digest(beat, excepted=True)),
        ("shard digest with members", digest(beat, members=True)),
        ("shard digest with both", digest(beat, excepted=True, members=True)),
        ("shard digest with the least", ShardDigest(least, 0, bytes(8), 0, (), ())),
        (
            "shard digest of the last shard and the largest count",
            ShardDigest(beat, SHARDS - 1, b"\xff" * 8, 2**53 - 1, (), ()),
        ),
    ]


def ask_relays() -> list[tuple[str, Message]]:
    return [
        ("shard request", ShardRequest(SHARD)),
        ("shard request for the first shard", ShardRequest(0)),
        ("shard request for the last shard", ShardRequest(SHARDS - 1)),
    ]


DIGEST_FIELDS: Case = {
    "beat": HEARTBEAT_FIELDS,
    "sh": SHARD,
    "live": live(*MEMBERS),
    "n": len(MEMBERS),
    "exc": [["db-h", 3, BOOT, 39, 12_100]],
    "mem": [["cache-b", 4, BOOT, 7, 41, 0, 5_000, 15_000]],
}


def refused_fields() -> list[tuple[str, int, Case]]:
    """What makes a digest or a request malformed."""
    least = ["a", 1, bytes(16), 0, 0]
    changes: list[tuple[str, Case]] = [
        ("a heartbeat that is an array", {"beat": []}),
        ("a heartbeat of seq 0", {"beat": HEARTBEAT_FIELDS | {"seq": 0}}),
        ("a heartbeat without a ttl", {"beat": _without(HEARTBEAT_FIELDS, "ttl")}),
        ("a mode of the future", {"beat": HEARTBEAT_FIELDS | {"mode": 3}}),
        ("shard 16", {"sh": 16}),
        ("a shard below 0", {"sh": -1}),
        ("shard true", {"sh": True}),
        ("a shard as text", {"sh": "1"}),
        ("a shard as a fraction", {"sh": 1.0}),
        ("live of 7 bytes", {"live": bytes(7)}),
        ("live of 9 bytes", {"live": bytes(9)}),
        ("live as text", {"live": "01234567"}),
        ("live as a number", {"live": 0}),
        ("a count below 0", {"n": -1}),
        ("a count beyond its limit", {"n": 2**53}),
        ("count true", {"n": True}),
        ("exceptions in a map", {"exc": {}}),
        ("exceptions nil", {"exc": None}),
        ("257 exceptions", {"exc": [least] * 257}),
        ("members in a map", {"mem": {}}),
        ("members nil", {"mem": None}),
        ("more than 4096 members", {"mem": [0] * 4097}),
        ("an exception that is a map", {"exc": [{}]}),
        ("a member that is a map", {"mem": [{}]}),
        *_refused_items("exc", "an exception", _EXCEPTED_CHANGES),
        *_refused_items("mem", "a member", _MEMBER_CHANGES),
    ]
    missing = [
        (f"shard digest without {key}", 8, _without(DIGEST_FIELDS, key))
        for key in ("beat", "sh", "live", "n")
    ]
    asked: list[tuple[str, Case]] = [
        ("without a shard", {}),
        ("of shard 16", {"sh": 16}),
        ("of a shard below 0", {"sh": -1}),
        ("of shard false", {"sh": False}),
        ("of shard nil", {"sh": None}),
    ]
    return [
        *[(f"shard digest with {name}", 8, DIGEST_FIELDS | change) for name, change in changes],
        *missing,
        *[(f"shard request {name}", 10, fields) for name, fields in asked],
    ]


_SPEAKER_CHANGES: list[tuple[str, int, Any]] = [
    ("in capitals", 0, "DB-H"),
    ("without a name", 0, ""),
    ("with a name as bytes", 0, b"db-h"),
    ("of incarnation 0", 1, 0),
    ("of incarnation true", 1, True),
    ("of an incarnation beyond its limit", 1, 2**33),
    ("with a boot id of 15 bytes", 2, BOOT[1:]),
    ("with a boot id as text", 2, "0123456789abcdef"),
]
_EXCEPTED_CHANGES: list[tuple[str, int, Any]] = [
    *_SPEAKER_CHANGES,
    ("of a seq below 0", 3, -1),
    ("of seq true", 3, True),
    ("of a seq beyond its limit", 3, 2**53),
    ("silent for less than nothing", 4, -1),
    ("silent for true", 4, True),
    ("silent beyond the limit", 4, 2**53),
    ("cut short", 4, None),
]
_MEMBER_CHANGES: list[tuple[str, int, Any]] = [
    *_SPEAKER_CHANGES,
    ("of a version below 0", 3, -1),
    ("of version true", 3, True),
    ("of a seq as a fraction", 4, 41.0),
    ("of a seq beyond its limit", 4, 2**53),
    ("heard in the future", 5, -1),
    ("heard true", 5, True),
    ("of a next beyond its limit", 6, 10_800_001),
    ("of a next below 0", 6, -1),
    ("of a ttl below its limit", 7, 999),
    ("of a ttl beyond its limit", 7, 10_800_001),
    ("cut short", 7, None),
]


def _refused_items(
    key: str, what: str, changes: list[tuple[str, int, Any]]
) -> list[tuple[str, Case]]:
    """One item each, changed in one place; None: the array ends before it."""
    [item] = DIGEST_FIELDS[key]
    return [
        (f"{what} {name}", {key: [item[:at] + ([] if value is None else [value, *item[at + 1 :]])]})
        for name, at, value in changes
    ]


def _without(written: Case, key: str) -> Case:
    return {k: v for k, v in written.items() if k != key}


def hash_cases() -> list[Case]:
    return [
        {
            "name": f"{node} {incarnation} {boot_id.hex()}",
            "node": node,
            "incarnation": incarnation,
            "boot_id": boot_id.hex(),
            "shard": shard_of(node),
            "live": live_share_of(node, incarnation, boot_id).to_bytes(8, "big").hex(),
            "ranks": [rank_in(each, node).to_bytes(8, "big").hex() for each in range(SHARDS)],
        }
        for node, incarnation, boot_id in BOOTS
    ]


def order_cases() -> list[Case]:
    """For each shard, who of all named is sent its heartbeats, first to last."""
    nodes = sorted({node for node, _, _ in BOOTS})
    return [
        {"shard": each, "order": sorted(nodes, key=lambda node: rank_in(each, node), reverse=True)}
        for each in range(SHARDS)
    ]
