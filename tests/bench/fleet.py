"""The fleet that one process speaks for."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.bench import process
from tests.bench.population import Population
from tests.support.rabbitmq import RabbitMQ


class Fleet:
    def __init__(self, load: "subprocess.Popen[str]") -> None:
        self._load = load
        self.changes = 0
        """So far, all in all."""

    @contextmanager
    def changing(self, per_s: float) -> Iterator[None]:
        """An instance moves to another address so often while the body runs."""
        self._tell(per_s)
        try:
            yield
        finally:
            self.changes += self._tell(0)

    def _tell(self, per_s: float) -> int:
        assert self._load.stdin is not None
        self._load.stdin.write(f"{per_s}\n")
        self._load.stdin.flush()
        return int(process.next_line(self._load))


@contextmanager
def fleet(broker: RabbitMQ, population: Population, interval_s: float) -> Iterator[Fleet]:
    load = process.start("fleet_load", broker.url(), interval_s, population.nodes)
    try:
        process.next_line(load)
        yield Fleet(load)
    finally:
        process.end(load)
