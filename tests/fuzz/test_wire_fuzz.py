"""Whatever bytes arrive, only DecodeError comes out, and a signed frame that was touched is
refused."""

import random
from contextlib import suppress

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beacond.core.messages import (
    Announce,
    Envelope,
    Excepted,
    Heartbeat,
    Member,
    ShardDigest,
    ShardRequest,
    SyncEntry,
    SyncReply,
)
from beacond.core.model import Body, Mode, Published, Record, Status
from beacond.wire import Codec, DecodeError, Keyring
from beacond.wire.limits import PARTIAL_BYTES_MAX, PARTIALS_MAX

REASONS = {
    "malformed",
    "oversized",
    "wrong-version",
    "wrong-fleet",
    "unsigned",
    "bad-signature",
    "unknown-kind",
    "not-for-us",
}
BOOT = b"b" * 16
RECORD = Record(
    "web-b",
    3,
    BOOT,
    7,
    Body(
        zone="dc1",
        addresses=("192.0.2.7", "2001:db8::7"),
        agent_version="0.1.0",
        instances=(
            Published("a", "shop", 80, (("m", 9),), "::1", ("x", "y"), (("k", "v"),), 0),
            Published("b", "shop", 81, status=Status.WARNING, mode=Mode.DRAINING),
        ),
        relays=True,
    ),
)


def codec(*, signed: bool, node: str = "web-a") -> Codec:
    return Codec(fleet="f", node=node, keyring=Keyring([b"k" * 32]) if signed else None)


def samples(*, signed: bool) -> list[bytes]:
    sender = codec(signed=signed, node="web-b")
    envelope = Envelope("web-b", 3, BOOT, 12)
    reply = SyncReply(1, (SyncEntry(sender.seal(RECORD), 1, 15_000),), (), "")
    beat = Heartbeat(41, 7, bytes(8), 1, 205_000, 5_000, 15_000, Mode.NORMAL)
    excepted = (Excepted("web-c", 3, BOOT, 40, 9_000),)
    members = (Member("web-d", 3, BOOT, 7, 41, 100, 5_000, 15_000),)
    digest = ShardDigest(beat, 8, bytes(8), 1, excepted, members)
    messages = (beat, Announce(RECORD), reply, digest, ShardRequest(8))
    return [sender.encode(envelope, message)[0] for message in messages]


def survives(receiver: Codec, data: bytes) -> bool:
    """Whether it was understood; anything but a DecodeError escapes."""
    try:
        receiver.decode(data)
    except DecodeError as error:
        if error.reason not in REASONS:
            raise
        return False
    return True


def mutated(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(changed))
        match rng.randrange(5):
            case 0:
                changed[at] = rng.randrange(256)
            case 1:
                changed[at] ^= 1 << rng.randrange(8)
            case 2:
                changed[at:at] = rng.randbytes(rng.randint(1, 9))
            case 3:
                del changed[at : at + rng.randint(1, 9)]
                changed = changed or bytearray(b"B")
            case 4:
                # The codes at the limits of MessagePack's types.
                changed[at] = rng.choice(b"\x00\x7f\x80\x8f\x90\x9f\xa0\xc0\xc1\xc7\xd4\xdf\xff")
    return bytes(changed)


@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    survives(codec(signed=False), data)
    survives(codec(signed=False), b"B\x01\x00\x00\x00\x00\x00\x00" + data)
    assert not survives(codec(signed=True), data)


KEYS = ["rec", "req", "known", "recs", "tombs", "upto", "of", "part", "data",
        "beat", "sh", "live", "n", "exc", "mem"]  # fmt: skip
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(st.characters(exclude_categories=("Cs",)), max_size=9)
    | st.binary(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=9)
        | st.dictionaries(
            st.sampled_from(KEYS) | st.text("abcdefgh", max_size=5) | st.binary(max_size=3),
            inner,
            max_size=9,
        )
    ),
    max_leaves=30,
)


@given(st.integers(0, 11), values)
def test_any_payload_of_any_kind(kind: int, payload: object) -> None:
    content = msgpack.packb(["f", "web-b", 3, BOOT, 12, "", kind, payload])
    survives(codec(signed=False), b"B\x01\x00\x00" + bytes(4) + content)


@given(values)
def test_any_body_of_a_record(body: object) -> None:
    content = msgpack.packb(["f", "web-b", 3, BOOT, 1, body])
    with pytest.raises(DecodeError) if not isinstance(body, dict) else suppress(DecodeError):
        codec(signed=False).open(b"R\x01\x00\x00" + bytes(4) + content, verify=True)


@pytest.mark.parametrize("seed", range(4))
def test_frames_changed_here_and_there(seed: int) -> None:
    rng = random.Random(seed)
    receiver, frames = codec(signed=False), samples(signed=False)
    understood = sum(survives(receiver, mutated(rng.choice(frames), rng)) for _ in range(5_000))
    # Some changes must get through, or this test has not looked behind the outer layers.
    assert 0 < understood < 5_000


@pytest.mark.parametrize("seed", range(2))
def test_no_change_of_a_signed_frame_gets_through(seed: int) -> None:
    rng = random.Random(seed)
    receiver, frames = codec(signed=True), samples(signed=True)
    assert all(survives(receiver, frame) for frame in frames)
    for _ in range(5_000):
        frame = rng.choice(frames)
        changed = mutated(frame, rng)
        assert changed == frame or not survives(receiver, changed)


def test_parts_changed_here_and_there_stay_within_their_bounds() -> None:
    rng = random.Random(1)
    receiver = codec(signed=False)
    for _ in range(5_000):
        part = {"kind": rng.randrange(11), "part": rng.randrange(4), "of": rng.randrange(1, 5)}
        sender = f"n{rng.randrange(200)}"
        content = ["f", sender, 1, BOOT, rng.randrange(1, 4), "", 0]
        packed = msgpack.packb([*content, part | {"data": rng.randbytes(rng.randrange(4_000))}])
        survives(receiver, mutated(b"B\x01\x00\x00" + bytes(4) + packed, rng))
        assert len(receiver._reassembler) <= PARTIALS_MAX
        assert receiver._reassembler.held_bytes <= PARTIAL_BYTES_MAX


@pytest.mark.parametrize(
    "opener", [b"\x91", b"\x81\xa1a", b"\xdc\x00\x01", b"\xdf\x00\x00\x00\x01\xa0"]
)
def test_content_nested_as_deep_as_it_can_be(opener: bytes) -> None:
    head = b"B\x01\x00\x00" + bytes(4)
    for depth in (100, 511, 512, 1_023, 1_024, 1_025, 60_000 // len(opener)):
        deep = opener * depth + b"\xc0"
        assert not survives(codec(signed=False), head + deep)
        packed = msgpack.packb(["f", "web-b", 3, BOOT, 12, "", 4, None])[:-1]
        survives(codec(signed=False), head + packed + b"\x82\xa3seq\x01\xa1x" + deep)


@pytest.mark.parametrize("size", [b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff",
                                  b"\xc6\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff"])  # fmt: skip
def test_lengths_that_promise_more_than_there_is(size: bytes) -> None:
    assert not survives(codec(signed=False), b"B\x01\x00\x00" + bytes(4) + size)
