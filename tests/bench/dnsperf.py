"""dnsperf, and what it reports."""

import re
from dataclasses import dataclass
from pathlib import Path

from tests.bench.process import run_tool

_RCODES = re.compile(r"Response codes:\s*(.*)")
_RCODE = re.compile(r"(\w+) (\d+) \(")


UNDER_WAY = 64
"""Questions; the largest answers of so many fit the receive buffer that a socket has by default."""
LOST_AFTER_S = 1


@dataclass(frozen=True, slots=True)
class Report:
    sent: int
    rcodes: dict[str, int]
    octets: int
    """Of an answer, the mean of all, rounded down."""
    run_s: float
    latencies_s: list[float]
    """Where each question was told (`per_s`)."""
    tool_cpu_s: float = 0.0


def run(
    port: int, questions: Path, seconds: float, output: Path, *, per_s: int | None = None
) -> Report:
    """From one socket, with EDNS. `per_s`: not as fast as it goes but so many a second, and the
    time that each took is told."""
    where = ("-s", "127.0.0.1", "-p", port, "-d", questions)
    how = ("-l", seconds, "-q", UNDER_WAY, "-t", LOST_AFTER_S, "-e")
    evenly = () if per_s is None else ("-Q", per_s, "-v")
    tool_cpu_s = run_tool("dnsperf", *where, *how, *evenly, output=output)
    return parse(output.read_text(), tool_cpu_s)


def parse(text: str, tool_cpu_s: float = 0.0) -> Report:
    """Raises ValueError where it is not the report of a whole run."""
    told, found, statistics = text.partition("Statistics:")
    rcodes = _RCODES.search(statistics)
    if not found or rcodes is None:
        raise ValueError(f"dnsperf told no statistics: {text[-500:]}")
    return Report(
        sent=int(_figure(r"Queries sent:\s*(\d+)", statistics)),
        rcodes={name: int(count) for name, count in _RCODE.findall(rcodes[1])},
        octets=int(_figure(r"Average packet size:.*response (\d+)", statistics)),
        run_s=float(_figure(r"Run time \(s\):\s*([\d.]+)", statistics)),
        latencies_s=list(map(float, re.findall(r"^> \w+ \S+ \w+ ([\d.]+)$", told, re.MULTILINE))),
        tool_cpu_s=tool_cpu_s,
    )


def _figure(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    if found is None:
        raise ValueError(f"dnsperf did not tell {pattern!r}: {text[-500:]}")
    return found[1]
