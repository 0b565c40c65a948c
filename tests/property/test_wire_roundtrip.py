"""Whatever an agent may say, others read the same, whichever way the frames arrive."""

from dataclasses import fields as fields_of
from ipaddress import IPv4Address, IPv6Address

from hypothesis import given
from hypothesis import strategies as st

from beacond.core import names
from beacond.core.messages import (
    SHARDS,
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
from beacond.wire import FRAME_MAX, Codec, Keyring
from beacond.wire.limits import COUNT_MAX, HOLD_MAX_MS, INCARNATION_MAX, TTL_MAX_MS, TTL_MIN_MS

RING = Keyring([b"k" * 32, b"l" * 16])

labels = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,60}[a-z0-9])?", fullmatch=True)
places = st.just("") | labels
counts = st.integers(1, COUNT_MAX)
counts_from_0 = st.integers(0, COUNT_MAX)
incarnations = st.integers(1, INCARNATION_MAX)
boot_ids = st.binary(min_size=16, max_size=16)
ttls = st.integers(TTL_MIN_MS, TTL_MAX_MS)
modes = st.sampled_from(Mode)
texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)
ids = st.from_regex(r"[!-~]([ -~]{0,30}[!-~])?", fullmatch=True)
ports = st.integers(1, 65535)
tags = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=60).filter(
    names.is_tag
)
port_names = st.from_regex(r"[a-z][a-z0-9]{0,14}", fullmatch=True).filter(names.is_port_name)
ipv4 = st.ip_addresses(v=4).map(IPv4Address).map(str)
ipv6 = st.ip_addresses(v=6).filter(lambda ip: IPv6Address(ip).ipv4_mapped is None).map(str)
addresses = (ipv4 | ipv6).filter(lambda text: names.canonical_address(text) is not None)


def sorted_pairs(keys: st.SearchStrategy[str], values: st.SearchStrategy[object]):  # type: ignore[no-untyped-def]
    return st.dictionaries(keys, values, max_size=5).map(lambda d: tuple(sorted(d.items())))


published = st.builds(
    Published,
    id=ids,
    service=labels,
    port=ports,
    ports=sorted_pairs(port_names, ports),
    address=st.none() | addresses,
    tags=st.sets(tags, max_size=5).map(lambda found: tuple(sorted(found))),
    meta=sorted_pairs(texts.filter(bool), texts),
    weight=st.integers(0, 65535),
    status=st.sampled_from(Status),
    mode=modes,
)
bodies = st.builds(
    Body,
    zone=places,
    addresses=st.lists(addresses, min_size=1, max_size=2, unique_by=lambda a: ":" in a).map(tuple),
    agent_version=st.text("0123456789.+abc", max_size=64),
    mode=modes,
    instances=st.lists(published, max_size=6, unique_by=lambda each: each.id).map(
        lambda found: tuple(sorted(found, key=lambda each: each.id))
    ),
    relays=st.booleans(),
)
records = st.builds(
    Record, node=labels, incarnation=incarnations, boot_id=boot_ids, version=counts, body=bodies
)
heartbeats = st.builds(
    Heartbeat,
    seq=counts,
    version=counts,
    digest=st.binary(min_size=8, max_size=8),
    series=counts_from_0,
    stamp_ms=counts_from_0,
    next_ms=st.integers(0, TTL_MAX_MS),
    ttl_ms=ttls,
    mode=modes,
)
envelopes = st.builds(Envelope, labels, incarnations, boot_ids, counts, st.sampled_from(["", "me"]))
knowns = st.builds(Known, labels, incarnations, boot_ids, counts_from_0)
tombstones = st.builds(Tombstone, labels, incarnations)
shards = st.integers(0, SHARDS - 1)
excepted = st.builds(Excepted, labels, incarnations, boot_ids, counts_from_0, counts_from_0)
members = st.builds(
    Member,
    node=labels,
    incarnation=incarnations,
    boot_id=boot_ids,
    version=counts_from_0,
    seq=counts_from_0,
    heard_ms=counts_from_0,
    next_ms=st.integers(0, TTL_MAX_MS),
    ttl_ms=ttls,
)
shard_digests = st.builds(
    ShardDigest,
    beat=heartbeats,
    shard=shards,
    live=st.binary(min_size=8, max_size=8),
    count=counts_from_0,
    excepted=st.lists(excepted, max_size=9).map(tuple),
    members=st.lists(members, max_size=9).map(tuple),
)
without_records = st.one_of(
    heartbeats,
    st.builds(AnnounceRequest, counts_from_0),
    st.builds(Goodbye, counts_from_0, st.integers(0, HOLD_MAX_MS)),
    st.builds(Superseded, incarnations, boot_ids),
    st.builds(
        Opinion,
        labels,
        incarnations,
        boot_ids,
        counts_from_0,
        st.lists(ids, max_size=9).map(tuple),
        st.lists(ids, max_size=9).map(tuple),
        st.booleans(),
    ),
    st.builds(SyncRequest, counts_from_0, places, places, st.lists(knowns, max_size=9).map(tuple)),
    shard_digests,
    st.builds(ShardRequest, shards),
)


def codec(*, signed: bool, node: str = "me") -> Codec:
    return Codec(fleet="default", node=node, keyring=RING if signed else None)


def there_and_back(envelope: Envelope, message: Message, *, signed: bool) -> None:
    frames = codec(signed=signed, node=envelope.sender).encode(envelope, message)
    assert all(len(frame) <= FRAME_MAX for frame in frames)
    receiver = codec(signed=signed)
    heard = [receiver.decode(frame) for frame in frames]
    assert heard == [None] * (len(frames) - 1) + [(envelope, message)]
    assert type(heard[-1][1]) is type(message)


@given(envelopes, without_records, st.booleans())
def test_messages_without_records_are_read_as_they_were_meant(
    envelope: Envelope, message: Message, signed: bool
) -> None:
    there_and_back(envelope, message, signed=signed)


@given(records, st.booleans())
def test_an_announce_is_read_as_it_was_meant(record: Record, signed: bool) -> None:
    envelope = Envelope(record.node, record.incarnation, record.boot_id, 1)
    there_and_back(envelope, Announce(record), signed=signed)


@given(
    envelopes,
    st.lists(st.tuples(records, counts_from_0, ttls), max_size=4),
    st.lists(tombstones, max_size=4).map(tuple),
    places,
    st.booleans(),
)
def test_a_sync_reply_is_read_as_it_was_meant(
    envelope: Envelope,
    told: list[tuple[Record, int, int]],
    gone: tuple[Tombstone, ...],
    covered: str,
    signed: bool,
) -> None:
    owner = codec(signed=signed)
    entries = tuple(SyncEntry(owner.seal(record), heard, ttl) for record, heard, ttl in told)
    there_and_back(envelope, SyncReply(1, entries, gone, covered), signed=signed)


@given(records, st.booleans())
def test_one_record_has_one_encoding_and_opens_to_all_of_itself(
    record: Record, signed: bool
) -> None:
    owner = codec(signed=signed)
    raw = owner.seal(record).raw
    assert raw is not None
    opened = owner.open(raw, verify=True)
    # Field by field: `==` leaves out `raw`, and would leave out a field that forgot to compare.
    assert all(
        getattr(opened, each.name) == getattr(record, each.name)
        for each in fields_of(Record)
        if each.name != "raw"
    )
    assert owner.seal(opened).raw == raw
