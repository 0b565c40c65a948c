"""The composition root: builds the parts of one agent, starts and drains them in order."""

import asyncio
import gc
import logging
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING

import uvloop

from beacond import __version__, journal, logs, sdnotify
from beacond.bus.base import BusConfigError
from beacond.bus.url import open_bus
from beacond.buses import Buses
from beacond.config import SETTINGS, Config, ConfigError
from beacond.config.addresses import advertised
from beacond.core.local import NotPersisted
from beacond.core.names import is_loopback
from beacond.core.node import Node
from beacond.core.settings import Settings
from beacond.disk import Disk, Past, take_snapshot
from beacond.dns.server import DnsConfig, DnsServer
from beacond.doors import Target, Targets
from beacond.driver import Driver
from beacond.metrics import Metrics
from beacond.store.datadir import DataDir
from beacond.store.durable import StoreError
from beacond.supervise import supervise
from beacond.wire import Codec, Keyring, KeyringError

if TYPE_CHECKING:
    from beacond.health.runner import HealthRunner
    from beacond.http.server import HttpServer
    from beacond.services_dir import ServicesDir

log = logging.getLogger("beacond.agent")

SNAPSHOT_S = 5.0
PROBE_TIMEOUT_S = 1.2
"""Of a TCP connection: the first packet may be lost once, it is sent again after 1 s."""
HTTP_DRAIN_S = 5.0
GOODBYE_S = 2.0
START_S = 10.0
DNS_FIRST_S = 0.5
"""So long, at most, HTTP waits for DNS to listen."""
RELOADABLE = frozenset({"bus", "bus_file", "keys_file", "log_format", "log_level"})
"""Settings that take effect at SIGHUP; the others at the next start."""

Reload = Callable[[], Config]


