"""Figures, how they are shown, and how they are written down."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import ceil
from statistics import median

WIDTHS = (46, 12, 19, 12, 8)


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. `low` and `high`: the least and greatest of its rounds."""

    what: str
    unit: str
    value: float
    low: float | None = None
    high: float | None = None
    beside: float | None = None
    """What the section's reference did in the same run."""

    @property
    def ratio(self) -> float | None:
        return self.value / self.beside if self.beside else None


@dataclass(slots=True)
class Section:
    title: str
    reference: str = ""
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    """What could not be measured here, and why."""

    def add_rounds(
        self, what: str, unit: str, values: Sequence[float], beside: Sequence[float] = ()
    ) -> None:
        """The median of some rounds, with their spread."""
        other = median(beside) if beside else None
        self.rows.append(Row(what, unit, median(values), min(values), max(values), other))

    def add_times(self, what: str, seconds: Sequence[float], beside: Sequence[float] = ()) -> None:
        """Median and 99th percentile of single times, in milliseconds."""
        for share, name in ((0.5, "median"), (0.99, "99th percentile")):
            other = 1000 * quantile(beside, share) if beside else None
            value = 1000 * quantile(seconds, share)
            self.rows.append(Row(f"{what}: {name}", "ms", value, beside=other))


def quantile(values: Sequence[float], share: float) -> float:
    """The value that so great a share of all does not exceed; of a hundred, 0.99 is the 99th."""
    ordered = sorted(values)
    return ordered[max(0, ceil(share * len(ordered)) - 1)]


def shown(value: float | None) -> str:
    """Three digits that count, as people write them."""
    if value is None:
        return ""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def table(section: Section) -> str:
    return "\n".join(_lines(section))


def _lines(section: Section) -> Iterator[str]:
    yield section.title
    if section.rows:
        heads = ("", "value", "spread", section.reference or "", "ratio" * bool(section.reference))
        yield _line(heads)
    for row in section.rows:
        spread = "" if row.low is None else f"{shown(row.low)} to {shown(row.high)}"
        what = f"{row.what}, {row.unit}"
        yield _line((what, shown(row.value), spread, shown(row.beside), shown(row.ratio)))
    yield from (f"  {note}" for note in section.notes)
    yield from (f"  not measured: {reason}" for reason in section.skipped)


def _line(cells: Sequence[str]) -> str:
    first, *others = (
        cell.ljust(width) if place == 0 else cell.rjust(width)
        for place, (cell, width) in enumerate(zip(cells, WIDTHS, strict=True))
    )
    return f"  {first}{''.join(others)}".rstrip()
