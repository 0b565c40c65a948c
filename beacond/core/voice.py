"""When this node speaks: heartbeats, announcements, goodbyes. What it says is its record."""

import random
from collections.abc import Callable

from beacond.core.leases import NEVER
from beacond.core.messages import Announce, Goodbye, Heartbeat
from beacond.core.model import Body, Mode, Record
from beacond.core.outbox import Outbox
from beacond.core.settings import Settings

JITTER = 0.1
"""Heartbeats come this part of the interval early or late, so that a fleet doesn't beat in step."""
ANNOUNCE_GAP_S = 1.0
"""Between two announcements, where they go on and on, or were asked for."""
BURST_GAP_S = 0.1
BURST = 10
"""So many may follow each other sooner, then one more a second: a deployment is seen at once."""
GOODBYE_GAP_S = 0.1


class Voice:
    """Our own published state and the schedule on which others are told of it."""

    def __init__(
        self,
        settings: Settings,
        out: Outbox,
        carry: Callable[[Heartbeat, float], None],
        rng: random.Random,
        now: float,
    ) -> None:
        self._settings = settings
        self._out = out
        self._carry = carry
        """Sends a heartbeat on its way."""
        self._rng = rng
        self._started_at = now
        self._seq = 0
        self._series = 1
        self._beat_at = now
        self._announce_at = NEVER
        self._announced_at = -NEVER
        self._burst = float(BURST)
        self._announced_version = 1
        """What heartbeats say: a version that waits for its turn to be announced must not have
        every receiver ask for it."""
        self._goodbye_at = NEVER
        self._goodbye: Goodbye | None = None
        self._can_publish = False
        self.record = Record(
            settings.node, settings.incarnation, settings.boot_id, 1, Body(settings.zone)
        )

    @property
    def deadline(self) -> float:
        if self._goodbye is not None:
            return self._goodbye_at
        announce_at = self._announce_at if self._can_publish else NEVER
        return min(self._beat_at, announce_at)

    def set_body(self, body: Body, now: float) -> bool:
        """Publish this from now on: a few changes at once, more of them once a second."""
        if body == self.record.body:
            return False
        self._publish(body, now)
        return True

    def republish(self, now: float) -> None:
        """The same under a new version: with another key it is to be signed, and merged, anew."""
        self._publish(self.record.body, now)

    def announce_again(self, now: float) -> None:
        """Somebody misses what was announced: most likely not he alone."""
        self._announce_after(ANNOUNCE_GAP_S, now)

    def speak_up(self, at: float) -> None:
        """A bus is up: don't wait for the next heartbeat's turn."""
        self._beat_at = min(self._beat_at, at)

    def raise_incarnation(self, incarnation: int, now: float) -> None:
        """Speak as a later boot from now on: somebody holds an entry of ours that would win."""
        self._seq = 0
        record = self.record
        self.record = Record(record.node, incarnation, record.boot_id, 1, record.body)
        self._beat_at = self._announce_at = now
        self._announced_version = 1

    @property
    def seq(self) -> int:
        """Of our latest heartbeat."""
        return self._seq

    def new_series(self) -> None:
        """This host was suspended: its clock stood still, so its stamps begin anew."""
        self._series += 1

    def sent_at(self, beat: Heartbeat) -> float | None:
        """When we sent this heartbeat of ours; None for one from before a suspension."""
        if beat.series != self._series:
            return None
        return self._started_at + beat.stamp_ms / 1000

    def advance(self, now: float, digest: bytes, can_publish: bool) -> None:
        """Say what is due. Heartbeats that can't be said now are not kept for later."""
        self._can_publish = can_publish
        if self._goodbye is not None:
            if now >= self._goodbye_at:
                self._goodbye_at = NEVER
                self._out.publish(self._goodbye)
            return
        if now >= self._announce_at and can_publish:
            self._announce_at = NEVER
            self._burst = max(self._refilled(now) - 1, 0.0)
            self._announced_at = now
            self._announced_version = self.record.version
            self._out.publish(Announce(self.record))
        if now >= self._beat_at:
            self._beat(now, digest, can_publish)

    def say_goodbye(self, hold_s: float, now: float) -> None:
        """Twice, a moment apart; nothing else is said after."""
        self._goodbye = Goodbye(self._seq, round(hold_s * 1000))
        self._goodbye_at = now + GOODBYE_GAP_S
        self._out.publish(self._goodbye)

    @property
    def silenced(self) -> bool:
        """Goodbye has been said at least once."""
        return self._goodbye is not None

    @property
    def goodbye_said(self) -> bool:
        """Both times."""
        return self._goodbye is not None and self._goodbye_at == NEVER

    def _publish(self, body: Body, now: float) -> None:
        record = self.record
        self.record = Record(
            record.node, record.incarnation, record.boot_id, record.version + 1, body
        )
        self._announce_after(BURST_GAP_S if self._refilled(now) >= 1 else ANNOUNCE_GAP_S, now)

    def _announce_after(self, gap_s: float, now: float) -> None:
        self._announce_at = min(self._announce_at, max(now, self._announced_at + gap_s))

    def _refilled(self, now: float) -> float:
        """What is left of the burst, with what time has given back."""
        return min(self._burst + (now - self._announced_at) / ANNOUNCE_GAP_S, float(BURST))

    def next_beat(self, now: float, digest: bytes) -> Heartbeat:
        """For a message of ours that is a heartbeat too: so is what a relay says."""
        return self._heartbeat(now, digest, self._settings.interval_s)

    def _beat(self, now: float, digest: bytes, can_publish: bool) -> None:
        next_s = self._settings.interval_s * self._rng.uniform(1 - JITTER, 1 + JITTER)
        self._beat_at = now + next_s
        if can_publish:
            self._carry(self._heartbeat(now, digest, next_s), now)

    def _heartbeat(self, now: float, digest: bytes, next_s: float) -> Heartbeat:
        self._seq += 1
        mode: Mode = self.record.body.mode
        return Heartbeat(
            seq=self._seq,
            version=self._announced_version,
            digest=digest,
            series=self._series,
            stamp_ms=int((now - self._started_at) * 1000),
            next_ms=round(next_s * 1000),
            ttl_ms=round(self._settings.ttl_s * 1000),
            mode=mode,
        )
