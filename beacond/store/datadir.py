"""The data dir of one agent: its lock and its three files."""

import errno
import fcntl
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Self

from beacond.store.durable import StoreError, refusal
from beacond.store.identity import IdentityFile
from beacond.store.registrations import RegistrationsFile
from beacond.store.snapshot import SnapshotFile

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO})
_UNWRITABLE = _NO_ROOM | {errno.EROFS, errno.EACCES, errno.EPERM}
"""Why a file can't be made in a folder that may be good again, or is good enough to read."""


class _NotNowError(StoreError):
    """It can't be locked now; later perhaps."""


class DataDir:
    """Everything the agent keeps on disk, held by a lock as long as it is open.

    Reading does not need a disk that can be written. Every write first takes the lock, where the
    disk refused that until now, and makes this start's incarnation durable.

    All calls block on the disk: call them in a thread. A file's calls may come from several
    threads; they take turns.
    """

    def __init__(self, path: Path) -> None:
        """See `open`."""
        self._path = path
        self._lock_fd: int | None = None
        self._turn = threading.Lock()
        self.identity = IdentityFile(path / "identity.json", ready=self._hold)
        self.registrations = RegistrationsFile(path / "registrations.json", self.ready)
        self.snapshot = SnapshotFile(path / "snapshot", self.ready)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Make the folder if need be, and lock it; on a full or read-only disk that may come
        later.

        Raises StoreError: held by another agent (named by its pid), or a place where none of
        this can ever be.
        """
        data_dir = cls(path.absolute())
        with suppress(_NotNowError):
            data_dir._hold()
        return data_dir

    @property
    def path(self) -> Path:
        return self._path

    def ready(self) -> None:
        """Make sure that we hold the folder, and that the next start's incarnation will be above
        this one's. Raises StoreError."""
        self._hold()
        self.identity.persist()

    def try_write(self) -> None:
        """Raises StoreError where the disk takes nothing."""
        self._hold()
        self.identity.persist(anew=True)

    def close(self) -> None:
        """Give up the lock. The lock file stays: deleting it would let two agents lock two."""
        with self._turn:
            if self._lock_fd is not None:
                os.close(self._lock_fd)
                self._lock_fd = None

    def _hold(self) -> None:
        """Raises StoreError."""
        with self._turn:
            if self._lock_fd is None:
                _make(self._path)
                self._lock_fd = _lock(self._path / "agent.lock")


def _make(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        refused = refusal("make the data dir", path, error)
        # A place that is read-only or not ours before we ever used it is a wrong path.
        raise (_NotNowError(*refused.args) if error.errno in _NO_ROOM else refused) from error


def _lock(path: Path) -> int:
    """The locked file; opened for reading only where the disk is read-only."""
    try:
        fd = _open(path, os.O_RDWR | os.O_CREAT)
        writable = True
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise refusal("open", path, error) from error
        fd = _open_unwritable(path, error)
        writable = False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.pread(fd, 20, 0).decode("ascii", "replace").strip()
        os.close(fd)
        if isinstance(error, BlockingIOError):
            who = f"pid {holder}" if holder and writable else "pid unknown"
            raise StoreError(
                f"the data dir {path.parent} is in use by another agent ({who})"
            ) from error
        refused = refusal("lock", path, error)
        # Some network file systems want it open for writing.
        raise (refused if writable else _NotNowError(*refused.args)) from error
    _tell_holder(fd)
    return fd


def _open_unwritable(path: Path, refused: OSError) -> int:
    """Raises StoreError where others may hold it without our being able to see that."""
    try:
        return _open(path, os.O_RDONLY)
    except FileNotFoundError:
        raise _NotNowError(*refusal("make", path, refused).args) from refused
    except OSError as error:
        raise refusal("open", path, error) from error


def _open(path: Path, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _tell_holder(fd: int) -> None:
    """For whoever finds it locked; written over in place, which a full disk allows."""
    with suppress(OSError):
        pid = f"{os.getpid()}\n".encode()
        os.pwrite(fd, pid, 0)
        os.ftruncate(fd, len(pid))
