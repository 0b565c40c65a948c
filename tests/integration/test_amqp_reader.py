"""Deliveries are taken out of what the broker sends, whole, and the library gets all the rest."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise

import pytest
import uvloop
from aiormq.exceptions import InvalidFrameError
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands
from pamqp.base import Frame
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.frame import marshal
from pamqp.header import ContentHeader
from pamqp.heartbeat import Heartbeat

from beacond.bus import amqp_reader, amqp_session
from beacond.bus.amqp_reader import DeliveryReader
from beacond.bus.amqp_session import Timing
from beacond.bus.base import BusState
from beacond.bus.url import open_bus
from tests.support.amqp import running
from tests.support.listener import Listener
from tests.support.rabbitmq import RabbitMQ

KEEP = 500
Message = tuple[str | None, bytes]

HEARTBEAT = Heartbeat().marshal()
DELIVER = marshal(Basic.Deliver("ctag1.0", 7, False, "bcn.f", "all"), 1)
OTHERS: tuple[tuple[int, Frame], ...] = (
    (0, commands.Connection.Start(server_properties={"product": "RabbitMQ"})),
    (0, commands.Connection.Blocked("low on memory")),
    (0, commands.Connection.Close(320, "CONNECTION_FORCED", 0, 0)),
    (1, commands.Channel.OpenOk()),
    (1, commands.Queue.DeclareOk("amq.gen-x", 0, 0)),
    (1, commands.Basic.ConsumeOk("ctag1.0")),
    (1, commands.Basic.Cancel("ctag1.0")),
    (1, commands.Channel.Close(404, "NOT_FOUND", 60, 40)),
)
OTHER_FRAMES = (HEARTBEAT, *(marshal(frame, channel) for channel, frame in OTHERS))
EVERY_PROPERTY = {
    "content_type": "a/b",
    "content_encoding": "none",
    "headers": {"x": [1, {"y": "z"}]},
    "delivery_mode": 2,
    "priority": 3,
    "correlation_id": "c",
    "reply_to": "r",
    "expiration": "4",
    "message_id": "m",
    "timestamp": datetime.fromtimestamp(5, UTC),
    "user_id": "u",
    "app_id": "a",
}


def head(size: int, **properties: object) -> bytes:
    header = ContentHeader(body_size=size, properties=Basic.Properties(**properties))  # type: ignore[arg-type]
    return marshal(header, 1)


def part(data: bytes) -> bytes:
    return marshal(ContentBody(data), 1)


def delivery(message: Message, each: int = KEEP, **properties: object) -> list[bytes]:
    """Its frames, with at most `each` bytes of the body in one."""
    kind, body = message
    parts = [part(body[at : at + each]) for at in range(0, len(body), each)]
    return [DELIVER, head(len(body), message_type=kind, **properties), *parts]


async def read(chunks: Sequence[bytes]) -> tuple[list[Message], bytes]:
    """What was delivered, and what is left for the library."""
    found: list[Message] = []
    reader = DeliveryReader(lambda kind, body: found.append((kind, body)), KEEP)
    for chunk in chunks:
        reader.feed_data(chunk)
    reader.feed_eof()
    return found, await reader.read()


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    ends = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[begin:end] for begin, end in pairwise(ends)]


def of_all_kinds() -> tuple[list[Message], bytes, bytes]:
    """Messages, the stream that brings them, and what of it is the library's."""
    messages: list[Message] = [(None, b"one"), ("ping", bytes(16)), (None, b""), ("ping", b"x")]
    stream = rest = b"".join(OTHER_FRAMES)
    for message in messages:
        frames = delivery(message, each=2)
        stream += HEARTBEAT.join(frames) + OTHER_FRAMES[-1]
        rest += HEARTBEAT * (len(frames) - 1) + OTHER_FRAMES[-1]
    return messages, stream, rest


async def test_cut_in_two_at_any_byte_it_reads_the_same() -> None:
    messages, stream, rest = of_all_kinds()
    for place in range(len(stream) + 1):
        assert await read([stream[:place], stream[place:]]) == (messages, rest)


async def test_byte_by_byte_it_reads_the_same() -> None:
    messages, stream, rest = of_all_kinds()
    assert await read([bytes([byte]) for byte in stream]) == (messages, rest)


items = st.one_of(
    st.sampled_from(OTHER_FRAMES),
    st.tuples(st.sampled_from((None, "ping", "p")), st.binary(max_size=3 * KEEP)),
)


@given(st.lists(items, max_size=8), st.integers(5, 2 * KEEP), st.lists(st.integers(0, 1 << 20)))
def test_whatever_comes_in_whatever_pieces_is_sorted_rightly(
    stream: list[bytes | Message], each: int, places: list[int]
) -> None:
    messages = [item for item in stream if isinstance(item, tuple)]
    others = b"".join(item for item in stream if isinstance(item, bytes))
    whole = b"".join(
        item if isinstance(item, bytes) else b"".join(delivery(item, each)) for item in stream
    )
    kept = [(kind, body[:KEEP]) for kind, body in messages]
    assert asyncio.run(read(cut(whole, places))) == (kept, others)


@pytest.mark.parametrize("each", [100, KEEP, 10 * KEEP])
async def test_of_a_long_body_the_beginning_is_kept(each: int) -> None:
    body = bytes(number % 251 for number in range(3 * KEEP))
    frames = delivery((None, body), each) + delivery((None, b"next"))
    assert await read(frames) == ([(None, body[:KEEP]), (None, b"next")], b"")


