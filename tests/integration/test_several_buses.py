"""Two brokers at once: either may fail, in any way, and nobody who looks something up can tell.

Real agents, real RabbitMQ servers, lookups without pause to every agent all along. An outage lasts
for more than three leases.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from beacond.bus.url import redact
from tests.support.buses import all_heard, become, gauge, signs, states, told_of_buses
from tests.support.fleet_of_agents import FleetOfAgents
from tests.support.rabbitmq import RabbitMQ

pytestmark = pytest.mark.broker

HEARTBEAT_S, TTL_S = 2.0, 6.0
"""Half an interval is what this machine may stand still without an agent calling itself blind."""
OUTAGE_S = 2.2 * TTL_S
AT_ONCE_S = 5.0
"""For what takes one message, on a machine that starts a broker meanwhile."""


@dataclass(slots=True)
class Pair:
    """A fleet of three on two brokers, something registered on each of its hosts."""

    fleet: FleetOfAgents
    brokers: tuple[RabbitMQ, RabbitMQ]

    @property
    def urls(self) -> tuple[str, str]:
        return self.brokers[0].url(), self.brokers[1].url()

    @asynccontextmanager
    async def unnoticed(self) -> AsyncIterator[dict[str, str]]:
        """Whatever happens to a bus within the block has no visible effect. Yields the mark."""
        mark = await self.fleet.mark()
        async with self.fleet.asking() as asked:
            yield mark
            await self.fleet.agree()
        assert asked.counts.stale.total() == 0
        assert await signs(self.fleet, mark) == []

    async def changes_show_at_once(self) -> None:
        for node in self.fleet.nodes:
            await self.fleet.register("late", node)
        await self.fleet.agree(within_s=AT_ONCE_S)

    async def lasts(self, failing: str, working: str) -> None:
        """An outage of one bus, longer than two leases."""
        await asyncio.sleep(OUTAGE_S)
        for member in self.fleet.running:
            assert await states(self.fleet, member.name, working) == ["up"]
            assert await states(self.fleet, member.name, failing) != ["up"]


@pytest.fixture
async def pair(
    rabbitmq: RabbitMQ, second_rabbitmq: RabbitMQ, tmp_path: Path
) -> AsyncIterator[Pair]:
    brokers = (rabbitmq, second_rabbitmq)
    try:
        urls = [broker.url() for broker in brokers]
        async with FleetOfAgents(tmp_path, urls, heartbeat_s=HEARTBEAT_S, ttl_s=TTL_S) as fleet:
            await all_heard(fleet, *urls)
            for node in fleet.nodes:
                await fleet.register("web", node)
            await fleet.agree()
            yield Pair(fleet, brokers)
    finally:
        for broker in brokers:
            broker.thaw()
            await broker.revive()


async def test_either_broker_may_be_killed_and_come_back_empty(pair: Pair) -> None:
    fleet = pair.fleet
    async with pair.unnoticed() as mark:
        for dies, works in (pair.urls, pair.urls[::-1]):
            broker = pair.brokers[pair.urls.index(dies)]
            await broker.kill()
            await become(fleet, {dies: "down", works: "up"})
            await pair.changes_show_at_once()
            await pair.lasts(dies, works)
            assert [await gauge(fleet, "a", "beacond_bus_up", url) for url in (dies, works)] == [
                0,
                1,
            ]
            assert await gauge(fleet, "a", "beacond_bus_agents", works) == 2
            await broker.start(wiped=True)
            await all_heard(fleet, *pair.urls)
    assert await told_of_buses(fleet, mark) == {
        (node, kind, redact(url))
        for node in fleet.nodes
        for kind in ("bus.up", "bus.down")
        for url in pair.urls
    }


async def test_one_broker_may_stand_still_and_then_be_in_alarm(pair: Pair) -> None:
    fleet, (first, second), urls = pair.fleet, pair.brokers, pair.urls
    async with pair.unnoticed() as mark:
        first.freeze()
        await become(fleet, {urls[0]: "blind down", urls[1]: "up"})
        await pair.changes_show_at_once()
        await pair.lasts(*urls)
        first.thaw()
        await all_heard(fleet, *urls)

        await second.rabbitmqctl("set_vm_memory_high_watermark", "0.00000001")
        try:
            await become(fleet, {urls[0]: "up", urls[1]: "blind"})
            await pair.changes_show_at_once()
            await pair.lasts(urls[1], urls[0])
        finally:
            await second.rabbitmqctl("set_vm_memory_high_watermark", "absolute", "400MiB")
        await all_heard(fleet, *urls)
    # In an alarm the sessions stay.
    assert redact(urls[1]) not in {url for _, _, url in await told_of_buses(fleet, mark)}


async def test_without_any_bus_all_are_blind_and_one_is_enough_to_see_again(pair: Pair) -> None:
    fleet, urls = pair.fleet, pair.urls
    mark = await fleet.mark()
    async with fleet.asking() as asked:
        for broker in pair.brokers:
            await broker.kill()
        await fleet.blind()
        await become(fleet, dict.fromkeys(urls, "down"))
        before = asked.counts.stale.total()
        await fleet.register("late", "a")
        await asyncio.sleep(OUTAGE_S)
        assert asked.counts.stale.total() > before
        await fleet.agree("a", fresh=False)
        await pair.brokers[1].start(wiped=True)
        await fleet.sighted()
        await become(fleet, {urls[0]: "down", urls[1]: "up"})
        await fleet.agree()
    told = await fleet.events(mark, "view.blind", "view.sighted", "instance.stopped")
    assert {(event["told_by"], event["kind"]) for event in told} == {
        (node, kind) for node in fleet.nodes for kind in ("view.blind", "view.sighted")
    }
