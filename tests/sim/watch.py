"""Looks at everything that happens in a world, and breaks off where a promise is broken.

The rules are judged by what the simulation knows to be true, never by what the cores say of
themselves. Each is applied at the moment it could be broken: when an agent tells of a change.
"""

from collections import deque
from typing import TYPE_CHECKING

from beacond.core.events import Event, Kind
from beacond.core.messages import Announce, Envelope, Goodbye, Heartbeat, Message
from beacond.core.view import InstanceView
from beacond.wire import DecodeError
from tests.sim.bus import Parcel
from tests.sim.calm import PRESENT, Calm
from tests.sim.hearing import Hearing
from tests.sim.history import History, line_of
from tests.sim.replica import Key, Replica, shown

if TYPE_CHECKING:
    from tests.sim.host import Host
    from tests.sim.world import World

MESSAGES_A_BEAT, AGENTS_MIN = 4, 3
"""Of each agent (and of two as of three), whatever goes wrong. The first announcement of a change
does not count, since it was asked for. More is granted to"""
MESSAGES_RELAYED = 18
"""more on each bus where heartbeats go by relays: up to three, to five of them, where none answers;
"""
MESSAGES_A_START, MESSAGES_A_RETURN = 4, 3
"""each agent that starts, and that hears or is heard again: syncs, and what they missed;"""
COMING_BEATS, COMING_S = 3.0, 6.0
"""until so many intervals and seconds are over."""
TIMELINE_LINES = 60


class Violation(AssertionError):
    """A promise was broken. The text has the seed, the command and what happened before."""


