"""The HTTP shell: listens, answers, and stops without cutting anyone off."""

import asyncio
import logging
from collections.abc import Callable
from random import Random

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestPayloadError

from beacond.driver import Driver
from beacond.http.app import build_app
from beacond.http.events import EventRoutes
from beacond.http.front import Front
from beacond.http.guard import Writes
from beacond.http.instances import InstanceRoutes
from beacond.http.replies import Replies
from beacond.http.services import ServiceRoutes
from beacond.http.status import StatusRoutes
from beacond.http.waits import InFlight, Waits
from beacond.metrics import Metrics

log = logging.getLogger("beacond.http")

WAITERS_MAX = 10_000
"""Blocking queries at once."""
STREAMS_MAX = 1_000
"""Event streams at once."""
KEEPALIVE_S = 75.0
"""An idle connection is kept so long."""
BACKLOG = 1024
CUT_S = 0.5
"""For the last bytes of answers at the end of the drain, before connections are cut."""


class HttpServer:
    """One HTTP API of one agent, on any number of addresses."""

    def __init__(
        self,
        driver: Driver,
        *,
        metrics: Metrics,
        writes: Writes = "local",
        waiters_max: int = WAITERS_MAX,
        streams_max: int = STREAMS_MAX,
        random: Random | None = None,
    ) -> None:
        """`random` decides picks; None: seeded by the system."""
        self._driver = driver
        self._metrics = metrics
        self._writes = writes
        self._waits = Waits(waiters_max, metrics.http_waiters)
        self._streams = Waits(streams_max, metrics.event_streams)
        self._in_flight = InFlight()
        self._random = random or Random()
        self._replies = Replies(driver)
        self._front = Front(self._replies, KEEPALIVE_S)
        self._runner: web.AppRunner | None = None
        self._listeners: list[asyncio.Server] = []

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen on one more address; returns it, with the port taken where `port` is 0.

        Raises OSError.
        """
        if self._runner is None:
            self._runner = await self._set_up()
        assert self._runner.server is not None
        protocols = self._front.factory(self._runner.server)
        loop = asyncio.get_running_loop()
        listener = await loop.create_server(protocols, host, port, backlog=BACKLOG)
        self._listeners.append(listener)
        address, taken = listener.sockets[-1].getsockname()[:2]
        shown = f"[{address}]:{taken}" if ":" in address else f"{address}:{taken}"
        log.info("listening", extra={"address": shown})
        return address, taken

    async def stop(self, drain_s: float) -> None:
        """Take no new connection, answer who waits on purpose, let the rest finish for `drain_s`
        seconds at most, then cut."""
        runner, self._runner = self._runner, None
        if runner is None:
            return
        while self._listeners:
            self._listeners.pop().close()
        self._front.forget()
        self._waits.stop()
        self._streams.stop()
        if runner.server is not None:
            runner.server.pre_shutdown()
        left = await self._in_flight.none_left(drain_s)
        if left:
            log.warning("requests cut", extra={"count": left})
        await runner.cleanup()

    async def _set_up(self) -> web.AppRunner:
        replies = self._replies
        app = build_app(
            [
                *InstanceRoutes(self._driver, replies).routes(),
                *ServiceRoutes(self._driver, replies, self._waits, self._random).routes(),
                *EventRoutes(self._driver, replies, self._streams).routes(),
                *StatusRoutes(self._driver, replies, self._metrics).routes(),
            ],
            metrics=self._metrics,
            writes=self._writes,
            own_names=self._own_names,
            in_flight=self._in_flight,
            front=self._front,
        )
        runner = web.AppRunner(
            app,
            access_log=None,
            handler_cancellation=True,
            keepalive_timeout=KEEPALIVE_S,
            shutdown_timeout=CUT_S,
            logger=_protocol_log(self._metrics.dropped),
        )
        await runner.setup()
        return runner

    def _own_names(self) -> frozenset[str]:
        status = self._driver.status()
        return frozenset(("localhost", status.node, f"{status.node}.node.{status.domain}".lower()))


class _WithoutCallersFaults(logging.Filter):
    """Counts broken requests instead of logging them: anyone could fill the log with those, and
    each was answered 400."""

    def __init__(self, count: Callable[[str], None]) -> None:
        super().__init__()
        self._count = count

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, HttpProcessingError | RequestPayloadError):
            return record.levelno >= log.getEffectiveLevel()
        self._count("http-malformed")
        return False


def _protocol_log(count: Callable[[str], None]) -> logging.Logger:
    """What aiohttp tells of connections, for one server: its filter counts for that one."""
    # Some of them are told at DEBUG, and all are to be counted.
    protocol_log = logging.Logger("beacond.http.protocol", logging.DEBUG)
    protocol_log.parent = log
    protocol_log.addFilter(_WithoutCallersFaults(count))
    return protocol_log
