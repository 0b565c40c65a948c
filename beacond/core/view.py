"""What this agent believes, ready to be read: the only thing HTTP and DNS look at.

Each value is immutable and replaced as a whole when it changes; the mappings are read-only doors
to the catalog's own tables. A read never waits and never fails. Do not keep a mapping over an
`await` and expect it to stand still; a `ServiceView` does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from beacond.core.model import AgentState, Freshness, Mode, Status

INDEX_MAX = 2**53 - 1


@dataclass(frozen=True, slots=True)
class InstanceView:
    """One instance, with what its node adds to it. Sorted by (node, id) wherever listed."""

    id: str
    service: str
    node: str
    addresses: tuple[str, ...]
    """Canonical IP literals; at least one."""
    port: int
    ports: tuple[tuple[str, int], ...]
    tags: tuple[str, ...]
    meta: tuple[tuple[str, str], ...]
    weight: int
    zone: str
    status: Status
    mode: Mode
    freshness: Freshness
    last_resort: bool = False
    """Held past its deadline: answered only where nothing fresher matches."""

    @property
    def address(self) -> str:
        return self.addresses[0]

    @property
    def passing(self) -> bool:
        """In the passing set: healthy enough, and wanted."""
        return self.status is not Status.CRITICAL and self.mode is Mode.NORMAL

    @property
    def draining(self) -> bool:
        return self.status is not Status.CRITICAL and self.mode is Mode.DRAINING


@dataclass(frozen=True, slots=True)
class ServiceView:
    name: str
    index: int
    """The agent's change counter when this last changed; the stale mark counts separately."""
    instances: tuple[InstanceView, ...]


@dataclass(frozen=True, slots=True)
class AgentView:
    node: str
    zone: str
    addresses: tuple[str, ...]
    state: AgentState
    incarnation: int
    version: str
    """Of the software that node runs."""
    instances: int
    freshness: Freshness


@dataclass(frozen=True, slots=True)
class Reach:
    """What one bus is worth, for those who look."""

    in_sight: bool
    proof_at: float | None
    """Monotonic seconds at which it last is known to have reached us; None: never yet."""
    mute: bool
    agents: int
    """Other living agents heard on it."""


@dataclass(frozen=True, slots=True)
class Sight:
    """Whether the view moves. `stale_since` and `since` are Unix seconds of this host."""

    stale_since: float | None = None
    """When blind: the last moment at which the bus is known to have reached us."""
    mute: bool = False
    """We hear others and cannot publish."""
    index: int = 0
    """The change counter when `stale_since` last turned on or off."""


class View:
    """The reader's side of a catalog. Built and updated by the core only."""

    __slots__ = (
        "_addresses",
        "_agents",
        "_removed",
        "_services",
        "_zones",
        "floor",
        "index",
        "sight",
    )

    def __init__(
        self,
        services: Mapping[str, ServiceView],
        agents: Mapping[str, AgentView],
        addresses: Mapping[str, Mapping[tuple[str, str], int]],
        zones: Mapping[str, int],
        removed: "Mapping[str, int]",
    ) -> None:
        self._services = services
        self._agents = agents
        self._addresses = addresses
        self._zones = zones
        self._removed = removed
        self.floor = 1
        """The index of services that never were, or were forgotten."""
        self.index = 1
        """The change counter: grows with every change of the view, over restarts too."""
        self.sight = Sight()

    @property
    def services(self) -> Mapping[str, ServiceView]:
        """Every registered service, whatever its health. Unsorted."""
        return self._services

    @property
    def agents(self) -> Mapping[str, AgentView]:
        return self._agents

    @property
    def addresses(self) -> Mapping[str, Mapping[tuple[str, str], int]]:
        """Known address → {("node", NODE) or ("service", SERVICE): how many times}."""
        return self._addresses

    @property
    def zones(self) -> Mapping[str, int]:
        """Known availability zones → how many agents are in each."""
        return self._zones

    def index_of(self, service: str) -> int:
        """The index of a service's answer: at least 1, never shrinks, also while it is unknown."""
        found = self._services.get(service)
        own = found.index if found is not None else self._removed.get(service, self.floor)
        return max(own, self.sight.index)

    def instances_of(self, service: str) -> tuple[InstanceView, ...]:
        found = self._services.get(service)
        return found.instances if found is not None else ()


@dataclass(frozen=True, slots=True)
class Selection:
    """Which instances of a service a question is about. All conditions must hold."""

    tags: tuple[str, ...] = ()
    zone: str | None = None
    meta: tuple[tuple[str, str], ...] = ()
    any_health: bool = False

    def matches(self, instance: InstanceView) -> bool:
        return (
            all(tag in instance.tags for tag in self.tags)
            and (self.zone is None or instance.zone == self.zone)
            and all(pair in instance.meta for pair in self.meta)
        )


def select(instances: Sequence[InstanceView], wanted: Selection) -> tuple[InstanceView, ...]:
    """The instances to answer with, in the order given.

    With `any_health` all that match. Otherwise the passing ones; where there are none, passing
    ones held past their deadline; where there are none, draining ones. Never maintenance.
    """
    matching = [i for i in instances if wanted.matches(i)]
    if wanted.any_health:
        return tuple(matching)
    passing = [i for i in matching if i.passing]
    return tuple(
        [i for i in passing if not i.last_resort] or passing or [i for i in matching if i.draining]
    )
