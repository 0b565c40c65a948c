"""What was measured, as a table in Markdown: figures down, systems across."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.bench.report import quantile, shown
from tests.freshness.changes import Times
from tests.freshness.churn import Tally

FIRST = "beacond"
NONE = "–"
MS, S = 1000.0, 1.0


@dataclass(slots=True)
class Column:
    """What came of one system."""

    name: str
    version: str = ""
    settings: str = ""
    times: Times = field(default_factory=Times)
    replaced: Tally | None = None
    crashing: Tally | None = None
    failed: str = ""
    """Why it ended before all was measured; empty: it did not."""


@dataclass(frozen=True, slots=True)
class Line:
    """Times of one kind. `per_s`: how they are shown, 1000 for milliseconds."""

    what: str
    of: Callable[[Times], Sequence[float]]
    per_s: float


LINES = (
    Line("registration → visible elsewhere", lambda t: t.visible, MS),
    Line("… 0.1 s after another of the same host", lambda t: t.second_visible, MS),
    Line("… with its first check awaited", lambda t: t.checked_visible, MS),
    Line("graceful stop → gone elsewhere", lambda t: t.stopped, MS),
    Line("process crash → gone (check, lease, session)", lambda t: t.crashed, S),
    Line("process crash under `beacond run` → gone", lambda t: t.run_crashed, MS),
    Line("host crash → suspect", lambda t: t.suspected, S),
    Line("host crash → gone", lambda t: t.host_gone, S),
)
QUANTILES = (("median", 0.5, 1), ("p99", 0.99, 100), ("max", 1.0, 1))
"""Name, share, and the samples that it takes."""


def markdown(columns: Sequence[Column]) -> str:
    rows = [["", *(column.name for column in columns)]]
    rows.append(["---", *("---:" for _ in columns)])
    rows += _time_rows(columns)
    rows += _share_rows(columns)
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def notes(columns: Sequence[Column]) -> Iterator[str]:
    for column in columns:
        yield f"{column.name} {column.version}: {column.settings}."
        if column.failed:
            yield f"{column.name} ended early: {column.failed}."
    yield from _sizes(columns)


def _sizes(columns: Sequence[Column]) -> Iterator[str]:
    """How many values each figure is of; the greatest, where that differs by system."""
    sizes = ((line.what, max(len(line.of(c.times)) for c in columns)) for line in LINES)
    yield "Values: " + "; ".join(f"{what}: {size}" for what, size in sizes if size)


def figures(columns: Sequence[Column]) -> list[dict[str, Any]]:
    return [asdict(column) for column in columns]


def _time_rows(columns: Sequence[Column]) -> Iterator[list[str]]:
    for line in LINES:
        found = [line.of(column.times) for column in columns]
        if not any(found):
            continue
        unit = "ms" if line.per_s == MS else "s"
        for name, share, least in QUANTILES:
            if max(map(len, found)) < least:
                continue
            values = [quantile(times, share) * line.per_s if times else None for times in found]
            yield [f"{line.what}: {name}, {unit}", *_cells(columns, values)]


def _share_rows(columns: Sequence[Column]) -> Iterator[list[str]]:
    kinds: tuple[tuple[str, Callable[[Column], Tally | None]], ...] = (
        ("instances replaced", lambda column: column.replaced),
        ("instances crashing and replaced", lambda column: column.crashing),
    )
    for what, of in kinds:
        tallies = [of(column) for column in columns]
        if not any(tallies):
            continue
        values = [None if tally is None else 100 * tally.wrong_share for tally in tallies]
        yield [f"wrong answers, {what}, %", *_cells(columns, values)]
        failed = (NONE if tally is None else str(tally.failed) for tally in tallies)
        yield [f"lookups without an answer, {what}", *failed]


def _cells(columns: Sequence[Column], values: Sequence[float | None]) -> Iterator[str]:
    """With the ratio to the first system of the table, where that is beacond."""
    base = values[0] if columns[0].name == FIRST else None
    for place, value in enumerate(values):
        if value is None:
            yield NONE
        elif place and base:
            yield f"{shown(value)} ({shown(value / base)})"
        else:
            yield shown(value)
