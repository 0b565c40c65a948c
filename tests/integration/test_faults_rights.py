"""An operator takes away what the agents need at their broker: rights, their user, their queues."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.support.fleet_of_agents import FleetOfAgents, eventually
from tests.support.outage import (
    all_were_stale,
    nothing_is_lost,
    populate,
)
from tests.support.proxy import Proxy
from tests.support.rabbitmq import RabbitMQ

pytestmark = [pytest.mark.broker, pytest.mark.timeout(300)]

TTL_S = 3.0
FAULT_S = 2 * TTL_S
PER_S = 20.0
PASSWORD = "known-to-the-agents"
VHOST = "of-few-queues"

Act = Callable[[RabbitMQ, str, Proxy], Awaitable[None]]


async def revoke(broker: RabbitMQ, user: str, proxy: Proxy) -> None:
    """A broker remembers the rights of open channels, so sessions that are there go on; new ones
    are refused."""
    await broker.rabbitmqctl("set_permissions", user, "^$", "^$", "^$")
    await asyncio.sleep(TTL_S)
    proxy.cut()


async def clear(broker: RabbitMQ, user: str, proxy: Proxy) -> None:
    """No access to the vhost at all."""
    await broker.rabbitmqctl("clear_permissions", user)
    proxy.cut()


async def delete(broker: RabbitMQ, user: str, _: Proxy) -> None:
    """The broker closes the sessions itself."""
    await broker.rabbitmqctl("delete_user", user)


async def give_back(broker: RabbitMQ, user: str) -> None:
    await broker.declare(user=user, password=PASSWORD)


async def test_who_loses_rights_or_user_loses_nothing_else(tmp_path, rabbitmq: RabbitMQ):
    async with asyncio.TaskGroup() as group:
        for act in (revoke, clear, delete):
            folder = tmp_path / act.__name__
            group.create_task(without_rights(folder, rabbitmq, act), name=act.__name__)


async def without_rights(folder: Path, broker: RabbitMQ, act: Act) -> None:
    user = f"to-{act.__name__}"
    await give_back(broker, user)
    try:
        async with Proxy("127.0.0.1", broker.port) as proxy:
            url = broker.url(user=user, password=PASSWORD, port=proxy.port)
            async with FleetOfAgents(folder, url, ttl_s=TTL_S) as fleet:
                await lose_rights(fleet, lambda: act(broker, user, proxy), broker, user)
    finally:
        await broker.rabbitmqctl("delete_user", user)


async def lose_rights(
    fleet: FleetOfAgents, act: Callable[[], Awaitable[None]], broker: RabbitMQ, user: str
) -> None:
    """A broker that says no is asked less and less often, so agents come back at different times.

    Who can be reached otherwise is not given up meanwhile; but who is back cannot know what changes
    at those who are not.
    """
    await populate(fleet, listening=True)
    async with nothing_is_lost(fleet, per_s=PER_S) as asked:
        await act()
        await fleet.blind()
        await asyncio.sleep(FAULT_S)
        assert all_were_stale(asked, "a", "b", "c")
        await give_back(broker, user)
        await fleet.sighted()
        await fleet.register("web", "a")


async def test_a_queue_deleted_or_a_connection_closed_by_an_operator_is_not_noticed_outside(
    tmp_path, rabbitmq: RabbitMQ
):
    await rabbitmq.declare(vhost=VHOST)
    try:
        url = rabbitmq.url(vhost=VHOST)
        async with FleetOfAgents(tmp_path, url, ttl_s=TTL_S) as fleet:
            await populate(fleet)
            async with nothing_is_lost(fleet):
                for queue in await rabbitmq.listing("queues", "name", vhost=VHOST):
                    await rabbitmq.rabbitmqctl("delete_queue", "-p", VHOST, queue["name"])
                await eventually(lambda: queues_missing(rabbitmq))
                await rabbitmq.rabbitmqctl("close_all_connections", "--vhost", VHOST, "maintenance")
                await eventually(lambda: queues_missing(rabbitmq))
    finally:
        await rabbitmq.rabbitmqctl("delete_vhost", VHOST)


async def queues_missing(broker: RabbitMQ) -> str:
    found = await broker.listing("queues", "name", "consumers", vhost=VHOST)
    reading = [queue for queue in found if queue["consumers"]]
    return "" if len(reading) == 3 else f"{len(reading)} queues are read"
