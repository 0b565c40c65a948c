"""Servers under load in turn, and what each used and answered."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from statistics import median

from tests.bench import process
from tests.bench.report import Section


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of a load tool counted."""

    answers: int
    """Right ones."""
    failed: int
    """Lost, or wrong."""
    wall_s: float
    server_cpu_s: float
    tool_cpu_s: float


@dataclass(frozen=True, slots=True)
class Target:
    """A server under load, and all of its processes."""

    name: str
    port: int
    pids: tuple[int, ...]

    def cpu_s(self) -> float:
        return sum(map(process.cpu_s, self.pids))


@dataclass(frozen=True, slots=True)
class Side:
    """One of those that take turns."""

    name: str
    load: Callable[[int], Load]
    """Takes the number of the round, the same for all sides."""
    during: Callable[[], AbstractContextManager[object]] = nullcontext
    """What else is so while it is asked."""


@dataclass(slots=True)
class Tally:
    """What the rounds of one side gave."""

    name: str
    per_wall_s: list[float] = field(default_factory=list)
    per_cpu_s: list[float] = field(default_factory=list)
    """By the processor time of the server alone."""
    tool_share: list[float] = field(default_factory=list)
    """Of one core that the load tool used."""
    failed: int = 0

    def note(self, load: Load) -> None:
        self.per_wall_s.append(load.answers / load.wall_s)
        self.per_cpu_s.append(load.answers / max(load.server_cpu_s, 0.01))
        self.tool_share.append(load.tool_cpu_s / load.wall_s)
        self.failed += load.failed


def alternate(sides: Sequence[Side], rounds: int) -> list[Tally]:
    """Each in turn, first the first and first the last. Raises RuntimeError where one gives no
    right answers."""
    tallies = [Tally(side.name) for side in sides]
    for number in range(rounds):
        order = list(zip(sides, tallies, strict=True))
        for side, tally in order if number % 2 == 0 else reversed(order):
            with side.during():
                load = side.load(number)
            if not load.answers:
                raise RuntimeError(f"{side.name} answered nothing: {load}")
            tally.note(load)
    return tallies


def report(section: Section, what: str, tallies: Sequence[Tally], aims: Sequence[str]) -> None:
    """Rows of the first beside each other one; `aims` are for those, in their order."""
    ours, *others = tallies
    if not others:
        section.add_rounds(what, "answers a CPU second", ours.per_cpu_s)
    for other, aim in zip(others, aims, strict=True):
        section.add_rounds(
            what,
            "answers a CPU second",
            ours.per_cpu_s,
            beside=other.name,
            others=other.per_cpu_s,
            aim=aim,
        )
    for tally in tallies:
        section.add_rounds(f"{what}, {tally.name}", "answers a second", tally.per_wall_s)
    shares = ", ".join(f"{median(tally.tool_share):.0%}" for tally in tallies)
    section.notes.append(f"{what}: the load tool used {shares} of a core")
    if any(tally.failed for tally in tallies):
        failed = ", ".join(f"{tally.failed:,} of {tally.name}" for tally in tallies)
        section.notes.append(f"{what}: answers lost or wrong, {failed}")
