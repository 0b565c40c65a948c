"""What relays say of a shard, and what they are asked; `proto/README.md` has the tables."""

from typing import Any

from beacond.core.messages import Excepted, Member, ShardDigest, ShardRequest
from beacond.wire import fields
from beacond.wire.fields import Fields, integer
from beacond.wire.limits import (
    COUNT_MAX,
    DIGEST_SIZE,
    EXCEPTED_MAX,
    MEMBERS_MAX,
    SHARDS,
    TTL_MAX_MS,
    TTL_MIN_MS,
)
from beacond.wire.payloads import fits, heartbeat, heartbeat_fields

_EXCEPTED_FIELDS, _MEMBER_FIELDS = 5, 8


def digest_fields(message: ShardDigest) -> Fields:
    fits(len(message.excepted), EXCEPTED_MAX, "excepted nodes")
    fits(len(message.members), MEMBERS_MAX, "members of a shard")
    written: Fields = {
        "beat": heartbeat_fields(message.beat),
        "sh": message.shard,
        "live": message.live,
        "n": message.count,
    }
    if message.excepted:
        written["exc"] = [
            [each.node, each.incarnation, each.boot_id, each.seq, each.silent_ms]
            for each in message.excepted
        ]
    if message.members:
        written["mem"] = [_member_values(each) for each in message.members]
    return written


def digest(written: Fields) -> ShardDigest:
    excepted = fields.array(written.get("exc", []), 0, EXCEPTED_MAX, "exc")
    members = fields.array(written.get("mem", []), 0, MEMBERS_MAX, "mem")
    return ShardDigest(
        beat=heartbeat(fields.mapping(written.get("beat"), "beat")),
        shard=_shard(written),
        live=fields.binary(written.get("live"), DIGEST_SIZE, "live"),
        count=integer(written.get("n"), 0, COUNT_MAX, "n"),
        excepted=tuple([_excepted(each) for each in excepted]),
        members=tuple([_member(each) for each in members]),
    )


def request(written: Fields) -> ShardRequest:
    return ShardRequest(_shard(written))


def _shard(written: Fields) -> int:
    return integer(written.get("sh"), 0, SHARDS - 1, "sh")


def _excepted(item: object) -> Excepted:
    values = fields.array(item, _EXCEPTED_FIELDS, COUNT_MAX, "an excepted node")
    return Excepted(
        node=fields.label(values[0], "node"),
        incarnation=fields.incarnation(values[1]),
        boot_id=fields.boot_id(values[2]),
        seq=integer(values[3], 0, COUNT_MAX, "seq"),
        silent_ms=integer(values[4], 0, COUNT_MAX, "silent"),
    )


def _member_values(each: Member) -> list[Any]:
    speaker = [each.node, each.incarnation, each.boot_id]
    return [*speaker, each.version, each.seq, each.heard_ms, each.next_ms, each.ttl_ms]


def _member(item: object) -> Member:
    values = fields.array(item, _MEMBER_FIELDS, COUNT_MAX, "a member")
    return Member(
        node=fields.label(values[0], "node"),
        incarnation=fields.incarnation(values[1]),
        boot_id=fields.boot_id(values[2]),
        version=integer(values[3], 0, COUNT_MAX, "version"),
        seq=integer(values[4], 0, COUNT_MAX, "seq"),
        heard_ms=integer(values[5], 0, COUNT_MAX, "heard"),
        next_ms=integer(values[6], 0, TTL_MAX_MS, "next"),
        ttl_ms=integer(values[7], TTL_MIN_MS, TTL_MAX_MS, "ttl"),
    )
