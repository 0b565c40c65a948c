"""The buses of an agent, exchanged while it runs."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from beacond.bus.base import BusConfigError
from beacond.bus.local import LocalBus
from beacond.buses import Buses
from beacond.core.node import Node
from beacond.core.settings import Settings
from beacond.driver import Driver
from beacond.metrics import Metrics
from beacond.supervise import supervise
from beacond.wire import Codec
from tests.support.http_agent import Disk, until

FLEET = "exchanged"


class Broken(LocalBus):
    async def run(self, sink: object) -> None:
        raise OSError("no such bus today")


@dataclass
class Site:
    """A driver with its buses. `opened`: how often each URL was."""

    driver: Driver
    buses: Buses
    opened: Counter[str]
    parts: dict[str, "asyncio.Task[None]"] = field(default_factory=dict)

    @property
    def states(self) -> dict[str, str]:
        return {bus.url: bus.state for bus in self.driver.status().bus}

    def told(self, kind: str) -> list[tuple[str | None, str]]:
        found = self.driver.log.since(f"{self.driver.status().incarnation}.0") or ()
        return [(event.bus, event.reason) for event in found if event.kind == kind]


async def _unreachable(_targets: object) -> bool:
    return False


@asynccontextmanager
async def site(*urls: str, node: str = "a") -> AsyncIterator[Site]:
    """`local://GROUP?secret` is a bus like `local://GROUP`, as one with a password is."""
    loop = asyncio.get_running_loop()
    settings = Settings(
        node=node,
        incarnation=1,
        boot_id=node.encode() * 16,
        addresses=("192.0.2.1",),
        agent_version="0.0",
        interval_s=0.1,
        ttl_s=1.0,
    )
    core = Node(settings, random.Random(1), loop.time(), time.time())
    codec = Codec(fleet=FLEET, node=node, keyring=None)
    driver = Driver(
        core, codec, Disk(), Metrics(), fleet=FLEET, domain="beacon.internal", probe=_unreachable
    )
    opened: Counter[str] = Counter()
    parts: dict[str, asyncio.Task[None]] = {}

    def open_bus(url: str) -> LocalBus:
        opened[url] += 1
        kind = Broken if "broken" in url else LocalBus
        return kind(url.partition("?")[0], fleet=FLEET, node=node, incarnation=1)

    def run_part(name: str, run: Callable[[], Awaitable[None]]) -> "asyncio.Task[None]":
        parts[name] = asyncio.create_task(
            supervise(
                name,
                run,
                count_restart=lambda _: None,
                failing=driver.failing,
                rng=random.Random(1),
            )
        )
        return parts[name]

    buses = Buses(urls, open_bus=open_bus, driver=driver, supervise=run_part)
    buses.start()
    driver.start(core.start(loop.time()))
    try:
        yield Site(driver, buses, opened, parts)
    finally:
        for part in parts.values():
            part.cancel()
        await asyncio.wait(parts.values())
        await driver.close()


async def test_a_bus_that_is_added_is_spoken_on_and_the_others_run_on() -> None:
    async with site("local://one") as a:
        await until(lambda: a.states == {"local://one": "up"})
        assert await a.buses.change(["local://one", "local://two"])
        await until(lambda: a.states == {"local://one": "up", "local://two": "up"})
        assert a.opened == {"local://one": 1, "local://two": 1}
        assert a.told("bus.up") == [("local://one", ""), ("local://two", "")]
        assert a.told("bus.down") == []
        async with site("local://two", node="b") as b:
            await until(lambda: "b" in a.driver.view.agents)
            await until(lambda: "a" in b.driver.view.agents)


async def test_a_bus_that_is_removed_is_neither_spoken_on_nor_shown() -> None:
    async with site("local://one", "local://two") as a:
        await until(lambda: set(a.states.values()) == {"up"})
        assert await a.buses.change(["local://two"])
        assert a.states == {"local://two": "up"}
        assert a.told("bus.down") == [("local://one", "removed")]
        assert a.parts["bus local://one"].done()
        assert not a.parts["bus local://two"].done()
        async with site("local://one", node="b") as b:
            await until(lambda: b.states == {"local://one": "up"})
            await asyncio.sleep(0.5)
            assert "b" not in a.driver.view.agents
            assert "a" not in b.driver.view.agents


async def test_another_password_is_the_same_bus_over_a_new_connection() -> None:
    async with site("local://one?old", "local://two") as a:
        await until(lambda: set(a.states.values()) == {"up"})
        assert await a.buses.change(["local://two", "local://one?new"])
        await until(lambda: a.states == {"local://one": "up", "local://two": "up"})
        assert a.opened["local://one?new"] == 1
        assert a.told("bus.down") == [("local://one", "configured anew")]


async def test_the_same_again_changes_nothing() -> None:
    async with site("local://one", "local://two") as a:
        await until(lambda: set(a.states.values()) == {"up"})
        assert not await a.buses.change(["local://two", "local://one"])
        assert a.told("bus.down") == []
        assert set(a.opened.values()) == {1}


async def test_a_url_that_cannot_work_changes_nothing() -> None:
    async with site("local://one") as a:
        await until(lambda: a.states == {"local://one": "up"})
        with pytest.raises(BusConfigError):
            await a.buses.change(["local://two", "local://three/with/a/path"])
        assert a.states == {"local://one": "up"}
        assert a.told("bus.down") == []
        assert await a.buses.change(["local://two"])


async def test_a_failing_bus_fails_no_more_once_it_is_removed() -> None:
    async with site("local://broken", "local://two") as a:
        await until(lambda: "bus local://broken" in a.driver.failing)
        assert await a.buses.change(["local://two"])
        assert a.driver.failing == {}
