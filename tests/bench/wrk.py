"""wrk, and what its script reports."""

import json
from dataclasses import dataclass
from pathlib import Path

from tests.bench.process import run_tool

SCRIPT = Path(__file__).with_name("wrk.lua")
CONNECTIONS = 16


@dataclass(frozen=True, slots=True)
class Report:
    answers: int
    """With any status."""
    octets: int
    """Of them all, heads included."""
    wall_us: int
    wrong: int
    """Of a status from 400 on."""
    lost: int
    """Not connected, broken off, or not there in time."""
    tool_cpu_s: float


def run(port: int, paths: Path, seconds: int, output: Path, *, seed: int) -> Report:
    """Connections that are kept open, one request under way on each."""
    how = ("-t", 1, "-c", CONNECTIONS, "-d", f"{seconds}s", "-s", SCRIPT)
    url = f"http://127.0.0.1:{port}"
    tool_cpu_s = run_tool("wrk", *how, url, "--", paths, seed, output=output)
    return parse(output.read_text(), tool_cpu_s)


def parse(text: str, tool_cpu_s: float = 0.0) -> Report:
    """Raises ValueError where it is not the report of a whole run."""
    lines = [line for line in text.splitlines() if line.startswith("{")]
    if len(lines) != 1:
        raise ValueError(f"wrk told no figures: {text[-500:]}")
    return Report(**json.loads(lines[0]), tool_cpu_s=tool_cpu_s)
