"""The fleet that one process speaks for."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple
from typing import Any

from tests.bench import process
from tests.bench.population import Population
from tests.support.rabbitmq import RabbitMQ


class Fleet:
    def __init__(self, load: "subprocess.Popen[str]") -> None:
        self._load = load
        self.pid = load.pid
        self.changes = 0
        """So far, all in all."""

    @contextmanager
    def changing(self, per_s: float) -> Iterator[None]:
        """An instance moves to another address so often while the body runs."""
        self._ask("change", per_s)
        try:
            yield
        finally:
            self.changes += self._ask("change", 0)

    def told(self) -> dict[str, Any]:
        """Counts since its start: a `fleet_load.Told`."""
        found: dict[str, Any] = self._ask("tell", 0)
        return found

    def silence(self, number: int) -> list[str]:
        """So many relays die, of those that speak; their names."""
        found: list[str] = self._ask("silence", number)
        return found

    def _ask(self, command: str, number: float) -> Any:
        assert self._load.stdin is not None
        self._load.stdin.write(f"{command} {number}\n")
        self._load.stdin.flush()
        return json.loads(process.next_line(self._load))


@contextmanager
def fleet(
    broker: RabbitMQ, population: Population, interval_s: float, kind: str = "heard"
) -> Iterator[Fleet]:
    """`kind`: see `fleet_load`."""
    load = process.start("fleet_load", broker.url(), interval_s, kind, *astuple(population))
    try:
        ready = process.next_line(load)
        assert ready == "speaking", f"the fleet's process: {ready or 'has ended'}"
        yield Fleet(load)
    finally:
        process.end(load)
