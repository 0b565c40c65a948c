"""Who waits for the view to change: blocking queries and event streams."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from beacond.core.events import Event
from beacond.core.view import View


class _Stream:
    """One reader's queue. Ended rather than skipped when it grows too long."""

    def __init__(self, queue_max: int) -> None:
        self._queue_max = queue_max
        self._events: deque[Event] = deque()
        self._wake = asyncio.Event()
        self._ended = False

    def put(self, event: Event) -> None:
        if len(self._events) >= self._queue_max:
            self._ended = True
        if not self._ended:
            self._events.append(event)
        self._wake.set()

    def end(self) -> None:
        self._ended = True
        self._wake.set()

    def __aiter__(self) -> "_Stream":
        return self

    async def __anext__(self) -> Event:
        while not self._events:
            if self._ended:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        return self._events.popleft()


class Readers:
    """All who wait, by what they wait for."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._waiters: dict[str, set[asyncio.Future[None]]] = {}
        self._streams: set[_Stream] = set()
        self._ended = False

    def changed(self, services: tuple[str, ...], *, everything: bool) -> None:
        for service in list(self._waiters) if everything else services:
            for waiter in self._waiters.pop(service, ()):
                if not waiter.done():
                    waiter.set_result(None)

    def tell(self, event: Event) -> None:
        for stream in self._streams:
            stream.put(event)

    def end(self) -> None:
        self._ended = True
        self.changed((), everything=True)
        for stream in self._streams:
            stream.end()

    async def wait_index(self, service: str, index: int, timeout_s: float) -> bool:
        try:
            async with asyncio.timeout(timeout_s):
                while self._view.index_of(service) <= index and not self._ended:
                    await self._wait(service)
        except TimeoutError:
            return False
        return self._view.index_of(service) > index

    async def _wait(self, service: str) -> None:
        waiter = asyncio.get_running_loop().create_future()
        waiters = self._waiters.setdefault(service, set())
        waiters.add(waiter)
        try:
            await waiter
        finally:
            waiters.discard(waiter)
            if not waiters and self._waiters.get(service) is waiters:
                del self._waiters[service]

    @contextmanager
    def events(self, queue_max: int) -> Iterator[AsyncIterator[Event]]:
        stream = _Stream(queue_max)
        self._streams.add(stream)
        if self._ended:
            stream.end()
        try:
            yield stream
        finally:
            self._streams.discard(stream)
