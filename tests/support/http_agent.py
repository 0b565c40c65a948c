"""An agent reduced to what HTTP needs: core, driver, the embedded bus, and the HTTP shell."""

import asyncio
import itertools
import random
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import aiohttp

from beacond.bus.local import LocalBus
from beacond.core.local import ModeState, NotPersisted, Registration
from beacond.core.node import Node
from beacond.core.settings import Settings
from beacond.driver import Driver
from beacond.http.server import HttpServer
from beacond.metrics import Metrics
from beacond.wire import Codec

INTERVAL_S = 1.0
_groups = itertools.count()


class Disk:
    """Takes everything, until told to be slow or to refuse."""

    def __init__(self) -> None:
        self.refuses = False
        self.asked = threading.Event()
        self._free = threading.Event()
        self._free.set()

    def hold(self) -> None:
        """Be slow from now on, until `release`."""
        self._free.clear()

    def release(self) -> None:
        self._free.set()

    def save_registrations(
        self,
        instances: tuple[Registration, ...],
        host_mode: ModeState,
        file_modes: tuple[tuple[str, ModeState], ...],
    ) -> None:
        self.asked.set()
        self._free.wait(10)
        if self.refuses:
            raise NotPersisted("the disk is full")

    def save_incarnation(self, incarnation: int) -> None:
        pass


@dataclass
class HttpAgent:
    driver: Driver
    http: HttpServer
    metrics: Metrics
    disk: Disk
    base: str
    session: aiohttp.ClientSession
    stop_bus: Callable[[], Awaitable[None]]

    @property
    def port(self) -> int:
        return int(self.base.rpartition(":")[2])

    async def call(
        self, method: str, path: str, body: object = None, **options: Any
    ) -> tuple[int, Any]:
        """Status and JSON (None where there is no body)."""
        if body is not None:
            options["json"] = body
        async with self.session.request(method, self.base + path, **options) as response:
            text = await response.read()
            is_json = "json" in response.headers.get("Content-Type", "")
            return response.status, await response.json(content_type=None) if (
                text and is_json
            ) else text

    async def register(self, instance_id: str, service: str = "web", **fields: Any) -> Any:
        body = {"service": service, "port": 8080, **fields}
        status, instance = await self.call("PUT", f"/v1/instances/{instance_id}", body)
        assert status in (200, 201), instance
        return instance


@asynccontextmanager
async def http_agent(
    *,
    node: str = "host-a",
    zone: str = "",
    group: str | None = None,
    host: str = "127.0.0.1",
    addresses: tuple[str, ...] = ("192.0.2.1",),
    event_log_max: int = 10_000,
    **server: Any,
) -> AsyncIterator[HttpAgent]:
    """`group`: agents with the same one hear each other; None: alone."""
    loop = asyncio.get_running_loop()
    metrics, disk = Metrics(), Disk()
    settings = Settings(
        node=node,
        incarnation=int(time.time()),
        boot_id=random.randbytes(16),
        addresses=addresses,
        zone=zone,
        agent_version="0.0",
        interval_s=INTERVAL_S,
        ttl_s=10.0,
        event_log_max=event_log_max,
    )
    core = Node(settings, random.Random(1), loop.time(), time.time())
    codec = Codec(fleet="default", node=node, keyring=None)
    driver = Driver(
        core, codec, disk, metrics, fleet="default", domain="beacon.internal", probe=_unreachable
    )
    name = group or f"alone-{next(_groups)}"
    bus = LocalBus(f"local://{name}", fleet="default", node=node, incarnation=1)
    driver.attach(bus)
    running = asyncio.create_task(bus.run(driver))
    metrics.watch(driver)
    http = HttpServer(driver, metrics=metrics, **server)
    address, port = await http.start(host, 0)
    driver.start(core.start(loop.time()))

    async def stop_bus() -> None:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running

    shown = f"[{address}]" if ":" in address else address
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(connector=connector) as session:
        try:
            await until(lambda: driver.view.sight.stale_since is None)
            yield HttpAgent(
                driver, http, metrics, disk, f"http://{shown}:{port}", session, stop_bus
            )
        finally:
            await http.stop(2.0)
            await stop_bus()
            await driver.close()


async def _unreachable(_targets: object) -> bool:
    return False


async def until(condition: Callable[[], bool], within_s: float = 10.0) -> None:
    """Poll for what no event tells."""
    deadline = asyncio.get_running_loop().time() + within_s
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "it did not come true"
        await asyncio.sleep(0.005)
