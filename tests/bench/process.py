"""Other processes: what they have used, and load generators that answer in JSON."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.agent_process import environment

SBIN = "/usr/local/sbin:/usr/sbin:/sbin"
LOAD_TIMEOUT_S = 120.0
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def find_program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:{SBIN}")


def cpu_s(pid: int) -> float:
    """User and system seconds of all its threads so far, in steps of a clock tick (10 ms)."""
    # The command name in brackets may hold spaces and brackets itself.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def rss_mib(pid: int) -> float:
    """Resident memory now."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"process {pid} has no memory any more")


def run_load(module: str, *arguments: object) -> Any:
    """Run one load generator to its end; what it reports. Raises CalledProcessError."""
    done = subprocess.run(
        [sys.executable, "-m", f"tests.bench.{module}", *map(str, arguments)],
        stdout=subprocess.PIPE,
        check=True,
        env=environment(),
        timeout=LOAD_TIMEOUT_S,
    )
    return json.loads(done.stdout)


def start(module: str, *arguments: object) -> subprocess.Popen[str]:
    """A program of ours that says on its first line that it is ready, and ends with its stdin."""
    return subprocess.Popen(
        [sys.executable, "-m", f"tests.bench.{module}", *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )


def end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    process.communicate()
