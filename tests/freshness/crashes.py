"""Crashes of programs and of hosts: seconds until other hosts stop answering with them."""

import asyncio
import random
import time

from tests.freshness.changes import Times
from tests.freshness.watch import PATIENTLY_S, doubts, each, lacks, others
from tests.peers.base import Host, Site
from tests.peers.beacond import RUN, BeacondHost

APART_S = (1.2, 2.2)
"""Between two crashes at one host."""
SETTLE_S = 2.5
"""After a registration, and more than any heartbeat or check interval."""


async def programs(site: Site, times: Times, number: int, rng: random.Random) -> None:
    """`number` at each host, at moments that have nothing to do with anybody's rhythm."""
    async with asyncio.TaskGroup() as group:
        for host in site.hosts:
            group.create_task(_programs(host, times, number, rng))


async def _programs(host: Host, times: Times, number: int, rng: random.Random) -> None:
    ways = {"": times.crashed}
    if isinstance(host, BeacondHost):
        ways[RUN] = times.run_crashed
    for way, found in ways.items():
        name = f"{host.name}-{way or 'crash'}"
        for each_one in range(number):
            await host.register(f"{name}-{each_one}", f"{name}-{each_one}", way=way)
        await asyncio.sleep(SETTLE_S)
        async with asyncio.TaskGroup() as group:
            for each_one in range(number):
                await asyncio.sleep(rng.uniform(*APART_S))
                group.create_task(_program(host, f"{name}-{each_one}", found))


async def _program(host: Host, name: str, found: list[float]) -> None:
    """Service and instance have the same name here."""
    crashed_at = time.monotonic()
    await host.crash_service(name)
    gone = await each(others(host), name, lacks(name), PATIENTLY_S)
    found += [moment - crashed_at for moment in gone]


async def hosts(site: Site, times: Times, rounds: int, rng: random.Random) -> None:
    """One host after the other. As in life, something runs on each of the others too."""
    for number in range(rounds):
        host = site.hosts[number % len(site.hosts)]
        name = f"host-{number}"
        await host.register(name, name)
        for other in others(host):
            await other.register(f"other-{number}", f"other-{number}-{other.name}")
        await asyncio.sleep(SETTLE_S + rng.random())
        crashed_at = time.monotonic()
        await host.crash()
        if isinstance(host, BeacondHost):
            suspected_at = await each(others(host), name, doubts(name), PATIENTLY_S)
            times.suspected += [moment - crashed_at for moment in suspected_at]
        gone_at = await each(others(host), name, lacks(name), PATIENTLY_S)
        times.host_gone += [moment - crashed_at for moment in gone_at]
        await host.start()
        await site.ready()
