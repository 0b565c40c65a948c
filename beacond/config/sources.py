"""Where settings come from: a TOML file, the environment, flags. Each becomes one `Layer`."""

import os
import re
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from beacond.config.model import Problem
from beacond.config.settings import BY_KEY, ENV_PREFIX, SETTINGS, Setting
from beacond.config.values import nearest

FILE_MAX = 1024 * 1024
"""Bytes of a config file, or of a file named in it."""

_CLIENTS_ENV = ENV_PREFIX + "AGENT"
"""Read by the commands that talk to an agent."""
_AT_LINE = re.compile(r"\s*\(at line (\d+), column \d+\)")


@dataclass(slots=True)
class Layer:
    """The settings of one source, checked one by one."""

    base: Path
    """What relative paths are relative to."""
    values: dict[str, Any] = field(default_factory=dict)
    """By key."""
    where: dict[str, str] = field(default_factory=dict)
    """By key: how to name it in a message."""
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def take(self, setting: Setting, raw: object, where: str) -> None:
        self.where[setting.key] = where
        try:
            value = setting.parse(raw)
        except ValueError as error:
            self.problems.append(Problem(where, str(error)))
            return
        if isinstance(value, Path):
            value = self._absolute(value, where)
        self.values[setting.key] = value

    def _absolute(self, path: Path, where: str) -> Path:
        try:
            return self.base / path.expanduser()
        except RuntimeError:
            self.problems.append(Problem(where, "names a home folder that is not known"))
            return path


def from_flags(flags: Mapping[str, object]) -> Layer:
    """By key; None or an empty list: not given."""
    layer = Layer(Path.cwd())
    for key, raw in flags.items():
        if raw is not None and raw != () and raw != []:
            layer.take(BY_KEY[key], raw, BY_KEY[key].flag)
    return layer


def from_env(env: Mapping[str, str]) -> Layer:
    """An empty variable counts as not set. An unknown one is no error (a cluster may set
    BEACOND_PORT and the like on its own), but one that looks like a slip is noted."""
    layer = Layer(Path.cwd())
    for setting in SETTINGS:
        raw = env.get(setting.env, "").strip()
        if raw:
            layer.take(setting, raw.split() if setting.many else raw, setting.env)
    known = {setting.env for setting in SETTINGS} | {_CLIENTS_ENV}
    for name in sorted(env.keys() - known):
        if name.startswith(ENV_PREFIX):
            hint = nearest(name, known, cutoff=0.9)
            if hint:
                layer.notes.append(f"{name} has no effect{hint}")
    return layer


def from_file(path: Path) -> Layer:
    layer = Layer(path.parent.absolute())
    try:
        text = read_text(path)
        table = tomllib.loads(text)
    except ValueError as error:  # of the file's size, encoding or syntax
        line = _AT_LINE.search(str(error))
        where = f"{path}:{line[1]}" if line else str(path)
        layer.problems.append(Problem(where, _AT_LINE.sub("", str(error))))
        return layer
    except OSError as error:
        layer.problems.append(Problem(str(path), f"cannot be read: {error.strerror}"))
        return layer
    except RecursionError:
        layer.problems.append(Problem(str(path), "is nested too deeply"))
        return layer
    for key, raw in table.items():
        line_number = line_of(text, key)
        where = f"{path}:{line_number}: {key}" if line_number else f"{path}: {key}"
        if key in BY_KEY:
            layer.take(BY_KEY[key], raw, where)
        else:
            layer.problems.append(Problem(where, f"is not a key{nearest(key, BY_KEY)}"))
    return layer


def read_text(path: Path, *, secret: bool = False) -> str:
    """A small text file. Raises OSError, or ValueError for its size, its encoding, or where others
    may read a secret."""
    with path.open("rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        data = file.read(FILE_MAX + 1)
    if secret and mode & stat.S_IRWXO:
        raise ValueError(f"others on this host may read it; run: chmod o-rwx {path}")
    if len(data) > FILE_MAX:
        raise ValueError(f"is larger than {FILE_MAX} bytes")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8 text") from None


def line_of(text: str, key: str) -> int | None:
    """The line, counted from 1, where a top-level key or table begins; None: not found.

    A scan, not a parser: text in a multi-line string may mislead it, which costs a wrong number.
    """
    name = rf"""(?:{re.escape(key)}|"{re.escape(key)}"|'{re.escape(key)}')"""
    begins = re.compile(rf"\s*(?:{name}\s*[=.]|\[\[?\s*{name}\s*[\].])")
    for number, line in enumerate(text.splitlines(), 1):
        if begins.match(line):
            return number
    return None
