"""What agents tell of each of their buses, and what they must not tell while one of them works."""

from collections.abc import Mapping
from typing import Any

import aiohttp

from beacond.bus.url import redact
from tests.support.fleet_of_agents import FleetOfAgents, eventually

SIGNS = (
    "view.blind",
    "view.sighted",
    "view.held",
    "agent.suspect",
    "agent.recovered",
    "agent.left",
    "agent.expired",
    "agent.joined",
    "agent.conflict",
    "instance.stopped",
)
"""Events that somebody who reads along would take for an effect of what happened to a bus."""


async def buses(fleet: FleetOfAgents, name: str) -> dict[str, dict[str, Any]]:
    """What `/v1/status` says of each bus, by its URL as shown."""
    status = await fleet.get(name, "/v1/status")
    return {each["url"]: each for each in status["bus"]}


async def states(fleet: FleetOfAgents, name: str, *urls: str) -> list[str]:
    """`up`, `blind`, `down` or, of a bus that it does not use, `none`."""
    told = await buses(fleet, name)
    return [told[shown]["state"] if (shown := redact(url)) in told else "none" for url in urls]


async def become(fleet: FleetOfAgents, wanted: Mapping[str, str], *names: str) -> None:
    """Wait until every running agent (or these) tells these states; `wanted`: by URL, states of
    which any will do, separated by spaces."""

    async def otherwise() -> str:
        for member in [m for m in fleet.running if not names or m.name in names]:
            found = await states(fleet, member.name, *wanted)
            told = dict(zip(map(redact, wanted), found, strict=True))
            if any(
                state not in allowed.split()
                for state, allowed in zip(found, wanted.values(), strict=True)
            ):
                return f"{member.name}: {told}"
        return ""

    await eventually(otherwise)


async def all_heard(fleet: FleetOfAgents, *urls: str) -> None:
    """Wait until every running agent hears every other over each of these buses."""

    async def unheard() -> str:
        others = len(fleet.running) - 1
        for member in fleet.running:
            told = await buses(fleet, member.name)
            for url in map(redact, urls):
                if url not in told or (told[url]["state"], told[url]["agents"]) != ("up", others):
                    return f"{member.name}: {told.get(url)}"
        return ""

    await eventually(unheard)


async def gauge(fleet: FleetOfAgents, name: str, metric: str, url: str) -> float:
    """A metric of one bus."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{fleet[name].url}/metrics") as answer,
    ):
        text = await answer.text()
    wanted = f'{metric}{{bus="{redact(url)}"}} '
    (value,) = [line.removeprefix(wanted) for line in text.splitlines() if line.startswith(wanted)]
    return float(value)


async def told_of_buses(
    fleet: FleetOfAgents, since: Mapping[str, str]
) -> set[tuple[str, str, str]]:
    """(agent, `bus.up` or `bus.down`, URL as shown)."""
    events = await fleet.events(since, "bus.up", "bus.down")
    return {(event["told_by"], event["kind"], event["bus"]) for event in events}


async def signs(fleet: FleetOfAgents, since: Mapping[str, str]) -> list[str]:
    """What was told of agents and instances as if something had happened to them."""
    return [
        f"{event['told_by']}: {event['kind']} ({event['reason']}) "
        f"{event.get('instance', event.get('agent', {})).get('node', '')}"
        for event in await fleet.events(since, *SIGNS)
    ]
