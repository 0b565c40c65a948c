"""What this host runs, as a reader sees it, and why a local request may be refused."""

from dataclasses import dataclass

from beacond.core.model import Check, InstanceSpec, Mode, Status

FILE_ORIGIN = "file:"
"""Prefix of the origin of what a file in `services_dir` holds; the file's name follows."""


@dataclass(frozen=True, slots=True)
class CheckState:
    check: Check
    status: Status
    output: str = ""
    checked_at: float | None = None
    """Unix seconds of the last result; None before the first."""


@dataclass(frozen=True, slots=True)
class ModeState:
    mode: Mode = Mode.NORMAL
    until: float | None = None
    """Unix seconds on this host's clock at which it ends by itself."""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class LocalInstance:
    spec: InstanceSpec
    origin: str
    """`http`, `run`, or `file:NAME`."""
    addresses: tuple[str, ...]
    """Where it is reached: its own address, else the agent's."""
    status: Status
    mode: ModeState
    """The instance's own, without the host's."""
    checks: tuple[CheckState, ...]


@dataclass(frozen=True, slots=True)
class Registration:
    """What must survive a crash about one instance; `output` and times need not."""

    spec: InstanceSpec
    origin: str
    mode: ModeState = ModeState()


@dataclass(frozen=True, slots=True)
class Change:
    """What one origin wants changed of what this host offers, all of it or nothing."""

    origin: str
    put: tuple[InstanceSpec, ...] = ()
    """Registered or replaced."""
    drop: tuple[str, ...] = ()
    """Ids deregistered."""


class RequestError(Exception):
    """A local request that was refused; nothing changed. The message is for the caller.

    RequestError
    ├── UnknownInstance   no instance with this id here
    ├── OwnedElsewhere    the id belongs to another origin
    ├── NoSuchCheck       health was reported for a check that is not there, or is not `ttl`
    ├── LimitReached      the host offers as much as it may
    └── NotPersisted      the disk refused; what can't survive a crash is not accepted
    """


class UnknownInstance(RequestError):
    pass


class OwnedElsewhere(RequestError):
    pass


class NoSuchCheck(RequestError):
    pass


class LimitReached(RequestError):
    pass


class NotPersisted(RequestError):
    pass
