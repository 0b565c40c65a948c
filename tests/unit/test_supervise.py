"""A part that fails is told once, counted, begun again, and takes nobody else down."""

import asyncio
import logging
import random

import pytest

from beacond import supervise as module
from beacond.supervise import supervise


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_MIN_S", 0.001)
    monkeypatch.setattr(module, "RETRY_MAX_S", 0.002)


class Part:
    """Fails as told, then runs until it is cancelled."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.running = asyncio.Event()
        self.restarts: list[str] = []
        self.failing: dict[str, str] = {}

    async def run(self) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.running.set()
        await asyncio.Event().wait()

    def supervised(self) -> asyncio.Task[None]:
        return asyncio.create_task(
            supervise(
                "part",
                self.run,
                count_restart=self.restarts.append,
                failing=self.failing,
                rng=random.Random(1),
            )
        )


async def cancelled(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_failing_part_is_begun_again_and_counted():
    part = Part(ValueError("one"), OSError("two"))
    task = part.supervised()
    async with asyncio.timeout(5):
        await part.running.wait()
    assert part.restarts == ["part", "part"]
    assert part.failing == {}
    await cancelled(task)


async def test_the_same_cause_is_told_once_and_what_the_system_refuses_without_a_traceback(caplog):
    part = Part(*(OSError("port in use") for _ in range(5)), KeyError("a bug"))
    task = part.supervised()
    with caplog.at_level(logging.ERROR, "beacond.agent"):
        async with asyncio.timeout(5):
            await part.running.wait()
    told = [(record.getMessage(), record.exc_info is not None) for record in caplog.records]
    assert told == [("part failed", False), ("part failed", True)]
    await cancelled(task)


async def test_a_failing_part_leaves_the_others_alone():
    well, ill = Part(), Part(*(RuntimeError(str(n)) for n in range(20)))
    tasks = [well.supervised(), ill.supervised()]
    async with asyncio.timeout(5):
        await well.running.wait()
        await ill.running.wait()
    assert well.restarts == []
    await cancelled(*tasks)


async def test_a_part_that_returns_is_not_begun_again():
    runs = []

    async def run() -> None:
        runs.append(1)

    await supervise("once", run, count_restart=runs.append, failing={}, rng=random.Random(1))
    assert runs == [1]
