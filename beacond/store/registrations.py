"""What this host offers, as accepted: on disk before the caller is told.

The file is JSON for people to read, and may be edited while the agent is stopped. What a file in
`services_dir` holds is not repeated here, save for modes set on it: a drain survives a restart.
"""

import json
import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from beacond.core.local import FILE_ORIGIN, ModeState, Registration
from beacond.core.model import Check, Mode
from beacond.core.names import (
    canonical_address,
    is_instance_id,
    is_label,
    is_port_name,
    is_tag,
)
from beacond.store.durable import Damaged, StoredFile, StoreError
from beacond.store.shapes import ShapeError, read

FORMAT = 1
SIZE_MAX = 64 * 1024 * 1024
_BAD_LOGGED_MAX = 10

log = logging.getLogger("beacond.store")

T = TypeVar("T")
_NORMAL = ModeState()


@dataclass(frozen=True, slots=True)
class Registrations:
    instances: tuple[Registration, ...] = ()
    host_mode: ModeState = _NORMAL
    file_modes: tuple[tuple[str, ModeState], ...] = ()
    """Modes of instances whose registration a file in `services_dir` holds, by id. When saving:
    only of those not among `instances` (their file has not been read yet)."""


class RegistrationsFile:
    def __init__(self, path: Path, ready: Callable[[], None] = lambda: None) -> None:
        """`ready` is called before each write; see `StoredFile`."""
        self._file = StoredFile(path, ready)
        self._saved = b""
        """What a reader of the file would take it for. Instances of `services_dir` come and go
        without changing a byte of it: no reason to wait for the disk, or to need one."""

    def load(self) -> Registrations:
        """What was saved; nothing where there is no file or a damaged one, which is set aside.

        A bad entry is dropped and the rest kept, after a copy was set aside. Raises StoreError
        where the file is there and the disk or its rights do not let us have it.
        """
        with self._file.turn:
            reading = self._file.load(SIZE_MAX, _Reading)
            found = Registrations()
            if reading is not None:
                self._tell(reading)
                found = Registrations(reading.instances, reading.host_mode, reading.file_modes)
            self._saved = b"" if reading is not None and reading.bad else _encode(found)
        return found

    def save(self, registrations: Registrations) -> None:
        """Replace what is on disk. Raises StoreError; what was saved before is whole then."""
        try:
            data = _encode(registrations)
        except ValueError as error:
            raise StoreError(f"cannot write {self._file.path}: {error}") from error
        if len(data) > SIZE_MAX:
            raise StoreError(
                f"cannot write {self._file.path}: {len(data)} bytes are more than the {SIZE_MAX}"
                " allowed"
            )
        with self._file.turn:
            if data != self._saved:
                self._file.replace(data)
                self._saved = data

    def _tell(self, reading: "_Reading") -> None:
        if not reading.bad:
            return
        self._file.keep_copy(reading.data, f"{len(reading.bad)} bad entries dropped")
        for reason in reading.bad[:_BAD_LOGGED_MAX]:
            log.error("bad entry dropped", extra={"path": str(self._file.path), "reason": reason})


def _encode(registrations: Registrations) -> bytes:
    """Raises ValueError."""
    text = json.dumps(
        _content(registrations), indent=2, ensure_ascii=False, allow_nan=False, default=_object
    )
    return (text + "\n").encode()


def _object(value: Any) -> dict[str, Any]:
    """A dataclass as JSON has it."""
    assert is_dataclass(value)
    return {field.name: getattr(value, field.name) for field in fields(value)}


def _content(registrations: Registrations) -> dict[str, Any]:
    instances, file_modes = [], dict(registrations.file_modes)
    for registration in registrations.instances:
        if registration.origin.startswith(FILE_ORIGIN):
            file_modes[registration.spec.id] = registration.mode
        else:
            instances.append(registration)
            # An id belongs to one origin: this one is not a file's any more.
            file_modes.pop(registration.spec.id, None)
    return {
        "format": FORMAT,
        "host_mode": registrations.host_mode,
        "instances": instances,
        "file_modes": {
            instance_id: mode
            for instance_id, mode in sorted(file_modes.items())
            if mode.mode is not Mode.NORMAL
        },
    }


