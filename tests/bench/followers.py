"""Agents that follow a fleet which one process speaks for."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from beacond.cli.client import Client
from tests.bench.population import FLEET, Population
from tests.support.agent_process import AgentProcess, until
from tests.support.rabbitmq import RabbitMQ

JOIN_WITHIN_S = 120.0
BAD = "agent.suspect,agent.expired,agent.left,view.blind,view.held,bus.down"
_TAKEN = re.compile(r'^beacond_bus_messages_total\{direction="in",.*\} (\S+)$', re.MULTILINE)

Event = dict[str, Any]


class Follower:
    def __init__(self, agent: AgentProcess, name: str, followed: Population) -> None:
        self._agent = agent
        self._followed = followed
        self._mark = ""
        self.name = name
        self.pid = agent.process.pid
        self.joined_s = 0.0
        """From the start of its process until it knew all instances."""

    def instances(self) -> int:
        """As often as wanted: this question costs the agent next to nothing."""
        known: int = self._agent.get("/v1/status")["counts"]["instances"]
        return known

    def join(self) -> None:
        """Wait until it knows all of them. Raises AssertionError."""
        try:
            until(lambda: self.instances() == self._followed.instances, JOIN_WITHIN_S)
        except AssertionError:
            told = self._agent.get("/v1/status")
            raise AssertionError(f"{self.name} does not join: {told}") from None

    def is_whole(self) -> bool:
        """All instances are there and fresh."""
        shown = (self._agent.instances(service) for service in self._followed.service_names())
        states = [each["freshness"] for instances in shown for each in instances]
        return states.count("fresh") == self._followed.instances == self.instances()

    def taken(self) -> float:
        """Messages from the bus so far, without pings."""
        return sum(map(float, _TAKEN.findall(Client(self._agent.url).get("/metrics").text)))

    def mark(self) -> None:
        """What happens from now on is asked for later."""
        self._mark = self._agent.get("/v1/events")["next"]

    def happened(self) -> list[Event]:
        """Since then, of what is a loss, or looks like one."""
        told = self._agent.get(f"/v1/events?kind={BAD}&since={self._mark}")
        assert not told["gap"]
        found: list[Event] = told["events"]
        return found

    def check_whole(self) -> None:
        """Nothing has happened since the mark. Raises AssertionError."""
        assert self.is_whole(), f"{self.name} has lost instances"
        assert not self.happened(), (self.name, self.happened()[:3])


@contextmanager
def follower(
    broker: RabbitMQ, folder: Path, name: str, followed: Population, interval_s: float
) -> Iterator[Follower]:
    """Once it knows all of the fleet."""
    began_at = time.perf_counter()
    with _agent(broker, folder, name, FLEET, interval_s) as agent:
        found = Follower(agent, name, followed)
        found.join()
        found.joined_s = time.perf_counter() - began_at
        yield found


@contextmanager
def alone(broker: RabbitMQ, folder: Path, interval_s: float) -> Iterator[int]:
    """An agent with no other in its fleet; its process id."""
    with _agent(broker, folder, "alone", "alone", interval_s) as agent:
        yield agent.process.pid


@contextmanager
def _agent(
    broker: RabbitMQ, folder: Path, name: str, fleet: str, interval_s: float
) -> Iterator[AgentProcess]:
    flags = ("--node", name, "--bus", broker.url(), "--fleet", fleet)
    agent = AgentProcess(folder, *flags, "--heartbeat", f"{interval_s:g}s", "--ttl", "15s")
    try:
        until(lambda: agent.get("/v1/status")["bus"][0]["state"] == "up", JOIN_WITHIN_S)
        yield agent
    finally:
        agent.stop()
