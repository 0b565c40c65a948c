"""Who waits for the view to change: blocking queries and event streams."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from beacond.core.events import Event
from beacond.core.view import View


class EventStream:
    """One reader's queue. Ended rather than skipped when it grows too long."""

    def __init__(self, queue_max: int) -> None:
        self._queue_max = queue_max
        self._events: list[Event] = []
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

    async def batch(self) -> list[Event]:
        """What came since the last call, once there is something; empty at the end. Cancelled, it
        loses nothing."""
        while not self._events and not self._ended:
            self._wake.clear()
            await self._wake.wait()
        events, self._events = self._events, []
        return events


class Readers:
    """All who wait, by what they wait for."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._waiters: dict[str, set[asyncio.Future[None]]] = {}
        self._streams: set[EventStream] = set()
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

    async def wait_index(self, service: str, index: int) -> None:
        while self._view.index_of(service) <= index and not self._ended:
            await self._wait(service)

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
    def events(self, queue_max: int) -> Iterator[EventStream]:
        stream = EventStream(queue_max)
        self._streams.add(stream)
        if self._ended:
            stream.end()
        try:
            yield stream
        finally:
            self._streams.discard(stream)
