"""Tables for people; programs use --json."""

import sys
from collections.abc import Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from beacond.cli.client import clean

_STYLES = {
    "passing": "green",
    "alive": "green",
    "up": "green",
    "warning": "yellow",
    "suspect": "yellow",
    "stale": "yellow",
    "draining": "yellow",
    "blind": "yellow",
    "critical": "red",
    "maintenance": "red",
    "expired": "red",
    "down": "red",
}
_PIPE_WIDTH = 10_000
"""Into a pipe or a file nothing is cut off or wrapped."""


def console() -> Console:
    return Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH, highlight=False)


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    made = Table(box=None, pad_edge=False, header_style="bold", show_header=bool(columns))
    for column in columns or [""] * len(rows[0]):
        made.add_column(column.upper(), no_wrap=True, overflow="ellipsis")
    for row in rows:
        made.add_row(*(_cell(value) for value in row))
    return made


def show(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    out = console()
    # Rich pads the last column; a pipe wants no blanks at the ends of lines.
    with out.capture() as captured:
        out.print(table(columns, rows))
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def text(value: Any) -> str:
    """A JSON value in a cell."""
    match value:
        case None | "":
            return "-"
        case bool():
            return "yes" if value else "no"
        case list():
            return ",".join(map(text, value)) or "-"
        case dict():
            said = ((key, each) for key, each in value.items() if each not in (None, "", []))
            return " ".join(f"{key}={text(each)}" for key, each in said) or "-"
        case _:
            return clean(str(value))


def _cell(value: Any) -> Text:
    word = text(value)
    return Text(word, style=_STYLES.get(word, ""))