@pytest.mark.parametrize("kind", ["ping", None])
async def test_the_type_is_found_among_all_other_properties(kind: str | None) -> None:
    frames = delivery((kind, b"body"), **EVERY_PROPERTY)
    assert await read(frames) == ([(kind, b"body")], b"")


async def test_a_delivery_that_is_broken_off_is_dropped() -> None:
    closing = OTHER_FRAMES[-1]
    for frames in range(1, 4):
        begun = delivery((None, b"never whole"), each=4)[:frames]
        whole = delivery((None, b"whole"))
        assert await read([*begun, closing, *whole]) == ([(None, b"whole")], closing)
        assert await read([*begun, *whole]) == ([(None, b"whole")], b"")


@pytest.mark.parametrize(
    "frames",
    [
        [head(3)],
        [part(b"abc")],
        [DELIVER, part(b"abc")],
        [DELIVER, head(3), head(3)],
        [DELIVER, head(3), part(b"abcd")],
        [DELIVER, head(3), part(b"ab"), part(b"cd")],
        [DELIVER, head(0), part(b"a")],
        [DELIVER, b"\x02\0\1\0\0\0\4\0\x3c\0\0\xce"],
        [DELIVER, b"\x02\0\1\0\0\0\x0e\0\x3c\0\0" + bytes(8) + b"\0\x20\xce"],
        [DELIVER[:-1] + b"\xcd"],
        [HEARTBEAT[:-1] + b"\0"],
    ],
    ids=[
        "header-alone",
        "body-alone",
        "no-header",
        "two-headers",
        "body-too-long",
        "parts-too-long",
        "body-of-nothing",
        "short-header",
        "short-properties",
        "end-of-delivery",
        "end-of-heartbeat",
    ],
)
async def test_frames_that_make_no_sense_fail_the_connection(frames: list[bytes]) -> None:
    found: list[Message] = []
    reader = DeliveryReader(lambda kind, body: found.append((kind, body)), KEEP)
    for frame in [*frames, *delivery((None, b"after"))]:
        reader.feed_data(frame)
    with pytest.raises(InvalidFrameError):
        async with asyncio.timeout(5):
            await reader.readexactly(1)
    assert (None, b"after") not in found


@pytest.mark.parametrize(
    "greeting",
    [b"AMQP\0\0\x09\1", b"220 mail.example.org ESMTP\r\n", b"HTTP/1.1 400 Bad Request\r\n", b"AM"],
)
async def test_what_is_no_amqp_is_left_to_the_library(greeting: bytes) -> None:
    assert await read([greeting]) == ([], greeting)
    assert await read([bytes([byte]) for byte in greeting]) == ([], greeting)


async def test_what_is_no_amqp_is_left_to_the_library_while_the_peer_waits() -> None:
    reader = DeliveryReader(lambda _, __: None, KEEP)
    reader.feed_data(b"AMQP\0\0\x09\1")
    async with asyncio.timeout(5):
        assert await reader.readexactly(8) == b"AMQP\0\0\x09\1"


async def test_half_a_frame_before_the_end_is_left_to_the_library() -> None:
    assert await read([HEARTBEAT + DELIVER[:9]]) == ([], HEARTBEAT + DELIVER[:9])


async def test_the_library_hears_that_the_broker_lives_while_only_deliveries_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    frames = delivery((None, b"news"))
    assert (await read(frames * 3))[1] == b""
    monkeypatch.setattr(amqp_reader, "ALIVE_EVERY_S", -1.0)
    assert (await read([b"".join(frames)] * 3))[1] == HEARTBEAT * 3


@pytest.mark.broker
async def test_a_fleet_that_never_pauses_keeps_its_session(
    rabbitmq: RabbitMQ, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker sends no heartbeats while there is something else to send."""
    monkeypatch.setattr(amqp_session, "HEARTBEAT_S", 2)
    monkeypatch.setattr(amqp_reader, "ALIVE_EVERY_S", 1.0)
    async with running(rabbitmq.url(), fleet="talkative", timing=Timing()) as (bus, heard):
        await heard.reaches(BusState.UP)
        # The library gives up after three times the heartbeat and three seconds.
        for number in range(115):
            assert bus.broadcast(b"%d" % number)
            await asyncio.sleep(0.1)
        await heard.hears(b"114")
        assert heard.states == [(BusState.UP, "")]


@pytest.mark.broker
def test_thousands_at_once_arrive_in_order_and_whole(rabbitmq: RabbitMQ) -> None:
    """On the agent's event loop, with bodies of one frame and of several."""
    bodies = [b"%d " % number * (60_000 if number % 500 == 0 else 20) for number in range(4000)]

    async def talk() -> None:
        bus = open_bus(rabbitmq.url(), fleet="many", node="a", incarnation=1)
        heard = Listener()
        task = asyncio.create_task(bus.run(heard))
        try:
            await heard.reaches(BusState.UP)
            for at in range(0, len(bodies), 250):
                assert all(bus.broadcast(body) for body in bodies[at : at + 250])
                assert await bus.flush(20)
            await heard.until(lambda: sum(map(len, heard.batches)) >= len(bodies), 60)
        finally:
            task.cancel()
            await asyncio.wait({task})
        assert heard.bodies == bodies

    uvloop.run(talk())
