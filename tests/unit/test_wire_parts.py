"""The reassembler's bounds: whatever comes, it holds no more than it may."""

import random

import pytest

from beacond.core.messages import Envelope
from beacond.wire import DecodeError
from beacond.wire.limits import (
    CHUNK_MAX,
    FINISHED_MAX,
    MESSAGE_MAX,
    PARTIAL_BYTES_MAX,
    PARTIALS_MAX,
    PARTIALS_PER_SENDER_MAX,
    PARTS_MAX,
)
from beacond.wire.parts import Part, Reassembler, read_part, split

BOOT = b"b" * 16


def said_by(sender: str, counter: int = 1) -> Envelope:
    return Envelope(sender, 3, BOOT, counter)


def part(index: int, total: int = 2, chunk: bytes = b"x") -> Part:
    return Part(2, index, total, chunk)


@pytest.mark.parametrize("size", [1, CHUNK_MAX, CHUNK_MAX + 1, 3 * CHUNK_MAX, MESSAGE_MAX])
def test_what_is_split_comes_together_again(size: int) -> None:
    payload = random.Random(size).randbytes(size)
    parts = [read_part(each) for each in split(2, payload)]
    assert len(parts) <= PARTS_MAX
    reassembler = Reassembler()
    whole = [reassembler.add(said_by("a"), each) for each in parts]
    assert whole == [None] * (len(parts) - 1) + [payload]
    assert (len(reassembler), reassembler.held_bytes) == (0, 0)


def test_a_part_heard_twice_counts_once_and_the_first_stays() -> None:
    reassembler = Reassembler()
    reassembler.add(said_by("a"), part(0, chunk=b"first"))
    reassembler.add(said_by("a"), part(0, chunk=b"later"))
    assert reassembler.held_bytes == 5
    assert reassembler.add(said_by("a"), part(1, chunk=b"!")) == b"first!"


def test_a_third_message_of_one_sender_pushes_out_its_oldest() -> None:
    reassembler = Reassembler()
    for counter in range(1, PARTIALS_PER_SENDER_MAX + 2):
        reassembler.add(said_by("a", counter), part(0))
    assert len(reassembler) == PARTIALS_PER_SENDER_MAX
    assert reassembler.add(said_by("a", 1), part(1)) is None
    assert reassembler.add(said_by("a", PARTIALS_PER_SENDER_MAX + 1), part(1)) == b"xx"


def test_one_sender_does_not_push_out_the_others() -> None:
    reassembler = Reassembler()
    reassembler.add(said_by("quiet"), part(0))
    for counter in range(1, 1000):
        reassembler.add(said_by("loud", counter), part(0))
    assert reassembler.add(said_by("quiet"), part(1)) == b"xx"


def test_with_too_many_senders_the_longest_idle_message_goes() -> None:
    reassembler = Reassembler()
    for number in range(PARTIALS_MAX):
        reassembler.add(said_by(f"n{number}"), part(0, total=3))
    reassembler.add(said_by("n0"), part(1, total=3))
    reassembler.add(said_by("one-more"), part(0, total=3))
    assert len(reassembler) == PARTIALS_MAX
    assert reassembler.add(said_by("n0"), part(2, total=3)) == b"xxx"
    for index in (1, 2):
        assert reassembler.add(said_by("n1"), part(index, total=3)) is None


def test_bytes_held_stay_within_their_limit() -> None:
    reassembler = Reassembler()
    most = MESSAGE_MAX // CHUNK_MAX
    for number in range(PARTIALS_MAX // 2):
        for index in range(most):
            reassembler.add(said_by(f"n{number}"), part(index, most + 1, bytes(CHUNK_MAX)))
            assert reassembler.held_bytes <= PARTIAL_BYTES_MAX
    assert reassembler.held_bytes > PARTIAL_BYTES_MAX - MESSAGE_MAX
    assert 1 < len(reassembler) < PARTIALS_MAX // 2


def test_a_message_that_grows_too_large_is_dropped_as_a_whole() -> None:
    reassembler = Reassembler()
    fitting = MESSAGE_MAX // CHUNK_MAX
    for index in range(fitting):
        reassembler.add(said_by("a"), part(index, PARTS_MAX, bytes(CHUNK_MAX)))
    with pytest.raises(DecodeError) as caught:
        reassembler.add(said_by("a"), part(fitting, PARTS_MAX, bytes(CHUNK_MAX)))
    assert caught.value.reason == "oversized"
    assert (len(reassembler), reassembler.held_bytes) == (0, 0)


@pytest.mark.parametrize(
    ("envelope", "other"),
    [
        (said_by("a"), part(1, total=3)),
        (said_by("a"), Part(6, 1, 2, b"x")),
        (Envelope("a", 4, BOOT, 1), part(1)),
        (Envelope("a", 3, BOOT, 1, to="web-a"), part(1)),
    ],
)
def test_a_part_that_does_not_belong_is_refused_and_the_rest_kept(
    envelope: Envelope, other: Part
) -> None:
    reassembler = Reassembler()
    reassembler.add(said_by("a"), part(0))
    with pytest.raises(DecodeError):
        reassembler.add(envelope, other)
    assert reassembler.add(said_by("a"), part(1)) == b"xx"


def test_parts_of_another_boot_are_another_message() -> None:
    reassembler = Reassembler()
    reassembler.add(said_by("a"), part(0))
    assert reassembler.add(Envelope("a", 3, b"c" * 16, 1), part(1)) is None
    assert len(reassembler) == 2


def test_what_was_finished_is_remembered_for_a_while_only() -> None:
    reassembler = Reassembler()
    for counter in range(1, FINISHED_MAX + 2):
        assert reassembler.add(said_by("a", counter), part(0, total=1)) == b"x"
    assert reassembler.add(said_by("a", 2), part(0, total=1)) is None
    assert reassembler.add(said_by("a", 1), part(0, total=1)) == b"x"
