"""Every process of the demo, so that none outlives it: found by ancestry, ended by id."""

import asyncio
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path

from tests.support.agent_process import environment
from tests.support.rabbitmq import descendants, is_alive

PR_SET_CHILD_SUBREAPER = 36
POLL_S = 0.02


def adopt_orphans() -> None:
    """From now on who loses its parent becomes a child of ours, and is not lost sight of."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def left_behind() -> list[str]:
    """ "PID COMMAND" of every process that descends from this one and lives."""
    return [f"{pid} {_command(pid)}" for pid in descendants(os.getpid()) if is_alive(pid)]


def end_all_that_is_left(within_s: float = 5.0) -> None:
    """The last resort: kill what descends from us until nothing does, and bury it."""
    deadline = time.monotonic() + within_s
    while left := [pid for pid in descendants(os.getpid()) if is_alive(pid)]:
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            break
        time.sleep(POLL_S)
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


class Processes:
    """Starts programs, each with its output in `folder/NAME.log` and out of Ctrl-C's reach."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._all: list[subprocess.Popen[bytes]] = []

    def start(self, name: str, command: Sequence[str], **env: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment(**env),
                cwd=self.folder,
                start_new_session=True,
            )
        self._all.append(process)
        return process

    async def end(self, but: Collection[subprocess.Popen[bytes]] = ()) -> None:
        """Ask all to go, `but` some; who does not in time is killed."""
        ending = [process for process in self._all if process not in but]
        for process in ending:
            if process.poll() is None:
                process.terminate()
        for process in ending:
            if await exit_status(process, within_s=8.0) is None:
                process.kill()
                process.wait()

    def log_tail(self, name: str, lines: int) -> list[str]:
        path = self.folder / f"{name}.log"
        text = path.read_text(errors="replace") if path.exists() else ""
        return text.splitlines()[-lines:]


async def exit_status(process: subprocess.Popen[bytes], *, within_s: float) -> int | None:
    """None: it still runs."""
    deadline = time.monotonic() + within_s
    while (status := process.poll()) is None and time.monotonic() < deadline:
        await asyncio.sleep(POLL_S)
    return status


def _command(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    return "?"
