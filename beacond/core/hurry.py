"""Where a silence would count if only we knew that we hear: speak now, and the echo tells."""

from beacond.core.catalog import Catalog
from beacond.core.leases import NEVER
from beacond.core.voice import Voice

PATIENCE_BEATS = 0.05
"""Intervals that a silence waits for the proof that we could hear. In a large fleet others'
heartbeats give it sooner, so that nobody need hurry."""
GAP_BEATS = 0.7


class Hurry:
    def __init__(self, catalog: Catalog, voice: Voice, interval_s: float) -> None:
        self._catalog = catalog
        self._voice = voice
        self._patience_s = PATIENCE_BEATS * interval_s
        self._gap_s = GAP_BEATS * interval_s
        self._not_before = -NEVER
        self.deadline = NEVER

    def look(self, now: float, *, idle: bool) -> None:
        """Bring our next heartbeat forward if somebody's silence waits for it; `idle`: it would
        not help, for we are blind, or it goes to relays, whose words come often."""
        overdue_at = NEVER if idle else self._catalog.overdue_at(now - self._patience_s)
        self.deadline = max(overdue_at + self._patience_s, self._not_before)
        if now >= self.deadline:
            self.deadline = self._not_before = now + self._gap_s
            self._voice.speak_up(now)
