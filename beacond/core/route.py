"""To whom our heartbeats go: to all, or in a large fleet to the relays of our shard.

Who finds that no relay vouches for it sends to more of them, then to all: so a dead relay costs an
interval, and no lease.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from heapq import nlargest

from beacond.core.catalog import Catalog
from beacond.core.entry import Entry
from beacond.core.hashing import rank_in, shard_of
from beacond.core.leases import NEVER
from beacond.core.messages import Heartbeat
from beacond.core.outbox import Outbox
from beacond.core.settings import Settings
from beacond.core.sight import SightJudge

FLAT_BELOW = 0.8
"""Of the fleet size from which relays are used: below that they are not any more."""
FLAT_BEATS = 2.5
"""For so many intervals after our start everybody hears us: some missed our first words, as we did
theirs."""
RELAYS = 2
"""So many are sent to: one speaks, and the other could at once."""
MORE_RELAYS = 3
"""So many more where those don't vouch for us."""
MORE_BEATS, ALL_BEATS = 1.65, 2.3
"""Intervals since a relay last vouched for us, until we send to more, and to all. The second relay
speaks after 1.5; a lease lasts 3 or longer."""
FORMER_BEATS = 2.2
"""For so many intervals after others rank first we send to those before them too: they speak until
the new ones do, and what they say of us must be true."""
SPREAD_BEATS = 0.15
"""Not all nodes of a shard in the same moment."""
UNSPOKEN_BEATS = 2.0

CONFIRMED, DOUBTFUL, LOST = range(3)


@dataclass(slots=True)
class _Way:
    """To the relays of our shard on one bus."""

    stage: int = CONFIRMED
    sure_at: float = -NEVER
    """When a relay last vouched for us, or all heard us."""
    urge_at: float = NEVER
    """When the next heartbeat should go at once, to more of them."""
    ranked: list[str] = field(default_factory=list)
    ranked_of: int = -1
    former: list[str] = field(default_factory=list)
    former_until: float = -NEVER


class Route:
    def __init__(
        self,
        settings: Settings,
        *,
        out: Outbox,
        catalog: Catalog,
        sight: SightJudge,
        rng: random.Random,
        now: float,
    ) -> None:
        self._catalog = catalog
        self._out = out
        self._sight = sight
        self._from = settings.relay_from
        self._interval_s = settings.interval_s
        self._rng = rng
        self._shard = shard_of(settings.node)
        self._not_before = now + FLAT_BEATS * settings.interval_s
        self._ways: dict[str, _Way] = {}
        self.relaying = False
        """Our heartbeats go to relays."""

    @property
    def deadline(self) -> float:
        """When the next heartbeat should go at once."""
        if not self.relaying:
            return NEVER
        return min((self._ways[b].urge_at for b in self._sight.open if b in self._ways),
                   default=NEVER)  # fmt: skip

    def look(self, now: float) -> bool:
        """Choose the way anew; whether a heartbeat should go at once."""
        enough = self._from * (FLAT_BELOW if self.relaying else 1)
        many = len(self._catalog.alive) + 1 >= enough
        relaying = many and now >= self._not_before and self._catalog.shown.all_relay
        if relaying != self.relaying:
            self.relaying = relaying
            # Until now everybody heard us.
            self._ways.clear()
        if not relaying:
            return False
        urged = False
        for bus in self._sight.open:
            way = self._ways.get(bus)
            if way is None:
                self.confirmed(bus, now)
            elif now >= way.urge_at:
                way.stage += 1
                after = ALL_BEATS if way.stage == DOUBTFUL else NEVER
                self._wait(way, max(way.sure_at + after * self._interval_s, now))
                urged = True
        return urged

    def confirmed(self, bus: str, at: float) -> None:
        """A relay vouched for us at that moment on that bus."""
        if self.relaying:
            way = self._ways.setdefault(bus, _Way())
            way.stage = CONFIRMED
            way.sure_at = max(way.sure_at, at)
            self._wait(way, way.sure_at + MORE_BEATS * self._interval_s)

    def carry(self, beat: Heartbeat, now: float) -> None:
        """Send a heartbeat on its way."""
        if not self.relaying:
            self._out.publish(beat)
            return
        for bus in self._sight.open:
            self._carry(beat, bus, self._ways.setdefault(bus, _Way()), now)

    # ---- inside

    def _carry(self, beat: Heartbeat, bus: str, way: _Way, now: float) -> None:
        self._rank_anew(way, bus, now)
        wanted = way.ranked[:RELAYS] if way.stage == CONFIRMED else way.ranked
        former = way.former if now < way.former_until else []
        for node in dict.fromkeys([*wanted, *former]):
            self._out.send(node, beat, bus=bus)
        lost = way.stage == LOST and self._rng.random() < self._share(now)
        if lost or not way.ranked:
            self._out.publish(beat, bus=bus)

    def _wait(self, way: _Way, until: float) -> None:
        way.urge_at = until + self._rng.uniform(0, SPREAD_BEATS * self._interval_s)

    def _rank_anew(self, way: _Way, bus: str, now: float) -> None:
        """Find the living nodes on that bus that rank first in our shard, best first."""
        paths = self._catalog.paths
        if way.ranked_of == paths.turnover:
            return
        turned = paths.turned_since(way.ranked_of)
        way.ranked_of = paths.turnover
        before, entries = way.ranked[:RELAYS], self._catalog.entries
        living = (entries[node] for node in self._candidates(way, bus, turned))
        way.ranked = [e.node for e in nlargest(RELAYS + MORE_RELAYS, living, key=self._rank)]
        if way.ranked[:RELAYS] != before:
            way.former = before
            way.former_until = now + FORMER_BEATS * self._interval_s

    def _candidates(self, way: _Way, bus: str, turned: list[str] | None) -> Iterable[str]:
        """Where all that ranked first are still there, only who came can be among them now: in a
        large fleet somebody comes or goes all the time."""
        paths = self._catalog.paths
        if turned is None or len(way.ranked) < RELAYS + MORE_RELAYS:
            return paths.living_on(bus)
        if not all(paths.lives_on(bus, node) for node in way.ranked):
            return paths.living_on(bus)
        nodes = dict.fromkeys([*way.ranked, *turned])
        return [node for node in nodes if paths.lives_on(bus, node)]

    def _rank(self, entry: Entry) -> int:
        if not entry.rank:
            entry.rank = rank_in(self._shard, entry.node)
        return entry.rank

    def _share(self, now: float) -> float:
        """How likely to send to all, so that all who are lost together send no more than a fleet
        does that has no relays yet."""
        unspoken = self._catalog.shards.unspoken(now - UNSPOKEN_BEATS * self._interval_s)
        lost = sum(len(shard.members) for shard in unspoken)
        return min(1.0, self._from / max(lost, 1))
