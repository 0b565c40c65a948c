"""The fleet that is soaked: five agents, two brokers, and which buses the agents are told of."""

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path
from signal import SIGHUP
from types import TracebackType
from typing import Any, Self

from tests.support.fleet_of_agents import FleetOfAgents, eventually
from tests.support.proxy import Proxy
from tests.support.rabbitmq import RabbitMQ

LASTING = ("a", "b")
"""Agents that live through it all; nothing is done to them but what happens to a bus."""
CUT = "c"
"""Reaches the first broker through a proxy."""
MORTAL = ("d", "e")
WHOLE_S = 90.0
ANCHOR = "anchor"
"""The service that both of LASTING offer all along: it has to be in every answer."""


class Site:
    """`async with Site(folder) as site:` starts it all and ends it all."""

    def __init__(self, folder: Path, logs: Path | None = None) -> None:
        """`logs`: a folder that gets what each agent wrote, in the end."""
        self._folder = folder
        self._logs = logs
        self._exit = AsyncExitStack()
        self.brokers = (RabbitMQ(), RabbitMQ())
        self.fleet = FleetOfAgents(folder, (), nodes="", heartbeat_s=1.0, ttl_s=5.0)
        self.proxy: Proxy
        self.two_buses = False
        self.anchors: set[str] = set()

    async def __aenter__(self) -> Self:
        try:
            for broker in self.brokers:
                await self._exit.enter_async_context(broker)
            self.proxy = await self._exit.enter_async_context(
                Proxy("127.0.0.1", self.brokers[0].port)
            )
            await self._exit.enter_async_context(self.fleet)
            await self.start(*LASTING, CUT, *MORTAL)
            for node in LASTING:
                self.anchors.add(await self.fleet.register(ANCHOR, node))
            await self.whole()
        except BaseException:
            await self._exit.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._logs is not None:
            for name, member in self.fleet.members.items():
                lines = [json.dumps(line) for line in member.process.log]
                (self._logs / f"{name}.log").write_text("\n".join(lines) + "\n")
        await self._exit.__aexit__(kind, error, trace)

    async def start(self, *nodes: str) -> None:
        for node in nodes:
            self._write_buses(node)
        await asyncio.gather(
            *(self.fleet.start(node, flags=("--bus-file", str(self._file(node)))) for node in nodes)
        )

    async def use_two_buses(self, two: bool) -> None:
        """Tell every agent, as an operator would: the file, and SIGHUP. One that is frozen gets it
        once it goes on; one that starts may have read the file already."""
        self.two_buses = two
        for name in list(self.fleet.members):
            self._write_buses(name)

            async def starting(name: str = name) -> str:
                alive = self.fleet[name].process.process.poll() is None
                return f"{name} is starting" if alive and not self.fleet[name].url else ""

            await eventually(starting)
            self.fleet[name].process.process.send_signal(SIGHUP)

    async def whole(self) -> None:
        """Every agent sees, over every bus that it is told of, and knows all the others."""
        await self.sees(*(member.name for member in self.fleet.running))
        await self.fleet.acquainted(WHOLE_S)
        await self.fleet.agree(within_s=WHOLE_S)

    async def sees(self, *names: str) -> None:
        """These run, and see over every bus that they are told of."""

        async def lacks() -> str:
            for name in names:
                status = await self.fleet.get(name, "/v1/status")
                states = [bus["state"] for bus in status["bus"]]
                if states != ["up"] * (1 + self.two_buses):
                    return f"{name}: {status['bus']}"
            return ""

        await eventually(lacks, within_s=WHOLE_S)

    async def metrics(self, node: str) -> str:
        """Over a connection of its own, which is gone when this returns."""
        reader, writer = await asyncio.open_connection(*_place(self.fleet[node].url))
        writer.write(b"GET /metrics HTTP/1.0\r\nHost: agent\r\n\r\n")
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer.partition(b"\r\n\r\n")[2].decode()

    async def services(self, node: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.fleet.get(node, "/v1/services"))["services"]
        return found

    def _file(self, node: str) -> Path:
        return self._folder / f"{node}.buses"

    def _write_buses(self, node: str) -> None:
        first, second = self.brokers
        urls = [first.url(port=self.proxy.port) if node == CUT else first.url()]
        if self.two_buses:
            urls.append(second.url())
        path = self._file(node)
        path.touch(mode=0o600)
        path.write_text("\n".join(urls) + "\n")


def _place(url: str) -> tuple[str, int]:
    host, _, port = url.removeprefix("http://").rpartition(":")
    return host, int(port)
