"""Work for the fleet: instances that come, change and go, streams, blocking queries, `run`."""

import asyncio
import os
import random
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import aiohttp

from tests.soak.samples import LOG_EVENTS
from tests.soak.site import LASTING, Site
from tests.support.agent_process import BEACOND, environment
from tests.support.fleet_of_agents import eventually

OWN_NAMES = 8
"""Services that come back in every cycle; besides, each cycle has as many that never do."""
ASK_S = 10.0
WRITERS = 4
INSTANCES_MAX = 12
"""Of one agent at a time."""
TOLD_MAX = 5

EVENTS_A_ROUND = 8
"""Registered, started; health, stopped; health, started; stopped, deregistered."""
SIDE_BY_SIDE = 8

Work = Callable[[], Awaitable[None]]


class Churn:
    """`async with Churn(site, cycle) as churn:` works until the end of the block, and then takes
    back all that it brought. `failures`: what agents of LASTING refused or did not answer."""

    def __init__(self, site: Site, cycle: int) -> None:
        self._site = site
        self._rng = random.Random(cycle)
        self._names = [f"svc-{n}" for n in range(OWN_NAMES)]
        self._names += [f"cycle-{cycle}-{n}" for n in range(OWN_NAMES)]
        self._tasks: list[asyncio.Task[None]] = []
        self._session: aiohttp.ClientSession
        self._ids: dict[str, list[str]] = {}
        self.done = 0
        self.failures: list[str] = []

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=ASK_S)
        self._session = aiohttp.ClientSession(timeout=timeout)
        for work, pause_s in (
            *[(self._change_something, 0.05)] * WRITERS,
            (self._wait_for_a_change, 0.2),
            (self._give_up_waiting, 0.2),
            (self._follow_events, 0.2),
            (self._follow_events_slowly, 1.0),
            (self._look_around, 0.2),
            (self._run_a_program, 3.0),
        ):
            self._tasks.append(asyncio.create_task(self._repeat(work, pause_s)))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for task in self._tasks:
            task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            if error is None:
                for result in results:
                    if isinstance(result, Exception):
                        raise result
                await eventually(self._left_over)
        finally:
            await self._session.close()

    async def _repeat(self, work: Work, pause_s: float) -> None:
        while True:
            await work()
            self.done += 1
            await asyncio.sleep(self._rng.uniform(0, 2 * pause_s))

    # ---- one piece of work each
    async def _change_something(self) -> None:
        node = self._node()
        known = self._ids.setdefault(node, [])
        if known and (len(known) > INSTANCES_MAX or self._rng.random() < 0.35):
            await self._ask(node, "DELETE", f"/v1/instances/{known.pop(0)}", (204, 404))
        elif known and self._rng.random() < 0.5:
            path, body = self._rng.choice(
                (
                    ("health", {"status": self._rng.choice(("passing", "warning", "critical"))}),
                    ("mode", {"mode": "draining", "for": "2s", "reason": "soak"}),
                    ("mode", {"mode": "normal"}),
                )
            )
            instance = self._rng.choice(known)
            await self._ask(node, "PUT", f"/v1/instances/{instance}/{path}", (200, 404, 409), body)
        else:
            number = self._rng.randrange(1000)
            known.append(f"i{number}")
            await self._ask(node, "PUT", f"/v1/instances/i{number}", (200, 201), self._spec(number))

    def _spec(self, number: int) -> dict[str, Any]:
        port = 10_000 + number
        checks = [{"type": "ttl", "name": "alive", "ttl": "4s", "status": "passing"}]
        if number % 4 == 0:
            checks = [{"type": "tcp", "interval": "1s", "timeout": "1s"}]
        return {
            "service": self._rng.choice(self._names),
            "port": port,
            "tags": [f"t{number % 3}"],
            "meta": {"number": str(self._rng.random())},
            "checks": checks if number % 2 == 0 else [],
        }

    async def _wait_for_a_change(self) -> None:
        node, name = self._node(), self._rng.choice(self._names)
        answer = await self._ask(node, "GET", f"/v1/services/{name}")
        if answer is not None:
            path = f"/v1/services/{name}?index={answer['index']}&wait=2s"
            await self._ask(node, "GET", path)

    async def _give_up_waiting(self) -> None:
        """The client goes away while its query blocks."""
        node, name = self._node(), self._rng.choice(self._names)
        with suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                await self._ask(node, "GET", f"/v1/services/{name}?index={1 << 52}&wait=30s")

    async def _follow_events(self) -> None:
        kind = self._rng.choice(("text/event-stream", "application/x-ndjson"))
        await self._read_events(kind, self._rng.uniform(0.5, 3), lines=1000)

    async def _follow_events_slowly(self) -> None:
        """Reads little, and then nothing any more."""
        await self._read_events("text/event-stream", 5.0, lines=3)

    async def _read_events(self, kind: str, for_s: float, lines: int) -> None:
        url = f"{self._site.fleet[self._node()].url}/v1/events"
        with suppress(TimeoutError, aiohttp.ClientError):
            async with (
                asyncio.timeout(for_s),
                self._session.get(url, headers={"Accept": kind}) as stream,
            ):
                for _ in range(lines):
                    await stream.content.readline()
                await asyncio.sleep(for_s)

    async def _look_around(self) -> None:
        path = self._rng.choice(
            ("/v1/services", "/v1/agents", "/v1/status", "/metrics", "/v1/instances")
        )
        await self._ask(self._node(), "GET", path)
        await self._ask(self._node(), "GET", f"/v1/services/unknown-{self._rng.randrange(10**9)}")
        await self._ask(self._node(), "GET", f"/v1/services/{self._rng.choice(self._names)}/pick",
                        (200, 404))  # fmt: skip

    async def _run_a_program(self) -> None:
        """Half of them are killed, with what they run, and leave the rest to the agent."""
        url = self._site.fleet[self._rng.choice(LASTING)].url
        service = ("--name", self._names[0], "--port", str(self._rng.randrange(20_000, 30_000)))
        program = await asyncio.create_subprocess_exec(
            *(*BEACOND, "run", *service, "--agent", url, "--", "sleep", "1"),
            env=environment(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            if self._rng.random() < 0.5:
                await asyncio.sleep(1.0)
            else:
                await program.wait()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)
            await program.wait()

    # ---- asking
    def _node(self) -> str:
        return self._rng.choice([member.name for member in self._site.fleet.running])

    async def _ask(
        self,
        node: str,
        method: str,
        path: str,
        allowed: tuple[int, ...] = (200,),
        body: dict[str, Any] | None = None,
    ) -> Any:
        """Its JSON, or None. What a mortal agent fails in is its fault's doing."""
        url = self._site.fleet[node].url + path
        what = ""
        try:
            async with (
                asyncio.timeout(ASK_S),
                self._session.request(method, url, json=body) as reply,
            ):
                text = await reply.read()
                if reply.status in allowed:
                    return await reply.json() if "json" in reply.content_type and text else None
                what = f"status {reply.status}: {text[:200]!r}"
        except (aiohttp.ClientError, OSError) as error:
            what = f"{type(error).__name__} {error}"
        if node in LASTING and len(self.failures) < TOLD_MAX:
            self.failures.append(f"{method} {path} at {node}: {what}")
        return None

    # ---- the end
    async def _left_over(self) -> str:
        """Take back what is there still; what is there all the same."""
        for member in self._site.fleet.running:
            offered = await self._ask(member.name, "GET", "/v1/instances")
            ids = {each["id"] for each in (offered or {"instances": []})["instances"]}
            for instance in ids - self._site.anchors:
                await self._ask(member.name, "DELETE", f"/v1/instances/{instance}", (204, 404))
        for member in self._site.fleet.running:
            if (known := await self._site.services(member.name)) and len(known) > 1:
                return f"{member.name} still knows {[each['name'] for each in known]}"
        return ""


async def fill_event_log(site: Site, node: str) -> None:
    """So that what it keeps on purpose has its full size from the first minutes on, with events
    like those that the churn brings."""
    url = site.fleet[node].url
    rounds = LOG_EVENTS // (EVENTS_A_ROUND * SIDE_BY_SIDE) + 1

    async def turn(session: aiohttp.ClientSession, number: int) -> None:
        path = f"{url}/v1/instances/filler-{number}"
        for each in range(rounds):
            meta = {"number": str(random.random())}
            body = {"service": f"filler-{each % OWN_NAMES}", "port": 9, "meta": meta}
            body |= {"tags": ["t1"], "checks": [{"type": "ttl", "ttl": "1h", "status": "passing"}]}
            for method, where, what in (
                ("PUT", path, body),
                ("PUT", f"{path}/health", {"status": "critical"}),
                ("PUT", f"{path}/health", {"status": "passing"}),
                ("DELETE", path, None),
            ):
                async with session.request(method, where, json=what) as reply:
                    reply.raise_for_status()

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(turn(session, number) for number in range(SIDE_BY_SIDE)))
