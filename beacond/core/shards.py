"""The fleet in parts. A relay's digest that agrees with ours renews all leases of a shard at once,
in constant time: what it gave each node is written down when somebody looks at that node."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from beacond.core.entry import Entry, Source
from beacond.core.hashing import live_share_of
from beacond.core.leases import NEVER
from beacond.core.messages import SHARDS
from beacond.core.model import AgentState
from beacond.core.paths import Paths

GONE_MAX = 256
"""Of a shard, remembered for its relay to name."""


@dataclass(slots=True)
class Word:
    """What relays last said of a shard over one bus. They speak for each bus apart, as a lease
    belongs to the buses over which its node is heard."""

    spoken_at: float = -NEVER
    """When they last said anything."""
    renewal: int = 0
    """The number of the latest renewal by an agreeing digest; 0: never yet,"""
    at: float = -NEVER
    """when that was sent,"""
    reading: float = 0.0
    """what the lease clock read then,"""
    out: dict[str, Entry] = field(default_factory=dict)
    """and whom it did not renew."""

    # By the latest list of names, from which ours differed:
    disowned: dict[int, Entry] = field(default_factory=dict)
    """Nodes that the relay does not vouch for, and doesn't say so each time."""
    unknown: set[int] = field(default_factory=set)
    """Nodes that it vouches for and of whom we have no record."""


@dataclass(slots=True)
class Shard:
    """What we believe of one part of the fleet."""

    number: int
    members: dict[int, Entry] = field(default_factory=dict)
    """Nodes that we believe in, ourselves included, by what each adds to `live`."""
    live: int = 0
    silent: dict[str, Entry] = field(default_factory=dict)
    """Those of them that are suspect."""
    gone: dict[str, Entry] = field(default_factory=dict)
    """Those that were, in the order in which they went."""
    parked: bool = False
    """A lease of theirs stands still, and may run on with the next renewal."""
    renewals: int = 0
    """How often leases were renewed together."""
    words: dict[str, Word] = field(default_factory=dict)
    """Of its relays, by bus."""

    @property
    def renewed_at(self) -> float:
        return max((word.at for word in self.words.values()), default=-NEVER)

    @property
    def spoken_at(self) -> float:
        return max((word.spoken_at for word in self.words.values()), default=-NEVER)

    def word(self, bus: str) -> Word:
        word = self.words.get(bus)
        if word is None:
            word = self.words[bus] = Word()
        return word


class Shards:
    def __init__(self, own: str, paths: Paths) -> None:
        self._own = own
        self._paths = paths
        self.all = tuple(Shard(number) for number in range(SHARDS))
        self.digest = 0
        """Over all that we believe, with the versions."""

    def of(self, entry: Entry) -> Shard:
        return self.all[entry.shard]

    def put(self, entry: Entry, share: int) -> None:
        """Count it with that share of the digest; 0: not at all."""
        shard = self.all[entry.shard]
        self.digest ^= entry.share ^ share
        entry.share = share
        live = live_share_of(entry.node, entry.incarnation, entry.boot_id) if share else 0
        if live != entry.live:
            self._replace(shard, entry, live)
        if live and entry.state is AgentState.SUSPECT:
            shard.silent[entry.node] = entry
        else:
            shard.silent.pop(entry.node, None)

    def renew(
        self, shard: Shard, word: Word, *, at: float, reading: float, out: dict[str, Entry]
    ) -> list[Entry]:
        """A digest sent at that moment, that reading of the lease clock, renews all but `out`.

        Returns those for whom something is to be done now: who is suspect, and all of them where
        the bus brings this shard's digests for the first time, or a lease stands still.
        """
        if at < word.at:
            # Overtaken by one that may leave out others.
            return []
        for node, entry in out.items():
            if node not in word.out:
                self.settle(entry)
        first = not word.renewal or shard.parked
        if shard.parked:
            shard.parked = any(e.parked_reading is not None for e in shard.members.values())
        shard.renewals += 1
        word.renewal, word.out = shard.renewals, out
        word.at, word.reading = at, max(word.reading, reading)
        waiting = shard.members if first else shard.silent
        return [e for e in waiting.values() if self._is_renewed(word, e)]

    def settle(self, entry: Entry) -> None:
        """Write down what its shard's latest renewals gave it."""
        shard = self.all[entry.shard]
        if entry.renewals == shard.renewals or entry.state is not AgentState.ALIVE:
            return
        renewed = [reading for reading in self.settled(entry) if entry.live]
        if renewed:
            entry.source = Source.HEARD
            entry.renew(max(renewed), relayed=True)
            if entry.parked_reading is not None:
                entry.parked_reading = max(renewed)

    def settled(self, entry: Entry) -> list[float]:
        """The lease clock's readings at the renewals that it had since it was last asked for: over
        which buses it is heard, and when, follows them."""
        shard = self.all[entry.shard]
        readings = []
        for bus, word in shard.words.items():
            if word.renewal > entry.renewals and self._is_renewed(word, entry):
                readings.append(word.reading)
                entry.relayed_at = max(entry.relayed_at or -NEVER, word.at)
                self._paths.told(entry, bus, word.reading)
        entry.renewals = shard.renewals
        return readings

    def bus_lost(self, bus: str) -> None:
        """What is said there from now on has to be looked at node by node once."""
        for shard in self.all:
            shard.words.pop(bus, None)

    def unspoken(self, since: float) -> Iterator[Shard]:
        """Those of which no relay has said anything since then."""
        return (shard for shard in self.all if shard.spoken_at < since)

    # ---- inside

    def _replace(self, shard: Shard, entry: Entry, live: int) -> None:
        shard.live ^= entry.live ^ live
        shard.members.pop(entry.live, None)
        for word in shard.words.values():
            word.out.pop(entry.node, None)
        entry.live, entry.renewals = live, shard.renewals
        if live:
            shard.members[live] = entry
            shard.gone.pop(entry.node, None)
            return
        shard.gone[entry.node] = entry
        if len(shard.gone) > GONE_MAX:
            del shard.gone[next(iter(shard.gone))]

    def _is_renewed(self, word: Word, entry: Entry) -> bool:
        return entry.node not in word.out and not entry.leaving and entry.node != self._own
