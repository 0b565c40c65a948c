"""What each kind of message carries, as a map with short keys; `proto/README.md` has the tables."""

from collections.abc import Callable

from beacond.core import names
from beacond.core.messages import (
    AnnounceRequest,
    Goodbye,
    Heartbeat,
    Known,
    Opinion,
    Superseded,
    SyncEntry,
    SyncReply,
    SyncRequest,
    Tombstone,
)
from beacond.core.model import Mode, Record
from beacond.wire import fields
from beacond.wire.errors import EncodeError
from beacond.wire.fields import Fields, integer, malformed
from beacond.wire.limits import (
    COUNT_MAX,
    DIGEST_SIZE,
    HOLD_MAX_MS,
    KNOWN_MAX,
    OPINION_MAX,
    SYNC_ENTRIES_MAX,
    TOMBSTONES_MAX,
    TTL_MAX_MS,
    TTL_MIN_MS,
)
from beacond.wire.record import MODE_CODES, mode

PART = 0
HEARTBEAT = 1
ANNOUNCE = 2
ANNOUNCE_REQUEST = 3
GOODBYE = 4
SYNC_REQUEST = 5
SYNC_REPLY = 6
SUPERSEDED = 7
SHARD_DIGEST = 8
OPINION = 9
SHARD_REQUEST = 10

OpenRelayed = Callable[[bytes], Record | None]
"""A record that its owner did not send us itself; None where we can't use it."""


def heartbeat_fields(message: Heartbeat) -> Fields:
    written: Fields = {
        "seq": message.seq,
        "ver": message.version,
        "dig": message.digest,
        "ser": message.series,
        "at": message.stamp_ms,
        "next": message.next_ms,
        "ttl": message.ttl_ms,
    }
    code = MODE_CODES[message.mode]
    if code:
        written["mode"] = code
    return written


def heartbeat(written: Fields) -> Heartbeat:
    try:
        seq, version, digest = written["seq"], written["ver"], written["dig"]
        series, stamp_ms = written["ser"], written["at"]
        next_ms, ttl_ms = written["next"], written["ttl"]
    except KeyError as error:
        raise malformed(f"heartbeat without {error}") from error
    # All at once: of what an agent reads, nearly everything is heartbeats.
    if (
        type(seq) is type(version) is type(series) is type(stamp_ms) is int
        and type(next_ms) is type(ttl_ms) is int
        and 1 <= seq <= COUNT_MAX
        and 1 <= version <= COUNT_MAX
        and 0 <= series <= COUNT_MAX
        and 0 <= stamp_ms <= COUNT_MAX
        and 0 <= next_ms <= TTL_MAX_MS
        and TTL_MIN_MS <= ttl_ms <= TTL_MAX_MS
        and type(digest) is bytes
        and len(digest) == DIGEST_SIZE
    ):
        host_mode = mode(written["mode"]) if "mode" in written else Mode.NORMAL
        return Heartbeat(seq, version, digest, series, stamp_ms, next_ms, ttl_ms, host_mode)
    raise malformed("heartbeat")


def announce_record(written: Fields) -> bytes:
    return _raw(written.get("rec"))


def announce_request(written: Fields) -> AnnounceRequest:
    return AnnounceRequest(version=integer(written.get("ver"), 0, COUNT_MAX, "ver"))


def goodbye(written: Fields) -> Goodbye:
    return Goodbye(
        seq=integer(written.get("seq"), 0, COUNT_MAX, "seq"),
        hold_ms=integer(written.get("hold", 0), 0, HOLD_MAX_MS, "hold"),
    )


def superseded(written: Fields) -> Superseded:
    return Superseded(
        incarnation=fields.incarnation(written.get("inc")),
        boot_id=fields.boot_id(written.get("boot")),
    )


def sync_request_fields(message: SyncRequest) -> Fields:
    fits(len(message.known), KNOWN_MAX, "known nodes")
    return {
        "req": message.request,
        "after": message.after,
        "upto": message.upto,
        "known": [[k.node, k.incarnation, k.boot_id, k.version] for k in message.known],
    }


