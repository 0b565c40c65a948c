"""Virtual time: nothing here, nor in anything it drives, reads a clock."""

import heapq
from collections.abc import Callable
from itertools import count
from typing import Any


class Clock:
    """What is due, in order; what is due at one moment happens in the order it was asked for."""

    def __init__(self) -> None:
        self.now = 0.0
        self._queue: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = count()

    def at(self, when: float, action: Callable[..., None], *args: Any) -> None:
        heapq.heappush(self._queue, (max(when, self.now), next(self._order), action, args))

    def after(self, seconds: float, action: Callable[..., None], *args: Any) -> None:
        self.at(self.now + seconds, action, *args)

    def run(self, seconds: float) -> None:
        """Let time pass; everything due happens."""
        end, queue, pop = self.now + seconds, self._queue, heapq.heappop
        while queue and queue[0][0] <= end:
            self.now, _, action, args = pop(queue)
            action(*args)
        self.now = end
