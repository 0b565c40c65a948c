"""A private RabbitMQ cluster of three servers on loopback, whose members can be lost and parted.

The servers share a port mapper and a cookie, find each other by their configuration, and are
started side by side. What a single server does (`kill`, `freeze`, `start`) its own `RabbitMQ` does.
"""

import asyncio
import secrets
import subprocess
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from enum import StrEnum
from types import TracebackType
from typing import Any, Self

from tests.support.proxy import Proxy
from tests.support.rabbitmq import (
    DEFAULT_USER,
    Membership,
    RabbitMQ,
    RabbitMQError,
    free_port,
    start_epmd,
)

SIZE = 3
NET_TICKTIME_S = 8
"""Instead of 60: a server that stands still is given up for lost after 6 to 10 s."""
FORMS_WITHIN_S = 60.0
PARTS_WITHIN_S = 20.0
MENDS_WITHIN_S = 5.0
"""After that a parted server is taken to stay so."""
POLL_S = 0.25

_PART = """
Others = [N || N <- rabbit_nodes:all(), N =/= node()],
Wait = fun W() -> filelib:is_file("part") orelse begin timer:sleep(5), W() end end,
spawn(fun() ->
    Wait(),
    [erlang:set_cookie(N, parted) || N <- Others],
    [erlang:disconnect_node(N) || N <- Others],
    file:write_file("parted", "")
end).
"""
_HEAL = """
[erlang:set_cookie(N, erlang:get_cookie()) || N <- rabbit_nodes:all(), N =/= node()],
[net_adm:ping(N) || N <- rabbit_nodes:all()].
"""


class PartitionHandling(StrEnum):
    """RabbitMQ's `cluster_partition_handling`."""

    IGNORE = "ignore"
    PAUSE_MINORITY = "pause_minority"
    AUTOHEAL = "autoheal"


