"""Requests that wait on purpose: bounded in number, and ended together when the server stops;
and the count of all that are under way."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from beacond.http.problems import HttpProblem


class Waits:
    """Places for waiting requests, and how each is ended."""

    def __init__(self, most: int, told: Callable[[int], None]) -> None:
        """`told` hears how many places are taken whenever that changes."""
        self._most = most
        self._told = told
        self._taken = 0
        self._endings: set[Callable[[], None]] = set()
        self._stopping = False

    @contextmanager
    def place(self) -> Iterator[None]:
        """Raises HttpProblem 503 where all are taken."""
        if self._taken >= self._most:
            raise HttpProblem(
                503, f"{self._most} requests wait already", headers={"Retry-After": "5"}
            )
        self._taken += 1
        self._told(self._taken)
        try:
            yield
        finally:
            self._taken -= 1
            self._told(self._taken)

    @contextmanager
    def ended_by(self, end: Callable[[], None]) -> Iterator[None]:
        """Meanwhile `stop` calls this."""
        self._endings.add(end)
        if self._stopping:
            end()
        try:
            yield
        finally:
            self._endings.discard(end)

    def stop(self) -> None:
        self._stopping = True
        for end in tuple(self._endings):
            end()


class InFlight:
    """How many requests are being answered; tells when there are none."""

    def __init__(self) -> None:
        self._count = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @contextmanager
    def one(self) -> Iterator[None]:
        self._count += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._count -= 1
            if not self._count:
                self._idle.set()

    async def none_left(self, timeout_s: float) -> int:
        """Wait for that; how many are left where the time runs out."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        return self._count
