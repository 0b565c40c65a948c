"""What operations cost one agent in small and in large fleets, and the memory of a large one.

`python -m tests.bench.scale [--json FILE] [--svg FILE]` draws the plot in docs/, too.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

from tests.bench import process
from tests.bench.plot import Line, chart
from tests.bench.population import FLEET, Population
from tests.bench.report import Section, shown, table
from tests.bench.scale_load import Load
from tests.bench.scale_memory import written
from tests.support.agent_process import AgentProcess, environment, until

HOSTS = (100, 316, 1_000, 3_162, 10_000)
PER_HOST = 10
ROUNDS = 5
RESTORED_WITHIN_S = 60.0

HEARTBEAT, ANNOUNCE, DIGEST = "heartbeat", "announce", "digest"
HTTP, DNS = "lookup, HTTP", "lookup, DNS"
OPERATIONS = {
    HEARTBEAT: "a heartbeat: decoded, verified, merged",
    "heartbeat, decoding": "a heartbeat: decoded and verified",
    ANNOUNCE: "an announce of one change",
    DIGEST: "an agreeing digest of a shard",
    HTTP: "a lookup over HTTP, kept",
    "lookup, HTTP, not kept": "a lookup over HTTP, rendered",
    DNS: "a lookup over DNS, kept",
    "lookup, DNS, not kept": "a lookup over DNS, rendered",
    "death": "a host's death",
    "return": "a host's return",
    "heartbeat of ours after it": "our own next heartbeat after those",
    "second, per host": "a second at rest, a host",
    "second": "a second at rest, all of it",
    "tick": "a second at rest, timers",
    "longest call": "the longest call at rest",
}
"""As a round names them → as people read them."""
PLOTTED = (
    "death", "return", ANNOUNCE, "lookup, DNS, not kept", DIGEST, HEARTBEAT, DNS, HTTP,
    "second, per host",
)  # fmt: skip
AIMS = {ANNOUNCE: "flat", HEARTBEAT: "flat", DIGEST: "flat", HTTP: "flat", DNS: "flat"}


@dataclass(slots=True)
class Costs:
    """Microseconds: by operation and number of hosts, one for each round."""

    hosts: tuple[int, ...]
    rounds: dict[str, dict[int, list[float]]] = field(default_factory=dict)

    def note(self, hosts: int, costs: dict[str, float]) -> None:
        for operation, cost in costs.items():
            self.rounds.setdefault(operation, {}).setdefault(hosts, []).append(cost)

    def medians(self, operation: str) -> tuple[float, ...]:
        return tuple(median(self.rounds[operation][hosts]) for hosts in self.hosts)

    def section(self) -> Section:
        """The largest fleet beside the smallest, and a line for each operation with all sizes."""
        least, most = self.hosts[0], self.hosts[-1]
        section = Section(
            f"CPU time of an agent's operations, {most:,} hosts of {PER_HOST} instances beside "
            f"{least:,}, with relays, signed"
        )
        for operation, what in OPERATIONS.items():
            rounds = self.rounds[operation]
            section.add_rounds(
                what,
                "µs",
                rounds[most],
                beside=f"{least:,} hosts",
                others=rounds[least],
                aim=AIMS.get(operation, ""),
            )
        section.notes.append(f"medians at {', '.join(f'{hosts:,}' for hosts in self.hosts)} hosts:")
        for operation, what in OPERATIONS.items():
            listed = ", ".join(shown(cost) for cost in self.medians(operation))
            section.notes.append(f"{what}: {listed} µs")
        return section

    def svg(self) -> str:
        lines = [Line(OPERATIONS[each], self.medians(each)) for each in PLOTTED]
        title = f"CPU time of an agent's operations, {PER_HOST} instances a host"
        return chart(title, "hosts", "microseconds", self.hosts, lines)


def sections(folder: Path, hosts: Sequence[int], rounds: int) -> Iterator[Section]:
    """For the table of all benchmarks."""
    yield measure(hosts, rounds).section()
    yield measure_memory(hosts[-1], folder)


def measure(hosts: Sequence[int], rounds: int) -> Costs:
    """A process for each size, all at once, in turns: first the first, and first the last."""
    costs = Costs(tuple(hosts))
    with ExitStack() as stack:
        fleets = [(size, stack.enter_context(_fleet(size))) for size in hosts]
        for _, fleet in fleets:
            if process.next_line(fleet) != "ready":
                raise RuntimeError("no fleet")
        for number in range(rounds):
            for size, fleet in fleets if number % 2 == 0 else reversed(fleets):
                assert fleet.stdin is not None
                fleet.stdin.write("round\n")
                fleet.stdin.flush()
                costs.note(size, json.loads(process.next_line(fleet)))
    return costs


def measure_memory(hosts: int, folder: Path) -> Section:
    """Of a process that hears a fleet, and of an agent that has it from a snapshot."""
    section = Section(f"Memory, {hosts:,} hosts of {PER_HOST} instances")
    population = _population(hosts)
    told = _heard(population)
    if (told["instances"], told["alive"]) != (population.instances, hosts + 1):
        raise RuntimeError(f"not the whole fleet: {told}")
    growth = told["after"] - told["before"]
    section.add("heard whole: resident memory", "MiB", told["after"])
    section.add("… of that before it heard anybody", "MiB", told["before"])
    section.add("… for an instance", "KiB", 1024 * growth / population.instances)
    section.add("agent from a snapshot: resident memory", "MiB", _restored(population, folder))
    return section


def _population(hosts: int) -> Population:
    """As many instances a service, however many there are."""
    return Population(nodes=hosts, per_node=PER_HOST, services=hosts)


@contextmanager
def _fleet(hosts: int) -> Iterator["subprocess.Popen[str]"]:
    running = process.start("scale_ops", hosts)
    try:
        yield running
    finally:
        process.end(running)


def _heard(population: Population) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.bench.scale_memory"]
    with tempfile.TemporaryFile() as frames:
        for at, frame in Load(population).joining():
            frames.write(written(at, frame))
        frames.seek(0)
        done = subprocess.run(
            command, stdin=frames, stdout=subprocess.PIPE, check=True, env=environment()
        )
    told: dict[str, float] = json.loads(done.stdout)
    return told


def _restored(population: Population, folder: Path) -> float:
    population.write_snapshot(folder)
    agent = AgentProcess(folder, "--fleet", FLEET, "--ttl", "1h")
    try:
        until(lambda: _instances(agent) == population.instances, RESTORED_WITHIN_S)
        return process.rss_mib(agent.process.pid)
    finally:
        agent.stop()


def _instances(agent: AgentProcess) -> int:
    known: int = agent.get("/v1/status")["counts"]["instances"]
    return known


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.scale", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw the plot there")
    asked = parser.parse_args()
    costs = measure(HOSTS, ROUNDS)
    with tempfile.TemporaryDirectory(prefix="bcn-scale-") as folder:
        memory = measure_memory(HOSTS[-1], Path(folder) / "agent")
    print(f"{table(costs.section())}\n\n{table(memory)}")
    if asked.svg is not None:
        asked.svg.write_text(costs.svg())
    if asked.json is not None:
        told = {"costs": asdict(costs), "memory": asdict(memory)}
        asked.json.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
