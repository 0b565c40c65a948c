"""What is done to the buses and to the mortal agents, one of each in a cycle."""

import asyncio
from collections.abc import Awaitable, Callable

from tests.soak.site import CUT, LASTING, MORTAL, Site

OUTAGE_S = 12.0
"""More than two leases."""
ABSENCE_S = 8.0
LONG_OUTAGE_S, LONG_FREEZE_S = 150.0, 60.0
"""Thirty leases, and twelve: once each in a soak."""

Fault = Callable[[Site], Awaitable[None]]


async def broker_killed(site: Site) -> None:
    await _kill_broker(site, OUTAGE_S)


async def broker_killed_for_minutes(site: Site) -> None:
    await _kill_broker(site, LONG_OUTAGE_S)


async def _kill_broker(site: Site, outage_s: float) -> None:
    broker = site.brokers[0]
    await broker.kill()
    await asyncio.sleep(outage_s)
    await broker.start(wiped=True)


async def broker_frozen(site: Site) -> None:
    broker = site.brokers[0]
    broker.freeze()
    try:
        await asyncio.sleep(OUTAGE_S)
    finally:
        broker.thaw()


async def broker_in_alarm(site: Site) -> None:
    broker = site.brokers[0]
    await broker.rabbitmqctl("set_vm_memory_high_watermark", "0.00000001")
    try:
        await asyncio.sleep(OUTAGE_S)
    finally:
        await broker.rabbitmqctl("set_vm_memory_high_watermark", "absolute", "400MiB")


async def one_agent_cut_off(site: Site) -> None:
    site.proxy.refuse()
    site.proxy.cut()
    await asyncio.sleep(OUTAGE_S)
    site.proxy.refuse(False)


async def one_of_two_brokers_killed(site: Site) -> None:
    await site.use_two_buses(True)
    await site.sees(*LASTING, CUT)
    await broker_killed(site)
    await site.sees(*LASTING, CUT)
    await site.use_two_buses(False)


BUS_FAULTS: tuple[Fault, ...] = (
    broker_killed,
    one_of_two_brokers_killed,
    broker_frozen,
    broker_in_alarm,
    one_agent_cut_off,
)


async def agent_killed(site: Site) -> None:
    await site.fleet.kill(MORTAL[0])
    await asyncio.sleep(ABSENCE_S)
    await site.start(MORTAL[0])


async def agent_frozen(site: Site) -> None:
    await _freeze_agent(site, ABSENCE_S)


async def agent_frozen_for_a_minute(site: Site) -> None:
    await _freeze_agent(site, LONG_FREEZE_S)


async def _freeze_agent(site: Site, frozen_s: float) -> None:
    await site.fleet.freeze(MORTAL[0])
    await asyncio.sleep(frozen_s)
    await site.fleet.thaw(MORTAL[0])


async def agent_restarted(site: Site) -> None:
    status = await site.fleet.stop(MORTAL[1])
    if status != 0:
        raise AssertionError(f"{MORTAL[1]} stopped with status {status}")
    await site.start(MORTAL[1])


async def agents_killed(site: Site) -> None:
    for node in MORTAL:
        await site.fleet.kill(node)
    await asyncio.sleep(ABSENCE_S)
    await site.start(*MORTAL)


AGENT_FAULTS: tuple[Fault, ...] = (agent_killed, agent_frozen, agent_restarted, agents_killed)

LONG: dict[int, tuple[Fault, Fault]] = {
    20: (broker_killed_for_minutes, agent_killed),
    21: (one_agent_cut_off, agent_frozen_for_a_minute),
}


def of_cycle(number: int) -> tuple[Fault, Fault]:
    """Every fault of a bus meets every fault of an agent in turn; two cycles are long."""
    if number in LONG:
        return LONG[number]
    return BUS_FAULTS[number % len(BUS_FAULTS)], AGENT_FAULTS[number % len(AGENT_FAULTS)]
