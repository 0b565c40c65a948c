"""Messages and records as plain JSON values, as the vectors in `proto/vectors` spell them.

Bytes are hex; a record in a message is the hex of its raw bytes.
"""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from beacond.core.messages import (
    Announce,
    AnnounceRequest,
    Envelope,
    Excepted,
    Goodbye,
    Heartbeat,
    Known,
    Member,
    Message,
    Opinion,
    ShardDigest,
    ShardRequest,
    Superseded,
    SyncEntry,
    SyncReply,
    SyncRequest,
    Tombstone,
)
from beacond.core.model import Body, Mode, Published, Record, Status

Json = dict[str, Any]
KINDS: dict[str, type] = {
    "heartbeat": Heartbeat,
    "announce": Announce,
    "announce_request": AnnounceRequest,
    "goodbye": Goodbye,
    "sync_request": SyncRequest,
    "sync_reply": SyncReply,
    "superseded": Superseded,
    "shard_digest": ShardDigest,
    "opinion": Opinion,
    "shard_request": ShardRequest,
}


def kind_of(message: Message) -> str:
    return next(kind for kind, cls in KINDS.items() if cls is type(message))


def to_json(value: Any) -> Any:
    match value:
        case bytes():
            return value.hex()
        case Record(raw=bytes() as raw):
            return raw.hex()
        case Envelope() | Heartbeat() | AnnounceRequest() | Goodbye() | Superseded() | Opinion():
            return to_json(asdict(value))
        case Known() | Tombstone() | Published() | Body():
            return {key: to_json(getattr(value, key)) for key in value.__slots__}
        case Announce() | SyncRequest() | SyncEntry() | SyncReply():
            return {key: to_json(getattr(value, key)) for key in value.__slots__}
        case ShardDigest() | ShardRequest() | Excepted() | Member():
            return {key: to_json(getattr(value, key)) for key in value.__slots__}
        case dict():
            return {key: to_json(each) for key, each in value.items()}
        case tuple() | list():
            return [to_json(each) for each in value]
        case _:
            return value


def record_to_json(record: Record) -> Json:
    keys = ("node", "incarnation", "boot_id", "version", "body")
    return {key: to_json(getattr(record, key)) for key in keys}


def record_from_json(written: Json, raw: bytes | None = None) -> Record:
    body = written["body"]
    instances = tuple(_published(each) for each in body["instances"])
    return Record(
        node=written["node"],
        incarnation=written["incarnation"],
        boot_id=bytes.fromhex(written["boot_id"]),
        version=written["version"],
        body=Body(
            zone=body["zone"],
            addresses=tuple(body["addresses"]),
            agent_version=body["agent_version"],
            mode=Mode(body["mode"]),
            instances=instances,
            relays=body["relays"],
        ),
        raw=raw,
    )


def _published(written: Json) -> Published:
    pairs = {key: tuple(map(tuple, written[key])) for key in ("ports", "meta")}
    words = {"status": Status(written["status"]), "mode": Mode(written["mode"])}
    return Published(**{**written, **pairs, **words, "tags": tuple(written["tags"])})


def envelope_from_json(written: Json) -> Envelope:
    return Envelope(**_booted(written))


def message_from_json(kind: str, written: Json, open_raw: Callable[[bytes], Record]) -> Message:
    """`open_raw` reads the records that a message carries."""
    match kind:
        case "heartbeat":
            return _heartbeat(written)
        case "announce":
            return Announce(open_raw(bytes.fromhex(written["record"])))
        case "announce_request":
            return AnnounceRequest(**written)
        case "goodbye":
            return Goodbye(**written)
        case "opinion":
            lists = {key: tuple(written[key]) for key in ("reached", "unreached")}
            return Opinion(**{**_booted(written), **lists})
        case "superseded":
            return Superseded(**_booted(written))
        case "shard_digest":
            return _shard_digest(written)
        case "shard_request":
            return ShardRequest(**written)
        case "sync_request":
            known = tuple(Known(**_booted(each)) for each in written["known"])
            return SyncRequest(**{**written, "known": known})
        case "sync_reply":
            entries = tuple(
                SyncEntry(open_raw(bytes.fromhex(e["record"])), e["heard_ms"], e["ttl_ms"])
                for e in written["entries"]
            )
            tombstones = tuple(Tombstone(**each) for each in written["tombstones"])
            return SyncReply(**{**written, "entries": entries, "tombstones": tombstones})
    raise ValueError(kind)


def _booted(written: Json) -> Json:
    return {**written, "boot_id": bytes.fromhex(written["boot_id"])}


def _heartbeat(written: Json) -> Heartbeat:
    digest, mode = bytes.fromhex(written["digest"]), Mode(written["mode"])
    return Heartbeat(**{**written, "digest": digest, "mode": mode})


def _shard_digest(written: Json) -> ShardDigest:
    return ShardDigest(
        beat=_heartbeat(written["beat"]),
        shard=written["shard"],
        live=bytes.fromhex(written["live"]),
        count=written["count"],
        excepted=tuple(Excepted(**_booted(each)) for each in written["excepted"]),
        members=tuple(Member(**_booted(each)) for each in written["members"]),
    )
