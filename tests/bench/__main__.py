"""`python -m tests.bench [--quick] [--only PART]... [--json FILE]`."""

import argparse
import asyncio
import json
import os
import platform
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvloop

from beacond import __version__
from tests.bench import footprint, lookups, visibility
from tests.bench.report import Section, table
from tests.support.rabbitmq import RabbitMQ, missing_program

PARTS = ("lookups", "start", "visibility", "following")


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is measured."""

    lookup_s: float
    starts: int
    writers: int
    cycles: int
    window_s: float


FULL = Extent(lookup_s=5.0, starts=5, writers=5, cycles=40, window_s=30.0)
QUICK = Extent(lookup_s=1.0, starts=2, writers=4, cycles=6, window_s=6.0)


def main() -> None:
    asked = _arguments()
    extent = QUICK if asked.quick else FULL
    machine = _machine()
    print(f"beacond {__version__}, {'quick' if asked.quick else 'full'} run, {machine['time']}")
    print(f"{machine['cores']} cores ({machine['cpu']}), Linux {machine['kernel']}, ", end="")
    print(f"Python {machine['python']}, load average {machine['load']}\n", flush=True)
    sections: list[Section] = []
    with tempfile.TemporaryDirectory(prefix="bcn-bench-") as folder:
        for section in _measured(set(asked.only or PARTS), extent, Path(folder)):
            print(table(section), end="\n\n", flush=True)
            sections.append(section)
    print(f"load average {_load()}")
    if asked.json is not None:
        told = {"beacond": __version__, "quick": asked.quick, "machine": machine}
        told["sections"] = [asdict(section) for section in sections]
        asked.json.write_text(json.dumps(told, indent=1) + "\n")


def _measured(parts: set[str], extent: Extent, folder: Path) -> Iterator[Section]:
    if "lookups" in parts:
        yield from lookups.measure(folder / "lookups", extent.lookup_s)
    if "start" in parts:
        yield footprint.measure_starts(folder / "starts", extent.starts)
    if not parts & {"visibility", "following"}:
        return
    missing = missing_program()
    if missing is not None:
        reason = f"visibility, memory and CPU share over RabbitMQ: {missing} is not installed"
        yield Section("Over RabbitMQ", skipped=[reason])
        return
    # As in agents: the bare hop beside them is to differ in nothing else.
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        broker = RabbitMQ()
        try:
            runner.run(broker.start())
            if "visibility" in parts:
                yield runner.run(visibility.measure(broker, folder, extent.writers, extent.cycles))
            if "following" in parts:
                yield footprint.measure_following(broker, folder, extent.window_s)
        finally:
            runner.run(broker.close())


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
