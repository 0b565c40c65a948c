"""Am I blind? Judged by what reaches us, never by what a connection says of itself.

Sight is per bus. The agent is blind only while all of its buses are.
"""

from beacond.core.leases import NEVER, Heard, LeaseClock

BLIND_BEATS = 1.5
"""Intervals without proof until we say that we are blind."""
USUAL_GAP_BEATS = 1.2
"""Intervals that may lie between two proofs when all is well: one, and its jitter."""
MUTE_RELAYED_BEATS = 3.5
"""Intervals without a relay that vouches for us until we say that nobody hears us."""


class BusSight:
    """What one bus brings us. Proof is our own broadcast coming back, or a relay's in which we are
    vouched for, or half of the nodes expected on that bus, by themselves or by relays."""

    def __init__(self, interval_s: float) -> None:
        self._blind_after_s = BLIND_BEATS * interval_s
        self._mute_after_s = MUTE_RELAYED_BEATS * interval_s
        self._window_s = USUAL_GAP_BEATS * interval_s
        self._heard = Heard(self._window_s)
        self._vouched: dict[int, tuple[float, int]] = {}
        """By shard: when a relay spoke, and for how many."""
        self.up = False
        self.can_publish = False
        self.echoed_at: float | None = None
        self.proof_at: float | None = None
        """The latest moment at which this bus is known to have reached us."""
        self.proof_reading = 0.0
        """The lease clock's at that moment."""

    def is_proof(self, node: str, moment: float, expected: int) -> bool:
        """Another node's broadcast of about that moment arrived."""
        count = self._heard.note(node, moment)
        return expected > 0 and 2 * count >= expected

    def is_relayed_proof(self, shard: int, count: int, moment: float, expected: int) -> bool:
        """A relay's broadcast of about that moment arrived, which vouches for so many."""
        self._vouched[shard] = (moment, count)
        since = moment - self._window_s
        total = sum(count for at, count in self._vouched.values() if at >= since)
        return expected > 0 and 2 * total >= expected

    def forgive(self, seconds: float) -> None:
        if self.echoed_at is not None:
            self.echoed_at += seconds
        if self.proof_at is not None:
            self.proof_at += seconds

    @property
    def blind_at(self) -> float:
        """When this bus is out of sight unless it brings something until then."""
        if self.proof_at is None or not self.up:
            return NEVER
        return self.proof_at + self._blind_after_s

    def is_blind(self, now: float) -> bool:
        # The same sum as the timer's: a difference may round to the other side of the limit.
        return not self.up or self.proof_at is None or now >= self.blind_at

    def is_mute(self, now: float, *, relaying: bool) -> bool:
        """It brings us others, but not ourselves."""
        if self.is_blind(now):
            return False
        return now >= self.mute_at(relaying=relaying)

    def mute_at(self, *, relaying: bool) -> float:
        """When it is mute unless it brings our own words until then."""
        if self.echoed_at is None or not self.can_publish:
            return -NEVER
        return self.echoed_at + (self._mute_after_s if relaying else self._blind_after_s)


class SightJudge:
    """All buses together, and the lease clock, which any proof moves."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self.clock = LeaseClock(USUAL_GAP_BEATS * interval_s)
        self.buses: dict[str, BusSight] = {}
        self.visible: dict[str, float] = {}
        """Buses in sight, as last judged, each with the lease clock's reading when it came."""
        self.relaying = False
        """Our own heartbeats go to relays, so what comes back is their word for us."""

    def bus(self, name: str) -> BusSight:
        sight = self.buses.get(name)
        if sight is None:
            sight = self.buses[name] = BusSight(self._interval_s)
        return sight

    def remove(self, name: str) -> None:
        self.buses.pop(name, None)
        self.visible.pop(name, None)

    def echoed(self, bus: str, sent_at: float) -> None:
        """Our own broadcast of that moment came back over this bus."""
        sight = self.bus(bus)
        if sight.echoed_at is None or sent_at > sight.echoed_at:
            sight.echoed_at = sent_at
        self._prove(sight, sent_at)

    def heard(self, bus: str, node: str, moment: float, expected: int) -> None:
        """Another node's broadcast of about that moment arrived over this bus."""
        sight = self.bus(bus)
        if sight.is_proof(node, moment, expected):
            self._prove(sight, moment)

    def relayed(self, bus: str, shard: int, count: int, moment: float, expected: int) -> None:
        """A relay's broadcast of about that moment arrived over this bus."""
        sight = self.bus(bus)
        if sight.is_relayed_proof(shard, count, moment, expected):
            self._prove(sight, moment)

    def forgive(self, seconds: float) -> None:
        self.clock.forgive(seconds)
        for sight in self.buses.values():
            sight.forgive(seconds)

    def look(self, now: float) -> tuple[bool, frozenset[str]]:
        """Bring `visible` up to date; whether it changed, and the buses that came into sight."""
        changed, come = False, set()
        for name, sight in self.buses.items():
            blind = sight.is_blind(now)
            if blind != (name not in self.visible):
                changed = True
                if blind:
                    del self.visible[name]
                else:
                    self.visible[name] = sight.proof_reading
                    come.add(name)
        return changed, frozenset(come)

    def is_mute(self, now: float) -> bool:
        """We hear others over some bus, and ourselves over none."""
        seen = [sight for sight in self.buses.values() if not sight.is_blind(now)]
        return bool(seen) and all(sight.is_mute(now, relaying=self.relaying) for sight in seen)

    @property
    def mute_at(self) -> float:
        """When `is_mute` turns, where it is not so yet and nothing comes until then."""
        seen = [self.buses[name].mute_at(relaying=self.relaying) for name in self.visible]
        return max(seen, default=NEVER)

    @property
    def up(self) -> bool:
        return any(sight.up for sight in self.buses.values())

    @property
    def open(self) -> list[str]:
        """The buses that take what we say."""
        return [name for name, sight in self.buses.items() if sight.up and sight.can_publish]

    @property
    def can_publish(self) -> bool:
        return any(sight.can_publish for sight in self.buses.values())

    @property
    def blind_at(self) -> float:
        """When the next bus goes out of sight unless it brings something until then."""
        return min((self.buses[name].blind_at for name in self.visible), default=NEVER)

    def _prove(self, sight: BusSight, moment: float) -> None:
        self.clock.prove(moment)
        if sight.proof_at is None or moment > sight.proof_at:
            sight.proof_at = moment
            sight.proof_reading = self.clock.reading_of(moment)