class Watch:
    def __init__(self, world: "World", *, rules: bool) -> None:
        self.world = world
        self.rules = rules
        self.history = History()
        self.hearing = Hearing(world)
        self.calm = Calm(world)
        self.replay = ""
        """The command that brings this history about again."""
        self.busiest = 0.0
        """The most messages within one interval, per agent, beyond what was asked for."""
        self._replicas: dict[str, list[Replica]] = {}
        self._goodbyes: dict[str, int] = {}
        """Node → the greatest incarnation that said goodbye."""
        self._left: dict[str, dict[str, int]] = {}
        """Host → what it saw leave."""
        self._dropped: dict[tuple[str, str], float] = {}
        """Instances that their host offers no more, and since when."""
        self._was_dropped: set[tuple[str, str]] = set()
        self._seen_gone: dict[str, dict[tuple[str, str], float]] = {}
        self._offers: dict[str, set[str]] = {}
        self._sends: deque[tuple[float, str]] = deque()
        self._comers: deque[tuple[float, int]] = deque()
        self._announced: dict[str, object] = {}
        self._contested: set[str] = set()
        """Names that two hosts had: which of them a record is of nobody can tell."""

    # ---- what the world tells

    def booted(self, host: "Host") -> None:
        """Before its past is restored."""
        self._replicas[host.name] = []
        self._left[host.name] = {}
        self._comers.append((self.world.now, MESSAGES_A_START))
        self._seen_gone[host.name] = {}
        if any(h.node == host.node and h is not host for h in self.world.hosts.values()):
            self._contested.add(host.node)
        self.calm.began(host)

    def restored(self, host: "Host") -> None:
        """Its view is what its disk had: a reader begins with it."""
        self.reset(host)
        self.changed(host)

    def reset(self, host: "Host") -> None:
        """One more reader begins to read."""
        core = host.core
        assert core is not None
        self._replicas[host.name].append(Replica(core.view, core.log.last_seq))

    def changed(self, host: "Host") -> None:
        """What it offers, by what is on its disk."""
        offers = {registration.spec.id for registration in host.disk.registrations}
        before = self._offers.get(host.node, set())
        for instance_id in offers:
            self._dropped.pop((host.node, instance_id), None)
        for instance_id in before - offers:
            self._dropped[host.node, instance_id] = self.world.now
            self._was_dropped.add((host.node, instance_id))
        self._offers[host.node] = offers

    def conditions_changed(self, host: "Host | None") -> None:
        """Of this host's connections, or of any."""
        self.hearing.conditions_changed(host)
        self.calm.troubled(host)

    def contested(self, node: str) -> bool:
        return node in self._contested

    def refused(self, host: "Host", parcel: Parcel, error: DecodeError) -> None:
        if not parcel.damaged:
            self.fail(f"{host.name} can't read what {parcel.sender} said: {error}", host)

    def believed(self, host: "Host", parcel: Parcel) -> None:
        if parcel.damaged:
            self.fail(f"{host.name} believes a damaged frame", host)

    def said(self, host: "Host", envelope: Envelope, message: Message) -> None:
        now, name = self.world.now, envelope.sender
        if not isinstance(message, Heartbeat):
            to = f" to {envelope.to}" if envelope.to else ""
            self.history.note(now, host.name, f"says {type(message).__name__}{to}")
        if isinstance(message, Goodbye):
            self._goodbyes[name] = max(self._goodbyes.get(name, 0), envelope.incarnation)
        if isinstance(message, Announce) and self._announced.get(host.name) != message.record.key:
            self._announced[host.name] = message.record.key
        else:
            self._sends.append((now, host.name))
            self._count(now)

    def told(self, host: "Host", event: Event) -> None:
        now = self.world.now
        self.history.note(now, host.name, line_of(event))
        if event.kind is Kind.VIEW_SIGHTED:
            self._comers.append((now, MESSAGES_A_RETURN))
        if not self.rules:
            return
        for replica in self._replicas[host.name]:
            if complaint := replica.take(event):
                self.fail(f"{host.name} tells {line_of(event)}: {complaint}", host)
        if complaint := self.calm.told(host, event):
            self.fail(complaint, host)
        if event.agent is not None:
            self._agent_told(host, event, event.agent.node, event.agent.incarnation)
        elif event.kind is Kind.INSTANCE_DEREGISTERED and event.instance is not None:
            self._instance_gone(host, event, event.instance.node, event.instance.id)
        elif event.kind is Kind.INSTANCE_REGISTERED and event.instance is not None:
            self._instance_came(host, event.instance.node, event.instance.id)

    def fail(self, what: str, host: "Host | None" = None) -> None:
        if not self.rules:
            return
        lines = self.history.last(TIMELINE_LINES)
        again = f"\nagain: {self.replay}" if self.replay else ""
        raise Violation(
            f"{what}\nat {self.world.now:.3f} s, seed {self.world.seed}{again}\n\n{lines}"
        )

    # ---- rules

    def _agent_told(self, host: "Host", event: Event, node: str, incarnation: int) -> None:
        left = self._left[host.name]
        if event.kind is Kind.AGENT_LEFT:
            if incarnation > self._goodbyes.get(node, 0):
                self.fail(f"{host.name} sees {node} leave, which never said goodbye", host)
            left[node] = max(incarnation, left.get(node, 0))
            return
        present = event.kind in (Kind.AGENT_JOINED, Kind.AGENT_RECOVERED)
        if present and incarnation <= left.get(node, 0):
            self.fail(f"{node} is back at {host.name} after its goodbye", host)

    def _instance_gone(self, host: "Host", event: Event, node: str, instance_id: str) -> None:
        key = (node, instance_id)
        if event.reason == "deregistered" and node not in self._contested:
            self._seen_gone[host.name][key] = self.world.now
            if key not in self._was_dropped:
                self.fail(f"{host.name} lost {instance_id}@{node}, which is registered", host)
        if event.reason != "agent-expired" or node in self._contested:
            return
        owner = self.world.hosts.get(node)
        if owner is None:
            return
        if complaint := self.hearing.lost_too_early(host, owner, instance_id):
            self.fail(f"{host.name} lost {instance_id}@{node}, which runs: {complaint}", host)
        if complaint := self.calm.vouched_and_lost(host, owner, instance_id):
            self.fail(f"{host.name} lost {instance_id}@{node}, which runs: {complaint}", host)
        if complaint := self.hearing.lost_while_deaf(host):
            self.fail(f"{host.name} lost {instance_id}@{node}: {complaint}", host)

    def _instance_came(self, host: "Host", node: str, instance_id: str) -> None:
        key = (node, instance_id)
        gone_at = self._seen_gone[host.name].get(key)
        dropped_at = self._dropped.get(key)
        if gone_at is not None and dropped_at is not None and gone_at >= dropped_at:
            self.fail(f"{instance_id}@{node} is back at {host.name}: it was deregistered", host)

    def mended(self, agents: int) -> None:
        """All may speak again: that is a return for each, of which no event tells."""
        self._comers.append((self.world.now, MESSAGES_A_RETURN * agents))

    def _count(self, now: float) -> None:
        """Messages within the last interval, against what so many agents may say."""
        since = now - self.world.interval_s
        sends, comers = self._sends, self._comers
        while sends[0][0] <= since:
            sends.popleft()
        while comers and comers[0][0] <= now - COMING_BEATS * self.world.interval_s - COMING_S:
            comers.popleft()
        running = {host.name for host in self.world.hosts.values() if host.core is not None}
        agents = len(running | {name for _, name in sends})
        beyond = len(sends) - sum(granted for _, granted in comers)
        self.busiest = max(self.busiest, beyond / agents)
        relays = len(self.world.hosts) >= self.world.relay_from
        relayed = MESSAGES_RELAYED * len(self.world.buses) if relays else 0
        if beyond > (MESSAGES_A_BEAT + relayed) * max(agents, AGENTS_MIN):
            self.fail(f"{len(sends)} messages of {agents} agents within one interval")

    # ---- at a quiet moment

    def check_replicas(self) -> None:
        """Whoever read the events so far believes what the agent does."""
        for host in self.world.hosts.values():
            core = host.core
            for replica in self._replicas[host.name] if core is not None else ():
                if core is not None and (difference := replica.differs(core.view)):
                    self.fail(f"{host.name}: its events don't tell its view: {difference}", host)

    def check_agreement(self) -> None:
        """All that run see exactly what runs."""
        running = self.world.running()
        speaking = [host for host in running if host.core and not host.core.conflict]
        truth = {
            key: instance
            for host in speaking
            if host.core is not None
            for key, instance in shown(host.core.view).items()
            if key[0] == host.node
        }
        for host in running:
            assert host.core is not None
            if difference := _differs(host, {h.node for h in speaking}, truth):
                self.fail(f"{host.name} believes otherwise: {difference}", host)


def _differs(host: "Host", nodes: set[str], truth: dict[Key, InstanceView]) -> str:
    assert host.core is not None
    view = host.core.view
    if view.sight.stale_since is not None:
        return "it is blind"
    seen = shown(view)
    if host.core.conflict:
        seen = {key: i for key, i in seen.items() if key[0] != host.node}
        truth = {key: i for key, i in truth.items() if key[0] != host.node}
    for key in sorted(seen.keys() | truth.keys()):
        if seen.get(key) != truth.get(key):
            return f"{key} is {truth.get(key)}, and it sees {seen.get(key)}"
    alive = {node for node, agent in view.agents.items() if agent.state in PRESENT}
    return "" if alive - {host.node} == nodes - {host.node} else f"agents {sorted(alive ^ nodes)}"
