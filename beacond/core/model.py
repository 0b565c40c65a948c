"""The words of beacond as values: what a host publishes, and how it is doing.

Everything here is immutable and compares by content, so that an unchanged registration is found
unchanged by `==`. Durations end in `_s` and are seconds; moments end in `_at`.
"""

from dataclasses import dataclass, field
from enum import StrEnum


class Status(StrEnum):
    """Health of a check or instance, from best to worst."""

    PASSING = "passing"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        return _STATUS_RANK[self]


_STATUS_RANK = {Status.PASSING: 0, Status.WARNING: 1, Status.CRITICAL: 2}


class Mode(StrEnum):
    """What an operator wants of an instance or host, from least to most restrictive."""

    NORMAL = "normal"
    DRAINING = "draining"
    MAINTENANCE = "maintenance"

    @property
    def rank(self) -> int:
        return _MODE_RANK[self]


_MODE_RANK = {Mode.NORMAL: 0, Mode.DRAINING: 1, Mode.MAINTENANCE: 2}


def worst_status(*statuses: Status) -> Status:
    """The worst of several; passing where there is none."""
    return max(statuses, key=_STATUS_RANK.__getitem__, default=Status.PASSING)


def strictest_mode(*modes: Mode) -> Mode:
    return max(modes, key=_MODE_RANK.__getitem__, default=Mode.NORMAL)


class Freshness(StrEnum):
    """How well an instance's presence is known.

    `FRESH`: its host is heard. `SUSPECT`: its host is silent, or said it restarts; still served.
    `STALE`: from the snapshot and not heard since, or held so long that only what is fresher
    should be served instead.
    """

    FRESH = "fresh"
    SUSPECT = "suspect"
    STALE = "stale"


class AgentState(StrEnum):
    ALIVE = "alive"
    SUSPECT = "suspect"
    LEFT = "left"
    EXPIRED = "expired"


class CheckType(StrEnum):
    HTTP = "http"
    TCP = "tcp"
    TTL = "ttl"
    EXEC = "exec"


@dataclass(frozen=True, slots=True)
class Check:
    """How the health of a local instance is found out. Never leaves its host."""

    type: CheckType
    name: str
    """Unique within its instance."""
    url: str | None = None
    """http: absolute; the path form is resolved to it at registration."""
    address: str | None = None
    """tcp: where to connect; None means the instance's first address."""
    port: int | None = None
    command: tuple[str, ...] = ()
    interval_s: float = 10.0
    timeout_s: float = 5.0
    ttl_s: float = 0.0
    """ttl: how long a report of health lasts."""
    failures: int = 3
    """Failures in a row before critical."""
    passes: int = 1
    """Passes in a row before passing."""
    deregister_after_s: float | None = None
    """Critical for so long: deregistered."""
    initial: Status = Status.CRITICAL


@dataclass(frozen=True, slots=True)
class InstanceSpec:
    """What was asked for at registration: one running copy of a service on this host."""

    id: str
    service: str
    port: int
    ports: tuple[tuple[str, int], ...] = ()
    """Named ports, sorted by name."""
    address: str | None = None
    """Canonical IP literal; None means the agent's advertised addresses."""
    tags: tuple[str, ...] = ()
    """Sorted, without repeats."""
    meta: tuple[tuple[str, str], ...] = ()
    """Sorted by key."""
    weight: int = 1
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True, slots=True)
class Published:
    """One instance as its host tells it to all others."""

    id: str
    service: str
    port: int
    ports: tuple[tuple[str, int], ...] = ()
    address: str | None = None
    tags: tuple[str, ...] = ()
    meta: tuple[tuple[str, str], ...] = ()
    weight: int = 1
    status: Status = Status.PASSING
    mode: Mode = Mode.NORMAL
    """The instance's own; the host's comes on top."""


@dataclass(frozen=True, slots=True)
class Body:
    """All that one node publishes at one version."""

    zone: str = ""
    addresses: tuple[str, ...] = ()
    """Canonical IP literals, at most one a family; the first is `address`."""
    agent_version: str = ""
    mode: Mode = Mode.NORMAL
    """The host's."""
    instances: tuple[Published, ...] = ()
    """Sorted by id."""
    relays: bool = False
    """Its agent takes the word of relays: it need not hear every heartbeat itself."""


INCARNATION_MAX = 2**33 - 1
"""Seeded by Unix seconds it lasts for two centuries, and an index made of it stays below 2^53."""

INSTANCES_MAX = 2048
"""Of one host."""

Key = tuple[int, bytes, int]
"""(incarnation, boot id, version): orders all that one node ever published."""


@dataclass(frozen=True, slots=True)
class Record:
    """A body with its place in its node's history: the unit that is merged, synced and stored.

    `raw` is the record as its owner encoded and signed it, passed on untouched; None for our own
    until the wire has encoded it.
    """

    node: str
    incarnation: int
    boot_id: bytes
    version: int
    body: Body
    raw: bytes | None = field(default=None, compare=False, repr=False)

    @property
    def key(self) -> Key:
        return (self.incarnation, self.boot_id, self.version)
