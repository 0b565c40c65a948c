"""Services that change all the time, and the share of answers that were wrong when given."""

import asyncio
import random
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count, cycle

from tests.availability.asking import key_of
from tests.peers.base import Answer, Host, LookupFailed, Site
from tests.support.truth import Key, Truth

SERVICES = ("api", "cart", "web")
CHANGE_EVERY_S = 1.0
ASK_EVERY_S = 0.03
SETTLE_S = 3.0


@dataclass(slots=True)
class Tally:
    """Answers are judged without any allowance: wrong is what was the truth at no moment between
    the question and its answer."""

    asked: int = 0
    failed: int = 0
    wrong: int = 0
    changes: int = 0

    @property
    def wrong_share(self) -> float:
        return self.wrong / max(1, self.asked - self.failed)


@dataclass(frozen=True, slots=True)
class Change:
    at: float
    key: Key
    service: str
    runs: bool


@dataclass(slots=True)
class Churn:
    """An instance of each service at each host. A change replaces one: the old one goes, the new
    one is registered at once."""

    site: Site
    crashing: bool
    """Programs are killed instead of stopped."""
    rng: random.Random
    tally: Tally = field(default_factory=Tally)
    _numbers: "count[int]" = field(default_factory=count)
    _running: dict[tuple[str, str], str] = field(default_factory=dict)
    _history: list[Change] = field(default_factory=list)
    _answers: list[tuple[str, Answer]] = field(default_factory=list)

    async def run(self, seconds: float) -> Tally:
        """Raises Failed."""
        for host in self.site.hosts:
            for service in SERVICES:
                await self._begin(host, service)
        await asyncio.sleep(SETTLE_S)
        asking = [asyncio.create_task(self._ask(host)) for host in self.site.hosts]
        try:
            await self._change(seconds)
        finally:
            for task in asking:
                task.cancel()
            await asyncio.wait(asking)
        for (host_name, _), instance_id in self._running.items():
            await self._host(host_name).deregister(instance_id)
        self.tally.wrong = wrong(self._history, self._answers)
        return self.tally

    async def _change(self, seconds: float) -> None:
        """At fixed moments, a little shifted, so that slow systems get as many changes."""
        begin = time.monotonic()
        places = list(self._running)
        self.rng.shuffle(places)
        async with asyncio.TaskGroup() as group:
            for number, (host_name, service) in enumerate(cycle(places)):
                due_s = (number + self.rng.random()) * CHANGE_EVERY_S
                if due_s > seconds:
                    break
                await asyncio.sleep(begin + due_s - time.monotonic())
                group.create_task(self._replace(self._host(host_name), service))
                self.tally.changes += 1
            await asyncio.sleep(begin + seconds - time.monotonic())

    async def _replace(self, host: Host, service: str) -> None:
        old = self._running[host.name, service]
        key = Key(host.name, old)
        if self.crashing:
            self._history.append(Change(time.monotonic(), key, service, runs=False))
            await host.crash_service(old)
        else:
            done = await host.deregister(old)
            self._history.append(Change(done.asked_at, key, service, runs=False))
        await self._begin(host, service)

    async def _begin(self, host: Host, service: str) -> None:
        instance_id = f"{host.name}-{service}-{next(self._numbers)}"
        self._running[host.name, service] = instance_id
        done = await host.register(service, instance_id)
        self._history.append(Change(done.asked_at, Key(host.name, instance_id), service, runs=True))

    async def _ask(self, host: Host) -> None:
        begin = time.monotonic()
        for number, service in enumerate(cycle(SERVICES)):
            await asyncio.sleep(begin + number * ASK_EVERY_S - time.monotonic())
            self.tally.asked += 1
            try:
                self._answers.append((service, await host.lookup(service)))
            except LookupFailed:
                self.tally.failed += 1

    def _host(self, name: str) -> Host:
        return next(host for host in self.site.hosts if host.name == name)


def wrong(history: Iterable[Change], answers: Iterable[tuple[str, Answer]]) -> int:
    """How many of these answers, each with the service asked for, were wrong."""
    moment = 0.0
    truth = Truth(clock=lambda: moment)
    for change in sorted(history, key=lambda change: change.at):
        moment = change.at
        turn = truth.started if change.runs else truth.stopped
        turn(change.service, change.key.node, change.key.id)
    return sum(
        bool(truth.wrong(service, map(key_of, answer.ids), answer.asked_at, answer.answered_at))
        for service, answer in answers
    )
