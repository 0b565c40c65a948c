"""Programs on a host: servers that are killed and started again, and talkers of our own."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.peers.places import Place
from tests.support.agent_process import environment

POLL_S = 0.02
START_WITHIN_S = 30.0
STOP_WITHIN_S = 20.0


class Failed(Exception):
    """A process of ours could not do what it was asked, and says why."""


async def until(true: Callable[[], Awaitable[bool]], within_s: float, what: str) -> None:
    """Raises TimeoutError."""
    deadline = time.monotonic() + within_s
    while not await true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {within_s:g} s: {what}")
        await asyncio.sleep(POLL_S)


class Server:
    """A foreign program that runs until it is ended. Its process is the program itself."""

    def __init__(
        self,
        name: str,
        place: Place,
        command: Sequence[str],
        folder: Path,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self._command = [*place.enter, *command]
        self._folder = folder
        self._env = dict(env or {})
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    async def start(self) -> None:
        with (self._folder / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment(**self._env),
                cwd=self._folder,
                start_new_session=True,
            )

    async def stop(self) -> None:
        """As an operator would; who does not end in time is killed."""
        if self.process is not None and self.running:
            self.process.terminate()
            deadline = time.monotonic() + STOP_WITHIN_S
            while self.running and time.monotonic() < deadline:
                await asyncio.sleep(POLL_S)
        await self.kill()

    async def kill(self) -> None:
        if self.process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        while self.process.poll() is None:
            await asyncio.sleep(POLL_S / 4)

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self.process is not None and self.running:
            os.killpg(self.process.pid, number)


class Talker:
    """`tests.peers.MODULE` in a process of its own: a line of JSON asks, a line of JSON answers.

    It ends with its standard input, so none is left when we are gone.
    """

    def __init__(self, module: str, place: Place, log: Path) -> None:
        self._module = module
        self._place = place
        self._log = log
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._awaited: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._number = 0
        self.hello: dict[str, Any] = {}

    async def start(self, config: dict[str, Any], wrapper: Sequence[str] = ()) -> None:
        """Returns when it has said that it is ready. Raises Failed.

        `wrapper`: a command that starts it.
        """
        module = f"tests.peers.{self._module}"
        own = [sys.executable, "-m", module, json.dumps(config)]
        command = [*self._place.enter, *wrapper, *own]
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment(),
                start_new_session=True,
            )
        self._awaited[0] = asyncio.get_running_loop().create_future()
        self._reading = asyncio.create_task(self._read(self._process))
        try:
            self.hello = await self._answer(0, START_WITHIN_S)
        except BaseException:
            await self.kill()
            raise

    async def ask(self, within_s: float, **question: Any) -> dict[str, Any]:
        """Raises Failed, also when there is no answer in time."""
        process = self._process
        if process is None or process.stdin is None or process.returncode is not None:
            raise Failed(f"the {self._module} does not run")
        self._number += 1
        number = self._number
        self._awaited[number] = asyncio.get_running_loop().create_future()
        process.stdin.write(json.dumps(question | {"number": number}).encode() + b"\n")
        return await self._answer(number, within_s)

    async def kill(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        await self.ended()

    async def ended(self) -> None:
        """Wait for its end."""
        process, self._process = self._process, None
        if process is None:
            return
        await process.wait()
        if self._reading is not None:
            await self._reading
        if process.stdin is not None:
            process.stdin.close()

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    async def _answer(self, number: int, within_s: float) -> dict[str, Any]:
        try:
            async with asyncio.timeout(within_s):
                told = await self._awaited[number]
        except TimeoutError:
            raise Failed(f"no answer from the {self._module} within {within_s:g} s") from None
        finally:
            del self._awaited[number]
        if "error" in told:
            raise Failed(told["error"])
        return told

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            told = json.loads(line)
            future = self._awaited.get(told.get("number", 0))
            if future is not None and not future.done():
                future.set_result(told)
        for future in self._awaited.values():
            if not future.done():
                future.set_result({"error": f"the {self._module} has ended"})