class RabbitMQCluster:
    """`async with RabbitMQCluster() as cluster:` starts all servers and ends them all."""

    def __init__(
        self, handling: PartitionHandling = PartitionHandling.PAUSE_MINORITY, *, size: int = SIZE
    ) -> None:
        mark = secrets.token_hex(4)
        names = [f"bcn{mark}{letter}@localhost" for letter in "abcdefg"[:size]]
        settings = (
            f"cluster_partition_handling = {handling}",
            "cluster_formation.peer_discovery_backend = classic_config",
            # The first to begin finds nobody to join, and would ask for 5 s.
            "cluster_formation.discovery_retry_limit = 2",
            "cluster_formation.discovery_retry_interval = 300",
            *(f"cluster_formation.classic_config.nodes.{i} = {n}" for i, n in enumerate(names, 1)),
        )
        self.password = secrets.token_hex(8)
        self._handling = handling
        self._epmd_port = free_port()
        self._epmd: subprocess.Popen[bytes] | None = None
        cookie = secrets.token_hex(16)
        self.servers = [
            RabbitMQ(
                member=Membership(
                    node=name,
                    cookie=cookie,
                    epmd_port=self._epmd_port,
                    password=self.password,
                    settings=settings,
                    net_ticktime_s=NET_TICKTIME_S,
                )
            )
            for name in names
        ]

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Start every server that does not run; return when they are one cluster."""
        if self._epmd is None:
            self._epmd = start_epmd(self._epmd_port)
        await _all(server.revive() for server in self.servers)
        await self.forms()

    async def forms(self, within_s: float = FORMS_WITHIN_S) -> None:
        """Wait until every server sees all of them running. Raises RabbitMQError."""
        count = len(self.servers)
        try:
            async with asyncio.timeout(within_s):
                while await self._seen_running() != [count] * count:
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            logs = "\n".join(server.log()[-2000:] for server in self.servers)
            raise RabbitMQError(f"the servers did not become one cluster:\n{logs}") from None

    async def _seen_running(self) -> list[int]:
        expression = "length(rabbit_nodes:all_running())."
        tellings = await asyncio.gather(
            *(server.rabbitmqctl("eval", expression) for server in self.servers),
            return_exceptions=True,
        )
        return [int(t) if isinstance(t, str) and t.strip().isdigit() else 0 for t in tellings]

    def url(self, *ports: int) -> str:
        """Names all servers, or `ports` of proxies before them, as an operator would."""
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports or self.ports)
        return f"amqp://{DEFAULT_USER}:{self.password}@{hosts}/"

    @property
    def ports(self) -> list[int]:
        return [server.port for server in self.servers]

    async def handle(self, handling: PartitionHandling) -> None:
        """From now on, and until a server is started anew, deal with partitions in this way."""
        expression = f"application:set_env(rabbit, cluster_partition_handling, {handling})."
        await _all(server.rabbitmqctl("eval", expression) for server in self.servers)

    async def partition(self, server: RabbitMQ) -> None:
        """Part this server from the others: connections between them end, and new ones are
        refused on both sides until `heal`.

        The others stand still for that moment: who sees it go before the rest do would part from
        those too, since RabbitMQ makes a full partition of a partial one.
        """
        part, parted = server.folder / "part", server.folder / "parted"
        for mark in (part, parted):
            mark.unlink(missing_ok=True)
        await server.rabbitmqctl("eval", _PART)
        others = [other for other in self.servers if other is not server]
        try:
            for other in others:
                other.freeze()
            part.touch()
            async with asyncio.timeout(PARTS_WITHIN_S):
                while not parted.exists():
                    await asyncio.sleep(0.005)
        finally:
            for other in others:
                other.thaw()

    async def heal(self, server: RabbitMQ) -> None:
        """Let it and the others reach each other again; what they make of it is their affair."""
        await server.rabbitmqctl("eval", _HEAL)

    async def mend(self) -> None:
        """Whatever was done to it: one cluster again, with the handling it began with."""
        await _all(server.revive() for server in self.servers)
        await _all(self.heal(server) for server in self.servers)
        await self.handle(self._handling)
        try:
            await self.forms(MENDS_WITHIN_S)
        except RabbitMQError:
            await self.restart_parted()

    async def restart_parted(self) -> None:
        """Start anew who sees fewer servers than others do, as RabbitMQ's documents ask for where
        it does not rejoin by itself."""
        seen = await self._seen_running()
        for server, count in zip(self.servers, seen, strict=True):
            if count < max(seen):
                await server.kill()
                await server.start()
        await self.forms()

    async def close(self) -> None:
        """End all servers and the port mapper, and remove their folders."""
        try:
            await _all(server.close() for server in self.servers)
        finally:
            if self._epmd is not None:
                self._epmd.kill()
                self._epmd.wait()
                self._epmd = None


class Homes:
    """URLs of all servers, each with one by which its agent begins: the ways to the others are
    closed until `open`."""

    def __init__(self, urls: dict[str, str], closed: list[Proxy]) -> None:
        self.urls = urls
        self._closed = closed

    def open(self) -> None:
        for proxy in self._closed:
            proxy.refuse(False)


@asynccontextmanager
async def homes(cluster: RabbitMQCluster, nodes: Iterable[str]) -> AsyncIterator[Homes]:
    """The first node begins at the first server, and so on, around."""
    async with AsyncExitStack() as stack:
        urls: dict[str, str] = {}
        closed: list[Proxy] = []
        for number, node in enumerate(nodes):
            ports = cluster.ports
            home = number % len(ports)
            for other in range(len(ports)):
                if other != home:
                    way = await stack.enter_async_context(Proxy("127.0.0.1", ports[other]))
                    way.refuse()
                    closed.append(way)
                    ports[other] = way.port
            urls[node] = cluster.url(*ports)
        yield Homes(urls, closed)


async def _all(calls: Iterable[Coroutine[Any, Any, Any]]) -> None:
    """Side by side, each to its end; then the first error is raised."""
    for result in await asyncio.gather(*calls, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result
