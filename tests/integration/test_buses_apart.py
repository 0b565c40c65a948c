"""Agents that do not all use, or do not all reach, the same buses."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.buses import all_heard, become, signs, states
from tests.support.fleet_of_agents import FleetOfAgents, eventually
from tests.support.lookups import asking
from tests.support.proxy import Proxy
from tests.support.rabbitmq import RabbitMQ

pytestmark = pytest.mark.broker

TTL_S = 3.0
OUTAGE_S = 3.2 * TTL_S


@pytest.fixture
async def urls(rabbitmq: RabbitMQ, second_rabbitmq: RabbitMQ) -> AsyncIterator[tuple[str, str]]:
    yield rabbitmq.url(), second_rabbitmq.url()
    for broker in (rabbitmq, second_rabbitmq):
        await broker.revive()


async def test_one_host_that_loses_its_way_to_one_broker_is_missed_by_nobody(
    urls: tuple[str, str], rabbitmq: RabbitMQ, tmp_path: Path
) -> None:
    async with Proxy("127.0.0.1", rabbitmq.port) as proxy:
        own = (rabbitmq.url(port=proxy.port), urls[1])
        bus = {"a": urls, "b": urls, "c": own}
        async with FleetOfAgents(tmp_path, bus, heartbeat_s=1.0, ttl_s=TTL_S) as fleet:
            for node in fleet.nodes:
                await fleet.register("web", node)
            await all_heard_by_two(fleet, urls)
            await fleet.agree()
            mark = await fleet.mark()
            async with fleet.asking() as asked:
                proxy.refuse()
                proxy.cut()
                await become(fleet, {own[0]: "down", own[1]: "up"}, "c")
                await fleet.register("late", "a")
                await fleet.register("late", "c")
                await fleet.agree(within_s=5)
                await asyncio.sleep(OUTAGE_S)
                # The others hear each other there, so for them that bus works.
                assert [await states(fleet, node, *urls) for node in "ab"] == [["up", "up"]] * 2
                proxy.refuse(False)
                await become(fleet, {own[0]: "up", own[1]: "up"}, "c")
                await all_heard_by_two(fleet, urls)
            assert asked.counts.stale.total() == 0
            assert await signs(fleet, mark) == []


async def all_heard_by_two(fleet: FleetOfAgents, urls: tuple[str, str]) -> None:
    """`c` names its buses otherwise."""

    async def unheard() -> str:
        for node in "ab":
            told = (await fleet.get(node, "/v1/status"))["bus"]
            if [bus["agents"] for bus in told] != [2, 2]:
                return f"{node}: {told}"
        return ""

    await eventually(unheard)


async def test_who_shares_no_bus_does_not_find_each_other_and_who_shares_one_does(
    urls: tuple[str, str], rabbitmq: RabbitMQ, tmp_path: Path
) -> None:
    """Nobody relays who lives: `both` is no bridge. See docs/several-buses.md."""
    bus = {"first": urls[0], "second": urls[1], "both": urls}
    async with FleetOfAgents(tmp_path, (), nodes="", heartbeat_s=1.0, ttl_s=TTL_S) as fleet:
        fleet.bus = bus
        await fleet.start(*bus)
        for node in fleet.nodes:
            await fleet.register(f"on-{node}", node)
        for one, other in (("first", "both"), ("second", "both"), ("both", "second")):
            await finds(fleet, one, other, "fresh")
        await finds(fleet, "both", "first", "fresh")
        # What `both` told of them was good for one ttl at most.
        for one, other in (("first", "second"), ("second", "first")):
            await finds(fleet, one, other, "nothing")
        # `first` is about to be blind, and will say so.
        agents = [fleet["second"], fleet["both"]]
        window_s = fleet.window_s
        async with asking(fleet.truth, agents, ["on-both"], window_s=window_s) as asked:
            await rabbitmq.kill()
            await finds(fleet, "both", "first", "stale")
            await asyncio.sleep(OUTAGE_S)
            await finds(fleet, "both", "first", "stale")
            assert await freshness(fleet, "both", "second") == "fresh"
            await rabbitmq.start(wiped=True)
            await finds(fleet, "both", "first", "fresh")
        assert asked.counts.stale.total() == 0


async def freshness(fleet: FleetOfAgents, asked: str, other: str) -> str:
    """Of what the one finds of the other."""
    found = (await fleet.get(asked, f"/v1/services/on-{other}"))["instances"]
    return " ".join(each["freshness"] for each in found) or "nothing"


async def finds(fleet: FleetOfAgents, asked: str, other: str, wanted: str) -> None:
    async def otherwise() -> str:
        found = await freshness(fleet, asked, other)
        return "" if found == wanted else f"{asked} finds of {other}: {found}, not {wanted}"

    await eventually(otherwise)


async def test_two_names_of_one_broker_are_two_buses_that_fail_together(
    rabbitmq: RabbitMQ, second_rabbitmq: RabbitMQ, tmp_path: Path
) -> None:
    """Harmless, if of no use: a message that comes twice is one message."""
    await rabbitmq.declare(vhost="again")
    try:
        bus = [rabbitmq.url(), rabbitmq.url(vhost="again")]
        async with FleetOfAgents(tmp_path, bus, "a b", heartbeat_s=1.0, ttl_s=TTL_S) as fleet:
            await all_heard(fleet, *bus)
            await fleet.register("web", "a")
            async with fleet.asking() as asked:
                await asked.underway()
                await fleet.agree()
    finally:
        await rabbitmq.rabbitmqctl("delete_vhost", "again")
