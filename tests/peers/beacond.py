"""Three beacond agents on one RabbitMQ server, as in `docs/rabbitmq.md`."""

import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from beacond import __version__
from tests.peers.base import Done, Host, Part, Site
from tests.peers.places import Lan, Place, free_ports
from tests.peers.processes import Server, Talker
from tests.support.agent_process import BEACOND
from tests.support.rabbitmq import RabbitMQ

RUN = "run"
"""A way to register: the program is started by `beacond run`, which registers it."""


class RabbitBroker:
    """The launcher of the tests' broker as a part of a site."""

    name = "rabbitmq"

    def __init__(self, lan: Lan | None) -> None:
        place = None if lan is None else lan.broker
        self.server = RabbitMQ(address=place.address, enter=place.enter) if place else RabbitMQ()
        self._running = False
        self._forgets = False

    @property
    def running(self) -> bool:
        return self._running

    async def start(self) -> None:
        await self.server.start(wiped=self._forgets)
        self._running, self._forgets = True, False

    async def stop(self) -> None:
        await self.server.stop()
        self._running = False

    async def kill(self) -> None:
        await self.server.kill()
        self._running = False

    def freeze(self) -> None:
        self.server.freeze()

    def thaw(self) -> None:
        self.server.thaw()

    async def close(self) -> None:
        await self.server.close()
        self._running = False

    def forget(self) -> None:
        self._forgets = True


class BeacondHost(Host):
    async def prepare(self, instance_id: str, way: str = "", service: str = "") -> Talker:
        if way != RUN:
            return await super().prepare(instance_id)
        (port,) = free_ports([self.place], 1)
        config = self.site.client_config(self)
        command = [
            *(*BEACOND, "run", "--name", service, "--port", str(port), "--id", instance_id),
            *("--address", self.place.address),
            *("--agent", f"http://{self.place.local}:{config['http_port']}", "--"),
        ]
        program = Talker("program", self.place, self.site.folder / f"{self.name}-run.log")
        await program.start(config | {"port": port}, command)
        self.programs[instance_id] = program
        return program

    async def register(self, service: str, instance_id: str, *, way: str = "") -> Done:
        program = await self.prepare(instance_id, way, service)
        if way == RUN:
            return Done(program.hello["ready_at"], program.hello["ready_at"])
        return await self.announce(program, service, instance_id, way)

    async def crash_service(self, instance_id: str) -> None:
        """Of a program under `run`, only itself is killed."""
        program = self.programs.pop(instance_id)
        with suppress(ProcessLookupError):
            os.kill(program.hello["pid"], signal.SIGKILL)
        await program.ended()


class BeacondSite(Site):
    name = "beacond"

    host_class = BeacondHost
    _ports: tuple[int, int] = (0, 0)

    def __init__(self, folder: Path, places: Sequence[Place], **settings: Any) -> None:
        super().__init__(folder, places, **settings)
        self._rabbit = RabbitBroker(self.lan)
        self.broker = self._rabbit

    @property
    def settings(self) -> str:
        heartbeat, ttl = (f"{s:g} s" for s in (self.timing.heartbeat_s, self.timing.ttl_s))
        return (
            f"3 agents, heartbeat {heartbeat}, ttl {ttl}, one RabbitMQ server; tcp checks every"
            " 1 s, 3 failures (the default) until critical, first status passing"
        )

    @property
    def infrastructure(self) -> Sequence[Part]:
        return [self._rabbit]

    def local_part(self, place: Place) -> Part:
        if self._ports == (0, 0):
            first, second = free_ports(self.places, 2)
            self._ports = (first, second)
        http, dns = (f"{place.local}:{port}" for port in self._ports)
        heartbeat, ttl = (f"{s:g}s" for s in (self.timing.heartbeat_s, self.timing.ttl_s))
        command: list[str] = [
            *(*BEACOND, "agent", "--node", place.name, "--advertise", place.address),
            *("--fleet", "peers", "--http", http, "--dns", dns),
            *("--data-dir", str(self.folder / place.name / "data")),
            *("--heartbeat", heartbeat, "--ttl", ttl),
        ]
        env = {"BEACOND_BUS": self._rabbit.server.url()}
        return Server(f"beacond-{place.name}", place, command, self.folder, env)

    def client_config(self, host: Host) -> dict[str, Any]:
        return {
            "system": "beacond",
            "address": host.place.address,
            "local": host.place.local,
            "http_port": self._ports[0],
        }

    async def version(self) -> str:
        return __version__