class _Reading:
    """What is good in a file, and a line for each entry that is not."""

    def __init__(self, data: bytes) -> None:
        """Raises Damaged."""
        self.data = data
        self.bad: list[str] = []
        content = _parse(data)
        self.instances = tuple(self._instances(content.get("instances", [])))
        self.host_mode = self._mode("host_mode", content.get("host_mode", {}))
        self.file_modes = tuple(self._file_modes(content.get("file_modes", {})))

    def _instances(self, entries: object) -> Iterator[Registration]:
        if not isinstance(entries, list):
            self.bad.append("instances: not a list")
            return
        seen = set()
        for number, entry in enumerate(entries):
            where = f"instances[{number}]"
            registration = self._read(Registration, where, entry)
            if registration is None:
                continue
            spec = registration.spec
            if spec.id in seen:
                self.bad.append(f"{where}: id {spec.id!r} is there twice")
            elif fault := _fault(registration):
                self.bad.append(f"{where}: {fault}")
            else:
                seen.add(spec.id)
                yield registration

    def _file_modes(self, entries: object) -> Iterator[tuple[str, ModeState]]:
        if not isinstance(entries, dict):
            self.bad.append("file_modes: not an object")
            return
        for instance_id, entry in entries.items():
            mode = self._mode(f"file_modes[{instance_id!r}]", entry)
            if is_instance_id(instance_id) and mode.mode is not Mode.NORMAL:
                yield instance_id, mode

    def _mode(self, where: str, entry: object) -> ModeState:
        """The normal mode where the entry is bad."""
        mode = self._read(ModeState, where, entry)
        if mode is None:
            return _NORMAL
        if not _finite(mode.until):
            self.bad.append(f"{where}: until is not a time")
            return _NORMAL
        return mode

    def _read(self, kind: type[T], where: str, entry: object) -> T | None:
        try:
            return read(kind, entry)
        except ShapeError as error:
            self.bad.append(f"{where}: {error}")
            return None


def _parse(data: bytes) -> dict[str, Any]:
    """Raises Damaged."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Damaged(f"not JSON: {error}") from error
    if not isinstance(content, dict):
        raise Damaged("not a JSON object")
    if content.get("format") != FORMAT:
        raise Damaged(f"format {content.get('format')!r}, not {FORMAT}")
    return content


def _fault(registration: Registration) -> str | None:
    """Why a well-typed registration can't be offered; None where it can."""
    spec = registration.spec
    if registration.origin.startswith(FILE_ORIGIN):
        return "what a file in services_dir holds does not belong here"
    if not is_instance_id(spec.id):
        return "bad id"
    if not is_label(spec.service):
        return f"bad service name {spec.service!r}"
    ports = [spec.port, *(port for _, port in spec.ports)]
    if not all(0 < port <= 65535 for port in ports):
        return "bad port"
    if not all(is_port_name(name) for name, _ in spec.ports):
        return "bad port name"
    if spec.address is not None and canonical_address(spec.address) != spec.address:
        return f"bad address {spec.address!r}"
    if not all(is_tag(tag) for tag in spec.tags):
        return "bad tag"
    if not 0 <= spec.weight <= 65535:
        return "bad weight"
    if len({check.name for check in spec.checks}) != len(spec.checks):
        return "two checks of one name"
    if not _finite(registration.mode.until):
        return "mode: until is not a time"
    return next(filter(None, map(_check_fault, spec.checks)), None)


def _check_fault(check: Check) -> str | None:
    durations = (check.interval_s, check.timeout_s)
    if not all(0 < seconds < math.inf for seconds in durations) or not _finite(check.ttl_s):
        return f"check {check.name!r}: bad duration"
    if not _finite(check.deregister_after_s):
        return f"check {check.name!r}: bad deregister_after"
    if check.failures < 1 or check.passes < 1:
        return f"check {check.name!r}: bad threshold"
    return None


def _finite(seconds: float | None) -> bool:
    return seconds is None or math.isfinite(seconds)
