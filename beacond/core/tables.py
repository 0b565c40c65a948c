"""The tables behind the view: what changed is replaced, the rest stays as it is."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from beacond.core.model import AgentState, Body, Freshness, Mode, strictest_mode
from beacond.core.view import AgentView, InstanceView, ServiceView, Sight, View

REMOVED_MAX = 10_000
"""Services that are gone and whose last index is remembered."""

Change = tuple[InstanceView | None, InstanceView | None]
"""An instance before and after: (None, new) appears, (old, None) goes."""


def instances_of(
    node: str,
    body: Body,
    *,
    freshness: Freshness,
    last_resort: bool,
    hidden: frozenset[str],
) -> tuple[InstanceView, ...]:
    """A node's instances, but the hidden ones, with what the node adds to them.

    `body.mode` is the host's, in force.
    """
    addresses, zone, host = body.addresses, body.zone, body.mode
    # By place: half of the time of a restore is making these, and names cost a fifth of that.
    return tuple(
        [
            InstanceView(
                i.id,
                i.service,
                node,
                (i.address,) if i.address else addresses,
                i.port,
                i.ports,
                i.tags,
                i.meta,
                i.weight,
                zone,
                i.status,
                i.mode if host is Mode.NORMAL else strictest_mode(i.mode, host),
                freshness,
                last_resort,
            )
            for i in body.instances
            if (i.address or addresses) and i.id not in hidden
        ]
    )


class Tables:
    """Builds the view. Changes are gathered by `put` and `drop` and shown by `flush`."""

    def __init__(self, index: int) -> None:
        self._services: dict[str, ServiceView] = {}
        self._members: dict[str, dict[tuple[str, str], InstanceView]] = {}
        self._nodes: dict[str, dict[str, InstanceView]] = {}
        self._agents: dict[str, AgentView] = {}
        self._addresses: dict[str, Counter[tuple[str, str]]] = {}
        self._zones: Counter[str] = Counter()
        self._removed: dict[str, int] = {}
        self._touched: set[str] = set()
        self._agents_changed = False
        self.agents_present = 0
        """Agents that are neither left nor expired."""
        self.view = View(self._services, self._agents, self._addresses, self._zones, self._removed)
        self.view.index = self.view.floor = index
        self.view.sight = Sight(index=index)

    @property
    def is_touched(self) -> bool:
        """There is something for `flush`."""
        return self._agents_changed or bool(self._touched)

    def put(self, agent: AgentView, instances: Iterable[InstanceView]) -> list[Change]:
        """Show a node as it is now."""
        self._put_agent(agent)
        old = self._nodes.get(agent.node, {})
        new = {i.id: i for i in instances}
        changes: list[Change] = [(i, new.get(i.id)) for i in old.values() if new.get(i.id) != i]
        changes += [(None, i) for i in new.values() if i.id not in old]
        for before, after in changes:
            if before is not None:
                self._remove(before)
            if after is not None:
                self._add(after)
        if new:
            self._nodes[agent.node] = new
        else:
            self._nodes.pop(agent.node, None)
        return changes

    def forget(self, node: str) -> None:
        """Drop an agent that offers nothing any more."""
        agent = self._agents.pop(node, None)
        if agent is not None:
            self._count_agent(agent, -1)
            self._agents_changed = True

    def instances(self, node: str) -> tuple[InstanceView, ...]:
        return tuple(self._nodes.get(node, {}).values())

    def set_sight(self, *, stale_since: float | None, mute: bool) -> bool:
        """True where every answer changed by it."""
        sight = self.view.sight
        if (sight.stale_since, sight.mute) == (stale_since, mute):
            return False
        turned = (sight.stale_since is None) != (stale_since is None)
        if turned:
            self.view.index += 1
        index = self.view.index if turned else sight.index
        self.view.sight = replace(sight, stale_since=stale_since, mute=mute, index=index)
        return turned

    def raise_index(self, index: int) -> None:
        """Our incarnation was raised: the index follows it, as at a start."""
        self.view.index = max(self.view.index, index)

    def flush(self) -> tuple[str, ...]:
        """Replace what was touched, under one new index; the names of changed services."""
        if not self._touched and not self._agents_changed:
            return ()
        self.view.index += 1
        touched = tuple(sorted(self._touched))
        for name in touched:
            self._rebuild(name)
        self._touched.clear()
        self._agents_changed = False
        return touched

    def _rebuild(self, name: str) -> None:
        members = self._members.get(name)
        if members:
            instances = tuple(members[key] for key in sorted(members))
            self._services[name] = ServiceView(name, self.view.index, instances)
            self._removed.pop(name, None)
            return
        self._members.pop(name, None)
        self._services.pop(name, None)
        if len(self._removed) >= REMOVED_MAX:
            oldest = next(iter(self._removed))
            self.view.floor = max(self.view.floor, self._removed.pop(oldest))
        self._removed[name] = self.view.index

    def _put_agent(self, agent: AgentView) -> None:
        known = self._agents.get(agent.node)
        if known == agent:
            return
        if known is not None:
            self._count_agent(known, -1)
        self._agents[agent.node] = agent
        self._count_agent(agent, +1)
        self._agents_changed = True

    def _count_agent(self, agent: AgentView, by: int) -> None:
        """Addresses and zones are known while somebody there may answer."""
        if agent.state in (AgentState.LEFT, AgentState.EXPIRED):
            return
        self.agents_present += by
        for address in agent.addresses:
            self._count_address(address, ("node", agent.node), by)
        if agent.zone:
            self._zones[agent.zone] += by
            if not self._zones[agent.zone]:
                del self._zones[agent.zone]

    def _add(self, instance: InstanceView) -> None:
        members = self._members.get(instance.service)
        if members is None:
            members = self._members[instance.service] = {}
        members[(instance.node, instance.id)] = instance
        self._touched.add(instance.service)
        for address in instance.addresses:
            self._count_address(address, ("service", instance.service), +1)

    def _remove(self, instance: InstanceView) -> None:
        del self._members[instance.service][(instance.node, instance.id)]
        self._touched.add(instance.service)
        for address in instance.addresses:
            self._count_address(address, ("service", instance.service), -1)

    def _count_address(self, address: str, owner: tuple[str, str], by: int) -> None:
        owners = self._addresses.get(address)
        if owners is None:
            owners = self._addresses[address] = Counter()
        owners[owner] += by
        if not owners[owner]:
            del owners[owner]
        if not owners:
            del self._addresses[address]
