"""Other processes: what they have used, and programs that run beside."""

import os
import pwd
import resource
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.agent_process import environment

SBIN = "/usr/local/sbin:/usr/sbin:/sbin"
TOOL_TIMEOUT_S = 120.0
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def find_program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:{SBIN}")


def missing(*names: str) -> str:
    """Which of them are not installed, as words; empty: none."""
    absent = [name for name in names if find_program(name) is None]
    return f"{' and '.join(absent)} not installed" if absent else ""


def cpu_s(pid: int) -> float:
    """User and system seconds of all its threads so far, in steps of a clock tick (10 ms)."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def on_cpu_s(pid: int) -> float:
    """The same of the threads it has now, to the nanosecond: for who does nearly nothing."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((each / "schedstat").read_text().split()[0]) for each in threads) / 1e9


def family(pid: int) -> tuple[int, ...]:
    """A process, and all that it and its children have started."""
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parents.setdefault(int(_stat(int(folder.name))[1]), []).append(int(folder.name))
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended meanwhile
    found = [pid]
    for each in found:
        found += parents.get(each, ())
    return tuple(found)


def _stat(pid: int) -> list[str]:
    # The command name in brackets may hold spaces and brackets itself.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def rss_mib(pid: int) -> float:
    """Resident memory now."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"process {pid} has no memory any more")


def own_mib(pid: int) -> float:
    """Resident memory that no other process shares."""
    kib = 0
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Private_"):
            kib += int(line.split()[1])
    return kib / 1024


def run_tool(name: str, *arguments: object, output: Path) -> float:
    """Run an installed program to its end, its standard output into a file; the CPU seconds it
    used. Raises CalledProcessError."""
    program = find_program(name)
    assert program is not None, f"{name} is not installed"
    before = _children_cpu_s()
    with output.open("wb") as into:
        subprocess.run(
            [program, *map(str, arguments)], stdout=into, check=True, timeout=TOOL_TIMEOUT_S
        )
    return _children_cpu_s() - before


def _children_cpu_s() -> float:
    """Of all that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def start(module: str, *arguments: object) -> subprocess.Popen[str]:
    """A program of ours that says on its first line that it is ready."""
    return subprocess.Popen(
        [sys.executable, "-m", f"tests.bench.{module}", *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )


def next_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    process.communicate()


def user() -> str:
    """Whose processes these are; servers that start as root would become somebody else, who can't
    read our folders."""
    return pwd.getpwuid(os.getuid()).pw_name


def end_server(process: subprocess.Popen[bytes]) -> None:
    """One without pipes."""
    process.terminate()
    process.wait()


def start_server(name: str, *arguments: object) -> subprocess.Popen[bytes]:
    """An installed server, in the foreground."""
    program = find_program(name)
    assert program is not None, f"{name} is not installed"
    return subprocess.Popen([program, *map(str, arguments)])
