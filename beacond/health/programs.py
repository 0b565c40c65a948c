"""Checks that run a program: exit 0 is passing, 1 warning, all else critical."""

import asyncio
import logging
import os
import signal
from contextlib import closing, suppress

from beacond.core.model import Check, Status
from beacond.health.outcome import OUTPUT_MAX, Outcome, clean_text, critical, reason_of, timed_out

READ_MAX = 1024 * 1024
"""Bytes of output after which a program is killed: nobody reads that, and reading it costs."""
KILL_WAIT_S = 2.0
"""A killed program that stuck in the kernel is not waited for longer."""
_CHUNK = 65536
_KEPT_ENVIRONMENT = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR")

log = logging.getLogger("beacond.health")


async def probe_exec(check: Check) -> Outcome:
    """One run, in its own process group, which is killed when the time is up or on cancelling.

    Its standard input is empty, its folder `/`; both its outputs are read as one.
    """
    if not check.command:
        return critical("the check has no command")
    # The system would take what is before it for all there is.
    if any("\0" in argument for argument in check.command):
        return critical(f"cannot run {check.command[0]!r}: NUL in an argument")
    try:
        with closing(_Output()) as output:
            return await _run(check, output)
    except OSError as error:
        return critical(f"cannot run {check.command[0]!r}: {reason_of(error)}")
    except ValueError as error:
        return critical(f"cannot run {check.command[0]!r}: {error}")


async def _run(check: Check, output: "_Output") -> Outcome:
    """Raises OSError, ValueError where the program can't be started."""
    process = await asyncio.create_subprocess_exec(
        *check.command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=output.write_fd,
        stderr=output.write_fd,
        start_new_session=True,
        cwd="/",
        env=_environment(),
    )
    try:
        async with asyncio.timeout(check.timeout_s):
            await _ended(process, output)
        if process.returncode is None:
            return critical(f"killed: wrote more than {READ_MAX} bytes")
        return _judge(process.returncode, output.text)
    except TimeoutError:
        return _with_text(timed_out(check.timeout_s), output.text)
    finally:
        await _kill(process)


async def _ended(process: asyncio.subprocess.Process, output: "_Output") -> None:
    """Until the program ended or wrote too much. Its end counts, not that of its output: a child
    it left behind may hold that open for ever."""
    ends = [asyncio.create_task(process.wait()), asyncio.create_task(output.overflow.wait())]
    try:
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for end in ends:
            end.cancel()
        await asyncio.gather(*ends, return_exceptions=True)
    output.take_rest()


async def _kill(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    # The leader has not been waited for, so the group's number can't be anyone else's.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    try:
        async with asyncio.timeout(KILL_WAIT_S):
            await process.wait()
    except TimeoutError:
        log.warning("killed check does not end", extra={"pid": process.pid})


def _judge(code: int, text: str) -> Outcome:
    match code:
        case 0:
            return Outcome(Status.PASSING, text)
        case 1:
            return Outcome(Status.WARNING, text or "exit 1")
    return _with_text(critical(f"ended by signal {-code}" if code < 0 else f"exit {code}"), text)


def _with_text(outcome: Outcome, text: str) -> Outcome:
    return Outcome(outcome.status, f"{outcome.output}: {text}") if text else outcome


def _environment() -> dict[str, str]:
    """What a program needs; not the agent's own settings, which may hold secrets."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in _KEPT_ENVIRONMENT or name.startswith("LC_")
    }
    return {"PATH": os.defpath} | kept


class _Output:
    """A pipe of which the beginning is kept and the rest thrown away.

    We keep its writing end open as well, so that it never comes to an end by itself.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._read_fd, self.write_fd = os.pipe()
        os.set_blocking(self._read_fd, False)
        self._kept = bytearray()
        self._seen = 0
        self.overflow = asyncio.Event()
        """More than READ_MAX bytes came; no more are read."""
        self._loop.add_reader(self._read_fd, self._take)

    @property
    def text(self) -> str:
        return clean_text(bytes(self._kept))

    def take_rest(self) -> None:
        """What a program left in the pipe when it ended."""
        while not self.overflow.is_set() and self._take():
            pass

    def close(self) -> None:
        self._loop.remove_reader(self._read_fd)
        os.close(self._read_fd)
        os.close(self.write_fd)

    def _take(self) -> bool:
        try:
            data = os.read(self._read_fd, _CHUNK)
        except BlockingIOError:
            return False
        self._seen += len(data)
        self._kept += data[: OUTPUT_MAX - len(self._kept)]
        if self._seen > READ_MAX:
            self._loop.remove_reader(self._read_fd)
            self.overflow.set()
        return True
