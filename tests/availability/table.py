"""The tables, in Markdown as the README has them, and the figures for a program."""

from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any

from tests.availability.faults import Fault
from tests.availability.run import Column
from tests.availability.tally import Tally, percent

NONE = "–"


def lookups(faults: Sequence[Fault], columns: Sequence[Column]) -> str:
    """Answered, and of all that were asked answered rightly."""

    def cell(tally: Tally) -> str:
        return f"{percent(tally.answered_share)}, {percent(tally.right_share)}"

    return _table("lookups answered, and rightly, with", faults, columns, cell)


def registrations(faults: Sequence[Fault], columns: Sequence[Column]) -> str:
    def cell(tally: Tally) -> str:
        return percent(tally.accepted_share)

    return _table("registrations accepted, with", faults, columns, cell)


def notes(faults: Sequence[Fault], columns: Sequence[Column]) -> Iterator[str]:
    """Why there are cells without a figure, and what was chosen for each system."""
    for column in columns:
        yield f"{column.name} {column.version}: {column.settings}."
    for column in columns:
        reasons: dict[str, list[str]] = {}
        for fault in faults:
            if isinstance(reason := column.cells.get(fault.key), str):
                reasons.setdefault(reason, []).append(fault.title)
        for reason, titles in reasons.items():
            yield f"{column.name} has {reason}: {NONE} with {', '.join(titles)}."
        killed = [column.cells.get(fault.key) for fault in faults if fault.kills]
        if isinstance(killed[0], Tally) and all(each is killed[0] for each in killed):
            yield (
                f"{column.name} needs one server only: killing one, two and all is the same for"
                " it, and was measured once."
            )


def figures(faults: Sequence[Fault], columns: Sequence[Column]) -> list[dict[str, Any]]:
    return [
        {
            "system": column.name,
            "version": column.version,
            "settings": column.settings,
            "faults": {fault.key: _figures(column.cells[fault.key]) for fault in faults},
        }
        for column in columns
    ]


def _figures(cell: Tally | str) -> dict[str, Any]:
    if isinstance(cell, str):
        return {"not_measured": cell}
    shares = {
        "answered_share": cell.answered_share,
        "right_share": cell.right_share,
        "accepted_share": cell.accepted_share,
    }
    counts = {each.name: getattr(cell, each.name) for each in fields(cell)}
    return counts | shares


def _table(head: str, faults: Sequence[Fault], columns: Sequence[Column], cell: Any) -> str:
    rows = [[head, *(column.name for column in columns)]]
    for fault in faults:
        found = [column.cells[fault.key] for column in columns]
        shown = (NONE if isinstance(each, str) else cell(each) for each in found)
        rows.append([fault.title, *shown])
    rows.insert(1, ["---"] * len(rows[0]))
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