class Agent:
    """One agent in one event loop. `http_at` and `dns_at` are where it listens, once it does."""

    def __init__(
        self,
        config: Config,
        addresses: tuple[str, ...],
        data: DataDir,
        past: Past,
        keyring: Keyring | None,
    ) -> None:
        """`addresses`: those to advertise. Raises BusConfigError."""
        self.config = config
        self._past: Past | None = past
        self._data = data
        self._disk = Disk(data, past.refused)
        self._rng = random.Random()
        self.metrics = Metrics()
        settings = _settings(config, addresses, past)
        now = asyncio.get_running_loop().time()
        self.core = Node(settings, self._rng, now, time.time())
        self._codec = Codec(fleet=config.fleet, node=config.node, keyring=keyring)
        self.driver = Driver(
            self.core,
            self._codec,
            self._disk,
            self.metrics,
            fleet=config.fleet,
            domain=config.domain,
            probe=_probe,
            file_modes=past.registrations.file_modes,
        )
        self.metrics.watch(self.driver)
        self.driver.on_event(journal.write)
        self._buses = Buses(
            config.bus,
            open_bus=partial(
                open_bus,
                fleet=config.fleet,
                node=config.node,
                incarnation=settings.incarnation,
            ),
            driver=self.driver,
            supervise=self._supervise,
        )
        self._http: HttpServer | None = None
        self._dns = DnsServer(_dns_config(config), self.driver.view, self.metrics, self._rng)
        self._files = self._services_dir(config)
        self._parts: set[asyncio.Task[None]] = set()
        self.http_at: tuple[str, int] | None = None
        self.dns_at: tuple[str, int] | None = None
        self.listening = asyncio.Event()
        """Set once HTTP and DNS listen, as far as they are wanted."""

    async def run(self, stop: asyncio.Event, reload: asyncio.Event, read: Reload) -> None:
        """Serve until `stop` is set or somebody asked this agent to leave, then say goodbye."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._end)
            await self._start()
            await self._start_http()
            reloads = asyncio.create_task(self._follow_reloads(reload, read))
            stack.callback(reloads.cancel)
            stops = [asyncio.create_task(e.wait()) for e in (stop, self.driver.leave_asked)]
            await asyncio.wait(stops, return_when=asyncio.FIRST_COMPLETED)
            for waiting in stops:
                waiting.cancel()
            await self._say_goodbye()

    # ---- start

    async def _start(self) -> None:
        """The last known view first, then DNS and the bus."""
        past, self._past = self._past, None
        assert past is not None
        self._tell_start(past)
        self._supervise("disk", partial(self._disk.mind, self.driver.failing))
        self.driver.start(
            self.core.restore(
                registrations=past.registrations.instances,
                host_mode=past.registrations.host_mode,
                statuses=past.statuses(),
                rebooted=past.identity.rebooted,
                records=past.records(self._codec),
                tombstones=past.tombstones(),
                saved_at=past.snapshot.saved_at if past.snapshot is not None else None,
            )
        )
        if self._files is not None:
            await self._files.reload()
            self._supervise("services_dir", self._files.run)
        listening = self._supervise("dns", self._listen_dns)
        self._buses.start()
        self._supervise("snapshot", self._save_snapshots)
        self._supervise("systemd", self._tell_systemd)
        await asyncio.wait({listening}, timeout=DNS_FIRST_S)

    async def _start_http(self) -> None:
        """What needs aiohttp, which takes as long to load as most of the rest: DNS answers some
        0.2 s earlier for it, and also meanwhile."""
        make_http, make_health = await asyncio.to_thread(_load_http)
        self._http = make_http(self.driver, metrics=self.metrics, writes=self.config.http_writes)
        self._supervise("http", partial(self._listen_http, self._http))
        health = make_health(self.driver, allow_exec=self.config.allow_exec, rng=self._rng)
        self._supervise("health", health.run)

    def _tell_start(self, past: Past) -> None:
        settings = self.core.settings
        log.info(
            "starting",
            extra={
                "version": __version__,
                "node": settings.node,
                "fleet": self.config.fleet,
                "incarnation": settings.incarnation,
                "addresses": " ".join(settings.addresses),
                "bus": " ".join(self._buses.shown),
                "config": str(self.config.file or "none"),
                "restored_registrations": len(past.registrations.instances),
                "restored_nodes": 0 if past.snapshot is None else len(past.snapshot.records),
            },
        )
        self._warn_of_loopback(self.config)
        for note in self.config.notes:
            log.warning("configuration", extra={"note": note})

    def _warn_of_loopback(self, config: Config) -> None:
        elsewhere = any(not url.startswith("local:") for url in config.bus)
        if elsewhere and all(map(is_loopback, self.core.settings.addresses)):
            log.warning("only this host can reach the address advertised; see --advertise")

    def _services_dir(self, config: Config) -> "ServicesDir | None":
        if config.services_dir is None:
            return None
        from beacond.services_dir import ServicesDir

        return ServicesDir(
            config.services_dir,
            self.driver,
            address=self.core.settings.addresses[0],
            allow_exec=config.allow_exec,
        )

    def _supervise(self, name: str, run: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        part = asyncio.create_task(
            supervise(
                name,
                run,
                count_restart=self.metrics.shell_restarted,
                failing=self.driver.failing,
                rng=self._rng,
            ),
            name=name,
        )
        self._parts.add(part)
        part.add_done_callback(self._parts.discard)
        return part

    async def _listen_http(self, http: "HttpServer") -> None:
        if self.config.http is not None:
            self.http_at = await http.start(self.config.http.host, self.config.http.port)
        self._tell_listening("http")

    async def _listen_dns(self) -> None:
        if self.config.dns is not None:
            self.dns_at = await self._dns.start(self.config.dns.host, self.config.dns.port)
        self._tell_listening("dns")

    def _tell_listening(self, part: str) -> None:
        http_done = self.config.http is None or self.http_at is not None
        dns_done = self.config.dns is None or self.dns_at is not None
        if http_done and dns_done:
            self.listening.set()

    async def _tell_systemd(self) -> None:
        await self.listening.wait()
        sdnotify.notify("READY=1")
        interval_s = sdnotify.watchdog_interval_s()
        while interval_s is not None:
            sdnotify.notify("WATCHDOG=1")
            await asyncio.sleep(interval_s)

    # ---- while it runs

    async def _save_snapshots(self) -> None:
        saved, complained = -1, False
        while True:
            await asyncio.sleep(SNAPSHOT_S)
            if self.core.view.index == saved:
                continue
            index = self.core.view.index
            try:
                await asyncio.to_thread(
                    self._disk.save_snapshot, take_snapshot(self.core, self.driver)
                )
                saved, complained = index, False
            except NotPersisted as error:
                if not complained:
                    log.error("snapshot not saved", extra={"reason": str(error)})
                complained = True

    async def _follow_reloads(self, reload: asyncio.Event, read: Reload) -> None:
        while True:
            await reload.wait()
            reload.clear()
            sdnotify.reloading()
            await self._reload(read)
            sdnotify.notify("READY=1")

    async def _reload(self, read: Reload) -> None:
        """What can change while running does; an error changes nothing."""
        try:
            config = await asyncio.to_thread(read)
            keyring = await asyncio.to_thread(load_keyring, config)
            buses_changed = await self._buses.change(config.bus)
        except (ConfigError, KeyringError, BusConfigError) as error:
            log.error("not reloaded", extra={"reason": " | ".join(str(error).splitlines())})
            return
        self.driver.set_keyring(keyring)
        logs.set_up(config.log_level, config.log_format)
        late = [
            setting.key
            for setting in SETTINGS
            if setting.key not in RELOADABLE
            and getattr(config, setting.target) != getattr(self.config, setting.target)
        ]
        if self._files is not None:
            await self._files.reload()
        log.info("reloaded")
        if buses_changed:
            log.info("buses changed", extra={"bus": " ".join(self._buses.shown)})
            self._warn_of_loopback(config)
        if late:
            log.warning("settings wait for the next start", extra={"keys": " ".join(late)})

    # ---- the end, in order

    async def _say_goodbye(self) -> None:
        """Drain, then goodbye: gone at once, or kept by the others until we are back."""
        sdnotify.notify("STOPPING=1")
        leaving = self.driver.leave_asked.is_set() or self.config.on_stop == "leave"
        log.info("stopping", extra={"goodbye": "leave" if leaving else "hold"})
        if leaving and self.config.drain_s > 0:
            self.driver.drain()
            await asyncio.sleep(self.config.drain_s)
        hold_s = 0.0 if leaving else self.config.hold_for_s
        await self.driver.say_goodbye(hold_s, GOODBYE_S)

    async def _end(self) -> None:
        """Readers first, so that nobody asks a half-stopped agent; the bus last."""
        self.driver.end_streams()
        if self._http is not None:
            await self._http.stop(HTTP_DRAIN_S)
        await self._dns.stop()
        parts = list(self._parts)
        for task in parts:
            task.cancel()
        await asyncio.gather(*parts, return_exceptions=True)
        await self.driver.close()
        try:
            snapshot = take_snapshot(self.core, self.driver)
            await asyncio.to_thread(self._disk.save_snapshot, snapshot)
        except NotPersisted as error:
            log.error("snapshot not saved", extra={"reason": str(error)})
        await asyncio.to_thread(self._data.close)
        log.info("stopped")


def _settings(config: Config, addresses: tuple[str, ...], past: Past) -> Settings:
    return Settings(
        node=config.node,
        incarnation=past.identity.incarnation,
        boot_id=os.urandom(16),
        addresses=addresses,
        zone=config.zone,
        agent_version=__version__,
        interval_s=config.heartbeat_s,
        ttl_s=config.ttl_s,
        relay_from=config.relay_from,
        former=past.former,
    )


def _dns_config(config: Config) -> DnsConfig:
    return DnsConfig(
        domain=config.domain,
        node=config.node,
        ttl_s=config.dns_ttl_s,
        recursors=tuple(map(str, config.recursors)),
    )


def load_keyring(config: Config) -> Keyring | None:
    """Raises KeyringError."""
    return None if config.keys_file is None else Keyring.load(config.keys_file)


async def _probe(targets: Targets) -> frozenset[Target]:
    from beacond.health.probes import tcp_reachable

    return await tcp_reachable(targets, PROBE_TIMEOUT_S)


def _load_http() -> "tuple[type[HttpServer], type[HealthRunner]]":
    from beacond.health.runner import HealthRunner
    from beacond.http.server import HttpServer

    return HttpServer, HealthRunner


def _load_rest() -> None:
    """What nobody needs before the first write."""
    import beacond.spec.registration  # noqa: F401


def main(config: Config, reload: Reload) -> int:
    """Run one agent until it is told to stop; the exit status of the process."""
    try:
        keyring = load_keyring(config)
        data = DataDir.open(config.data_dir)
    except (StoreError, KeyringError) as error:
        log.error("cannot start", extra={"reason": str(error)})
        return 1
    try:
        past = Past.load(data, node=config.node, fleet=config.fleet)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            agent = partial(Agent, config, advertised(config), data, past, keyring)
            return runner.run(_run(agent, reload))
    except (StoreError, BusConfigError) as error:
        log.error("cannot start", extra={"reason": str(error)})
        return 1
    finally:
        data.close()


async def _run(build: Callable[[], Agent], read: Reload) -> int:
    loop = asyncio.get_running_loop()
    stop, reload = asyncio.Event(), asyncio.Event()

    def on_stop() -> None:
        if stop.is_set():
            log.error("stopped at once: asked twice")
            os._exit(1)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_stop)
    loop.add_signal_handler(signal.SIGHUP, reload.set)
    agent = build()
    started = asyncio.create_task(_settle(agent.listening))
    await agent.run(stop, reload, read)
    started.cancel()
    return 0


async def _settle(started: asyncio.Event, within_s: float = START_S) -> None:
    """Load what reads did not need, before the first write does, and collect garbage again.

    What a start makes lives as long as the process: `beacond agent` turns collection off until
    then, which saves a fifth of the start, and those objects are never looked at again. Where an
    address is taken it may never listen, and collects all the same.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            await started.wait()
    await asyncio.to_thread(_load_rest)
    gc.freeze()
    gc.enable()
