"""The embedded bus: agents of one process and one event loop hear each other. No server.

Features: broadcast, unicast, batches, order kept. Never down, never blocked.

Connection string: `local://` or `local://GROUP`. Agents hear each other where group and fleet
are equal; groups exist so that tests can hold several buses apart.
"""

import asyncio
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary, WeakValueDictionary

from beacond.bus.base import BusConfigError, BusSink, BusState, Delivery
from beacond.bus.url import parse

BATCH_MESSAGES_MAX = 4096
"""Kept for one agent until the event loop next turns; what comes on top is lost."""


class LocalBus:
    def __init__(self, url: str, *, fleet: str, node: str, incarnation: int) -> None:
        """`incarnation` is what every bus is told; nothing here needs it."""
        parsed = parse(url)
        group = parsed.hosts[0][0] if parsed.hosts else ""
        if url not in (f"local://{group}", f"local://{group}/"):
            raise BusConfigError("local: write local:// or local://GROUP, and nothing more")
        self._url = str(parsed)
        self._key = (group, fleet)
        self._node = node
        self._hub: _Hub | None = None

    @property
    def url(self) -> str:
        return self._url

    @property
    def state(self) -> BusState:
        return BusState.DOWN if self._hub is None else BusState.UP

    async def run(self, sink: BusSink) -> None:
        if self._hub is not None:
            raise RuntimeError("this bus is running already")
        loop = asyncio.get_running_loop()
        hub = self._hub = _hub(loop, self._key)
        ear = _Ear(self, self._node, sink, loop)
        hub.ears.append(ear)
        try:
            sink.state_changed(self, BusState.UP, "")
            await asyncio.Event().wait()
        finally:
            self._hub = None
            hub.ears.remove(ear)
            ear.batch.clear()

    def broadcast(self, data: bytes) -> bool:
        for ear in self._hub.ears if self._hub else ():
            ear.hear(data)
        return self._hub is not None

    def send(self, node: str, data: bytes) -> bool:
        for ear in self._hub.ears if self._hub else ():
            if ear.node == node:
                ear.hear(data)
        return self._hub is not None

    async def flush(self, timeout_s: float) -> bool:
        """Nothing is ever left behind here."""
        return True

    def spread_reconnects(self, seconds: float) -> None:
        """There is nothing to reconnect to."""


@dataclass(slots=True)
class _Ear:
    """What one running bus has heard and not yet handed to its sink."""

    bus: LocalBus
    node: str
    sink: BusSink
    loop: asyncio.AbstractEventLoop
    batch: list[Delivery] = field(default_factory=list)

    def hear(self, data: bytes) -> None:
        if not self.batch:
            self.loop.call_soon(self._hand_over)
        if len(self.batch) < BATCH_MESSAGES_MAX:
            self.batch.append(Delivery(data, self.loop.time()))

    def _hand_over(self) -> None:
        batch, self.batch = self.batch, []
        if batch:
            self.sink.received(self.bus, batch)


class _Hub:
    """Those who hear each other."""

    def __init__(self) -> None:
        self.ears: list[_Ear] = []


_Hubs = MutableMapping[tuple[str, str], _Hub]
_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, _Hubs] = WeakKeyDictionary()
"""Per event loop, by group and fleet; a hub lives as long as one of its buses runs."""


def _hub(loop: asyncio.AbstractEventLoop, key: tuple[str, str]) -> _Hub:
    hubs = _hubs.setdefault(loop, WeakValueDictionary())
    hub = hubs.get(key)
    if hub is None:
        hub = hubs[key] = _Hub()
    return hub
