"""Files that are whole after any crash: replaced as one, and set aside where damaged.

All calls block on the disk: call them in a thread.
"""

import errno
import logging
import os
import re
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

DAMAGED_KEPT = 3
"""Set-aside copies kept of one file, the newest."""

_READ_DAMAGE = (errno.EIO, errno.EBADMSG, errno.EUCLEAN)
"""What reading from a broken disk or file system fails with."""

log = logging.getLogger("beacond.store")

T = TypeVar("T")


class StoreError(Exception):
    """The disk refused. One line for people; what was on disk before is whole."""


class Damaged(Exception):
    """A file's content can't be used; the message says why. Never leaves the store."""


class StoredFile:
    """A file that is read at start and then replaced as a whole, by one caller at a time.

    What can't be used is never lost: it is set aside when it is found or, where the disk refuses
    that, before the next write.
    """

    def __init__(self, path: Path, ready: Callable[[], None] = lambda: None) -> None:
        """`ready` is called before each write; what it raises keeps the write from happening."""
        self.path = path
        self.turn = threading.Lock()
        """To be held by whoever calls a method."""
        self._ready = ready
        self._first: Callable[[], None] = lambda: None

    def load(self, size_max: int, decode: Callable[[bytes], T]) -> T | None:
        """None where there is no file, or one that can't be used.

        `decode` raises Damaged. Raises StoreError where there is a file that we may neither read
        nor move.
        """
        try:
            data = read_bounded(self.path, size_max)
            return None if data is None else decode(data)
        except Damaged as error:
            self._now_or_first(partial(self._set_aside, str(error)))
        except StoreError as error:
            if not isinstance(error.__cause__, PermissionError):
                raise
            try:
                set_aside(self.path, "not ours to read")
            except StoreError:
                raise error from error.__cause__
        return None

    def keep_copy(self, data: bytes, reason: str) -> None:
        """Keep what the file held before parts of it are dropped by the next write."""
        self._now_or_first(partial(keep_copy, self.path, data, reason))

    def replace(self, data: bytes) -> None:
        """Raises StoreError; what was there before is whole then."""
        self._ready()
        self._first()
        self._first = lambda: None
        write_durably(self.path, data)

    def _set_aside(self, reason: str) -> None:
        # Somebody may have done it for us meanwhile.
        if os.path.lexists(self.path):
            set_aside(self.path, reason)

    def _now_or_first(self, keep: Callable[[], None]) -> None:
        try:
            keep()
        except StoreError as error:
            log.error("damaged file stays until it can be set aside", extra={"reason": str(error)})
            self._first = keep


def refusal(action: str, path: Path, error: OSError) -> StoreError:
    return StoreError(f"cannot {action} {path}: {error.strerror or error}")


def write_durably(path: Path, data: bytes) -> None:
    """Replace `path` by `data`, or change nothing: after return it survives a power failure.

    Raises StoreError. Only one writer at a time may call this for one path.
    """
    # No Path: it would intern the name, and so many short-lived ones make Python's table of
    # interned strings grow, once in a while, by a megabyte.
    temporary = f"{path}.tmp"
    try:
        _write_new(temporary, data)
        os.rename(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            os.unlink(temporary)
        raise refusal("write", path, error) from error


def read_bounded(path: Path, size_max: int) -> bytes | None:
    """The content; None where there is no such file. Raises Damaged, StoreError."""
    try:
        data = _read(path, size_max + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in _READ_DAMAGE:
            raise Damaged(error.strerror) from error
        raise refusal("read", path, error) from error
    if len(data) > size_max:
        raise Damaged(f"larger than {size_max} bytes")
    return data


def set_aside(path: Path, reason: str) -> None:
    """Move a damaged file out of the way, never over another. Raises StoreError."""
    aside = _next_aside(path)
    try:
        path.rename(aside)
        _sync_folder(path.parent)
    except OSError as error:
        raise refusal("set aside", path, error) from error
    log.error("damaged file set aside", extra=_facts(path, aside, reason))


def keep_copy(path: Path, data: bytes, reason: str) -> None:
    """Keep what a file held beside it; once for the same content. Raises StoreError."""
    for earlier in _asides(path):
        with suppress(OSError):
            if earlier.read_bytes() == data:
                return
    aside = _next_aside(path)
    write_durably(aside, data)
    log.error("damaged file copied", extra=_facts(path, aside, reason))


def _read(path: Path, size_max: int) -> bytes:
    # A pipe in the file's place must not block the start.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise Damaged("not a regular file")
        with open(fd, "rb", closefd=False) as file:
            return file.read(size_max)
    finally:
        os.close(fd)


def _write_new(path: str, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(path, flags, 0o600)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest) :]
        os.fsync(fd)
    finally:
        os.close(fd)


def _sync_folder(folder: Path) -> None:
    # Without this the rename itself may be lost in a power failure.
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _asides(path: Path) -> list[Path]:
    """Set-aside copies, oldest first."""
    pattern = re.compile(re.escape(path.name) + r"\.damaged-(\d{1,9})")
    found = []
    with suppress(OSError):
        for other in path.parent.iterdir():
            if match := pattern.fullmatch(other.name):
                found.append((int(match[1]), other))
    return [other for _, other in sorted(found)]


def _next_aside(path: Path) -> Path:
    """A free name after all others; makes room by deleting the oldest."""
    asides = _asides(path)
    for oldest in asides[: max(0, len(asides) - DAMAGED_KEPT + 1)]:
        with suppress(OSError):
            oldest.unlink()
    last = int(asides[-1].name.rpartition("-")[2]) if asides else 0
    return path.with_name(f"{path.name}.damaged-{last + 1}")


def _facts(path: Path, aside: Path, reason: str) -> dict[str, str]:
    return {"path": str(path), "kept_as": aside.name, "reason": reason}
