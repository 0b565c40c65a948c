"""A RabbitMQ cluster loses servers, stands still in part, and is parted; lookups go on all along.

Each agent begins at a server of its own, and knows them all.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.fleet_of_agents import FleetOfAgents
from tests.support.rabbitmq_cluster import (
    PartitionHandling,
    RabbitMQCluster,
    homes,
)

pytestmark = [pytest.mark.broker, pytest.mark.timeout(180)]

TTL_S = 5.0
LEASES = 1.5
"""So many lease lengths an outage lasts at least."""
PER_S = 10.0


@pytest.fixture(scope="module")
def one_cluster() -> Iterator[RabbitMQCluster]:
    cluster = RabbitMQCluster()
    with asyncio.Runner() as runner:
        try:
            runner.run(cluster.start())
            yield cluster
        finally:
            runner.run(cluster.close())


@pytest.fixture
async def cluster(one_cluster: RabbitMQCluster) -> AsyncIterator[RabbitMQCluster]:
    """Put right again afterwards: a server that still sees itself parted is started anew."""
    yield one_cluster
    for server in one_cluster.servers:
        server.thaw()
    await one_cluster.mend()


async def found(fleet: FleetOfAgents, service: str, *, by: str) -> list[dict[str, Any]]:
    instances: list[dict[str, Any]] = (await fleet.get(by, f"/v1/services/{service}"))["instances"]
    return instances


@asynccontextmanager
async def served(cluster: RabbitMQCluster, folder: Path) -> AsyncIterator[FleetOfAgents]:
    """Agents a, b, c at the first, second, third server, each with an instance of web that can be
    reached; then every agent may go to every server."""
    async with (
        homes(cluster, "abc") as begin,
        FleetOfAgents(folder, begin.urls, ttl_s=TTL_S) as fleet,
    ):
        for node in "abc":
            await fleet.register("web", node, listening=True)
        await fleet.agree()
        begin.open()
        yield fleet


async def lasts(seconds: float = LEASES * TTL_S) -> None:
    await asyncio.sleep(seconds)


async def nobody_was_lost(fleet: FleetOfAgents, since: dict[str, str]) -> None:
    assert await fleet.events(since, "agent.expired", "agent.left") == []


async def test_servers_are_lost_one_after_another_and_come_back(
    cluster: RabbitMQCluster, tmp_path: Path
) -> None:
    first, second, third = cluster.servers
    async with served(cluster, tmp_path) as fleet:
        since = await fleet.mark()
        async with fleet.asking(per_s=PER_S) as asked:
            await third.kill()
            await lasts()
            await fleet.agree()
            assert asked.counts.stale["a", "HTTP"] == 0

            # Of three the last one pauses: it can't know that it is not the one cut off.
            await second.kill()
            await fleet.blind()
            await first.kill()
            late = await fleet.register("late", "b", listening=True)
            await lasts()
            await fleet.blind()

            await first.start()
            await second.start()
            await fleet.sighted()
            await fleet.agree()
            await fleet.deregister(late, "b")
            await third.start()
            await cluster.forms()
            await fleet.agree()
        await nobody_was_lost(fleet, since)


async def test_a_server_that_stands_still_is_left_and_troubles_nobody_else(
    cluster: RabbitMQCluster, tmp_path: Path
) -> None:
    async with served(cluster, tmp_path) as fleet:
        since = await fleet.mark()
        async with fleet.asking(per_s=PER_S):
            cluster.servers[2].freeze()
            # Seen on the same side within the window, while c hears of it once it has moved.
            early = await fleet.register("early", "a", listening=True)
            await fleet.agree("a", "b", within_s=fleet.window_s, fresh=False)
            await fleet.blind("c")
            await fleet.agree()
            await fleet.deregister(early, "a")
            await fleet.agree()
        await nobody_was_lost(fleet, since)
        # A broadcast goes to the queue of c too, which confirms nothing: that hinders nobody.
        for node in "ab":
            states = [line["state"] for line in fleet[node].process.logged("bus state")]
            assert states == ["up"]
    # Thawed, it would be parted from the others, and stay so.
    await cluster.servers[2].kill()


async def test_a_minority_that_pauses_sends_its_agents_to_the_others(
    cluster: RabbitMQCluster, tmp_path: Path
) -> None:
    async with served(cluster, tmp_path) as fleet:
        since = await fleet.mark()
        async with fleet.asking(per_s=PER_S):
            await cluster.partition(cluster.servers[2])
            during = await fleet.register("during", "b", listening=True)
            await lasts()
            await fleet.agree()
            await cluster.heal(cluster.servers[2])
            await cluster.forms()
            await fleet.deregister(during, "b")
            await fleet.agree()
        await nobody_was_lost(fleet, since)
        downs = await fleet.events(since, "bus.down")
        assert {event["told_by"] for event in downs} == {"c"}


@pytest.mark.parametrize("handling", [PartitionHandling.AUTOHEAL, PartitionHandling.IGNORE])
async def test_both_sides_of_a_partition_go_on_answering_for_all(
    cluster: RabbitMQCluster, tmp_path: Path, handling: PartitionHandling
) -> None:
    """Nobody is told of it: on either side the bus is up, and the other side falls silent."""
    await cluster.handle(handling)
    async with served(cluster, tmp_path) as fleet:
        since = await fleet.mark()
        async with fleet.asking(per_s=PER_S):
            await cluster.partition(cluster.servers[2])
            # The other side can't know what changes on this one.
            with fleet.truth.uncertain("b"):
                during = await fleet.register("during", "b", listening=True)
                await lasts()
                assert [each["id"] for each in await found(fleet, "during", by="a")] == [during]
                assert not await found(fleet, "during", by="c")
                told = await found(fleet, "web", by="c")
                assert {each["node"]: each["freshness"] for each in told} == {
                    "a": "suspect",
                    "b": "suspect",
                    "c": "fresh",
                }
                await cluster.heal(cluster.servers[2])
                if handling is PartitionHandling.IGNORE:
                    await cluster.restart_parted()
                await cluster.forms()
            await fleet.agree()
        await nobody_was_lost(fleet, since)
