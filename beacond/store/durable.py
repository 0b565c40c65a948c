"""Files that are whole after any crash: replaced as one, and set aside where damaged.

All calls block on the disk: call them in a thread.
"""

import errno
import logging
import os
import re
import stat
from contextlib import suppress
from pathlib import Path

DAMAGED_KEPT = 3
"""Set-aside copies kept of one file, the newest."""

_READ_DAMAGE = (errno.EIO, errno.EBADMSG, errno.EUCLEAN)
"""What reading from a broken disk or file system fails with."""

log = logging.getLogger("beacond.store")


class StoreError(Exception):
    """The disk refused. One line for people; what was on disk before is whole."""


class Damaged(Exception):
    """A file's content can't be used; the message says why. Never leaves the store."""


def refusal(action: str, path: Path, error: OSError) -> StoreError:
    return StoreError(f"cannot {action} {path}: {error.strerror or error}")


def write_durably(path: Path, data: bytes) -> None:
    """Replace `path` by `data`, or change nothing: after return it survives a power failure.

    Raises StoreError. Only one writer at a time may call this for one path.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        _write_new(temporary, data)
        temporary.rename(path)
        _sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
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
    """Keep what a file held before parts of it are dropped; once for the same content.

    A copy that the disk refuses is no reason to fail: the file itself is still there.
    """
    for earlier in _asides(path):
        with suppress(OSError):
            if earlier.read_bytes() == data:
                return
    aside = _next_aside(path)
    try:
        write_durably(aside, data)
    except StoreError as error:
        log.error("copy of a damaged file not kept", extra={"reason": str(error)})
        return
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


def _write_new(path: Path, data: bytes) -> None:
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
