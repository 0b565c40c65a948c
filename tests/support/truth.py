"""What runs where, and since when: a test's own timeline, against which answers are judged."""

import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple


class Key(NamedTuple):
    """An instance; ids are unique on their node."""

    node: str
    id: str

    def __str__(self) -> str:
        return f"{self.id}@{self.node}"


Place = tuple[str, int]
"""Address and port."""


class Runs(Enum):
    YES = "runs"
    NO = "does not run"
    EITHER = "uncertain"
    """An answer with it and one without it are both right."""


@dataclass(slots=True)
class _Life:
    service: str
    place: Place | None
    since: list[float] = field(default_factory=list)
    states: list[Runs] = field(default_factory=list)
    before: Runs = Runs.NO
    """What it returns to where an uncertain span ends, or where its node is back."""

    def turn(self, at: float, state: Runs) -> None:
        if self.since and at < self.since[-1]:
            raise ValueError("the timeline is written in order of time")
        self.since.append(at)
        self.states.append(state)

    @property
    def now(self) -> Runs:
        return self.states[-1] if self.states else Runs.NO

    def within(self, begin: float, end: float) -> set[Runs]:
        """Every state that it was in at some moment of [begin, end]."""
        first, last = bisect_right(self.since, begin), bisect_right(self.since, end)
        return {*self.states[max(first - 1, 0) : last], *([] if first else [Runs.NO])}

    def __str__(self) -> str:
        turns = zip(self.since, self.states, strict=True)
        return ", ".join(f"{state.value} since {since:.2f}" for since, state in turns)


class Truth:
    """`clock`: seconds that only grow. Note a change BEFORE you bring it about: an answer may show
    it before the one who asked for it is told."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._lives: dict[Key, _Life] = {}
        self._down: dict[str, list[Key]] = {}
        """What ran on a node when it stopped."""
        self._uncertain: dict[str, int] = {}
        self._unknowable: set[Key] = set()

    # ---- writing
    def started(
        self, service: str, node: str, instance_id: str, *, place: Place | None = None
    ) -> None:
        """`place`: where it is found; needed once DNS is asked, and no two instances' alike."""
        key = Key(node, instance_id)
        life = self._lives.setdefault(key, _Life(service, place))
        if (life.service, life.place) != (service, place):
            raise ValueError(f"{key} was {life.service} at {life.place}")
        if place is not None and self._at(place) != [key]:
            raise ValueError(f"{place} is taken")
        self._turn(key, Runs.YES)

    def stopped(self, service: str, node: str, instance_id: str) -> None:
        key = Key(node, instance_id)
        if self._lives[key].service != service:
            raise ValueError(f"{key} is no {service}")
        self._turn(key, Runs.NO)

    def stopped_node(self, node: str) -> None:
        """Its host is gone, with everything on it."""
        self._down[node] = [key for key in self._of(node) if self._lives[key].now is not Runs.NO]
        for key in self._down[node]:
            self._lives[key].turn(self.clock(), Runs.NO)

    def started_node(self, node: str) -> None:
        """It is back, with what ran when it stopped; else nothing changes."""
        for key in self._down.pop(node, []):
            self._turn(key, Runs.YES)

    @contextmanager
    def uncertain(self, *nodes: str) -> Iterator[None]:
        """What runs on these nodes may be answered or not: it runs, and others can't know it."""
        for node in nodes:
            self.begin_uncertain(node)
        try:
            yield
        finally:
            for node in nodes:
                self.end_uncertain(node)

    def begin_uncertain(self, node: str) -> None:
        self._uncertain[node] = self._uncertain.get(node, 0) + 1
        for key in self._of(node):
            life = self._lives[key]
            if life.now is Runs.YES:
                life.before = Runs.YES
                life.turn(self.clock(), Runs.EITHER)

    def end_uncertain(self, node: str) -> None:
        self._uncertain[node] -= 1
        for key in self._of(node) if not self._uncertain[node] else ():
            life = self._lives[key]
            if life.now is Runs.EITHER:
                life.turn(self.clock(), life.before)

    def unknowable(self, *keys: Key) -> None:
        """What was just noted of these reaches nobody else until `knowable`."""
        for key in keys:
            life = self._lives[key]
            life.before = life.now
            life.turn(self.clock(), Runs.EITHER)
            self._unknowable.add(key)

    def knowable(self) -> None:
        """All can hear all again."""
        for key in self._unknowable:
            life = self._lives[key]
            if life.now is Runs.EITHER:
                life.turn(self.clock(), life.before)
        self._unknowable.clear()

    # ---- reading
    def running(self, service: str) -> dict[Key, Place | None]:
        """What runs now for certain."""
        found = {k: life for k, life in self._lives.items() if life.service == service}
        return {key: life.place for key, life in found.items() if life.now is Runs.YES}

    def services(self) -> list[str]:
        return sorted({life.service for life in self._lives.values()})

    def at(self, place: Place) -> Key | None:
        """Which instance is there, if it ever was one."""
        return next(iter(self._at(place)), None)

    def place(self, key: Key) -> Place | None:
        return self._lives[key].place if key in self._lives else None

    def ran(self, key: Key, begin: float, end: float) -> bool:
        """All along [begin, end], for certain."""
        return key in self._lives and self._lives[key].within(begin, end) == {Runs.YES}

    def node_ran(self, node: str, begin: float, end: float) -> bool:
        """Anything on it did."""
        return any(self.ran(key, begin, end) for key in self._of(node))

    def wrong(self, service: str, answered: Iterable[Key], begin: float, end: float) -> list[str]:
        """Judge an answer that should equal the truth at some moment of [begin, end].

        Instance by instance: what it has must have been running at some moment of these, what it
        lacks must at some moment not have been. Where only one host changes at a time this says
        that the whole answer was the truth of one moment.
        """
        found = set(answered)
        complaints = []
        for key in sorted(found):
            life = self._lives.get(key)
            if life is None or life.service != service:
                complaints.append(f"has {key}, which never was {service}")
            elif life.within(begin, end) == {Runs.NO}:
                complaints.append(f"has {key}: {life}")
        for key, life in sorted(self._lives.items()):
            missing = life.service == service and key not in found
            if missing and life.within(begin, end) == {Runs.YES}:
                complaints.append(f"lacks {key}: {life}")
        return complaints

    # ---- inside
    def _turn(self, key: Key, state: Runs) -> None:
        life = self._lives[key]
        if state is Runs.YES and self._uncertain.get(key.node):
            life.before, state = state, Runs.EITHER
        life.turn(self.clock(), state)

    def _of(self, node: str) -> list[Key]:
        return [key for key in self._lives if key.node == node]

    def _at(self, place: Place) -> list[Key]:
        return [key for key, life in self._lives.items() if life.place == place]
