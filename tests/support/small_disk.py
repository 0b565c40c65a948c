"""A small file system for one test, that can be filled and made read-only.

It lives in the mount namespace of a process of its own, so that it goes with that process however
the test ends; `path` leads there through /proc, for the test and for the agents alike.
"""

import errno
import os
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

SIZE = "256k"
WITHIN_S = 20.0

_HOLD = 'mount -t tmpfs -o "size=$2" none "$1" && echo held && exec cat'


class SmallDiskError(Exception):
    """This machine does not let us mount."""


class SmallDisk:
    def __init__(self, folder: Path) -> None:
        """Mounted at `folder`, as nobody else sees it. Raises SmallDiskError."""
        self._at = str(folder)
        self._as_root = os.geteuid() == 0
        new = ("unshare", "--mount") if self._as_root else ("unshare", "--mount", "--map-root-user")
        self._holder = subprocess.Popen(
            [*new, "--propagation", "private", "sh", "-c", _HOLD, "sh", self._at, SIZE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self._holder.stdout is not None
        if (said := self._holder.stdout.readline()) != "held\n":
            self.close()
            raise SmallDiskError(said.strip() or "the mount failed without a word")
        self.path = Path(f"/proc/{self._holder.pid}/root{self._at}")
        self._filler = self.path / "filler"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def fill(self) -> None:
        """Leave no room at all."""
        with self._filler.open("ab", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(1024))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise

    def make_room(self) -> None:
        self._filler.unlink()

    def make_read_only(self) -> None:
        """As a file system does after an error: files open for writing do not hinder it."""
        self._mount("--bind", self._at, self._at)
        self._mount("--options", "remount,bind,ro", self._at)

    def make_writable(self) -> None:
        self._mount("--options", "remount,bind,rw", self._at)

    def close(self) -> None:
        if self._holder.stdin is not None:
            self._holder.stdin.close()
        try:
            self._holder.wait(WITHIN_S)
        except subprocess.TimeoutExpired:
            self._holder.kill()
            self._holder.wait()
        if self._holder.stdout is not None:
            self._holder.stdout.close()

    def _mount(self, *words: str) -> None:
        self._inside("mount", *words)

    def _inside(self, *command: str) -> None:
        users = () if self._as_root else ("--user", "--preserve-credentials")
        target = ("--target", str(self._holder.pid), "--mount", *users)
        subprocess.run(["nsenter", *target, *command], check=True, timeout=WITHIN_S)
