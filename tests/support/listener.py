"""A sink that remembers what a bus told it, and can be waited on."""

import asyncio
from collections.abc import Callable, Sequence

from beacond.bus.base import Bus, BusState, Delivery


class Listener:
    def __init__(self) -> None:
        self.batches: list[Sequence[Delivery]] = []
        self.states: list[tuple[BusState, str]] = []
        self._changed = asyncio.Event()

    @property
    def bodies(self) -> list[bytes]:
        return [delivery.data for batch in self.batches for delivery in batch]

    @property
    def reasons(self) -> list[str]:
        return [reason for _, reason in self.states]

    def received(self, bus: Bus, batch: Sequence[Delivery]) -> None:
        self.batches.append(batch)
        self._changed.set()

    def state_changed(self, bus: Bus, state: BusState, reason: str) -> None:
        self.states.append((state, reason))
        self._changed.set()

    async def until(self, true: Callable[[], bool], timeout_s: float = 20.0) -> None:
        """Wait until `true()`, looked at after each call of the bus."""
        try:
            async with asyncio.timeout(timeout_s):
                while not true():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(
                f"not within {timeout_s} s; states {self.states}, bodies {self.bodies[-5:]}"
            ) from None

    async def hears(self, *bodies: bytes, timeout_s: float = 20.0) -> None:
        """Wait until each of these has been received."""
        await self.until(lambda: set(bodies) <= set(self.bodies), timeout_s)

    async def reaches(self, state: BusState, timeout_s: float = 20.0) -> None:
        """Wait until the bus is in this state."""
        await self.until(lambda: bool(self.states) and self.states[-1][0] is state, timeout_s)
