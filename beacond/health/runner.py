"""Runs the checks of this host's instances, each in its time, and tells what they saw."""

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Protocol

from beacond.core.local import LocalInstance
from beacond.core.model import CheckType, Status
from beacond.health.outcome import Outcome, critical
from beacond.health.probes import HttpProber, probe_tcp
from beacond.health.programs import probe_exec
from beacond.health.schedule import Key, Schedule, Task, tasks_of

EXEC_REFUSED = "exec checks are not allowed on this host"

log = logging.getLogger("beacond.health")


class ChecksDoor(Protocol):
    """What the runner needs of the driver."""

    def local_instances(self) -> tuple[LocalInstance, ...]: ...

    def check_result(self, instance_id: str, check: str, status: Status, output: str) -> None: ...

    def on_local_change(self, callback: Callable[[], None]) -> None: ...


class HealthRunner:
    """http, tcp and exec checks; ttl checks are reported by their programs, not run.

    What a result means (thresholds) is the core's business. At most `concurrency` checks run at
    once, and no check twice at the same time; a check that is late for that runs when it can.
    """

    def __init__(
        self, door: ChecksDoor, *, allow_exec: bool, rng: random.Random, concurrency: int = 64
    ) -> None:
        self._door = door
        self._allow_exec = allow_exec
        self._concurrency = concurrency
        self._schedule = Schedule(rng)
        self._running: dict[Key, asyncio.Task[None]] = {}
        self._changed = True
        self._wake = asyncio.Event()
        door.on_local_change(self._on_local_change)

    async def run(self) -> None:
        """Until cancelled; then no check and no process of one is left."""
        self._changed = True
        async with HttpProber() as http:
            try:
                async with asyncio.TaskGroup() as group:
                    while True:
                        self._wake.clear()
                        self._follow_changes()
                        self._start_due(group, http)
                        await self._sleep()
            finally:
                # A run after this one (a supervisor's) begins afresh.
                self._schedule.reconcile((), 0.0)

    def _on_local_change(self) -> None:
        self._changed = True
        self._wake.set()

    def _follow_changes(self) -> None:
        if not self._changed:
            return
        self._changed = False
        wanted = tasks_of(self._door.local_instances())
        for gone in self._schedule.reconcile(wanted, asyncio.get_running_loop().time()):
            if running := self._running.get(gone):
                running.cancel()

    def _start_due(self, group: asyncio.TaskGroup, http: HttpProber) -> None:
        now = asyncio.get_running_loop().time()
        while len(self._running) < self._concurrency and (task := self._schedule.pop_due(now)):
            self._running[task.key] = group.create_task(self._run_one(task, http))

    async def _sleep(self) -> None:
        next_at = self._schedule.next_at()
        if len(self._running) >= self._concurrency:
            next_at = None
        try:
            async with asyncio.timeout_at(next_at):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _run_one(self, task: Task, http: HttpProber) -> None:
        loop = asyncio.get_running_loop()
        started_at = loop.time()
        try:
            outcome = await self._probe(task, http)
            log.debug("check ran", extra={"instance": task.instance_id, "check": task.check.name,
                                          "status": str(outcome.status)})  # fmt: skip
            self._door.check_result(
                task.instance_id, task.check.name, outcome.status, outcome.output
            )
        finally:
            del self._running[task.key]
            self._schedule.finished(task, started_at, loop.time())
            self._wake.set()

    async def _probe(self, task: Task, http: HttpProber) -> Outcome:
        check = task.check
        match check.type:
            case CheckType.HTTP:
                return await http.probe(check)
            case CheckType.TCP:
                return await probe_tcp(
                    check.address or task.address, check.port or task.port, check.timeout_s
                )
            case CheckType.EXEC if self._allow_exec:
                return await probe_exec(check)
            case CheckType.EXEC:
                return critical(EXEC_REFUSED)
            case CheckType.TTL:
                raise AssertionError("a ttl check is never scheduled")
