"""Leases, and the clock they run on: it counts only time in which we could have heard.

A lease is a local promise with an absolute `expires_at`. Absolute on which clock? Not on the
host's: while the bus is away, or this process was stopped, a silent node proves nothing. The lease
clock moves only when a message proves that the bus reached us at that moment. So nothing can
expire while we are blind, however late we notice that we are.
"""

import heapq
from collections import OrderedDict
from dataclasses import dataclass

NEVER = float("inf")
"""The moment of what is not due; also the end of our own node's lease."""


class LeaseClock:
    """Seconds of proven hearing. All `now` and `moment` are this host's monotonic seconds."""

    def __init__(self, gap_max_s: float) -> None:
        self._gap_max_s = gap_max_s
        self._proven = 0.0
        self._last: float | None = None

    @property
    def proven(self) -> float:
        """What has expired by this reading was silent while we could hear."""
        return self._proven

    @property
    def last_proof_at(self) -> float | None:
        """The latest moment at which the bus is known to have reached us; None: never yet."""
        return self._last

    def at(self, now: float) -> float:
        """The reading that a proof right now would give: what a lease given now counts from."""
        if self._last is None:
            return self._proven
        return self._proven + min(max(now - self._last, 0.0), self._gap_max_s)

    def when(self, reading: float) -> float:
        """The moment at which a proof would give that reading; NEVER if none can yet."""
        if self._last is None or reading > self._proven + self._gap_max_s:
            return NEVER
        return self._last + (reading - self._proven)

    def reading_of(self, moment: float) -> float:
        """About what it read at a moment that has passed."""
        if self._last is None:
            return self._proven
        return max(self._proven - max(self._last - moment, 0.0), 0.0)

    def prove(self, moment: float) -> None:
        """A bus reached us at `moment`. A gap longer than usual counts as a usual one."""
        if self._last is None or moment > self._last:
            self._proven = self.at(moment)
            self._last = moment

    def forgive(self, seconds: float) -> None:
        """Leave out time in which this process did not run (Eureka's compensation)."""
        if self._last is not None:
            self._last += seconds


class Heard:
    """How many different nodes were heard within a sliding window, in constant time each."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        # Not a dict: where the first was removed again and again, its next first one takes long
        # to find.
        self._moments: OrderedDict[str, float] = OrderedDict()

    def note(self, node: str, moment: float) -> int:
        """Count a node as heard; the number heard within the window before `moment`."""
        # At the end, so that they stay ordered by moment, give or take buffering.
        self._moments[node] = moment
        self._moments.move_to_end(node)
        oldest = next(iter(self._moments))
        while self._moments[oldest] < moment - self._window_s:
            del self._moments[oldest]
            oldest = next(iter(self._moments))
        return len(self._moments)


@dataclass(slots=True)
class SendStamps:
    """How long a sender's messages lay in buffers, without comparing two clocks.

    The difference between our receipt and the sender's stamp has an unknown constant in it; the
    least such difference seen belongs to the quickest message, and what exceeds it is waiting.
    The least is let rise slowly, so that two clocks that drift apart do not look like waiting.
    """

    series: int
    _least_s: float
    _least_at: float

    DRIFT = 0.001

    @classmethod
    def first(cls, series: int, stamp_s: float, received_at: float) -> "SendStamps":
        return cls(series, received_at - stamp_s, received_at)

    def age(self, stamp_s: float, received_at: float) -> float:
        """Seconds this message waited, at least 0."""
        difference = received_at - stamp_s
        risen = self._least_s + max(received_at - self._least_at, 0.0) * self.DRIFT
        self._least_s, self._least_at = min(risen, difference), received_at
        return difference - self._least_s


class DueHeap:
    """Names by due time, with lazy deletion: a later due time costs nothing until it is popped."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, str]] = []
        self._queued: dict[str, float] = {}

    @property
    def next_due(self) -> float:
        """When to call `pop` next; it may turn out to be for nothing."""
        return self._heap[0][0] if self._heap else NEVER

    def push(self, name: str, due: float) -> None:
        """Make sure that `name` is popped at `due` or earlier."""
        queued = self._queued.get(name)
        if queued is None or due < queued:
            self._queued[name] = due
            heapq.heappush(self._heap, (due, name))

    def pop(self, reading: float) -> str | None:
        """A name queued for `reading` or before; the caller pushes it again if it isn't due."""
        while self._heap and self._heap[0][0] <= reading:
            due, name = heapq.heappop(self._heap)
            if self._queued.get(name) == due:
                del self._queued[name]
                return name
        return None

    def discard(self, name: str) -> None:
        self._queued.pop(name, None)
