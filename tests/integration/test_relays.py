"""Real agents on a real broker whose heartbeats go by relays: these die, freeze and come back under
lookups without pause. Larger fleets, and all that can go wrong, are in `tests/sim/test_relays.py`.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from beacond.core.hashing import rank_in, shard_of
from tests.support.fleet_of_agents import FleetOfAgents, eventually
from tests.support.rabbitmq import RabbitMQ

pytestmark = pytest.mark.broker

NODES = "a b c d e"
RELAYED = ("--relay-from", "4")
GONE = ("agent.expired", "agent.left")


@pytest.fixture
async def broker(rabbitmq: RabbitMQ) -> AsyncIterator[RabbitMQ]:
    """The shared broker, put right again afterwards."""
    yield rabbitmq
    await rabbitmq.revive()


def running(fleet: FleetOfAgents) -> list[str]:
    return [member.name for member in fleet.running]


async def relaying(fleet: FleetOfAgents) -> None:
    """Wait until every running agent's heartbeats go to relays, and all hear each other so."""

    async def wrong() -> str:
        used = {n: (await fleet.get(n, "/v1/status"))["relays"]["used"] for n in running(fleet)}
        return "" if all(used.values()) else f"not relaying: {used}"

    await eventually(wrong)


async def settled(fleet: FleetOfAgents) -> None:
    """Something runs on each host, all know of it, and all use relays."""
    for node in fleet.nodes:
        await fleet.register("web", node, listening=True)
    await fleet.agree()
    await relaying(fleet)


async def relays_for(fleet: FleetOfAgents, shard: int) -> set[str]:
    found = {n: (await fleet.get(n, "/v1/status"))["relays"]["shards"] for n in running(fleet)}
    return {name for name, shards in found.items() if shard in shards}


def first_for(name: str) -> str:
    """Who speaks for the shard of that node, of all others."""
    others = [node for node in NODES.split() if node != name]
    return max(others, key=lambda node: rank_in(shard_of(name), node))


async def test_relays_that_die_and_return_cost_nobody_but_themselves(
    rabbitmq: RabbitMQ, tmp_path: Path
) -> None:
    async with FleetOfAgents(tmp_path, rabbitmq.url(), NODES, flags=RELAYED) as fleet:
        await settled(fleet)
        relay = first_for("a")

        async def wrong() -> str:
            found = await relays_for(fleet, shard_of("a"))
            return "" if relay in found else f"{relay} is no relay of a's shard: {found}"

        await eventually(wrong)
        since = await fleet.mark()
        async with fleet.asking() as asked:
            await asked.underway()
            await fleet.kill(relay)
            await fleet.agree()
            await relaying(fleet)
            await fleet.start(relay)
            await fleet.agree()
            await relaying(fleet)
        lost = [event["agent"]["node"] for event in await fleet.events(since, *GONE)]
        assert set(lost) == {relay}


async def test_a_relay_that_is_frozen_is_replaced_and_believed_again(
    rabbitmq: RabbitMQ, tmp_path: Path
) -> None:
    async with FleetOfAgents(tmp_path, rabbitmq.url(), NODES, flags=RELAYED) as fleet:
        await settled(fleet)
        relay = first_for("b")
        since = await fleet.mark()
        async with fleet.asking() as asked:
            await asked.underway()
            await fleet.freeze(relay)
            # Its services are reachable, so they stay; nobody else is even doubted for long.
            for node in running(fleet):
                await eventually(lambda node=node: suspects(fleet, node, relay))
            await fleet.thaw(relay)
            await fleet.agree()
            await relaying(fleet)
        assert await fleet.events(since, *GONE) == []


async def suspects(fleet: FleetOfAgents, node: str, other: str) -> str:
    states = {a["node"]: a["state"] for a in (await fleet.get(node, "/v1/agents"))["agents"]}
    return "" if states[other] == "suspect" else f"{node} believes {other} {states[other]}"


async def test_losing_the_broker_freezes_the_view_and_its_return_brings_relays_back(
    broker: RabbitMQ, tmp_path: Path
) -> None:
    async with FleetOfAgents(tmp_path, broker.url(), NODES, flags=RELAYED) as fleet:
        await settled(fleet)
        since = await fleet.mark()
        async with fleet.asking() as asked:
            await asked.underway()
            await broker.kill()
            await fleet.blind()
            await broker.start()
            await fleet.sighted()
            await fleet.agree()
            await relaying(fleet)
        assert await fleet.events(since, *GONE) == []
