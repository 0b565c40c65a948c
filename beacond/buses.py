"""The buses of one agent: each runs for itself, and they may be exchanged while it runs."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from beacond.bus.base import Bus
from beacond.driver import Driver

Open = Callable[[str], Bus]
Supervise = Callable[[str, Callable[[], Awaitable[None]]], "asyncio.Task[None]"]


class Buses:
    """Opens what the configuration names, and keeps it attached to the driver."""

    def __init__(
        self, urls: Sequence[str], *, open_bus: Open, driver: Driver, supervise: Supervise
    ) -> None:
        """`urls` with passwords. `open_bus` raises BusConfigError, and so does this."""
        self._open_bus = open_bus
        self._driver = driver
        self._supervise = supervise
        self._buses = {url: open_bus(url) for url in urls}
        self._running: dict[Bus, asyncio.Task[None]] = {}

    @property
    def shown(self) -> tuple[str, ...]:
        """Their URLs without passwords."""
        return tuple(bus.url for bus in self._buses.values())

    def start(self) -> None:
        for bus in self._buses.values():
            self._begin(bus)

    async def change(self, urls: Sequence[str]) -> bool:
        """Speak on exactly these from now on; those that stay run on undisturbed.

        The new begin before the old end. A URL that differs in its password or options only is
        the same bus: its old connection ends first. True where anything has changed. Raises
        BusConfigError, having changed nothing.
        """
        old = {url: bus for url, bus in self._buses.items() if url not in urls}
        new = {url: self._open_bus(url) for url in urls if url not in self._buses}
        self._buses = {url: new.get(url) or self._buses[url] for url in urls}
        for bus in old.values():
            if bus.url in self.shown:
                await self._end(bus, for_good=False)
        for bus in new.values():
            self._begin(bus)
        for bus in old.values():
            if bus.url not in self.shown:
                await self._end(bus, for_good=True)
        return bool(old or new)

    def _begin(self, bus: Bus) -> None:
        self._driver.attach(bus)
        self._running[bus] = self._supervise(f"bus {bus.url}", partial(bus.run, self._driver))

    async def _end(self, bus: Bus, *, for_good: bool) -> None:
        running = self._running.pop(bus)
        running.cancel()
        await asyncio.wait({running})
        self._driver.detach(bus, for_good=for_good)
