"""Sizes, keys and copies: what the vectors of `proto/` are too small to show."""

import random
from dataclasses import replace

import pytest

from beacond.core.messages import (
    Announce,
    Envelope,
    Excepted,
    Goodbye,
    Heartbeat,
    Known,
    Member,
    ShardDigest,
    SyncEntry,
    SyncReply,
    SyncRequest,
    Tombstone,
)
from beacond.core.model import Body, Mode, Published, Record
from beacond.wire import FRAME_MAX, RECORD_MAX, Codec, DecodeError, EncodeError, Keyring

BOOT = b"b" * 16
ENVELOPE = Envelope("web-b", 3, BOOT, 12)
OLD, NEW = b"o" * 32, b"n" * 32


def codec(*keys: bytes, node: str = "web-a", fleet: str = "default") -> Codec:
    return Codec(fleet=fleet, node=node, keyring=Keyring(keys) if keys else None)


def record(instances: int, *, meta_bytes: int = 100, node: str = "web-b") -> Record:
    rng = random.Random(instances)
    published = tuple(
        Published(
            f"i{number:05}", "shop", 8080, meta=(("k", rng.randbytes(meta_bytes // 2).hex()),)
        )
        for number in range(instances)
    )
    return Record(node, 3, BOOT, 7, Body(addresses=("192.0.2.7",), instances=published))


def large_frames(sender: Codec, counter: int = 12) -> list[bytes]:
    frames = sender.encode(replace(ENVELOPE, counter=counter), Announce(record(1000)))
    assert len(frames) == 3
    return frames


def refusal(receiver: Codec, frame: bytes) -> str:
    with pytest.raises(DecodeError) as caught:
        receiver.decode(frame)
    return caught.value.reason


def test_a_large_announce_arrives_whole_from_parts_in_any_order() -> None:
    sender, receiver = codec(NEW, node="web-b"), codec(NEW)
    frames = large_frames(sender)
    assert all(len(frame) <= FRAME_MAX for frame in frames)
    random.Random(1).shuffle(frames)
    assert [receiver.decode(frame) for frame in frames[:-1]] == [None, None]
    assert receiver.decode(frames[-1]) == (ENVELOPE, Announce(record(1000)))


def test_a_second_copy_of_a_large_message_is_not_heard_again() -> None:
    receiver = codec()
    frames = large_frames(codec(node="web-b"))
    heard = [receiver.decode(frame) for frame in frames + frames]
    assert [message is not None for message in heard] == [False, False, True] + [False] * 3


def test_two_large_messages_of_one_sender_may_mix() -> None:
    sender, receiver = codec(node="web-b"), codec()
    pairs = zip(large_frames(sender, 12), large_frames(sender, 13), strict=True)
    heard = [receiver.decode(frame) for pair in pairs for frame in pair]
    assert [message[0].counter for message in heard if message] == [12, 13]


def test_a_part_of_another_key_is_refused_and_costs_nothing() -> None:
    receiver = codec(NEW)
    good, forged = large_frames(codec(NEW, node="web-b")), large_frames(codec(OLD, node="web-b"))
    assert receiver.decode(good[0]) is None
    assert refusal(receiver, forged[1]) == "bad-signature"
    assert receiver.decode(good[1]) is None
    assert receiver.decode(good[2]) is not None


def test_the_longest_names_still_fit_a_frame() -> None:
    longest = "a" * 62
    sender = Codec(fleet=longest, node=longest, keyring=Keyring([NEW]))
    envelope = Envelope(longest, 2**33 - 1, BOOT, 2**53 - 1, longest)
    entry = SyncEntry(sender.seal(record(1500, node=longest)), 1, 15_000)
    frames = sender.encode(envelope, SyncReply(1, (entry,), (), longest))
    assert max(map(len, frames)) <= FRAME_MAX
    heard = [sender.decode(frame) for frame in frames]
    assert heard[-1] is not None


def test_a_frame_beyond_the_limit_is_refused_unread() -> None:
    assert refusal(codec(), b"\xff" * (FRAME_MAX + 1)) == "oversized"
    assert refusal(codec(), b"\xff" * FRAME_MAX) == "malformed"


def test_a_record_beyond_the_limit_is_not_sealed() -> None:
    sender = codec(node="web-b")
    fits, too_large = record(1800, meta_bytes=500), record(2048, meta_bytes=500)
    sealed = sender.seal(fits)
    assert 0.9 * RECORD_MAX < len(sealed.raw or b"") <= RECORD_MAX
    with pytest.raises(EncodeError, match="oversized"):
        sender.seal(too_large)


def test_a_record_beyond_the_limit_is_not_opened() -> None:
    with pytest.raises(DecodeError) as caught:
        codec().open(b"R" + bytes(RECORD_MAX), verify=False)
    assert caught.value.reason == "oversized"


@pytest.mark.parametrize(
    "body",
    [
        Body(zone="No Label"),
        Body(addresses=("::ffff:1.2.3.4",)),
        Body(instances=(Published("a", "shop", 80),)),
        Body(addresses=("::1",), instances=(Published("a", "shop", 80, tags=("b", "a")),)),
        Body(addresses=("::1",), instances=(Published("a", "shop", 80, meta=(("k", "\ud800"),)),)),
        Body(addresses=("::1",), instances=(Published("a", "shop", 80, weight=2**70),)),
        Body(
            addresses=("::1",),
            instances=(Published("a", "shop", 80, ports=(("x", 1), ("b", 2))),),
        ),
    ],
)
def test_what_others_would_refuse_is_not_sealed(body: Body) -> None:
    with pytest.raises(EncodeError):
        codec(node="web-b").seal(Record("web-b", 3, BOOT, 7, body))


def test_a_message_beyond_the_limits_is_not_encoded() -> None:
    sender = codec(node="web-b")
    raw = sender.seal(record(1800, meta_bytes=500))
    entries = tuple(SyncEntry(raw, 1, 15_000) for _ in range(3))
    with pytest.raises(EncodeError, match="at most 2097152"):
        sender.encode(ENVELOPE, SyncReply(1, entries, (), ""))
    known = (Known("a", 1, BOOT, 1),) * 16_385
    with pytest.raises(EncodeError, match="known nodes"):
        sender.encode(ENVELOPE, SyncRequest(1, "", "", known))
    with pytest.raises(EncodeError, match="tombstones"):
        sender.encode(ENVELOPE, SyncReply(1, (), (Tombstone("a", 1),) * 16_385, ""))
    with pytest.raises(EncodeError, match="can't be encoded"):
        sender.encode(ENVELOPE, Goodbye(2**64, 0))


def test_all_of_a_large_shard_can_be_named_and_no_more() -> None:
    longest = "a" * 62
    sender = Codec(fleet=longest, node=longest, keyring=Keyring([NEW]))
    envelope = Envelope(longest, 2**33 - 1, BOOT, 2**53 - 1)
    beat = Heartbeat(2**53 - 1, 7, bytes(8), 1, 2**53 - 1, 5_000, 15_000, Mode.DRAINING)
    excepted = Excepted(longest, 2**33 - 1, BOOT, 2**53 - 1, 2**53 - 1)
    ttl_ms = 10_800_000
    member = Member(longest, 2**33 - 1, BOOT, 2**53 - 1, 2**53 - 1, 2**53 - 1, ttl_ms, ttl_ms)
    bare = ShardDigest(beat, 15, bytes(8), 4_096, (excepted,) * 256, ())
    # What is said again and again needs no parts.
    [frame] = sender.encode(envelope, bare)
    assert sender.decode(frame) == (envelope, bare)
    named = replace(bare, members=(member,) * 4_096)
    heard = [sender.decode(frame) for frame in sender.encode(envelope, named)]
    assert heard[-1] == (envelope, named)
    with pytest.raises(EncodeError, match="excepted nodes"):
        sender.encode(envelope, replace(bare, excepted=(excepted,) * 257))
    with pytest.raises(EncodeError, match="members of a shard"):
        sender.encode(envelope, replace(bare, members=(member,) * 4_097))


def test_only_our_own_record_may_be_sealed_on_its_way() -> None:
    foreign = SyncEntry(record(1, node="web-c"), 1, 15_000)
    own = SyncEntry(record(1), 1, 15_000)
    sender = codec(NEW, node="web-b")
    with pytest.raises(EncodeError, match="web-c"):
        sender.encode(ENVELOPE, SyncReply(1, (foreign,), (), ""))
    assert codec(NEW).decode(sender.encode(ENVELOPE, SyncReply(1, (own,), (), ""))[0])


def test_a_record_is_passed_on_as_its_owner_signed_it() -> None:
    owner, relay, newcomer = codec(OLD, NEW, node="web-b"), codec(NEW, OLD), codec(OLD, NEW)
    sealed = owner.seal(record(2))
    heard = relay.decode(owner.encode(ENVELOPE, Announce(sealed))[0])
    assert heard is not None
    assert isinstance(heard[1], Announce)
    reply = SyncReply(1, (SyncEntry(heard[1].record, 1, 15_000),), (), "")
    told = newcomer.decode(relay.encode(Envelope("web-a", 1, BOOT, 1), reply)[0])
    assert told is not None
    assert isinstance(told[1], SyncReply)
    assert told[1].entries[0].record.raw == sealed.raw


def test_keys_are_changed_one_agent_after_the_other_without_silence() -> None:
    stages = [
        [(OLD,), (OLD,)],
        [(OLD, NEW), (OLD,)],
        [(OLD, NEW), (OLD, NEW)],
        [(NEW, OLD), (OLD, NEW)],
        [(NEW, OLD), (NEW, OLD)],
        [(NEW,), (NEW, OLD)],
        [(NEW,), (NEW,)],
    ]
    one, other = codec(OLD, node="web-b"), codec(OLD, node="web-a")
    for keys, other_keys in stages:
        one.keyring, other.keyring = Keyring(keys), Keyring(other_keys)
        assert other.decode(one.encode(ENVELOPE, Goodbye(1, 0))[0])
        assert one.decode(other.encode(Envelope("web-a", 1, BOOT, 1), Goodbye(1, 0))[0])


def test_an_agent_without_keys_hears_signed_messages_and_passes_records_on() -> None:
    sealed = codec(NEW, node="web-b").seal(record(1))
    heard = codec().decode(codec(NEW, node="web-b").encode(ENVELOPE, Announce(sealed))[0])
    assert heard is not None
    assert isinstance(heard[1], Announce)
    assert heard[1].record.raw == sealed.raw


def test_a_snapshot_record_opens_without_its_key_but_not_in_another_fleet() -> None:
    raw = codec(OLD, node="web-b").seal(record(1)).raw
    assert raw is not None
    assert codec(NEW).open(raw, verify=False) == record(1)
    for receiver, reason in ((codec(NEW), "bad-signature"), (codec(NEW, fleet="x"), "wrong-fleet")):
        with pytest.raises(DecodeError) as caught:
            receiver.open(raw, verify=reason == "bad-signature")
        assert caught.value.reason == reason


def test_a_signed_heartbeat_of_a_usual_name_has_at_most_128_bytes() -> None:
    beat = Heartbeat(41, 7, bytes(8), 1, 205_000, 5_000, 15_000, Mode.NORMAL)
    [frame] = codec(NEW, node="web-b").encode(ENVELOPE, beat)
    assert len(frame) <= 128
