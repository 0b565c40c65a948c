"""What following a fleet costs one agent, by the number of messages, hosts and instances."""

import time
from contextlib import ExitStack
from pathlib import Path

from tests.bench import process
from tests.bench.fleet import fleet
from tests.bench.population import FLEET, Population
from tests.support.agent_process import AgentProcess, until
from tests.support.rabbitmq import RabbitMQ

FLEETS = (
    # hosts, instances of each, interval in s
    (0, 0, 5.0),
    (100, 10, 5.0),
    (1000, 10, 5.0),
    (1000, 1, 5.0),
    (1000, 10, 1.0),
)
SERVICES = 10
WINDOW_S = 20.0
SETTLE_S = 12.0
JOIN_WITHIN_S = 90.0


def measure(broker: RabbitMQ, folder: Path) -> list[tuple[str, float, str]]:
    """(what, value, unit), in the order measured."""
    return [row for sizes in FLEETS for row in _follow(broker, folder, *sizes)]


def _follow(
    broker: RabbitMQ, folder: Path, hosts: int, each: int, interval_s: float
) -> list[tuple[str, float, str]]:
    name = f"{hosts} hosts of {each}, {interval_s:g} s"
    people = Population(nodes=hosts, per_node=each, services=SERVICES)
    flags = ("--bus", broker.url(), "--fleet", FLEET, "--heartbeat", f"{interval_s:g}s")
    with ExitStack() as open_:
        if hosts:
            open_.enter_context(fleet(broker, people, interval_s))
        agent = AgentProcess(folder / name, *flags)
        open_.callback(agent.stop)
        until(lambda: agent.get("/v1/status")["bus"][0]["state"] == "up")
        until(lambda: agent.get("/v1/status")["counts"]["instances"] == hosts * each, JOIN_WITHIN_S)
        time.sleep(SETTLE_S)
        used_s, from_at = process.cpu_s(agent.process.pid), time.perf_counter()
        time.sleep(WINDOW_S)
        passed_s = time.perf_counter() - from_at
        used_s = process.cpu_s(agent.process.pid) - used_s
        memory = process.rss_mib(agent.process.pid) * 1024
        heard = max(hosts, 1) / interval_s * passed_s
        return [
            (f"{name}: CPU", 100 * used_s / passed_s, "% of a core"),
            (f"{name}: CPU for a message", 1e6 * used_s / heard, "us"),
            (f"{name}: memory", memory, "KiB"),
        ]
