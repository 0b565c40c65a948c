"""Lookups a second, over DNS and HTTP, beside unbound and a bare aiohttp server."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from tests.bench import process
from tests.bench.population import FLEET, LOOKED_UP
from tests.bench.reference_dns import unbound
from tests.bench.report import Section
from tests.support.agent_process import AgentProcess, until
from tests.support.rabbitmq import free_port

ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Target:
    """A server under load."""

    port: int
    pid: int


@dataclass(slots=True)
class Tally:
    """What the rounds of one server gave."""

    per_wall_s: list[float] = field(default_factory=list)
    per_cpu_s: list[float] = field(default_factory=list)
    generator_share: list[float] = field(default_factory=list)
    failed: int = 0


@contextmanager
def agent(folder: Path) -> Iterator[tuple[AgentProcess, Target]]:
    """One agent, and where it speaks DNS.

    The population is in its view, for an hour, from a snapshot: that needs no bus.
    """
    LOOKED_UP.write_snapshot(folder)
    port = free_port()
    flags = ("--fleet", FLEET, "--ttl", "1h", "--dns", f"127.0.0.1:{port}")
    running = AgentProcess(folder, *flags)
    try:
        until(lambda: len(running.get("/v1/services")["services"]) == LOOKED_UP.services)
        until(lambda: running.get("/v1/status")["stale_since"] is None)
        yield running, Target(port, running.process.pid)
    finally:
        running.stop()


def measure(folder: Path, seconds: float) -> list[Section]:
    with agent(folder / "agent") as (running, dns):
        return [_dns(dns, folder, seconds), _http(running, folder, seconds)]


def _dns(ours: Target, folder: Path, seconds: float) -> Section:
    section = Section(
        f"DNS over UDP, {LOOKED_UP.services} services of {LOOKED_UP.per_service} instances",
        reference="unbound",
    )
    if process.find_program("unbound") is None:
        section.reference = ""
        section.skipped.append("unbound beside it: unbound is not installed")
        for qtype in ("A", "SRV"):
            _compare(section, "load_dns", qtype, seconds, [ours])
        return section
    with unbound(folder) as (port, pid):
        for qtype in ("A", "SRV"):
            _compare(section, "load_dns", qtype, seconds, [ours, Target(port, pid)])
    section.notes.append("unbound adds no addresses to its SRV answers, the agent does")
    return section


def _http(running: AgentProcess, folder: Path, seconds: float) -> Section:
    section = Section("HTTP, GET /v1/services/NAME, the same services", reference="aiohttp")
    answers = folder / "answers.json"
    answers.write_text(json.dumps(_answers(running)))
    reference = process.start("reference_http", answers)
    try:
        assert reference.stdout is not None
        ours = Target(int(running.url.rpartition(":")[2]), running.process.pid)
        beside = Target(int(reference.stdout.readline()), reference.pid)
        _compare(section, "load_http", "GET", seconds, [ours, beside])
    finally:
        process.end(reference)
    section.notes.append("aiohttp: a bare server of the same library that answers the same bytes")
    return section


def _answers(running: AgentProcess) -> dict[str, str]:
    names = LOOKED_UP.service_names()
    return {name: json.dumps(running.get(f"/v1/services/{name}")) + "\n" for name in names}


def _compare(
    section: Section, load: str, asked: str, seconds: float, targets: Sequence[Target]
) -> None:
    """Each server in turn, some rounds of that."""
    tallies = [Tally() for _ in targets]
    for seed in range(ROUNDS):
        for target, tally in zip(targets, tallies, strict=True):
            told = process.run_load(load, target.port, target.pid, asked, seconds, seed)
            if not told["answers"]:
                raise RuntimeError(f"{load} {asked}: no answers, {told}")
            tally.per_wall_s.append(told["answers"] / told["wall_s"])
            tally.per_cpu_s.append(told["answers"] / max(told["cpu_s"], 0.01))
            tally.generator_share.append(told["own_cpu_s"] / told["wall_s"])
            tally.failed += told["wrong"] + told["lost"]
    ours, *others = tallies
    beside = others[0] if others else Tally()
    section.add_rounds(f"{asked} a CPU second", "answers", ours.per_cpu_s, beside.per_cpu_s)
    section.add_rounds(f"{asked} a second", "answers", ours.per_wall_s, beside.per_wall_s)
    shares = " and ".join(f"{median(tally.generator_share):.0%}" for tally in tallies)
    section.notes.append(f"{asked}: the generator used {shares} of a core")
    if any(tally.failed for tally in tallies):
        failed = " and ".join(f"{tally.failed:,}" for tally in tallies)
        section.notes.append(f"{asked}: {failed} answers lost or wrong")
