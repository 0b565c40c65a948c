"""Questions without a pause, to every living agent over HTTP and DNS, each answer compared."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from tests.demo.fleet import Agent, Fleet, wrong
from tests.demo.looks import Answer, Asker, NoAnswer

PAUSE_S = 0.04

Ask = Callable[[Asker, str], Awaitable[Answer]]
WAYS: dict[str, Ask] = {"HTTP": Asker.http, "DNS": Asker.srv}


class Asking:
    """`async with Asking(fleet) as asking:` asks until the end of the block, about what is to be
    found at its beginning. `asked`, `answered`: questions, and complete and right answers; while
    `must_be_stale` is set, only those that say that they are stale are right."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._wanted = {name: fleet.wanted(name) for name in fleet.services()}
        self._tasks: list[asyncio.Task[None]] = []
        self._stop = asyncio.Event()
        self._began_at = time.monotonic()
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.stale: Counter[str] = Counter()
        self.must_be_stale = False
        self.first_wrong = ""

    async def __aenter__(self) -> Self:
        for agent in self._fleet.up:
            for way, ask in WAYS.items():
                self._tasks.append(asyncio.create_task(self._ask(agent, way, ask)))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """What is being asked is still waited for, and counts."""
        self._stop.set()
        if error is not None:
            for task in self._tasks:
                task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=error is not None)

    async def _ask(self, agent: Agent, way: str, ask: Ask) -> None:
        while not self._stop.is_set():
            for service, wanted in self._wanted.items():
                self.asked[way] += 1
                must_be_stale = self.must_be_stale
                try:
                    answer = await ask(agent.asker, service)
                    what = wrong(answer, wanted)
                    if must_be_stale and self.must_be_stale and not answer.stale:
                        what = what or "not said to be stale"
                    self.stale[way] += answer.stale
                except NoAnswer as error:
                    what = str(error)
                if what:
                    at_s = time.monotonic() - self._began_at
                    where = f"{agent.node} about {service} over {way}"
                    self.first_wrong = self.first_wrong or f"after {at_s:.1f} s {where}: {what}"
                else:
                    self.answered[way] += 1
                await asyncio.sleep(PAUSE_S)
