"""What a reader of an event stream knows, who began with the whole state and then only read."""

from beacond.core.events import Event, Kind
from beacond.core.view import InstanceView, View

Key = tuple[str, str]
"""Node and instance id."""


def told(instance: InstanceView) -> object:
    """What events tell of an instance. Its freshness is told by its agent's."""
    return (
        instance.service,
        instance.addresses,
        instance.port,
        instance.ports,
        instance.tags,
        instance.meta,
        instance.weight,
        instance.zone,
        instance.status,
        instance.mode,
    )


def shown(view: View) -> dict[Key, InstanceView]:
    """Every instance that a view has."""
    return {(i.node, i.id): i for service in view.services.values() for i in service.instances}


class Replica:
    """`view` is the state at the `reset`, after the event `seq`; `take` moves it on."""

    def __init__(self, view: View, seq: int) -> None:
        self._seq = seq
        instances = shown(view)
        self.instances = {key: told(i) for key, i in instances.items()}
        self.usable = {key for key, i in instances.items() if i.passing}
        self.agents = {node: agent.state for node, agent in view.agents.items()}

    def take(self, event: Event) -> str:
        """Apply one event; what is wrong with it, if anything."""
        if event.seq <= self._seq:
            return ""
        if event.seq != self._seq + 1:
            return f"event {event.seq} came after {self._seq}"
        self._seq = event.seq
        if event.instance is not None:
            return self._instance(event.kind, event.instance)
        if event.agent is not None:
            self.agents[event.agent.node] = event.agent.state
        return ""

    def _instance(self, kind: Kind, instance: InstanceView) -> str:
        key = (instance.node, instance.id)
        known, usable = key in self.instances, key in self.usable
        match kind:
            case Kind.INSTANCE_REGISTERED:
                self.instances[key] = told(instance)
                return "registered twice" if known else ""
            case Kind.INSTANCE_DEREGISTERED:
                self.instances.pop(key, None)
                return "" if known else "deregistered, and was not there"
            case Kind.INSTANCE_STARTED:
                self.usable.add(key)
                return "started twice" if usable else ""
            case Kind.INSTANCE_STOPPED:
                self.usable.discard(key)
                return "" if usable else "stopped, and did not run"
        self.instances[key] = told(instance)
        return "" if known else "changed, and was not there"

    def differs(self, view: View) -> str:
        """What differs between what was replayed and the view; empty: nothing."""
        instances = shown(view)
        for name, replayed, real in (
            ("instances", self.instances, {key: told(i) for key, i in instances.items()}),
            ("agents", self.agents, {n: a.state for n, a in view.agents.items()}),
        ):
            for key in sorted(replayed.keys() | real.keys()):
                if replayed.get(key) != real.get(key):
                    return f"{name}: {key} is {real.get(key)}, replayed {replayed.get(key)}"
        usable = {key for key, i in instances.items() if i.passing}
        if self.usable != usable:
            return f"usable: {sorted(self.usable ^ usable)}"
        return ""
