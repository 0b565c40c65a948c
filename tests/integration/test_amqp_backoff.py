"""How long an agent waits before it tries a broker again: others keep its place for a ttl only."""

import asyncio
from collections.abc import Callable
from random import Random

import pytest

from beacond.bus.amqp import PATIENT_SPREADS, AmqpBus
from beacond.bus.amqp_reason import SessionError, failing
from beacond.bus.base import BusState
from tests.support.amqp import QUICK
from tests.support.listener import Listener
from tests.support.proxy import Proxy
from tests.support.rabbitmq import RabbitMQ

SPREAD_S = 3.0


class Noting(Random):
    """Notes the most that each wait might be, and waits for hardly anything."""

    def __init__(self) -> None:
        super().__init__(1)
        self.mosts: list[float] = []

    def uniform(self, a: float, b: float) -> float:
        self.mosts.append(b)
        return 0.01


async def waits(url: str, enough: Callable[[list[float], Listener], bool]) -> list[float]:
    """The most that each wait might have been, until that is enough."""
    rng, heard = Noting(), Listener()
    bus = AmqpBus(url, fleet="backoff", node="a", incarnation=1, rng=rng, timing=QUICK)
    bus.spread_reconnects(SPREAD_S)
    task = asyncio.create_task(bus.run(heard))
    try:
        async with asyncio.timeout(60):
            while not enough(rng.mosts, heard):
                await asyncio.sleep(0.02)
    finally:
        task.cancel()
        await asyncio.wait({task})
    return rng.mosts


async def test_behind_a_load_balancer_without_a_broker_it_tries_as_often_as_elsewhere() -> None:
    """It takes connections and ends them in good order; that is no refusal by the broker."""

    async def end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)
        writer.close()

    reasons: list[str] = []

    def enough(mosts: list[float], heard: Listener) -> bool:
        reasons[:] = heard.reasons
        return len(mosts) >= 8

    server = await asyncio.start_server(end, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        assert set(await waits(f"amqp://u:p@127.0.0.1:{port}/", enough)) == {SPREAD_S}
    assert reasons == [f"127.0.0.1:{port}: connect: closed without a reason"]


async def test_a_connection_that_ends_between_two_frames_is_no_refusal_either() -> None:
    """The library has an exception of Python's own for it."""
    with pytest.raises(SessionError) as caught, failing("connect"):
        raise StopAsyncIteration
    assert str(caught.value) == "connect: closed without a reason"
    assert not caught.value.refused


@pytest.mark.broker
async def test_sessions_that_end_soon_do_not_keep_it_away_for_a_ttl(rabbitmq: RabbitMQ) -> None:
    async with Proxy("127.0.0.1", rabbitmq.port) as proxy:

        def cut_when_up(mosts: list[float], heard: Listener) -> bool:
            if heard.states and heard.states[-1][0] is BusState.UP:
                proxy.cut()
            ups = sum(state is BusState.UP for state, _ in heard.states)
            return len(mosts) >= 6 and ups >= 4

        mosts = await waits(rabbitmq.url(port=proxy.port), cut_when_up)
        assert mosts[0] == SPREAD_S
        assert max(mosts) == PATIENT_SPREADS * SPREAD_S


@pytest.mark.broker
async def test_who_is_refused_is_not_away_for_longer_than_others_wait(rabbitmq: RabbitMQ) -> None:
    mosts = await waits(rabbitmq.url(password="wrong"), lambda mosts, _: len(mosts) >= 6)
    assert mosts[0] == SPREAD_S
    assert mosts[5] == PATIENT_SPREADS * SPREAD_S
    assert mosts == sorted(mosts)
