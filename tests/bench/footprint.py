"""What an agent needs to follow a fleet: memory, CPU, and time to begin."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench import process
from tests.bench.fleet import fleet
from tests.bench.population import DOMAIN, FLEET, FOLLOWED
from tests.bench.questions import question
from tests.bench.report import Section
from tests.bench.wait import until_answered
from tests.support.agent_process import AgentProcess, until
from tests.support.rabbitmq import RabbitMQ, free_port

INTERVAL_S = 5.0
JOIN_WITHIN_S = 90.0


def measure_following(broker: RabbitMQ, folder: Path, settle_s: float, window_s: float) -> Section:
    """An agent that joins a running fleet, beside one that is alone in its own. `settle_s`: until
    the joining itself, and the snapshots after it, are over."""
    section = Section(
        f"Following {FOLLOWED.nodes:,} nodes with {FOLLOWED.instances:,} instances over RabbitMQ, "
        f"heartbeats every {INTERVAL_S:g} s"
    )
    with fleet(broker, FOLLOWED, INTERVAL_S), _agent(broker, folder / "alone", "alone") as alone:
        began_at = time.perf_counter()
        with _agent(broker, folder / "member", FLEET) as member:
            until(lambda: _instances(member) == FOLLOWED.instances, JOIN_WITHIN_S)
            joined_s = time.perf_counter() - began_at
            time.sleep(settle_s)
            pids = member.process.pid, alone.process.pid
            before = [process.cpu_s(pid) for pid in pids]
            from_at = time.perf_counter()
            time.sleep(window_s)
            passed_s = time.perf_counter() - from_at
            share, share_alone = (
                100 * (process.cpu_s(pid) - used) / passed_s
                for pid, used in zip(pids, before, strict=True)
            )
            memory, memory_alone = map(process.rss_mib, pids)
            alive = _alive(member) - 1
    section.add("CPU of one core", "%", share, beside="alone", other=share_alone)
    section.add("resident memory", "MiB", memory, beside="alone", other=memory_alone)
    section.add("memory an instance", "KiB", 1024 * (memory - memory_alone) / FOLLOWED.instances)
    section.add("start to a whole view, by sync", "s", joined_s)
    section.notes += [
        f"{window_s:g} s, {alive:,} of {FOLLOWED.nodes:,} nodes alive at their end",
        "alone: an agent on the same broker with no other in its fleet",
    ]
    return section


def measure_starts(folder: Path, starts: int) -> Section:
    """From starting the process to the first answer, with a full and with no snapshot."""
    section = Section(
        f"Start with {FOLLOWED.instances:,} instances in the snapshot, to the first DNS answer"
    )
    service = question(FOLLOWED.dns_names()[0], "A")
    apex = question(DOMAIN, "SOA")
    full: list[float] = []
    empty: list[float] = []
    for number in range(starts):
        place = folder / f"full-{number}"
        FOLLOWED.write_snapshot(place)
        full.append(_start(place, service))
        empty.append(_start(folder / f"empty-{number}", apex))
    what = f"process start to answer, {starts} starts"
    section.add_rounds(what, "s", full, beside="no snapshot", others=empty)
    return section


def _start(folder: Path, packet: bytes) -> float:
    port = free_port()
    began_at = time.perf_counter()
    agent = AgentProcess(folder, "--fleet", FLEET, "--dns", f"127.0.0.1:{port}")
    try:
        return until_answered(port, packet, agent.process) - began_at
    finally:
        agent.stop()


@contextmanager
def _agent(broker: RabbitMQ, folder: Path, fleet: str) -> Iterator[AgentProcess]:
    flags = ("--bus", broker.url(), "--fleet", fleet, "--heartbeat", f"{INTERVAL_S:g}s")
    agent = AgentProcess(folder, *flags)
    try:
        until(lambda: agent.get("/v1/status")["bus"][0]["state"] == "up")
        yield agent
    finally:
        agent.stop()


def _instances(agent: AgentProcess) -> int:
    """As often as wanted: this question costs the agent next to nothing."""
    known: int = agent.get("/v1/status")["counts"]["instances"]
    return known


def _alive(agent: AgentProcess) -> int:
    listed = agent.get("/v1/agents")["agents"]
    return sum(each["state"] == "alive" for each in listed)
