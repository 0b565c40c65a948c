"""What one agent's process uses at one moment."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024
LOG_EVENTS = 10_000
"""What an agent keeps of its event log."""
GAUGES = {
    "tasks": "beacond_tasks",
    "waiters": "beacond_http_waiters",
    "streams": "beacond_http_event_streams",
}


@dataclass(frozen=True, slots=True)
class Sample:
    agent: str
    at_s: float
    """Since the soak began."""
    rss_kib: int
    fds: int
    threads: int
    tasks: int
    waiters: int
    """Blocking queries open."""
    streams: int
    """Event streams open."""
    events: int = 0
    """Told since it started."""


def take(agent: str, pid: int, metrics: str, began_at: float, events: int = 0) -> Sample:
    """`metrics`: what its `/metrics` said just now. Raises FileNotFoundError: it has ended."""
    folder = Path(f"/proc/{pid}")
    values = dict(line.rsplit(" ", 1) for line in metrics.splitlines() if line[:1] != "#")
    gauges = {name: int(float(values[metric])) for name, metric in GAUGES.items()}
    return Sample(
        agent=agent,
        at_s=time.monotonic() - began_at,
        rss_kib=int((folder / "statm").read_text().split()[1]) * PAGE_KIB,
        fds=len(os.listdir(folder / "fd")),
        threads=len(os.listdir(folder / "task")),
        events=events,
        **gauges,
    )
