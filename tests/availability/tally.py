"""What lookups and changes came to, counted."""

from collections import Counter
from dataclasses import dataclass, field
from math import ceil

KINDS_MAX = 12


@dataclass(frozen=True, slots=True)
class Slots:
    """Lookups are due at fixed moments, whatever becomes of those before.

    One host asks one after the other. A lookup that takes longer than a slot counts for all slots
    that it took: whoever asked meanwhile would have waited as well. So slow and failing answers
    are not asked for less often than quick ones.
    """

    begin: float
    duration_s: float
    per_s: float

    @property
    def total(self) -> int:
        return round(self.duration_s * self.per_s)

    def at(self, slot: int) -> float:
        """When this one is due."""
        return self.begin + slot / self.per_s

    def following(self, slot: int, now: float) -> int:
        """The first slot that is due after `slot` and not before now."""
        # A hair of tolerance: what is due at this very moment is not late.
        return min(self.total, max(slot + 1, ceil((now - self.begin) * self.per_s - 1e-6)))


@dataclass(slots=True)
class Tally:
    """One system under one fault."""

    asked: int = 0
    answered: int = 0
    right: int = 0
    retried: int = 0
    """Of those asked, not answered by the first attempt."""
    slowest_s: float = 0.0
    """Of those answered."""
    registrations: int = 0
    accepted: int = 0
    why_not: Counter[str] = field(default_factory=Counter)
    """The first few kinds of failures and of wrong answers."""

    def lookup(
        self,
        slots: int,
        *,
        answered: bool,
        right: bool = False,
        attempts: int = 1,
        took_s: float = 0.0,
    ) -> None:
        self.asked += slots
        self.retried += slots * (attempts > 1)
        if answered:
            self.answered += slots
            self.right += slots * right
            self.slowest_s = max(self.slowest_s, took_s)

    def registration(self, *, accepted: bool) -> None:
        self.registrations += 1
        self.accepted += accepted

    def note(self, slots: int, why_not: str) -> None:
        if why_not in self.why_not or len(self.why_not) < KINDS_MAX:
            self.why_not[why_not] += slots

    @property
    def answered_share(self) -> float | None:
        return share(self.answered, self.asked)

    @property
    def right_share(self) -> float | None:
        return share(self.right, self.asked)

    @property
    def accepted_share(self) -> float | None:
        return share(self.accepted, self.registrations)


def share(part: int, whole: int) -> float | None:
    """None: nobody asked."""
    return part / whole if whole else None


def percent(value: float | None) -> str:
    """A whole figure, but 100 only if it is all and 0 only if it is nothing."""
    if value is None:
        return "–"
    if 0.995 <= value < 1 or 0 < value < 0.005:
        # One more digit, and never rounded to what it is not.
        shown = min(max(round(100 * value, 1), 0.1), 99.9)
        return f"{shown:.1f} %"
    return f"{100 * value:.0f} %"
