"""`python -m tests.bench [--quick] [--only PART]... [--json FILE]`."""

import argparse
import asyncio
import json
import os
import platform
import resource
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvloop

from beacond import __version__
from tests.bench import (
    alone,
    churn,
    dns_lookups,
    following,
    http_lookups,
    scale,
    visibility,
    waiting,
)
from tests.bench.looked_up import agent
from tests.bench.report import Section, ratios, table
from tests.support.rabbitmq import RabbitMQ, missing_program

PARTS = ("dns", "http", "start", "scale", "churn", "visibility", "following")
OVER_RABBITMQ = {"churn", "visibility", "following"}
FILES_OPEN = 8192
"""A thousand who wait, at both ends; a thousand hosts, with two connections each."""


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is measured."""

    rounds: int
    lookup_s: int
    changes: int
    starts: int
    idle_s: float
    writers: int
    cycles: int
    following: following.Extent
    hosts: tuple[int, ...]
    """Sizes of the fleets whose operations are measured."""


FULL = Extent(
    rounds=5,
    lookup_s=3,
    changes=20,
    starts=5,
    idle_s=10.0,
    writers=5,
    cycles=40,
    following=following.Extent(
        relayed=1000, flat=200, interval_s=5.0, settle_s=12.0, window_s=60.0, deaths=True
    ),
    hosts=scale.HOSTS,
)
QUICK = Extent(
    rounds=2,
    lookup_s=1,
    changes=5,
    starts=2,
    idle_s=3.0,
    writers=4,
    cycles=4,
    following=following.Extent(
        relayed=200, flat=50, interval_s=2.0, settle_s=1.0, window_s=6.0, deaths=False
    ),
    hosts=(100, 1_000),
)


def main() -> None:
    asked = _arguments()
    extent = QUICK if asked.quick else FULL
    machine = _machine()
    _allow_files()
    print(f"beacond {__version__}, {'quick' if asked.quick else 'full'} run, {machine['time']}")
    print(f"{machine['cores']} cores ({machine['cpu']}), Linux {machine['kernel']}, ", end="")
    print(f"Python {machine['python']}, load average {machine['load']}\n", flush=True)
    sections: list[Section] = []
    with tempfile.TemporaryDirectory(prefix="bcn-bench-") as folder:
        for section in _measured(set(asked.only or PARTS), extent, Path(folder)):
            print(table(section), end="\n\n", flush=True)
            sections.append(section)
    print(ratios(sections), end="\n\n")
    print(f"load average {_load()}")
    if asked.json is not None:
        told = {"beacond": __version__, "quick": asked.quick, "machine": machine}
        told["sections"] = [asdict(section) for section in sections]
        asked.json.write_text(json.dumps(told, indent=1) + "\n")


def _measured(parts: set[str], extent: Extent, folder: Path) -> Iterator[Section]:
    how = (extent.lookup_s, extent.rounds)
    if "dns" in parts:
        yield from dns_lookups.measure(folder / "dns", *how)
    if "http" in parts:
        with agent(folder / "agent") as ours:
            yield http_lookups.measure(ours, folder / "http", *how)
            yield waiting.measure_cost(ours, folder / "waiting", *how)
            yield waiting.measure_reach(ours, extent.changes)
    if "start" in parts:
        yield alone.measure_starts(folder / "starts", extent.starts)
        yield alone.measure_idle(folder / "idle", extent.rounds, extent.idle_s)
    if "scale" in parts:
        yield from scale.sections(folder / "scale", extent.hosts, extent.rounds)
    if not parts & OVER_RABBITMQ:
        return
    missing = missing_program()
    if missing is not None:
        reason = f"churn, visibility, memory and CPU share over RabbitMQ: {missing} not installed"
        yield Section("Over RabbitMQ", skipped=[reason])
        return
    # As in agents: the bare hop beside them is to differ in nothing else.
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        broker = RabbitMQ()
        try:
            runner.run(broker.start())
            if "churn" in parts:
                yield churn.measure(broker, folder / "churn", *how)
            if "visibility" in parts:
                yield runner.run(visibility.measure(broker, folder, extent.writers, extent.cycles))
            if "following" in parts:
                yield following.measure(broker, folder, extent.following)
        finally:
            runner.run(broker.close())


def _allow_files() -> None:
    """To us, and to all that we start."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < FILES_OPEN:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(FILES_OPEN, hard), hard))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--only", action="append", choices=PARTS, help="this part; repeatable")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    return parser.parse_args()


def _machine() -> dict[str, Any]:
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "cpu": _cpu(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": _load(),
    }


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _load() -> str:
    return " ".join(f"{value:.2f}" for value in os.getloadavg())


if __name__ == "__main__":
    main()
