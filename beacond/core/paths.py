"""Over which buses each node is heard. Silence on a bus that we can't see says nothing.

A lease belongs to the buses over which its node was heard lately. It runs while one of them is in
sight; while none is, and others are, it is parked.
"""

from collections import deque
from collections.abc import Iterator
from itertools import chain

from beacond.core.entry import Entry, Path
from beacond.core.leases import NEVER
from beacond.core.sight import SightJudge

ANY = ""
"""Stands for the bus of a living node that was told of and not heard yet."""
TURNED_MAX = 64
"""Nodes that came or went and are remembered."""


class Paths:
    def __init__(self, sight: SightJudge) -> None:
        self._sight = sight
        self._expected: dict[str, set[str]] = {ANY: set()}
        self.turnover = 0
        """How often those who live on any bus were others."""
        self._turned: deque[str] = deque(maxlen=TURNED_MAX)
        """Of whom that was, the latest last."""

    def expected(self, bus: str) -> int:
        """How many living nodes should be heard on that bus."""
        return len(self._expected.get(bus, ())) + len(self._expected[ANY])

    def living_on(self, bus: str) -> Iterator[str]:
        """The living nodes that are, or may be, heard on that bus."""
        return chain(self._expected.get(bus, ()), self._expected[ANY])

    def lives_on(self, bus: str, node: str) -> bool:
        """Whether it is one of those."""
        return node in self._expected.get(bus, ()) or node in self._expected[ANY]

    def turned_since(self, turnover: int) -> list[str] | None:
        """Who came or went since then; None: more than are remembered."""
        number = self.turnover - turnover
        if number > len(self._turned):
            return None
        return [self._turned[-place] for place in range(1, number + 1)]

    def _turn(self, entry: Entry) -> None:
        self.turnover += 1
        self._turned.append(entry.node)

    def heard_on(self, bus: str) -> int:
        """How many living nodes are heard on that bus."""
        return len(self._expected.get(bus, ()))

    def is_copy(self, entry: Entry, bus: str, seq: int) -> bool:
        """Whether a heartbeat known already is new on this bus: came by another one first."""
        path = entry.paths.get(bus)
        return bool(entry.paths) and (path is None or path.seq < seq)

    def heard(
        self, entry: Entry, bus: str, seq: int, *, at: float, reading: float, alive: bool
    ) -> None:
        """A heartbeat came over this bus, sent at that moment, that reading of the lease clock."""
        path = self._path(entry, bus, alive)
        path.seq = seq
        path.at, path.reading = max(path.at, at), max(path.reading, reading)
        if len(entry.paths) > 1:
            self._prune(entry, reading)

    def told(self, entry: Entry, bus: str, reading: float) -> None:
        """A relay heard it over this bus: it is alive."""
        path = self._path(entry, bus, alive=True)
        path.reading = max(path.reading, reading)
        if len(entry.paths) > 1:
            self._prune(entry, reading)

    def _path(self, entry: Entry, bus: str, alive: bool) -> Path:
        path = entry.paths.get(bus)
        if path is None:
            path = entry.paths[bus] = Path()
            if alive:
                self._expected[ANY].discard(entry.node)
                self._expected.setdefault(bus, set()).add(entry.node)
                self._turn(entry)
        return path

    def expect(self, entry: Entry, alive: bool) -> None:
        """It fell silent, or speaks again."""
        for bus in entry.paths or (ANY,):
            nodes = self._expected.setdefault(bus, set())
            if alive == (entry.node in nodes):
                continue
            nodes.add(entry.node) if alive else nodes.discard(entry.node)
            self._turn(entry)

    def forget(self, entry: Entry) -> None:
        """Not known any more to be heard anywhere."""
        self.expect(entry, alive=False)
        entry.paths.clear()

    def remove(self, entry: Entry, bus: str) -> None:
        """That bus is not ours any more, or not its own."""
        nodes = self._expected.get(bus, set())
        alive = entry.node in nodes
        nodes.discard(entry.node)
        del entry.paths[bus]
        self._turn(entry)
        if not entry.paths:
            self.expect(entry, alive)

    def is_visible(self, bus: str) -> bool:
        return bus in self._sight.visible

    @property
    def any_visible(self) -> bool:
        return bool(self._sight.visible)

    def out_of_sight(self) -> list[str]:
        """Buses that bring us nothing now."""
        return [bus for bus in self._sight.buses if bus not in self._sight.visible]

    def is_out_of_sight(self, entry: Entry) -> bool:
        """None of its buses is in sight, though others are."""
        visible = self._sight.visible
        return bool(entry.paths and visible) and visible.keys().isdisjoint(entry.paths)

    def last_reading(self, entry: Entry) -> float:
        """The lease clock's when a bus of its last proved to reach us: later, its silence says
        nothing. NEVER for who was not heard on any."""
        buses = self._sight.buses
        return max((buses[bus].proof_reading for bus in entry.paths if bus in buses), default=NEVER)

    def park(self, entry: Entry) -> None:
        """Its lease stands still since one of its buses last brought us anything."""
        entry.parked_reading = max(entry.set_reading, self.last_reading(entry))

    def _prune(self, entry: Entry, reading: float) -> None:
        """Drop a bus that is in sight and has not brought this node for a whole ttl."""
        for bus, path in list(entry.paths.items()):
            since = self._sight.visible.get(bus)
            if since is not None and reading - max(path.reading, since) > entry.ttl_s:
                self.remove(entry, bus)
