"""Figures, how they are shown, and how they are written down."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import ceil
from statistics import median

FIGURES = (51, 9, 20, 28, 8)
RATIOS = (76, 8, 17, 15)
"""Widths of columns."""


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. `low` and `high`: the least and greatest of its rounds."""

    what: str
    unit: str
    value: float
    low: float | None = None
    high: float | None = None
    beside: str = ""
    """Who was measured in the same minutes."""
    other: float | None = None
    """That one's figure."""
    ratio: float | None = None
    """Median of the rounds' ratios, where each round has both."""
    ratio_low: float | None = None
    ratio_high: float | None = None
    aim: str = ""
    """Where the ratio is wanted."""


@dataclass(slots=True)
class Section:
    title: str
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    """What could not be measured here, and why."""

    def add(
        self, what: str, unit: str, value: float, *, beside: str = "", other: float | None = None
    ) -> None:
        """A single figure."""
        ratio = value / other if other else None
        self.rows.append(Row(what, unit, value, beside=beside, other=other, ratio=ratio))

    def add_rounds(
        self,
        what: str,
        unit: str,
        values: Sequence[float],
        *,
        beside: str = "",
        others: Sequence[float] = (),
        aim: str = "",
    ) -> None:
        """The median of some rounds, with their spread; the same of the ratios, round by round."""
        row = Row(what, unit, median(values), min(values), max(values))
        if others:
            ratios = [one / other for one, other in zip(values, others, strict=True)]
            spread = min(values), max(values)
            row = Row(
                what, unit, median(values), *spread, beside, median(others),
                median(ratios), min(ratios), max(ratios), aim,
            )  # fmt: skip
        self.rows.append(row)

    def add_times(
        self, what: str, seconds: Sequence[float], *, beside: str = "", others: Sequence[float] = ()
    ) -> None:
        """Median and 99th percentile of single times, in milliseconds."""
        for share, name in ((0.5, "median"), (0.99, "p99")):
            other = 1000 * quantile(others, share) if others else None
            value = 1000 * quantile(seconds, share)
            self.add(f"{what}: {name}", "ms", value, beside=beside, other=other)


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
    """All figures of a section."""
    return "\n".join(_figures(section))


def ratios(sections: Iterable[Section]) -> str:
    """Of all sections what was measured side by side."""
    return "\n".join(_ratios(sections))


def _ratios(sections: Iterable[Section]) -> Iterator[str]:
    yield "Ratios"
    yield _line(RATIOS, ("", "ratio", "spread", "aim"))
    for section in sections:
        compared = [row for row in section.rows if row.ratio is not None]
        if compared:
            yield section.title
        for row in compared:
            what = f"{row.what}, {row.unit}, beside {row.beside}"
            spread = _spread(row.ratio_low, row.ratio_high)
            yield _line(RATIOS, (what, shown(row.ratio), spread, row.aim))


def _figures(section: Section) -> Iterator[str]:
    yield section.title
    if section.rows:
        compared = any(row.beside for row in section.rows)
        yield _line(FIGURES, ("", "value", "spread", *("beside", "ratio") * compared))
    for row in section.rows:
        what, other = f"{row.what}, {row.unit}", f"{row.beside} {shown(row.other)}"
        cells = (what, shown(row.value), _spread(row.low, row.high), other, shown(row.ratio))
        yield _line(FIGURES, cells)
    yield from (f"  {note}" for note in section.notes)
    yield from (f"  not measured: {reason}" for reason in section.skipped)


def _spread(low: float | None, high: float | None) -> str:
    return "" if low is None else f"{shown(low)} to {shown(high)}"


def _line(widths: Sequence[int], cells: Sequence[str]) -> str:
    first, *others = (
        cell.ljust(width) if place == 0 else cell.rjust(width)
        for place, (cell, width) in enumerate(zip(cells, widths, strict=False))
    )
    return f"  {first}{''.join(others)}".rstrip()
