"""The broker dies, stands still or blocks, under a fleet that is asked all the time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.fleet_of_agents import FleetOfAgents
from tests.support.outage import (
    all_were_stale,
    answered,
    change_while_blind,
    nothing_is_lost,
    populate,
    recovered,
)
from tests.support.rabbitmq import RabbitMQ, RabbitMQError

pytestmark = [pytest.mark.broker, pytest.mark.timeout(300)]

TTL_S = 3.0
DEAD_S = 35.0
FAULT_S = 3.5 * TTL_S
"""Of blindness: whoever let leases run on would have lost everybody."""


@pytest.fixture
async def broker(rabbitmq: RabbitMQ) -> AsyncIterator[RabbitMQ]:
    """The shared broker, put right again afterwards."""
    yield rabbitmq
    rabbitmq.thaw()
    await rabbitmq.revive()


@pytest.fixture
async def fleet(tmp_path: Path, broker: RabbitMQ) -> AsyncIterator[FleetOfAgents]:
    async with FleetOfAgents(tmp_path, broker.url(), ttl_s=TTL_S) as fleet:
        yield fleet


async def test_a_broker_killed_for_ten_ttl_and_back_empty_loses_nothing(fleet, broker):
    await populate(fleet, listening=True)
    since = await fleet.mark()
    async with nothing_is_lost(fleet) as asked:
        await broker.kill()
        await fleet.blind()
        come, gone = await change_while_blind(fleet)
        await asyncio.sleep(DEAD_S / 2)
        assert all_were_stale(asked, "a", "b", "c")
        (of_c,) = await answered(fleet, "a", "only-c")
        await fleet.kill("c")
        await asyncio.sleep(DEAD_S / 2)
        for name in ("a", "b"):
            assert of_c in await answered(fleet, name, "only-c"), "the dead can't be told apart"
        await broker.start(wiped=True)
        await recovered(fleet)
        await fleet.start("c")
    for name in ("a", "b"):
        told = [e for e in await fleet.events(since) if e["told_by"] == name]
        (expired,) = [i for i, e in enumerate(told) if e["kind"] == "agent.expired"]
        assert told[expired]["agent"]["node"] == "c"
        sighted = [i for i, e in enumerate(told) if e["kind"] == "view.sighted"]
        assert sighted, told
        assert sighted[0] < expired, "gone while nobody could know"
    assert come in await answered(fleet, "c", "web")
    assert gone not in await answered(fleet, "c", "changing")


async def test_a_broker_that_stands_still_loses_nothing(fleet, broker):
    await populate(fleet, listening=True)
    async with nothing_is_lost(fleet) as asked:
        broker.freeze()
        await fleet.blind()
        await change_while_blind(fleet)
        await asyncio.sleep(FAULT_S)
        assert all_were_stale(asked, "a", "b", "c")
        broker.thaw()


ALARMS = {
    ("set_vm_memory_high_watermark", "absolute"): ("1", "400MiB"),
    ("set_disk_free_limit",): (str(10**17), "1MB"),
}
"""Setting: (value that raises the alarm, the usual one)."""


async def test_alarms_of_the_broker_lose_nothing(fleet, broker):
    """For want of memory, then of disk space: nobody may publish, and all stay connected."""
    await populate(fleet)
    for setting, (alarming, usual) in ALARMS.items():
        try:
            async with nothing_is_lost(fleet) as asked:
                await broker.rabbitmqctl(*setting, alarming)
                await fleet.blind()
                await change_while_blind(fleet)
                await asyncio.sleep(FAULT_S)
                assert all_were_stale(asked, "a", "b", "c")
                for name in ("a", "b", "c"):
                    (bus,) = (await fleet.get(name, "/v1/status"))["bus"]
                    assert (bus["state"], "blocks publishing" in bus["reason"]) == ("blind", True)
                await broker.rabbitmqctl(*setting, usual)
        finally:
            with suppress(RabbitMQError):
                await broker.rabbitmqctl(*setting, usual)
