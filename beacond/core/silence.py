"""The guard against mass silence: when many nodes fall silent at once, doubt the bus, not them.

Eureka's self-preservation with the end it lacks: here every hold is looked into by probing, is
shown, and ends by itself.
"""

import random
from collections.abc import Sequence

from beacond.core.catalog import Catalog
from beacond.core.effects import Target
from beacond.core.entry import Entry, Source
from beacond.core.events import Kind
from beacond.core.leases import NEVER, LeaseClock
from beacond.core.model import AgentState
from beacond.core.outbox import Outbox
from beacond.core.probes import Probes

HELD_MIN = 2
"""One silent node alone is a dead node."""
HOLD_S = 600.0
PROBED_NODES = 3
TARGETS_MAX = 4
"""Addresses tried at one node."""
PROBE_ROUND_BEATS = 3.0


class SilenceGuard:
    """Holds nodes that fell silent together, while some of them can be reached by other means."""

    def __init__(
        self,
        catalog: Catalog,
        out: Outbox,
        rng: random.Random,
        probes: Probes,
        clock: LeaseClock,
        interval_s: float,
    ) -> None:
        self._catalog = catalog
        self._clock = clock
        self._out = out
        self._rng = rng
        self._probes = probes
        self._round_s = PROBE_ROUND_BEATS * interval_s
        self._held: dict[str, Entry] = {}
        self._ends_at = 0.0
        self._probe_at = 0.0
        self._frozen_at: float | None = None
        self._awaited: set[int] = set()

    @property
    def held(self) -> tuple[str, ...]:
        return tuple(sorted(self._held))

    @property
    def deadline(self) -> float:
        if not self._held or self._frozen_at is not None:
            return NEVER
        return min(self._ends_at, self._probe_at)

    def freeze(self, now: float) -> None:
        """We are blind: what a probe finds now says nothing of the silent."""
        self._frozen_at = now
        self._awaited.clear()

    def thaw(self, now: float) -> None:
        if self._frozen_at is not None:
            frozen_s, self._frozen_at = now - self._frozen_at, None
            self.postpone(frozen_s)

    def postpone(self, seconds: float) -> None:
        """Forgive time in which nothing could be found out."""
        if self._frozen_at is None:
            self._ends_at += seconds
            self._probe_at += seconds

    def look(self, now: float, over: Sequence[Entry]) -> None:
        """Judge the silent nodes anew, where something changed or is due.

        To be called while we can see, after leases advanced and before those `over` end.
        """
        if not over and not self._catalog.suspects_changed and now < self.deadline:
            return
        self._catalog.suspects_changed = False
        if not self._held and len(self._catalog.suspects) < HELD_MIN:
            return
        # Of a large fleet that takes long, and one dead node is no reason.
        self._catalog.settle()
        self._held = {n: e for n, e in self._held.items() if e.held and e.leased}
        silent = {n: e for n, e in self._catalog.suspects.items() if not e.doubted}
        if self._held and len(silent) < HELD_MIN:
            # The others were heard again: what is left is no mass silence any more.
            self._release(doubted=False)
            return
        if not self._held:
            # Heartbeats are an interval apart, so who falls silent together is not suspect at
            # once: before the first of them goes, those count too whose heartbeat is late.
            late = len(silent) + (self._late_count() if over else 0)
            if len(silent) < HELD_MIN or 3 * late <= self._heard_count():
                return
            self._ends_at = now + HOLD_S
            self._probe_at = now
        joined = [e for n, e in silent.items() if n not in self._held]
        for entry in joined:
            entry.held = True
            self._held[entry.node] = entry
        if joined:
            nodes = tuple(entry.node for entry in joined)
            self._out.emit(now, Kind.VIEW_HELD, "mass-silence", nodes=nodes)
        if now >= self._ends_at:
            self._give_up()
        elif now >= self._probe_at:
            self._probe(now)

    def probed(self, number: int, reached: frozenset[Target]) -> None:
        """What a probe of one held node found. None of a round reachable: they are gone."""
        if number not in self._awaited:
            return
        self._awaited.discard(number)
        if reached:
            self._awaited.clear()
        elif not self._awaited:
            self._release(doubted=True)

    def _late_count(self) -> int:
        """How many that are not suspect yet have missed a heartbeat."""
        reading = self._clock.proven
        return sum(
            e.source is Source.HEARD
            and e.parked_reading is None
            and reading >= e.suspect_at - e.suspect_s / 2
            for e in self._catalog.alive.values()
        )

    def _heard_count(self) -> int:
        shown = (AgentState.ALIVE, AgentState.SUSPECT)
        return sum(
            e.source is Source.HEARD and e.state in shown and not e.last_resort
            for e in self._catalog.others()
        )

    def _probe(self, now: float) -> None:
        self._probe_at = now + self._round_s
        chosen = self._rng.sample(sorted(self._held), min(PROBED_NODES, len(self._held)))
        targets = [found for node in chosen if (found := self._targets(self._held[node]))]
        self._awaited = {self._probes.send(found) for found in targets}
        if not targets:
            self._release(doubted=True)

    def _targets(self, entry: Entry) -> tuple[Target, ...]:
        return tuple(
            target
            for instance in self._catalog.shown_instances(entry.node)
            for target in self._probes.targets(instance.addresses, instance.port)
        )[:TARGETS_MAX]

    def _release(self, *, doubted: bool) -> None:
        for entry in self._held.values():
            self._catalog.release(entry, doubted=doubted)
        self._held.clear()
        self._awaited.clear()

    def _give_up(self) -> None:
        for entry in self._held.values():
            self._catalog.keep_as_last_resort(entry)
        self._held.clear()
        self._awaited.clear()