def sync_request(written: Fields) -> SyncRequest:
    listed = fields.array(written.get("known"), 0, KNOWN_MAX, "known")
    return SyncRequest(
        request=integer(written.get("req"), 0, COUNT_MAX, "req"),
        after=fields.label_or_empty(written.get("after", ""), "after"),
        upto=fields.label_or_empty(written.get("upto", ""), "upto"),
        known=tuple([_known(each) for each in listed]),
    )


def _known(item: object) -> Known:
    values = fields.array(item, 4, COUNT_MAX, "a known node")
    return Known(
        node=fields.label(values[0], "node"),
        incarnation=fields.incarnation(values[1]),
        boot_id=fields.boot_id(values[2]),
        version=integer(values[3], 0, COUNT_MAX, "version"),
    )


def sync_reply_fields(message: SyncReply, raw_of: Callable[[Record], bytes]) -> Fields:
    fits(len(message.entries), SYNC_ENTRIES_MAX, "entries")
    fits(len(message.tombstones), TOMBSTONES_MAX, "tombstones")
    return {
        "req": message.request,
        "upto": message.covered,
        "recs": [[raw_of(each.record), each.heard_ms, each.ttl_ms] for each in message.entries],
        "tombs": [[each.node, each.incarnation] for each in message.tombstones],
    }


def sync_reply(written: Fields, open_relayed: OpenRelayed) -> SyncReply:
    listed = fields.array(written.get("recs"), 0, SYNC_ENTRIES_MAX, "recs")
    gone = fields.array(written.get("tombs"), 0, TOMBSTONES_MAX, "tombs")
    entries = [_entry(each, open_relayed) for each in listed]
    return SyncReply(
        request=integer(written.get("req"), 0, COUNT_MAX, "req"),
        entries=tuple([entry for entry in entries if entry is not None]),
        tombstones=tuple([_tombstone(each) for each in gone]),
        covered=fields.label_or_empty(written.get("upto", ""), "upto"),
    )


def _entry(item: object, open_relayed: OpenRelayed) -> SyncEntry | None:
    values = fields.array(item, 3, COUNT_MAX, "an entry")
    heard_ms = integer(values[1], 0, COUNT_MAX, "heard")
    ttl_ms = integer(values[2], TTL_MIN_MS, TTL_MAX_MS, "ttl")
    record = open_relayed(_raw(values[0]))
    return None if record is None else SyncEntry(record, heard_ms, ttl_ms)


def _tombstone(item: object) -> Tombstone:
    values = fields.array(item, 2, COUNT_MAX, "a tombstone")
    return Tombstone(
        node=fields.label(values[0], "node"), incarnation=fields.incarnation(values[1])
    )


def opinion_fields(message: Opinion) -> Fields:
    fits(len(message.reached) + len(message.unreached), OPINION_MAX, "instances")
    written: Fields = {
        "node": message.node,
        "inc": message.incarnation,
        "boot": message.boot_id,
        "seq": message.seq,
        "up": list(message.reached),
        "down": list(message.unreached),
    }
    if message.control:
        written["ctl"] = 1
    return written


def opinion(written: Fields) -> Opinion:
    up = fields.array(written.get("up"), 0, OPINION_MAX, "up")
    down = fields.array(written.get("down"), 0, OPINION_MAX, "down")
    return Opinion(
        node=fields.label(written.get("node"), "node"),
        incarnation=fields.incarnation(written.get("inc")),
        boot_id=fields.boot_id(written.get("boot")),
        seq=integer(written.get("seq"), 0, COUNT_MAX, "seq"),
        reached=tuple([fields.text(each, names.is_instance_id, "an instance id") for each in up]),
        unreached=tuple(
            [fields.text(each, names.is_instance_id, "an instance id") for each in down]
        ),
        control=bool(integer(written.get("ctl", 0), 0, 1, "ctl")),
    )


def _raw(value: object) -> bytes:
    if type(value) is bytes:
        return value
    raise malformed("a record that is not bytes")


def fits(size: int, most: int, what: str) -> None:
    """Raises EncodeError where a receiver would refuse so many."""
    if size > most:
        raise EncodeError(f"{size} {what} in one message: at most {most} are possible")
