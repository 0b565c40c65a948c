"""Over which buses each node is heard. Silence on a bus that we can't see says nothing.

A lease belongs to the buses over which its node was heard lately. It runs while one of them is in
sight; while none is, and others are, it is parked.
"""

from beacond.core.entry import Entry, Path
from beacond.core.leases import NEVER
from beacond.core.sight import SightJudge

ANY = ""
"""Stands for the bus of a living node that was told of and not heard yet."""


class Paths:
    def __init__(self, sight: SightJudge) -> None:
        self._sight = sight
        self._expected: dict[str, set[str]] = {ANY: set()}

    def expected(self, bus: str) -> int:
        """How many living nodes should be heard on that bus."""
        return len(self._expected.get(bus, ())) + len(self._expected[ANY])

    def heard_on(self, bus: str) -> int:
        """How many living nodes are heard on that bus."""
        return len(self._expected.get(bus, ()))

    def is_copy(self, entry: Entry, bus: str, seq: int) -> bool:
        """Whether a heartbeat known already is new on this bus: came by another one first."""
        path = entry.paths.get(bus)
        return bool(entry.paths) and (path is None or path.seq < seq)

    def heard(self, entry: Entry, bus: str, seq: int, reading: float, alive: bool) -> None:
        """A heartbeat sent at that reading of the lease clock came over this bus."""
        path = entry.paths.get(bus)
        if path is None:
            entry.paths[bus] = Path(seq, reading)
            if alive:
                self._expected[ANY].discard(entry.node)
                self._expected.setdefault(bus, set()).add(entry.node)
        else:
            path.seq, path.reading = seq, max(path.reading, reading)
        if len(entry.paths) > 1:
            self._prune(entry, reading)

    def expect(self, entry: Entry, alive: bool) -> None:
        """It fell silent, or speaks again."""
        for bus in entry.paths or (ANY,):
            nodes = self._expected.setdefault(bus, set())
            nodes.add(entry.node) if alive else nodes.discard(entry.node)

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
        if not entry.paths:
            self.expect(entry, alive)

    @property
    def any_visible(self) -> bool:
        return bool(self._sight.visible)

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
