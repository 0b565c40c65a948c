"""The data dir of one agent: its lock and its three files."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import Self

from beacond.store.durable import StoreError, refusal, write_durably
from beacond.store.identity import IdentityFile
from beacond.store.registrations import RegistrationsFile
from beacond.store.snapshot import SnapshotFile

_TRIAL = bytes(4096)
"""A block: what a full disk has no room for."""


class DataDir:
    """Everything the agent keeps on disk, held by a lock as long as it is open.

    All calls block on the disk: call them in a thread. A file's calls may come from several
    threads; they take turns.
    """

    def __init__(self, path: Path, lock_fd: int) -> None:
        self._path = path
        self._lock_fd: int | None = lock_fd
        self.identity = IdentityFile(path / "identity.json")
        self.registrations = RegistrationsFile(path / "registrations.json")
        self.snapshot = SnapshotFile(path / "snapshot")

    @classmethod
    def open(cls, path: Path) -> Self:
        """Make the folder if need be, lock it and try a write.

        Raises StoreError: not writable, full, or held by another agent (named by its pid).
        """
        path = path.absolute()
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise refusal("make the data dir", path, error) from error
        lock_fd = _lock(path / "agent.lock")
        try:
            _try_write(path / "writable")
        except BaseException:
            os.close(lock_fd)
            raise
        return cls(path, lock_fd)

    @property
    def path(self) -> Path:
        return self._path

    def close(self) -> None:
        """Give up the lock. The lock file stays: deleting it would let two agents lock two."""
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None


def _try_write(path: Path) -> None:
    write_durably(path, _TRIAL)
    with suppress(OSError):
        path.unlink()


def _lock(path: Path) -> int:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise refusal("open", path, error) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    except BlockingIOError as error:
        holder = os.pread(fd, 20, 0).decode("ascii", "replace").strip()
        os.close(fd)
        raise StoreError(
            f"the data dir {path.parent} is in use by another agent (pid {holder or 'unknown'})"
        ) from error
    except OSError as error:
        os.close(fd)
        raise refusal("lock", path, error) from error
    return fd
