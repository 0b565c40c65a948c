"""What an agent costs by itself: its start, and its memory and CPU while nobody asks."""

import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench import process
from tests.bench.population import DOMAIN, FLEET, FOLLOWED
from tests.bench.questions import question
from tests.bench.report import Section
from tests.bench.wait import until_answered, until_served
from tests.support.agent_process import AgentProcess
from tests.support.rabbitmq import free_port

BARE = "bare stack"
SETTLE_S = 3.0
"""After the first answer an agent loads what only writes need."""
MORE_AIM_MIB = 12


@dataclass(slots=True)
class _Starts:
    """One figure each start, all since the process began."""

    dns_s: list[float] = field(default_factory=list)
    http_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    """Used until the answer over HTTP."""


def measure_starts(folder: Path, starts: int) -> Section:
    """From starting the process to the first answers, with a full and with no snapshot."""
    section = Section(
        f"Start with {FOLLOWED.instances:,} instances in the snapshot, to the first answer"
    )
    service, packet = FOLLOWED.service_names()[0], question(FOLLOWED.dns_names()[0], "A")
    full, empty = _Starts(), _Starts()
    for number in range(starts):
        place = folder / f"full-{number}"
        FOLLOWED.write_snapshot(place)
        _start(full, place, packet, f"/v1/services/{service}")
        _start(empty, folder / f"empty-{number}", question(DOMAIN, "SOA"), "/v1/status")
    for what, values, others in (
        ("process start to the first answer over DNS", full.dns_s, empty.dns_s),
        ("process start to the first answer over HTTP", full.http_s, empty.http_s),
        ("CPU seconds until both", full.cpu_s, empty.cpu_s),
    ):
        section.add_rounds(what, "s", values, beside="no snapshot", others=others)
    section.notes.append(f"{starts} starts of each, in turn")
    return section


def _start(starts: _Starts, folder: Path, packet: bytes, path: str) -> None:
    dns, http = free_port(), free_port()
    flags = ("--fleet", FLEET, "--dns", f"127.0.0.1:{dns}")
    began_at = time.perf_counter()
    agent = AgentProcess(folder, *flags, http=f"127.0.0.1:{http}")
    try:
        # In the order in which they come.
        dns_s = until_answered(dns, packet, agent.process) - began_at
        http_s = until_served(http, path, agent.process) - began_at
        starts.cpu_s.append(process.cpu_s(agent.process.pid))
        starts.dns_s.append(dns_s)
        starts.http_s.append(http_s)
    finally:
        agent.stop()


@dataclass(slots=True)
class _Idle:
    rss_mib: list[float] = field(default_factory=list)
    own_mib: list[float] = field(default_factory=list)
    share: list[float] = field(default_factory=list)
    """Of one core, in percent."""

    def note(self, pid: int, cpu_s: float, passed_s: float) -> None:
        self.rss_mib.append(process.rss_mib(pid))
        self.own_mib.append(process.own_mib(pid))
        self.share.append(100 * cpu_s / passed_s)


def measure_idle(folder: Path, rounds: int, window_s: float) -> Section:
    """An agent that knows nobody, beside a process that has loaded the same libraries."""
    section = Section("Idle: an agent that knows nobody, beside the bare stack")
    ours, bare = _Idle(), _Idle()
    for number in range(rounds):
        stack = process.start("bare_stack")
        agent = AgentProcess(folder / f"idle-{number}", "--fleet", FLEET)
        try:
            process.next_line(stack)
            assert agent.url
            time.sleep(SETTLE_S)
            _watch((agent.process.pid, ours), (stack.pid, bare), window_s)
        finally:
            agent.stop()
            process.end(stack)
    section.add_rounds("resident memory", "MiB", ours.rss_mib, beside=BARE, others=bare.rss_mib)
    section.add_rounds("… of its own", "MiB", ours.own_mib, beside=BARE, others=bare.own_mib)
    more = [mine - its for mine, its in zip(ours.rss_mib, bare.rss_mib, strict=True)]
    section.add_rounds(f"resident memory beyond it (aim: {MORE_AIM_MIB})", "MiB", more)
    section.add_rounds("CPU of one core (aim: 0.5)", "%", ours.share)
    section.add_rounds("CPU of one core, the bare stack", "%", bare.share)
    section.notes.append(f"{rounds} processes of each, watched for {window_s:g} s")
    return section


def _watch(ours: tuple[int, _Idle], bare: tuple[int, _Idle], window_s: float) -> None:
    both = (ours, bare)
    before = [process.on_cpu_s(pid) for pid, _ in both]
    from_at = time.perf_counter()
    time.sleep(window_s)
    passed_s = time.perf_counter() - from_at
    for (pid, idle), used in zip(both, before, strict=True):
        idle.note(pid, process.on_cpu_s(pid) - used, passed_s)
