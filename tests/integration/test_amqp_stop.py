"""A bus that is stopped ends, and leaves no connection, wherever it stands in making a session."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest
from aiormq.exceptions import AMQPConnectionError

from beacond.bus.amqp import AmqpBus
from beacond.bus.amqp_reason import SessionError, failing
from tests.support.amqp import QUICK, Eager
from tests.support.listener import Listener
from tests.support.proxy import Proxy
from tests.support.rabbitmq import RabbitMQ

CHUNKS = 26
"""Between bus and broker, until a session is up; some may travel as one."""
TURNS = 10
"""Of the event loop, from one of them to the next."""
ENDS_WITHIN_S = 20.0


async def stop_at(url: str, proxy: Proxy, chunks: int, turns: int) -> bool:
    """Stop a bus so many turns of the loop after so many chunks; has it ended?"""
    start = proxy.chunks
    bus = AmqpBus(url, fleet="stop", node="a", incarnation=1, rng=Eager(1), timing=QUICK)
    task = asyncio.create_task(bus.run(Listener()))
    async with asyncio.timeout(ENDS_WITHIN_S):
        while proxy.chunks < start + chunks:
            await asyncio.sleep(0)
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task}, timeout=ENDS_WITHIN_S)
    if ended := task.done():
        assert task.cancelled()
    else:
        task.cancel()
        await asyncio.wait({task})
    return ended


@pytest.mark.broker
async def test_it_ends_wherever_it_stands_in_making_a_session(rabbitmq: RabbitMQ) -> None:
    """What the library is waiting for may come in the same moment; or the next, or the next."""
    async with Proxy("127.0.0.1", rabbitmq.port) as proxy:
        url = rabbitmq.url(port=proxy.port)
        for chunks in range(1, CHUNKS + 1):
            for turns in range(TURNS):
                assert await stop_at(url, proxy, chunks, turns), (chunks, turns)
        async with asyncio.timeout(ENDS_WITHIN_S):
            while not proxy.is_idle:
                await asyncio.sleep(0.02)


async def swallows(answer: asyncio.Event) -> None:
    with suppress(asyncio.CancelledError):
        await answer.wait()


async def fails_instead(answer: asyncio.Event) -> None:
    try:
        await answer.wait()
    except asyncio.CancelledError:
        raise AMQPConnectionError("reset") from None


@pytest.mark.parametrize("step", [swallows, fails_instead])
async def test_a_step_that_hides_the_cancellation_does_not_go_on(
    step: Callable[[asyncio.Event], Awaitable[None]],
) -> None:
    async def make() -> None:
        with suppress(SessionError), failing("bind"):
            await step(asyncio.Event())

    task = asyncio.create_task(make())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
