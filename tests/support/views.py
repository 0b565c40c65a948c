"""Views made by hand, for tests of what reads them."""

from collections import Counter
from collections.abc import Iterable

from beacond.core.model import AgentState, Freshness, Mode, Status
from beacond.core.view import AgentView, InstanceView, ServiceView, Sight, View


def instance(
    service: str,
    instance_id: str | None = None,
    *,
    node: str = "host-a",
    addresses: tuple[str, ...] = ("10.0.0.1",),
    port: int = 8080,
    ports: dict[str, int] | None = None,
    tags: Iterable[str] = (),
    meta: dict[str, str] | None = None,
    weight: int = 1,
    zone: str = "",
    status: Status = Status.PASSING,
    mode: Mode = Mode.NORMAL,
    freshness: Freshness = Freshness.FRESH,
    last_resort: bool = False,
) -> InstanceView:
    return InstanceView(
        id=f"{service}-{port}" if instance_id is None else instance_id,
        service=service,
        node=node,
        addresses=addresses,
        port=port,
        ports=tuple(sorted((ports or {}).items())),
        tags=tuple(sorted(tags)),
        meta=tuple(sorted((meta or {}).items())),
        weight=weight,
        zone=zone,
        status=status,
        mode=mode,
        freshness=freshness,
        last_resort=last_resort,
    )


def agent(
    node: str,
    *addresses: str,
    zone: str = "",
    state: AgentState = AgentState.ALIVE,
    version: str = "1.0",
) -> AgentView:
    return AgentView(
        node=node,
        zone=zone,
        addresses=addresses,
        state=state,
        incarnation=1,
        version=version,
        instances=0,
        freshness=Freshness.FRESH,
    )


class HandMadeView:
    """`view` is what readers get; the methods change it as the catalog would."""

    def __init__(
        self, instances: Iterable[InstanceView] = (), agents: Iterable[AgentView] = ()
    ) -> None:
        self._services: dict[str, ServiceView] = {}
        self._agents: dict[str, AgentView] = {}
        self._addresses: dict[str, Counter[tuple[str, str]]] = {}
        self._zones: Counter[str] = Counter()
        self._removed: dict[str, int] = {}
        self.view = View(self._services, self._agents, self._addresses, self._zones, self._removed)
        for one in agents:
            self.put_agent(one)
        by_service: dict[str, list[InstanceView]] = {}
        for each in instances:
            by_service.setdefault(each.service, []).append(each)
        for service, members in by_service.items():
            self.put_service(service, members)

    def put_service(self, service: str, instances: Iterable[InstanceView]) -> None:
        """Make a service consist of exactly these."""
        self.view.index += 1
        members = tuple(sorted(instances, key=lambda i: (i.node, i.id)))
        self._services[service] = ServiceView(service, self.view.index, members)
        self._recount()

    def remove_service(self, service: str) -> None:
        self.view.index += 1
        del self._services[service]
        self._removed[service] = self.view.index
        self._recount()

    def put_agent(self, one: AgentView) -> None:
        self.view.index += 1
        self._agents[one.node] = one
        self._recount()

    def blind(self, since: float | None) -> None:
        """Blind since then; None: seeing again."""
        self.view.index += 1
        self.view.sight = Sight(stale_since=since, index=self.view.index)

    def _recount(self) -> None:
        self._addresses.clear()
        self._zones.clear()
        for one in self._agents.values():
            for address in one.addresses:
                self._addresses.setdefault(address, Counter())["node", one.node] += 1
            if one.zone:
                self._zones[one.zone] += 1
        for service in self._services.values():
            for member in service.instances:
                for address in member.addresses:
                    owners = self._addresses.setdefault(address, Counter())
                    owners["service", member.service] += 1
