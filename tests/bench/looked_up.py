"""The agent whose lookups are measured."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench import process
from tests.bench.population import FLEET, LOOKED_UP
from tests.bench.rounds import Target
from tests.support.agent_process import AgentProcess, until
from tests.support.rabbitmq import free_port


@dataclass(frozen=True, slots=True)
class Agent:
    running: AgentProcess
    dns: Target
    http: Target


@contextmanager
def agent(folder: Path, *flags: str, ttl: str = "1h") -> Iterator[Agent]:
    """One that knows the whole population: without a bus for an hour, from a snapshot."""
    if not flags:
        LOOKED_UP.write_snapshot(folder)
    port = free_port()
    asked = ("--fleet", FLEET, "--ttl", ttl, "--dns", f"127.0.0.1:{port}", *flags)
    running = AgentProcess(folder, *asked)
    try:
        until(lambda: running.get("/v1/status")["counts"]["instances"] == LOOKED_UP.instances)
        until(lambda: running.get("/v1/status")["stale_since"] is None)
        pids = process.family(running.process.pid)
        http_port = int(running.url.rpartition(":")[2])
        yield Agent(running, Target("beacond", port, pids), Target("beacond", http_port, pids))
    finally:
        running.stop()
