"""`watch`: a table that changes as the fleet does."""

import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

import click

from beacond.cli.client import Answer, Client, segment
from beacond.cli.errors import CliError, Unreachable
from beacond.cli.options import agent_option, json_option

REDRAW_S = 0.25
"""At most so often, however much happens."""


@click.command(short_help="Show a table that stays current.")
@click.argument("name", metavar="[NAME]", required=False)
@json_option
@agent_option
def watch(client: Client, name: str | None, as_json: bool) -> None:
    """Show the services, or the instances of service NAME, and keep the table current.

    With --json, or into a pipe, each change prints the whole anew.
    """
    look = _Look(client, name)
    first = look.fetch()
    if as_json:
        look.each_change(first, lambda answer: click.echo(answer.text.rstrip("\n")))
    elif sys.stdout.isatty():
        _live(look, first)
    else:
        look.each_change(first, lambda answer: _print(look, answer))


class _Look:
    """What is looked at, fetched again whenever an event says that something happened."""

    def __init__(self, client: Client, name: str | None) -> None:
        self._client = client
        self._name = name
        self._stirred = threading.Event()
        self._failure: CliError | None = None
        self.trouble = ""
        """What keeps the table from being current; empty: nothing."""

    def fetch(self) -> Answer:
        if self._name is None:
            return self._client.get("/v1/services")
        return self._client.get(f"/v1/services/{segment(self._name)}", {"health": "any"})

    def rows(self, answer: Answer) -> tuple[Sequence[str], list[Sequence[Any]]]:
        from beacond.cli import look

        if self._name is None:
            return look.SERVICES, look.service_rows(answer.json())
        return look.INSTANCES, look.instance_rows(answer.json())

    def each_change(self, first: Answer, show: Any) -> None:
        """Show the first answer, and each that differs from the one before, for ever."""
        show(first)
        threading.Thread(target=self._listen, daemon=True, name="events").start()
        shown, trouble = first.text, ""
        while True:
            self._stirred.wait()
            time.sleep(REDRAW_S)
            self._stirred.clear()
            if self._failure is not None:
                raise self._failure
            answer = self._fetch_or_none() or first
            if answer.text != shown or self.trouble != trouble:
                first, shown, trouble = answer, answer.text, self.trouble
                show(answer)

    def _fetch_or_none(self) -> Answer | None:
        try:
            answer = self.fetch()
        except Unreachable as error:
            self.trouble = error.message
            return None
        self.trouble = ""
        return answer

    def _listen(self) -> None:
        from beacond.cli import sse

        # All events: those about agents and the view change what is shown of a service, too.
        try:
            for _ in sse.follow(self._client, {}, None, self._lost):
                self._stirred.set()
        except CliError as error:
            self._failure = error
            self._stirred.set()

    def _lost(self, why: str) -> None:
        self._stirred.set()


def _print(look: _Look, answer: Answer) -> None:
    from beacond.cli import tables

    if look.trouble:
        click.echo(f"beacond: {look.trouble}", err=True)
        return
    tables.show(*look.rows(answer))
    click.echo()


def _live(look: _Look, first: Answer) -> None:
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    from beacond.cli import tables

    with Live(console=tables.console(), auto_refresh=False) as live:

        def draw(answer: Answer) -> None:
            trouble = [Text(look.trouble, style="yellow")] if look.trouble else []
            live.update(Group(tables.table(*look.rows(answer)), *trouble), refresh=True)

        look.each_change(first, draw)
