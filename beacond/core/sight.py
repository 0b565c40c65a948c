"""Am I blind? Judged by what reaches us, never by what a connection says of itself."""

from beacond.core.leases import NEVER, Heard, LeaseClock

BLIND_BEATS = 1.5
"""Intervals without proof until we say that we are blind."""
USUAL_GAP_BEATS = 1.2
"""Intervals that may lie between two proofs when all is well: one, and its jitter."""


class SightJudge:
    """Proof is our own broadcast coming back, or half of the expected nodes heard."""

    def __init__(self, interval_s: float) -> None:
        self._blind_after_s = BLIND_BEATS * interval_s
        self._heard = Heard(USUAL_GAP_BEATS * interval_s)
        self._echoed_at: float | None = None
        self.clock = LeaseClock(USUAL_GAP_BEATS * interval_s)
        self.bus_up = False
        self.can_publish = False

    def echoed(self, sent_at: float) -> bool:
        """Our own broadcast of that moment came back; True where it proves anything new."""
        if self._echoed_at is None or sent_at > self._echoed_at:
            self._echoed_at = sent_at
        return self._prove(sent_at)

    def heard(self, node: str, moment: float, expected: int) -> bool:
        """Another node's broadcast of about that moment arrived."""
        count = self._heard.note(node, moment)
        return expected > 0 and 2 * count >= expected and self._prove(moment)

    def forgive(self, seconds: float) -> None:
        self.clock.forgive(seconds)
        if self._echoed_at is not None:
            self._echoed_at += seconds

    def is_blind(self, now: float) -> bool:
        # The same sum as the timer's: a difference may round to the other side of the limit.
        return not self.bus_up or self.clock.last_proof_at is None or now >= self.blind_at

    def is_mute(self, now: float) -> bool:
        """We hear others, but not ourselves."""
        if self.is_blind(now):
            return False
        echoed_at = self._echoed_at
        late = echoed_at is None or now - echoed_at > self._blind_after_s
        return late or not self.can_publish

    @property
    def blind_at(self) -> float:
        """When we are blind unless something is heard until then."""
        last = self.clock.last_proof_at
        if last is None or not self.bus_up:
            return NEVER
        return last + self._blind_after_s

    def _prove(self, moment: float) -> bool:
        before = self.clock.last_proof_at
        self.clock.prove(moment)
        return before is None or moment > before
