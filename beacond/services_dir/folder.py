"""What is in the folder now: its service files, read as bytes. Blocks: call it in a thread."""

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

FILES_MAX = 256
FILE_SIZE_MAX = 1024 * 1024
SUFFIX = ".toml"


@dataclass(slots=True)
class Folder:
    contents: dict[str, bytes] = field(default_factory=dict)
    """File name → content, in the order of names."""
    faults: dict[str, str] = field(default_factory=dict)
    """Name of a file that is there and can't be read → why."""
    left_out: tuple[str, ...] = ()
    """Names beyond the limit, not looked at."""


def read_folder(path: Path) -> Folder:
    """Every `*.toml` in the folder but hidden ones; a missing folder is an empty one.

    Raises OSError where the folder is there and can't be read.
    """
    try:
        names = sorted(name for name in os.listdir(path) if _is_service_file(name))
    except FileNotFoundError:
        return Folder()
    folder = Folder(left_out=tuple(names[FILES_MAX:]))
    for name in names[:FILES_MAX]:
        _read_into(folder, path, name)
    return folder


def folder_id(path: Path) -> tuple[int, int] | None:
    """Tells a folder from another that took its place; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _is_service_file(name: str) -> bool:
    return name.endswith(SUFFIX) and not name.startswith(".")


def _read_into(folder: Folder, path: Path, name: str) -> None:
    # It becomes an origin, seen over HTTP: a name that is no text would not get through.
    if not name.isprintable():
        folder.faults[name] = "its name is not printable text"
        return
    try:
        data = _read(path / name)
    except FileNotFoundError:
        return
    except OSError as error:
        folder.faults[name] = error.strerror or str(error)
        return
    if data is None:
        folder.faults[name] = "not a regular file"
    elif len(data) > FILE_SIZE_MAX:
        folder.faults[name] = f"larger than {FILE_SIZE_MAX} bytes"
    else:
        folder.contents[name] = data


def _read(path: Path) -> bytes | None:
    """At most one byte more than allowed; None where it is no regular file."""
    # Without O_NONBLOCK a pipe would hold the reader up for ever.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        with open(fd, "rb", closefd=False) as file:
            return file.read(FILE_SIZE_MAX + 1)
    finally:
        os.close(fd)
