"""From a registration at one agent to its being seen at another, over RabbitMQ."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from tests.bench.raw_hop import raw_hops
from tests.bench.report import Section
from tests.support.agent_process import AgentProcess
from tests.support.rabbitmq import RabbitMQ

SECOND_AFTER_S = 0.3
"""When the second change follows the first."""
APART_S = 1.8
"""Between the second and the next first change: a second gives back one announce of the burst."""
SEEN_WITHIN_S = 20.0
INSTANCES_MAX = 10
"""Of one host; from then on registrations replace earlier ones."""
READY_WITHIN_S = 60.0


@dataclass(slots=True)
class Times:
    """Seconds until seen, since the request was sent and since it was answered."""

    sent: list[float] = field(default_factory=list)
    answered: list[float] = field(default_factory=list)
    durable: list[float] = field(default_factory=list)
    """From request to answer: what the disk takes, mostly."""


class Watcher:
    """Follows another agent's event stream, and knows when a change was first seen there."""

    def __init__(self) -> None:
        self._awaited: dict[str, asyncio.Future[float]] = {}

    def expect(self, change: str) -> "asyncio.Future[float]":
        future = asyncio.get_running_loop().create_future()
        self._awaited[change] = future
        return future

    async def follow(self, response: aiohttp.ClientResponse) -> None:
        async for line in response.content:
            now = time.perf_counter()
            event = json.loads(line) if line.strip() else {}
            change = (event.get("instance") or {}).get("meta", {}).get("change", "")
            future = self._awaited.pop(change, None)
            if future is not None:
                future.set_result(now)


async def measure(broker: RabbitMQ, folder: Path, writers: int, cycles: int) -> Section:
    section = Section("From PUT at one agent to the event at another, over RabbitMQ")
    first, second = Times(), Times()
    async with _agents(broker, folder, writers) as agents, aiohttp.ClientSession() as session:
        watcher = Watcher()
        accept = {"Accept": "application/x-ndjson"}
        no_limit = aiohttp.ClientTimeout(total=None)
        url = f"{agents[0].url}/v1/events"
        async with session.get(url, headers=accept, timeout=no_limit) as stream:
            following = asyncio.create_task(watcher.follow(stream))
            async with raw_hops(broker.url()) as hops, asyncio.TaskGroup() as group:
                for number, agent in enumerate(agents[1:]):
                    writer = Writer(session, agent.url, watcher, f"w{number}")
                    offset_s = number * (1 + APART_S) / writers
                    group.create_task(writer.run(cycles, offset_s, first, second))
            following.cancel()
            await asyncio.wait({following})
    for since, times in (("sent", first.sent), ("answered", first.answered)):
        what = f"first change, since the PUT was {since}"
        section.add_times(what, times, beside="bare hop", others=hops)
    section.add_times("the PUT itself, on disk when answered", first.durable)
    section.add_times(f"second change, {SECOND_AFTER_S} s later, since sent", second.sent)
    section.notes += [
        f"{len(first.sent)} first and {len(second.sent)} second changes at {writers} agents; "
        f"{len(hops)} hops",
        "bare hop: aio-pika alone, a message of 300 bytes from publish to delivery",
    ]
    return section


@dataclass(slots=True)
class Writer:
    session: aiohttp.ClientSession
    url: str
    watcher: Watcher
    name: str

    async def run(self, cycles: int, offset_s: float, first: Times, second: Times) -> None:
        """Pairs of registrations; the writers' offsets keep them out of each other's way."""
        await asyncio.sleep(offset_s)
        for cycle in range(cycles):
            await self._register(2 * cycle, first)
            await asyncio.sleep(SECOND_AFTER_S)
            await self._register(2 * cycle + 1, second)
            await asyncio.sleep(APART_S)

    async def _register(self, number: int, times: Times) -> None:
        change = f"{self.name}-{number}"
        asked = {"service": "bench", "port": 8080, "meta": {"change": change}}
        url = f"{self.url}/v1/instances/{self.name}-{number % INSTANCES_MAX}"
        seen = self.watcher.expect(change)
        sent_at = time.perf_counter()
        async with self.session.put(url, json=asked) as put:
            answered_at = time.perf_counter()
            put.raise_for_status()
        async with asyncio.timeout(SEEN_WITHIN_S):
            seen_at = await seen
        times.sent.append(seen_at - sent_at)
        times.answered.append(seen_at - answered_at)
        times.durable.append(answered_at - sent_at)


@asynccontextmanager
async def _agents(
    broker: RabbitMQ, folder: Path, writers: int
) -> AsyncIterator[list[AgentProcess]]:
    """The one that watches and those that change, all known to the first."""
    async with AsyncExitStack() as stack:
        agents: list[AgentProcess] = []
        for number in range(writers + 1):
            flags = ("--bus", broker.url(), "--fleet", "visibility", "--node", f"host-{number}")
            agent = AgentProcess(folder / f"host-{number}", *flags)
            stack.push_async_callback(asyncio.to_thread, agent.stop)
            agents.append(agent)
        async with asyncio.timeout(READY_WITHIN_S):
            while not await asyncio.to_thread(_all_alive, agents):
                await asyncio.sleep(0.2)
        # The last announces of their meeting must not slow the first change of ours.
        await asyncio.sleep(2 * APART_S)
        yield agents


def _all_alive(agents: list[AgentProcess]) -> bool:
    """Whether each knows all."""
    listed = (agent.get("/v1/agents")["agents"] for agent in agents)
    return all([each["state"] for each in known] == ["alive"] * len(agents) for known in listed)
