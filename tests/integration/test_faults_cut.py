"""Agents are cut off from their broker, in each direction: all of them at once, and one alone.

The three ways run side by side, each with a fleet and a proxy of its own on the shared broker.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.support.fleet_of_agents import FleetOfAgents, eventually
from tests.support.outage import (
    ENDS,
    all_were_stale,
    answered,
    change_while_blind,
    nothing_is_lost,
    populate,
)
from tests.support.proxy import Proxy
from tests.support.rabbitmq import RabbitMQ

pytestmark = [pytest.mark.broker, pytest.mark.timeout(300)]

TTL_S = 3.0
FAULT_S = 3.5 * TTL_S
PER_S = 15.0
"""Questions a second: nine agents share the machine with their broker."""


def refuse(proxy: Proxy) -> None:
    proxy.refuse()
    proxy.cut()


WAYS: dict[str, Callable[[Proxy], None]] = {
    "up": Proxy.freeze_up,
    "down": Proxy.freeze_down,
    "refused": refuse,
}
"""What leaves the agents is held; what comes to them is; connections are reset and refused."""


def mend(proxy: Proxy) -> None:
    proxy.refuse(False)
    proxy.thaw()


async def each_way(
    folder: Path, broker: RabbitMQ, test: Callable[[Path, RabbitMQ, str], Awaitable[None]]
) -> None:
    async with asyncio.TaskGroup() as group:
        for way in WAYS:
            group.create_task(test(folder / way, broker, way), name=way)


async def test_a_fleet_cut_off_in_any_direction_loses_nothing(tmp_path, rabbitmq: RabbitMQ):
    await each_way(tmp_path, rabbitmq, all_cut_off)


async def all_cut_off(folder: Path, broker: RabbitMQ, way: str) -> None:
    async with (
        Proxy("127.0.0.1", broker.port) as proxy,
        FleetOfAgents(folder, broker.url(port=proxy.port), ttl_s=TTL_S) as fleet,
    ):
        await populate(fleet, listening=True)
        async with nothing_is_lost(fleet, per_s=PER_S) as asked:
            WAYS[way](proxy)
            await fleet.blind()
            await change_while_blind(fleet)
            await asyncio.sleep(FAULT_S)
            assert all_were_stale(asked, "a", "b", "c")
            mend(proxy)


async def test_one_agent_cut_off_goes_on_answering_and_is_gone_for_others(
    tmp_path, rabbitmq: RabbitMQ
):
    await each_way(tmp_path, rabbitmq, one_cut_off)


async def one_cut_off(folder: Path, broker: RabbitMQ, way: str) -> None:
    """Nothing listens where its instances are, so the others have no reason to keep it."""
    async with (
        Proxy("127.0.0.1", broker.port) as proxy,
        FleetOfAgents(folder, through(proxy, broker), ttl_s=TTL_S) as fleet,
    ):
        await populate(fleet)
        since = await fleet.mark()
        known = {s: await answered(fleet, "c", s) for s in ("only-a", "only-b", "only-c")}
        async with nothing_is_lost(fleet, per_s=PER_S) as asked:
            with fleet.truth.uncertain("c"):
                WAYS[way](proxy)
                await gone_for_others(fleet)
                # Others can't hear it, whatever it hears.
                of_c = await fleet.register("web", "c")
                await fleet.register("web", "a")
                await asyncio.sleep(FAULT_S - TTL_S)
                assert of_c in await answered(fleet, "c", "web")
                for service, before in known.items():
                    assert (await answered(fleet, "c", service)).keys() == before.keys()
                await says_what_it_lacks(fleet, way)
                mend(proxy)
                await fleet.sighted()
        assert all_were_stale(asked, "c") or way == "up"
        told = [e for e in await fleet.events(since, *ENDS) if e["told_by"] == "c"]
        assert not told, "who is cut off itself has no reason to bury anybody"
        assert of_c in await answered(fleet, "a", "web")


def through(proxy: Proxy, broker: RabbitMQ) -> dict[str, str]:
    """Only c's words go through the proxy."""
    return {"a": broker.url(), "b": broker.url(), "c": broker.url(port=proxy.port)}


async def gone_for_others(fleet: FleetOfAgents) -> None:
    async def still_there() -> str:
        for name in ("a", "b"):
            agents = (await fleet.get(name, "/v1/agents"))["agents"]
            (state,) = [each["state"] for each in agents if each["node"] == "c"]
            if state != "expired" or await answered(fleet, name, "only-c"):
                return f"{name} has c as {state}"
        return ""

    await eventually(still_there)


async def says_what_it_lacks(fleet: FleetOfAgents, way: str) -> None:
    """It hears and can't speak: mute, and what it answers is no old news; else it is blind."""
    if way != "up":
        await fleet.blind("c")
        return

    async def not_mute() -> str:
        status = await fleet.get("c", "/v1/status")
        (bus,) = status["bus"]
        return "" if bus["mute"] and status["stale_since"] is None else f"c is {status}"

    await eventually(not_mute)


async def test_one_agent_cut_off_is_kept_while_its_services_can_be_reached(
    tmp_path, rabbitmq: RabbitMQ
):
    async with (
        Proxy("127.0.0.1", rabbitmq.port) as proxy,
        FleetOfAgents(tmp_path, through(proxy, rabbitmq), ttl_s=TTL_S) as fleet,
    ):
        await populate(fleet, listening=True)
        async with nothing_is_lost(fleet) as asked:
            refuse(proxy)
            await fleet.blind("c")
            await asyncio.sleep(FAULT_S)
            for name in ("a", "b"):
                assert list((await answered(fleet, name, "only-c")).values()) == ["suspect"]
            assert all_were_stale(asked, "c")
            mend(proxy)


async def test_words_held_back_on_their_way_do_not_bring_a_dead_agent_back(
    tmp_path, rabbitmq: RabbitMQ
):
    async with (
        Proxy("127.0.0.1", rabbitmq.port) as proxy,
        FleetOfAgents(tmp_path, through(proxy, rabbitmq), ttl_s=TTL_S) as fleet,
    ):
        await populate(fleet)
        async with nothing_is_lost(fleet):
            proxy.freeze_up()
            await asyncio.sleep(1.5)  # a heartbeat or two, held by the proxy
            await fleet.kill("c")
            await gone_for_others(fleet)
            await asyncio.sleep(TTL_S)  # then not even the last heartbeat proves that it lives
            since = await fleet.mark()
            mend(proxy)
            await asyncio.sleep(TTL_S)
        told = await fleet.events(since)
        back = [e for e in told if "c" in (e.get("agent", {}).get("node"), _node(e))]
        assert not back


def _node(event: dict[str, dict[str, str]]) -> str | None:
    return event.get("instance", {}).get("node")
