"""Registrations and graceful stops, on a site at rest: seconds until other hosts see them."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field

from tests.freshness.watch import EAGERLY_S, Seen, each, has, lacks, others
from tests.peers.base import Done, Host, Site
from tests.peers.beacond import BeacondHost
from tests.peers.beacond_client import CHECK_FIRST
from tests.peers.processes import Talker

REST_S = 1.2
"""Before what is measured on its own. beacond tells changes of one host once a second, the first
at once."""
SECOND_AFTER_S = 0.1
CHECKED_MAX = 4


@dataclass(slots=True)
class Times:
    """Seconds, one for each other host each time; of an absent thing there are none."""

    visible: list[float] = field(default_factory=list)
    second_visible: list[float] = field(default_factory=list)
    """Registered at the same host `SECOND_AFTER_S` after the first."""
    checked_visible: list[float] = field(default_factory=list)
    """beacond: with its first check awaited."""
    stopped: list[float] = field(default_factory=list)
    crashed: list[float] = field(default_factory=list)
    run_crashed: list[float] = field(default_factory=list)
    """beacond: under `beacond run`."""
    suspected: list[float] = field(default_factory=list)
    """beacond: after the crash of a host."""
    host_gone: list[float] = field(default_factory=list)


async def measure(site: Site, times: Times, cycles: int) -> None:
    """At all hosts, a third of a rest after each other. Raises Failed, NotSeen."""
    async with asyncio.TaskGroup() as group:
        for number, host in enumerate(site.hosts):
            delay_s = REST_S * number / len(site.hosts)
            group.create_task(_cycles(host, times, cycles, delay_s))


async def _cycles(host: Host, times: Times, cycles: int, delay_s: float) -> None:
    await asyncio.sleep(REST_S + delay_s)
    for number in range(cycles):
        await _cycle(host, times, f"{host.name}-{number}")
    if isinstance(host, BeacondHost):
        for number in range(min(cycles, CHECKED_MAX)):
            await _checked(host, times, f"{host.name}-checked-{number}")


async def _cycle(host: Host, times: Times, name: str) -> None:
    """A service of its own: two instances come, one soon after the other; later both go."""
    service, first, second = f"web-{name}", f"{name}-first", f"{name}-second"
    _, *programs = await asyncio.gather(
        asyncio.sleep(REST_S), host.prepare(first), host.prepare(second)
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(_come(host, programs[0], service, first, times.visible))
        await asyncio.sleep(SECOND_AFTER_S)
        group.create_task(_come(host, programs[1], service, second, times.second_visible))
    await asyncio.sleep(REST_S)
    times.stopped += await _seen(host, service, lacks(first), host.deregister(first))
    await asyncio.sleep(REST_S)
    await host.deregister(second)


async def _checked(host: Host, times: Times, name: str) -> None:
    program, _ = await asyncio.gather(host.prepare(name), asyncio.sleep(REST_S))
    announcing = host.announce(program, f"web-{name}", name, CHECK_FIRST)
    times.checked_visible += await _seen(host, f"web-{name}", has(name), announcing)
    await asyncio.sleep(REST_S)
    await host.deregister(name)


async def _come(
    host: Host, program: Talker, service: str, instance_id: str, times: list[float]
) -> None:
    announcing = host.announce(program, service, instance_id)
    times += await _seen(host, service, has(instance_id), announcing)


async def _seen(host: Host, service: str, seen: Seen, acting: Awaitable[Done]) -> list[float]:
    """From the moment at which the program asked for it."""
    watching = each(others(host), service, seen, EAGERLY_S)
    done, at = await asyncio.gather(acting, watching)
    return [moment - done.asked_at for moment in at]
