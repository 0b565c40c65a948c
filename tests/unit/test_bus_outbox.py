"""The outbox: bounded, batched, emptied by an outage; and how long a bus waits to reconnect."""

import asyncio
import socket
from contextlib import suppress
from random import Random

import pytest
from aio_pika.exceptions import AMQPConnectionError, ProbableAuthenticationError

from beacond.bus.amqp import AmqpBus
from beacond.bus.amqp_outbox import BYTES_MAX, IN_HAND_MAX, MESSAGES_MAX, Outbox
from beacond.bus.amqp_reason import SessionError, failing
from tests.support.listener import Listener


async def test_a_full_outbox_refuses_messages() -> None:
    outbox = Outbox()
    assert all(outbox.put("all", b"x") for _ in range(MESSAGES_MAX))
    assert not outbox.put("all", b"x")
    await outbox.take()
    assert outbox.put("all", b"x")


async def test_a_full_outbox_refuses_bytes() -> None:
    outbox = Outbox()
    assert outbox.put("all", bytes(BYTES_MAX - 1))
    assert outbox.put("all", b"x")
    assert not outbox.put("all", b"x")
    await outbox.take()
    assert outbox.put("all", b"x")


async def test_what_is_in_hand_is_bounded_and_in_order() -> None:
    outbox = Outbox()
    sent = [("all", b"%d" % number) for number in range(IN_HAND_MAX + 3)]
    for key, data in sent[:3]:
        outbox.put(key, data)
    first = await outbox.take()
    assert first == sent[:3]
    for key, data in sent[3:]:
        outbox.put(key, data)
    second = await outbox.take()
    assert len(second) == IN_HAND_MAX - 3
    waiting = asyncio.create_task(outbox.take())
    await asyncio.sleep(0)
    assert not waiting.done()
    outbox.done(len(first), sent=True)
    assert first + second + await waiting == sent


async def test_emptied_waits_for_what_is_in_hand_too() -> None:
    outbox = Outbox()
    assert await outbox.emptied(0)
    outbox.put("all", b"x")
    assert not await outbox.emptied(0)
    await outbox.take()
    assert not await outbox.emptied(0)
    waiting = asyncio.create_task(outbox.emptied(10))
    await asyncio.sleep(0)
    outbox.done(1, sent=True)
    assert await waiting


@pytest.mark.parametrize("taken", [False, True])
async def test_emptied_is_false_where_something_was_lost(taken: bool) -> None:
    outbox = Outbox()
    outbox.put("all", b"x")
    waiting = asyncio.create_task(outbox.emptied(10))
    await asyncio.sleep(0)
    if taken:
        await outbox.take()
        outbox.done(1, sent=False)
    outbox.drop()
    assert not await waiting
    assert await outbox.emptied(0)


async def test_take_waits_again_after_a_drop() -> None:
    outbox = Outbox()
    outbox.put("all", b"old")
    outbox.drop()
    taking = asyncio.create_task(outbox.take())
    await asyncio.sleep(0)
    outbox.put("all", b"new")
    assert await taking == [("all", b"new")]


@pytest.mark.parametrize(
    ("error", "refused"),
    [
        (ProbableAuthenticationError("ACCESS_REFUSED"), True),
        (AMQPConnectionError(111, "Connect call failed"), False),
        (TimeoutError(), False),
    ],
    ids=repr,
)
async def test_a_refusal_is_told_from_a_broker_that_is_away(
    error: Exception, refused: bool
) -> None:
    with pytest.raises(SessionError) as raised, failing("connect"):
        raise error
    assert raised.value.refused is refused


class Hasty(Random):
    """Notes between what a wait was drawn, and does not wait."""

    def __init__(self) -> None:
        super().__init__(1)
        self.drawn: list[tuple[float, float]] = []
        self.enough = asyncio.Event()

    def uniform(self, a: float, b: float) -> float:
        self.drawn.append((a, b))
        if len(self.drawn) >= 8:
            self.enough.set()
        return 0.0 if len(self.drawn) < 8 else 60.0


async def waits(port: int, spread_s: float | None) -> list[tuple[float, float]]:
    """Between what the first eight waits of a bus are drawn that gets no session there."""
    rng = Hasty()
    bus = AmqpBus(f"amqp://u:p@127.0.0.1:{port}", fleet="f", node="n", incarnation=1, rng=rng)
    if spread_s is not None:
        bus.spread_reconnects(spread_s)
    heard = Listener()
    task = asyncio.create_task(bus.run(heard))
    async with asyncio.timeout(20):
        await rng.enough.wait()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert len(heard.states) == 1
    return rng.drawn


@pytest.mark.parametrize(("spread_s", "most"), [(None, 1), (10, 10), (100, 100)])
async def test_a_broker_that_is_away_is_tried_again_within_the_spread(
    spread_s: float | None, most: float
) -> None:
    with socket.socket() as taken:  # bound and not listening: refuses
        taken.bind(("127.0.0.1", 0))
        assert await waits(taken.getsockname()[1], spread_s) == [(0, most)] * 8


@pytest.mark.parametrize(
    ("spread_s", "most"),
    [
        (None, [1, *[2] * 7]),
        (10, [10, *[20] * 7]),
    ],
)
async def test_a_broker_that_says_no_is_asked_less_often_and_never_too_late(
    spread_s: float | None, most: list[float]
) -> None:
    async def speak_another_version(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"AMQP\x03\x01\x00\x00")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(speak_another_version, "127.0.0.1", 0)
    async with server:
        drawn = await waits(server.sockets[0].getsockname()[1], spread_s)
    assert drawn == [(0, bound) for bound in most]
