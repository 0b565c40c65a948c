"""A small real fleet on loopback: a process for each agent, and the truth about what runs.

    async with FleetOfAgents(tmp_path, broker.url()) as fleet:    # nodes a, b, c; all know all
        await fleet.register("web", "a")                          # -> "web-601"
        await fleet.agree()               # every running agent answers the truth, fresh
        since = await fleet.mark()
        async with fleet.asking() as asked:     # tests/support/lookups.py; its end is the verdict
            await fleet.kill("b")               # -9, as if its host had gone
            ...
            await fleet.start("b")              # same data folder; asked again once it is ready
        stops = await fleet.events(since, "instance.stopped")

FleetOfAgents(folder, bus, nodes="a b c", *, heartbeat_s=1, ttl_s=3, flags=(), env={})
    `bus`: a URL, several (all of them for each agent), or {node: URL or URLs}; `fleet.bus` may be
    set anew before a `start`. Node number n (from 1) advertises 127.0.0.(n+1); HTTP and DNS are on
    free ports of 127.0.0.1; data are in folder/NODE/data.
fleet[name] -> Member: name, address, url, dns, runs, process (AgentProcess: .log, .logged(...))
fleet.truth; fleet.running; fleet.window_s: detection window, ttl + 4 intervals + slack
await start(*names, flags=(), env={}), stop(name) -> exit status, kill(name, host=True),
      freeze(name), thaw(name)
    They note the truth and tell the asking. kill(host=False): only the agent dies, its instances
    run on, and may be answered or not until it is back; so with freeze. `start` and `thaw` end it,
    `start` once the agent is ready.
await register(service, node, *, listening=False) -> id, deregister(id, node)
    Nothing listens at its port unless `listening`; then somebody does until it is deregistered or
    its host dies.
await get(name, path) -> JSON
await agree(*names, within_s=60, fresh=True), acquainted(), sighted(*names), blind(*names)
    Wait for it; no names: every running agent. Sighted: not stale, and not mute.
await mark() -> where everyone's event log is
await events(mark, *kinds) -> [{"told_by": name, **event}], all kinds or these; who was not running
    at the mark tells all it has
asking(services=None, *, window_s=None, per_s=...) -> as tests.support.lookups.asking
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP
from types import TracebackType
from typing import Any, Self

import aiohttp

from tests.support.agent_process import AgentProcess
from tests.support.lookups import PER_S, Asked, asking
from tests.support.truth import Key, Place, Truth

Bus = str | Sequence[str]
WITHIN_S = 60.0
"""For what is not a promise of beacond: a process that starts, say."""
SLACK_S = 6.0
"""Of the window: what a busy machine takes."""
POLL_S = 0.05
FIRST_PORT = 601
"""Nobody listens here, on any address of loopback."""


async def eventually(
    wrong: Callable[[], Awaitable[str]], *, within_s: float = WITHIN_S, poll_s: float = POLL_S
) -> None:
    """Ask until nothing is wrong. Raises AssertionError with what still is."""
    deadline = time.monotonic() + within_s
    while what := await wrong():
        assert time.monotonic() < deadline, f"not within {within_s:.1f} s: {what}"
        await asyncio.sleep(poll_s)


@dataclass(slots=True)
class Member:
    name: str
    address: str
    process: AgentProcess
    url: str = ""
    dns: Place = ("", 0)
    runs: bool = True
    """Neither killed, stopped nor frozen."""
    doubtful: bool = False
    """Its instances run on while it does not."""
    frozen: bool = False


class FleetOfAgents:
    def __init__(
        self,
        folder: Path,
        bus: Bus | Mapping[str, Bus],
        nodes: str = "a b c",
        *,
        heartbeat_s: float = 1.0,
        ttl_s: float = 3.0,
        flags: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.truth = Truth()
        self.members: dict[str, Member] = {}
        self.nodes = nodes.split()
        self.name = f"fleet-{secrets.token_hex(4)}"
        # The spread of reconnects of a small fleet is one interval.
        self.window_s = ttl_s + 4 * heartbeat_s + SLACK_S
        self._folder = folder
        self.bus = bus
        timing = ("--heartbeat", f"{heartbeat_s:g}s", "--ttl", f"{ttl_s:g}s")
        self._flags = ("--fleet", self.name, *timing, *flags)
        self._env = dict(env or {})
        self._next_port = FIRST_PORT
        self._listeners: dict[Key, asyncio.Server] = {}
        self._asked: list[Asked] = []
        self._exit = AsyncExitStack()
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        try:
            self._session = await self._exit.enter_async_context(
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10))
            )
            await self.start(*self.nodes)
            await self.acquainted()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            for member in self.members.values():
                tail = "\n".join(map(str, member.process.log[-25:]))
                error.add_note(f"log of {member.name}:\n{tail}")
        await self._close()

    async def _close(self) -> None:
        for server in self._listeners.values():
            server.close()
        ending = (self._end(member) for member in self.members.values())
        try:
            await asyncio.gather(*ending, return_exceptions=True)
        finally:
            await self._exit.aclose()

    def __getitem__(self, name: str) -> Member:
        return self.members[name]

    @property
    def running(self) -> list[Member]:
        return [member for member in self.members.values() if member.runs]

    # ---- agents
    async def start(
        self, *names: str, flags: Sequence[str] = (), env: Mapping[str, str] | None = None
    ) -> None:
        """For the first time, or again with the data that they had. Returns when they are ready."""
        for name in names:
            self._spawn(name, flags, {**self._env, **(env or {})})
        await asyncio.gather(*(self._ready(self.members[name]) for name in names))
        for name in names:
            self.truth.end_uncertain(name)
            for asked in self._asked:
                asked.join(self.members[name])

    def _spawn(self, name: str, flags: Sequence[str], env: Mapping[str, str]) -> None:
        former = self.members.get(name)
        if former is not None and former.runs:
            raise ValueError(f"{name} runs")
        if name not in self.nodes:
            self.nodes.append(name)
        if former is None or not former.doubtful:
            # It speaks once it has started, and how long that takes is no promise.
            self.truth.begin_uncertain(name)
        self.truth.started_node(name)
        address = f"127.0.0.{self.nodes.index(name) + 2}"
        bus = self.bus[name] if isinstance(self.bus, Mapping) else self.bus
        buses = [bus] if isinstance(bus, str) else bus
        told = [word for url in buses for word in ("--bus", url)]
        own = ("--node", name, "--advertise", address)
        process = AgentProcess(self._folder / name, *self._flags, *own, *told, *flags, **env)
        self.members[name] = Member(name, address, process)

    async def _ready(self, member: Member) -> None:
        async def not_listening() -> str:
            assert member.process.process.poll() is None, member.process.log[-20:]
            found = {
                part: lines[-1]["address"]
                for part in ("http", "dns")
                if (lines := member.process.logged("listening", f"beacond.{part}"))
            }
            if len(found) < 2:
                return f"{member.name} does not listen: {member.process.log[-5:]}"
            member.url = f"http://{found['http']}"
            host, _, port = found["dns"].rpartition(":")
            member.dns = (host, int(port))
            return ""

        async def not_ready() -> str:
            async with self._session.get(f"{member.url}/readyz") as response:
                return "" if response.status == 200 else await response.text()

        await eventually(not_listening)
        await eventually(not_ready)

    async def stop(self, name: str) -> int:
        """Gracefully: its goodbye takes its instances along. Its exit status."""
        member = self._parts(name)
        self.truth.stopped_node(name)
        return await asyncio.to_thread(member.process.stop)

    async def kill(self, name: str, *, host: bool = True) -> None:
        """With -9. `host`: what runs beside it is gone as well."""
        member = self._parts(name)
        if host:
            self.truth.stopped_node(name)
            for key in [key for key in self._listeners if key.node == name]:
                self._listeners.pop(key).close()
        else:
            self._doubt(member)
        member.process.process.send_signal(SIGKILL)
        await asyncio.to_thread(member.process.stop)

    async def freeze(self, name: str) -> None:
        member = self._parts(name)
        self._doubt(member)
        member.frozen = True
        member.process.process.send_signal(SIGSTOP)

    async def thaw(self, name: str) -> None:
        member = self.members[name]
        member.process.process.send_signal(SIGCONT)
        self.truth.end_uncertain(name)
        member.frozen, member.doubtful, member.runs = False, False, True
        for asked in self._asked:
            asked.join(member)

    def _parts(self, name: str) -> Member:
        member = self.members[name]
        if not member.runs:
            raise ValueError(f"{name} does not run")
        for asked in self._asked:
            asked.part(name)
        member.runs = False
        return member

    def _doubt(self, member: Member) -> None:
        member.doubtful = True
        self.truth.begin_uncertain(member.name)

    async def _end(self, member: Member) -> None:
        if member.frozen:
            member.process.process.send_signal(SIGKILL)
        await asyncio.to_thread(member.process.stop)

    # ---- instances
    async def register(self, service: str, node: str, *, listening: bool = False) -> str:
        """Over HTTP, without checks. Its id."""
        member = self.members[node]
        port = self._next_port
        server = None
        if listening:
            server = await asyncio.start_server(_hang_up, member.address, 0)
            port = server.sockets[0].getsockname()[1]
        else:
            self._next_port += 1
        instance_id = f"{service}-{port}"
        if server is not None:
            self._listeners[Key(node, instance_id)] = server
        self.truth.started(service, node, instance_id, place=(member.address, port))
        url = f"{member.url}/v1/instances/{instance_id}"
        async with self._session.put(url, json={"service": service, "port": port}) as response:
            assert response.status == 201, await response.text()
        return instance_id

    async def deregister(self, instance_id: str, node: str) -> None:
        self.truth.stopped(instance_id.rpartition("-")[0], node, instance_id)
        url = f"{self.members[node].url}/v1/instances/{instance_id}"
        async with self._session.delete(url) as response:
            assert response.status == 204, await response.text()
        if (server := self._listeners.pop(Key(node, instance_id), None)) is not None:
            server.close()

    # ---- looking
    async def get(self, name: str, path: str) -> Any:
        async with self._session.get(self.members[name].url + path) as response:
            assert response.status == 200, await response.text()
            return await response.json()

    async def acquainted(self, within_s: float = WITHIN_S) -> None:
        """Every running agent knows every other as alive."""

        async def strangers() -> str:
            for member in self.running:
                known = (await self.get(member.name, "/v1/agents"))["agents"]
                alive = {each["node"] for each in known if each["state"] == "alive"}
                if missing := {each.name for each in self.running} - alive:
                    return f"{member.name} does not know {sorted(missing)} as alive"
            return ""

        await eventually(strangers, within_s=within_s)

    async def agree(self, *names: str, within_s: float = WITHIN_S, fresh: bool = True) -> None:
        """Every running agent (or these) answers what is true now; `fresh`: of fresh instances,
        and not stale."""

        async def untrue() -> str:
            for member in [m for m in self.running if not names or m.name in names]:
                for service in self.truth.services():
                    if what := await self._untrue(member, service, fresh):
                        return f"{member.name}: {what}"
            return ""

        await eventually(untrue, within_s=within_s)

    async def _untrue(self, member: Member, service: str, fresh: bool) -> str:
        answer = await self.get(member.name, f"/v1/services/{service}")
        found = {Key(each["node"], each["id"]) for each in answer["instances"]}
        wanted = set(self.truth.running(service))
        if found != wanted:
            return f"{service} is {sorted(map(str, found))}, not {sorted(map(str, wanted))}"
        if fresh and answer["stale_since"] is not None:
            return f"stale since {answer['stale_since']}"
        doubted = [each["id"] for each in answer["instances"] if each["freshness"] != "fresh"]
        return f"{doubted} are not fresh" if fresh and doubted else ""

    async def sighted(self, *names: str, within_s: float = WITHIN_S) -> None:
        """Every running agent (or these) sees again, and is not mute."""
        await self._sight(names, True, within_s)

    async def blind(self, *names: str, within_s: float = WITHIN_S) -> None:
        """Every running agent (or these) says that it is blind."""
        await self._sight(names, False, within_s)

    async def _sight(self, names: Sequence[str], sees: bool, within_s: float) -> None:
        async def otherwise() -> str:
            for member in [m for m in self.running if not names or m.name in names]:
                status = await self.get(member.name, "/v1/status")
                speaks = any(b["state"] == "up" and not b["mute"] for b in status["bus"])
                if (status["stale_since"] is None) != sees or (sees and not speaks):
                    return f"{member.name} is stale since {status['stale_since']}: {status['bus']}"
            return ""

        await eventually(otherwise, within_s=within_s)

    async def saved(self, name: str, data: Path | None = None) -> None:
        """This one's snapshot, in its data folder (or this one), has what runs elsewhere."""
        path = (data or self._folder / name / "data") / "snapshot"
        elsewhere = [key.id.encode() for key in self._alive() if key.node != name]

        async def missing() -> str:
            there = path.read_bytes() if path.exists() else b""
            return ", ".join(f"{one!r} is not in {path}" for one in elsewhere if one not in there)

        await eventually(missing)

    def _alive(self) -> list[Key]:
        services = self.truth.services()
        return [key for service in services for key in self.truth.running(service)]

    async def mark(self) -> dict[str, str]:
        return {m.name: (await self.get(m.name, "/v1/events"))["next"] for m in self.running}

    async def events(self, since: Mapping[str, str], *kinds: str) -> list[dict[str, Any]]:
        """What running agents told after that mark: all kinds, or these."""
        told: list[dict[str, Any]] = []
        for member in self.running:
            page = await self.get(member.name, f"/v1/events?since={since.get(member.name, '')}")
            told += [
                {"told_by": member.name, **event}
                for event in page["events"]
                if not kinds or event["kind"] in kinds
            ]
        return told

    @asynccontextmanager
    async def asking(
        self,
        services: Sequence[str] | None = None,
        *,
        window_s: float | None = None,
        per_s: float = PER_S,
    ) -> AsyncIterator[Asked]:
        window_s = self.window_s if window_s is None else window_s
        agents = self.running
        async with asking(self.truth, agents, services, window_s=window_s, per_s=per_s) as asked:
            self._asked.append(asked)
            try:
                yield asked
            finally:
                self._asked.remove(asked)


async def _hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()
