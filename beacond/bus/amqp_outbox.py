"""What was handed over for sending and has not left yet: bounded, and emptied by an outage."""

import asyncio
from collections import deque

MESSAGES_MAX = 512
BYTES_MAX = 4 << 20
IN_HAND_MAX = 32
"""Sent before the first of them is confirmed. Also what a broker's alarm can catch on the way
and deliver late, so not too many."""


class Outbox:
    """Anyone puts, without waiting; one task takes a batch when there is one and few enough are in
    hand. How each ended is said later."""

    def __init__(self) -> None:
        self._messages: deque[tuple[str, bytes]] = deque()
        self._bytes = 0
        self._in_hand = 0
        self._lost = 0
        self._ready = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def put(self, key: str, data: bytes) -> bool:
        """False: full."""
        if len(self._messages) >= MESSAGES_MAX or self._bytes + len(data) > BYTES_MAX:
            return False
        self._messages.append((key, data))
        self._bytes += len(data)
        self._settle()
        return True

    async def take(self) -> list[tuple[str, bytes]]:
        """Wait for messages; the oldest of them."""
        await self._ready.wait()
        batch: list[tuple[str, bytes]] = []
        while self._messages and self._in_hand < IN_HAND_MAX:
            key, data = self._messages.popleft()
            self._bytes -= len(data)
            self._in_hand += 1
            batch.append((key, data))
        self._settle()
        return batch

    def done(self, count: int, *, sent: bool) -> None:
        """So many of what was taken have left, or are lost."""
        self._lost += 0 if sent else count
        self._in_hand -= count
        self._settle()

    def drop(self) -> None:
        """Forget what nobody has taken."""
        self._lost += len(self._messages)
        self._messages.clear()
        self._bytes = 0
        self._settle()

    async def emptied(self, timeout_s: float) -> bool:
        """Wait until all is sent; False when the time ran out or something was lost meanwhile."""
        lost = self._lost
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            return False
        return self._lost == lost

    def _settle(self) -> None:
        _set(self._ready, bool(self._messages) and self._in_hand < IN_HAND_MAX)
        _set(self._idle, not self._messages and not self._in_hand)


def _set(event: asyncio.Event, true: bool) -> None:
    if true:
        event.set()
    else:
        event.clear()
