"""A running fleet moves from one broker to another, by the steps of docs/several-buses.md."""

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from signal import SIGHUP

import pytest

from beacond.bus.url import redact
from tests.support.agent_process import AgentProcess, call
from tests.support.buses import all_heard, become, gauge, signs, told_of_buses
from tests.support.fleet_of_agents import FleetOfAgents, eventually
from tests.support.rabbitmq import RabbitMQ

pytestmark = pytest.mark.broker

TTL_S = 3.0


class Hosts:
    """Three hosts, each with its `bus_file`, and an operator who goes from one to the next."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        env = {"BEACOND_ON_STOP": "hold"}
        self.fleet = FleetOfAgents(folder, (), nodes="", heartbeat_s=1.0, ttl_s=TTL_S, env=env)

    def file(self, node: str) -> Path:
        return self.folder / f"{node}.bus"

    def write(self, node: str, *urls: str) -> None:
        path = self.file(node)
        path.touch(mode=0o600)
        path.write_text("\n".join(urls) + "\n")

    async def start(self, node: str) -> None:
        await self.fleet.start(node, flags=("--bus-file", str(self.file(node))))

    async def reload(self, node: str, *urls: str) -> None:
        process: AgentProcess = self.fleet[node].process
        reloaded = len(process.logged("buses changed"))
        self.write(node, *urls)
        os.kill(process.process.pid, SIGHUP)

        async def not_yet() -> str:
            return "" if len(process.logged("buses changed")) > reloaded else "not reloaded"

        await eventually(not_yet)

    async def restart(self, node: str, *urls: str) -> None:
        """What runs on this host runs on, and is to be found all along."""
        self.write(node, *urls)
        member = self.fleet._parts(node)
        assert member.process.stop() == 0
        await self.start(node)


@pytest.fixture
async def hosts(rabbitmq: RabbitMQ, tmp_path: Path) -> AsyncIterator[Hosts]:
    hosts = Hosts(tmp_path)
    async with hosts.fleet as fleet:
        for node in ("a", "b", "c"):
            hosts.write(node, rabbitmq.url())
            await hosts.start(node)
            await fleet.register("web", node)
        await all_heard(fleet, rabbitmq.url())
        await fleet.agree()
        yield hosts


@pytest.fixture
async def new(second_rabbitmq: RabbitMQ) -> RabbitMQ:
    await second_rabbitmq.revive()
    return second_rabbitmq


async def test_with_reloads_nobody_sees_anything_of_it(
    hosts: Hosts, rabbitmq: RabbitMQ, new: RabbitMQ
) -> None:
    fleet, old_url, new_url = hosts.fleet, rabbitmq.url(), new.url()
    mark = await fleet.mark()
    async with fleet.asking() as asked:
        for node in fleet.nodes:
            await hosts.reload(node, old_url, new_url)
        await all_heard(fleet, new_url)
        for member in fleet.running:
            shown = call("status", "--json", BEACOND_AGENT=member.url)
            (told,) = [b for b in json.loads(shown.stdout)["bus"] if b["url"] == redact(new_url)]
            assert (told["state"], told["agents"]) == ("up", 2)
            assert await gauge(fleet, member.name, "beacond_bus_agents", new_url) == 2
        for node in fleet.nodes:
            await hosts.reload(node, new_url)
        await become(fleet, {old_url: "none", new_url: "up"})
        await rabbitmq.stop()
        try:
            await fleet.register("late", "a")
            await fleet.agree()
        finally:
            await rabbitmq.revive()
    assert asked.counts.stale.total() == 0
    assert await signs(fleet, mark) == []
    assert await told_of_buses(fleet, mark) == {
        (node, *each)
        for node in fleet.nodes
        for each in (("bus.up", redact(new_url)), ("bus.down", redact(old_url)))
    }


async def test_with_restarts_nothing_that_runs_is_ever_missing(
    hosts: Hosts, rabbitmq: RabbitMQ, new: RabbitMQ
) -> None:
    fleet, old_url, new_url = hosts.fleet, rabbitmq.url(), new.url()
    mark = await fleet.mark()
    async with fleet.asking():
        for node in fleet.nodes:
            await hosts.restart(node, old_url, new_url)
        await all_heard(fleet, new_url)
        for node in fleet.nodes:
            await hosts.restart(node, new_url)
        await all_heard(fleet, new_url)
        await rabbitmq.stop()
        try:
            await fleet.register("late", "a")
            await fleet.agree()
        finally:
            await rabbitmq.revive()
    assert await fleet.events(mark, "instance.stopped", "agent.expired", "agent.left") == []


async def test_a_new_password_is_taken_up_by_a_reload(
    hosts: Hosts, rabbitmq: RabbitMQ, new: RabbitMQ
) -> None:
    """On two buses, changed on one after the other, nobody sees anything of that either."""
    fleet, stays = hosts.fleet, new.url()
    await rabbitmq.declare(user="rotated", password="first")
    try:
        before = rabbitmq.url(user="rotated", password="first")
        after = rabbitmq.url(user="rotated", password="second")
        for node in fleet.nodes:
            await hosts.reload(node, before, stays)
        await all_heard(fleet, before, stays)
        mark = await fleet.mark()
        async with fleet.asking() as asked:
            await rabbitmq.rabbitmqctl("change_password", "rotated", "second")
            for node in fleet.nodes:
                await hosts.reload(node, after, stays)
            await all_heard(fleet, after, stays)
        assert asked.counts.stale.total() == 0
        assert await signs(fleet, mark) == []
    finally:
        await rabbitmq.rabbitmqctl("delete_user", "rotated")
