"""When each check runs next. No clock and no I/O: time and randomness come as arguments."""

import heapq
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count

from beacond.core.local import LocalInstance
from beacond.core.model import Check, CheckType

JITTER = 0.1
"""Part of the interval by which two runs may come closer or drift apart."""
FIRST_RUN_S = 1.0
"""New checks first run within so many seconds: who registers wants to be seen soon…"""
FIRST_RUNS_PER_S = 200.0
"""…but a thousand at once (an agent starting) take longer, not all of the host."""
STALE_FACTOR = 2
"""The heap is rebuilt when it holds so many times more entries than there are checks."""

Key = tuple[str, str]
"""(instance id, check name)"""


@dataclass(frozen=True, slots=True)
class Task:
    """One check to be run again and again. A changed check is another task."""

    instance_id: str
    check: Check
    address: str
    """Where a tcp check connects to unless it names an address."""
    port: int
    """And its port, unless it names one."""

    @property
    def key(self) -> Key:
        return (self.instance_id, self.check.name)


def tasks_of(instances: Iterable[LocalInstance]) -> Iterator[Task]:
    """What there is to run; a ttl check is reported by its program instead."""
    for instance in instances:
        for state in instance.checks:
            if state.check.type is not CheckType.TTL:
                yield Task(
                    instance_id=instance.spec.id,
                    check=state.check,
                    address=instance.addresses[0],
                    port=instance.spec.port,
                )


class Schedule:
    """Tasks wait here between their runs; a task that runs is never due.

    Moments are monotonic seconds of the caller's clock.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._tasks: dict[Key, Task] = {}
        self._running: set[Key] = set()
        self._waiting: dict[Task, float] = {}
        self._heap: list[tuple[float, int, Task]] = []
        # Entries equal in time must not compare tasks.
        self._order = count()

    def __len__(self) -> int:
        return len(self._tasks)

    def reconcile(self, wanted: Iterable[Task], now: float) -> set[Key]:
        """Take what is wanted now; returns the keys of tasks that are not any more.

        What stays keeps its next run. What is new or changed gets a first run soon; where a run
        of it is still going on (on its way to be cancelled), after that.
        """
        before, self._tasks = self._tasks, {}
        new = []
        for task in wanted:
            known = before.get(task.key)
            if known != task:
                new.append(task)
            self._tasks[task.key] = known if known is not None and known == task else task
        gone = [task for key, task in before.items() if self._tasks.get(key) is not task]
        for task in gone:
            self._waiting.pop(task, None)
        within_s = max(FIRST_RUN_S, len(new) / FIRST_RUNS_PER_S)
        for task in new:
            if task.key not in self._running:
                self._wait(task, now + self._rng.uniform(0, min(task.check.interval_s, within_s)))
        return {task.key for task in gone}

    def pop_due(self, now: float) -> Task | None:
        """A task to run now, which then waits for `finished`; None where none is due."""
        due_at = self.next_at()
        if due_at is None or due_at > now:
            return None
        _, _, task = heapq.heappop(self._heap)
        del self._waiting[task]
        self._running.add(task.key)
        return task

    def finished(self, task: Task, started_at: float, now: float) -> None:
        """Let a task that ran wait again: one interval, ±10 %, from its start to its start."""
        self._running.discard(task.key)
        current = self._tasks.get(task.key)
        if current is task:
            spread = self._rng.uniform(1 - JITTER, 1 + JITTER)
            self._wait(task, max(now, started_at + task.check.interval_s * spread))
        elif current is not None:
            # It was changed, or removed and registered again, while this run was cancelled.
            self._wait(current, now)

    def next_at(self) -> float | None:
        """When the next task is due; None where none waits."""
        while self._heap:
            at, _, task = self._heap[0]
            if self._waiting.get(task) == at:
                return at
            heapq.heappop(self._heap)
        return None

    def _wait(self, task: Task, at: float) -> None:
        self._waiting[task] = at
        heapq.heappush(self._heap, (at, next(self._order), task))
        if len(self._heap) > STALE_FACTOR * len(self._tasks) + 16:
            self._heap = [entry for entry in self._heap if self._waiting.get(entry[2]) == entry[0]]
            heapq.heapify(self._heap)
