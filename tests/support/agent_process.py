"""A real agent in a process of its own, and the command line that talks to it."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from beacond.cli.client import Client

ROOT = Path(__file__).resolve().parents[2]
WITHIN_S = 20.0
BEACOND = (sys.executable, "-m", "beacond")


def environment(**more: str) -> dict[str, str]:
    """This process's, without settings of beacond, and so that beacond is found from anywhere."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("BEACOND_")}
    return {**kept, "PYTHONPATH": str(ROOT), "COLUMNS": "200", **more}


def until(true: Callable[[], Any], within_s: float = WITHIN_S) -> Any:
    """Wait for a foreign process: the first true value."""
    deadline = time.monotonic() + within_s
    while not (value := true()):
        assert time.monotonic() < deadline, "this takes too long"
        time.sleep(0.02)
    return value


class AgentProcess:
    """`beacond agent` on the embedded bus and free ports of loopback."""

    def __init__(self, folder: Path, *flags: str, http: str = "127.0.0.1:0", **env: str) -> None:
        """Starts it; its data are in `folder`. `url` is there once it listens."""
        self.log: list[dict[str, Any]] = []
        arguments = ["--http", http, "--dns", "127.0.0.1:0", "--data-dir", str(folder / "data")]
        self.process = subprocess.Popen(
            [*BEACOND, "agent", "--node", "test", "--log-format", "json", *arguments, *flags],
            stderr=subprocess.PIPE,
            text=True,
            env=environment(**env),
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            try:
                self.log.append(json.loads(line))
            except ValueError:
                self.log.append({"event": line.rstrip()})

    def logged(self, event: str, logger: str | None = None) -> list[dict[str, Any]]:
        found = [line for line in self.log if line["event"] == event]
        return [line for line in found if logger in (None, line.get("logger"))]

    @property
    def url(self) -> str:
        def address() -> list[dict[str, Any]]:
            assert self.process.poll() is None, self.log
            return self.logged("listening", "beacond.http")

        return f"http://{until(address)[0]['address']}"

    def stop(self) -> int:
        """Gracefully; its exit status."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            status = self.process.wait(WITHIN_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        finally:
            self.process.wait()
            self._reader.join()
            assert self.process.stderr is not None
            self.process.stderr.close()
        return status

    def beacond(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a client command against this agent."""
        return call(*arguments, BEACOND_AGENT=self.url)

    def json(self, *arguments: str) -> Any:
        done = self.beacond(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def instances(self, service: str) -> list[dict[str, Any]]:
        """What is known of a service, whatever its health."""
        found: list[dict[str, Any]] = self.get(f"/v1/services/{service}?health=any")["instances"]
        return found

    def get(self, path: str) -> Any:
        return Client(self.url).get(path).json()


def call(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*BEACOND, *arguments],
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
        env=environment(**env),
    )


def rows(table: str) -> list[Sequence[str]]:
    """The cells of a printed table."""
    return [re.split(r" {2,}", line.strip()) for line in table.splitlines()]
