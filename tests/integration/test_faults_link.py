"""Slow and lossy ways to the broker, one for each agent: lookups go on, and nobody is lost.

On the lossy ones real packets are lost, and the kernel's TCP sends them again, later and later.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from beacond.bus.amqp_session import Timing
from beacond.bus.base import BusState
from tests.support.amqp import running
from tests.support.fleet_of_agents import FleetOfAgents
from tests.support.lossy_link import LossyLink, Weather, why_not
from tests.support.outage import nothing_is_lost, populate
from tests.support.proxy import Pace, Proxy
from tests.support.rabbitmq import RabbitMQ

pytestmark = pytest.mark.broker

NODES = "a b c"
TTL_S = 5.0
LASTS_S = 2 * TTL_S
PER_S = 10.0

lacks = why_not()
needs_namespaces = pytest.mark.skipif(lacks is not None, reason=f"needs {lacks}")


@asynccontextmanager
async def slowed(
    broker: RabbitMQ, folder: Path
) -> AsyncIterator[tuple[FleetOfAgents, Sequence[Proxy]]]:
    """Each agent behind a proxy of its own."""
    async with AsyncExitStack() as stack:
        ways = {n: Proxy("127.0.0.1", broker.port) for n in NODES.split()}
        for way in ways.values():
            await stack.enter_async_context(way)
        urls = {node: broker.url(port=way.port) for node, way in ways.items()}
        fleet = await stack.enter_async_context(FleetOfAgents(folder, urls, NODES, ttl_s=TTL_S))
        await populate(fleet, listening=True)
        yield fleet, list(ways.values())


@asynccontextmanager
async def far_off(
    broker: RabbitMQ, folder: Path
) -> AsyncIterator[tuple[FleetOfAgents, Sequence[LossyLink]]]:
    """Each agent behind a lossy link of its own, dry so far."""
    async with AsyncExitStack() as stack:
        links = {
            node: LossyLink("127.0.0.1", broker.port, seed=seed)
            for seed, node in enumerate(NODES.split())
        }
        for link in links.values():
            await stack.enter_async_context(link)
        urls = {node: broker.url(port=link.port) for node, link in links.items()}
        fleet = await stack.enter_async_context(FleetOfAgents(folder, urls, NODES, ttl_s=TTL_S))
        await populate(fleet, listening=True)
        yield fleet, list(links.values())


async def news_arrives(fleet: FleetOfAgents) -> None:
    """Changes reach everybody within the window, at the beginning and after some leases."""
    late = await fleet.register("late", "b", listening=True)
    await fleet.agree(within_s=fleet.window_s, fresh=False)
    await asyncio.sleep(LASTS_S)
    await fleet.deregister(late, "b")
    await fleet.agree(within_s=fleet.window_s, fresh=False)


@pytest.mark.parametrize(
    "pace",
    [Pace(latency_s=0.2, jitter_s=0.6), Pace(latency_s=0.1, bytes_per_s=20_000.0)],
    ids=["200 to 800 ms", "20 kB/s"],
)
async def test_a_slow_way_delays_news_and_loses_nobody(
    rabbitmq: RabbitMQ, tmp_path: Path, pace: Pace
) -> None:
    async with slowed(rabbitmq, tmp_path) as (fleet, ways):
        since = await fleet.mark()
        async with nothing_is_lost(fleet, per_s=PER_S):
            for way in ways:
                way.pace = pace
            await news_arrives(fleet)
            for way in ways:
                way.pace = Pace()
        # Slow is no reason to leave.
        assert not await fleet.events(since, "bus.down")


async def test_a_way_slower_than_the_heartbeats_blinds_and_still_loses_nobody(
    rabbitmq: RabbitMQ, tmp_path: Path
) -> None:
    """An echo of 1.6 s at an interval of 1 s is too old to prove anything of now: nothing expires,
    and what others tell is still taken."""
    async with slowed(rabbitmq, tmp_path) as (fleet, ways):
        since = await fleet.mark()
        async with nothing_is_lost(fleet, per_s=PER_S):
            for way in ways:
                way.pace = Pace(latency_s=0.8)
            await fleet.blind()
            await news_arrives(fleet)
            await fleet.blind()
            for way in ways:
                way.pace = Pace()
        assert not await fleet.events(since, "bus.down")


async def test_connections_reset_again_and_again_are_made_again(
    rabbitmq: RabbitMQ, tmp_path: Path
) -> None:
    async with slowed(rabbitmq, tmp_path) as (fleet, ways):
        since = await fleet.mark()
        async with nothing_is_lost(fleet, per_s=PER_S):
            for way in ways:
                way.reset_every(4.0)
            await asyncio.sleep(LASTS_S)
            for way in ways:
                way.reset_every(None)
        assert await fleet.events(since, "bus.down")


@needs_namespaces
@pytest.mark.parametrize(
    "weather",
    [
        Weather(loss=0.2, delay_s=0.05, jitter_s=0.02),
        Weather(loss=0.05, delay_s=0.2, jitter_s=0.2, bytes_per_s=20_000.0),
    ],
    ids=["20 %", "5 % of 20 kB/s"],
)
async def test_lost_packets_delay_news_and_lose_nobody(
    rabbitmq: RabbitMQ, tmp_path: Path, weather: Weather
) -> None:
    async with (
        far_off(rabbitmq, tmp_path) as (fleet, links),
        nothing_is_lost(fleet, per_s=PER_S),
    ):
        for link in links:
            link.weather = weather
        await news_arrives(fleet)
        assert sum(link.lost for link in links) >= 10
        for link in links:
            link.weather = Weather()


async def test_a_message_does_not_wait_for_the_confirms_of_those_before(
    rabbitmq: RabbitMQ,
) -> None:
    async with (
        Proxy("127.0.0.1", rabbitmq.port) as way,
        running(rabbitmq.url(port=way.port), fleet="unheard", timing=Timing()) as (bus, heard),
        running(rabbitmq.url(), fleet="unheard", node="b") as (_, other),
    ):
        await heard.reaches(BusState.UP)
        await other.reaches(BusState.UP)
        way.freeze_down()
        for word in (b"one", b"two", b"three"):
            assert bus.broadcast(word)
            await other.hears(word)
        assert bus.state is BusState.UP
