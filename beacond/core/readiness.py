"""When the view of an agent that just started may be relied on."""

from beacond.core.catalog import Catalog
from beacond.core.sync import SyncAsker

LISTEN_BEATS = 1.2
"""Intervals in sight after which every other agent has been heard."""
BLIND_BEATS = 3.0
"""Intervals after which there is nothing more to wait for."""


class Readiness:
    """Ready once is ready for good: losing sight later does not undo it."""

    def __init__(self, asker: SyncAsker, catalog: Catalog, interval_s: float, now: float) -> None:
        self._asker = asker
        self._catalog = catalog
        self._interval_s = interval_s
        self._started_at = now
        self._ready = False
        self.restored = False
        """There was a snapshot."""
        self.sighted_at: float | None = None
        """When sight last came."""

    def lacks(self, now: float) -> str:
        """What is still waited for; empty: nothing."""
        reason = "" if self._ready else self._waits_for(now)
        self._ready = not reason
        return reason

    def _waits_for(self, now: float) -> str:
        if self.restored or self._asker.done:
            return ""
        if now - self._started_at >= BLIND_BEATS * self._interval_s:
            return ""
        if self.sighted_at is None:
            return "bus not in sight"
        if now - self.sighted_at < LISTEN_BEATS * self._interval_s:
            return "listening for other agents"
        return "syncing" if self._catalog.alive and self._asker.wanted else ""
