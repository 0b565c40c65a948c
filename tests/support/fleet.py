"""A fleet of real cores under one virtual clock and a seeded bus. Nothing here reads a clock.

The bus delivers each broadcast to every node, the sender included, after a random delay; it can
lose, repeat and delay messages, be cut between nodes, and be down. Nodes can be paused (messages
wait in their buffer), killed and restarted.
"""

import heapq
import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from itertools import count

from beacond.core.effects import Dropped, Effect, Emit, Probe, Publish, Send
from beacond.core.events import Event
from beacond.core.local import Change, ModeState
from beacond.core.messages import Envelope, Message
from beacond.core.model import InstanceSpec
from beacond.core.node import Node
from beacond.core.settings import Settings
from beacond.core.view import Selection, select

WALL = 1_800_000_000.0
"""What wall clocks show when virtual time is 0."""


@dataclass
class Weather:
    """What the bus does to messages."""

    loss: float = 0.0
    duplication: float = 0.0
    delay_s: tuple[float, float] = (0.001, 0.01)
    down: bool = False
    blocked: bool = False
    cut: Callable[[str, str], bool] = lambda sender, receiver: False


@dataclass
class Host:
    """One node's place in the fleet. `core` is None while it is dead."""

    name: str
    incarnation: int = 100
    core: Node | None = None
    paused: bool = False
    buffered: list[tuple[Envelope, Message, float]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    sent: int = 0
    boots: int = 0
    tick_at: float = float("inf")


class Fleet:
    def __init__(self, seed: int = 1, *, interval_s: float = 5.0, ttl_s: float = 15.0) -> None:
        self.rng = random.Random(seed)
        self.now = 0.0
        self.weather = Weather()
        self.hosts: dict[str, Host] = {}
        self.history: list[str] = []
        self.reachable: Callable[[str], bool] = self._has_core
        self._interval_s, self._ttl_s = interval_s, ttl_s
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._ticks: list[tuple[float, int, Host]] = []
        self._order = count()

    # ---- hosts

    def start(self, *names: str, keep_disk: bool = True, **overrides: object) -> None:
        """Boot hosts; one that ran before comes back with what its registry held."""
        for name in names:
            host = self.hosts.setdefault(name, Host(name))
            registrations = host.core.registry.registrations() if host.core else ()
            self.boot(host, registrations if keep_disk else (), **overrides)

    def boot(self, host: Host, registrations: Iterable[object] = (), **overrides: object) -> None:
        host.incarnation += 1
        host.boots += 1
        number = list(self.hosts).index(host.name) + 1
        settings = Settings(
            node=host.name,
            incarnation=host.incarnation,
            boot_id=self.rng.randbytes(16),
            addresses=(f"10.0.{number // 250}.{number % 250 + 1}",),
            interval_s=self._interval_s,
            ttl_s=self._ttl_s,
        )
        settings = replace(settings, **overrides)
        host.tick_at = float("inf")
        core = Node(settings, random.Random(self.rng.random()), self.now, WALL + self.now)
        host.core, host.paused, host.buffered = core, False, []
        effects = core.restore(
            registrations=registrations,
            host_mode=ModeState(),
            statuses={},
            rebooted=False,
            records=(),
            tombstones=(),
            saved_at=None,
        )
        self._perform(host, effects)
        up = not self.weather.down
        can_publish = up and not self.weather.blocked
        self.do(
            host.name,
            lambda n, t: n.bus_changed("sim", up=up, can_publish=can_publish, reason="", now=t),
        )

    def add_clone(self, of: str, name: str, *, incarnation: int) -> Host:
        """Another machine that took over name and disk of host `of`; it is `name` only here."""
        original = self.hosts[of].core
        assert original is not None
        clone = self.hosts[name] = Host(name, incarnation - 1)
        self.boot(clone, original.registry.registrations(), node=of)
        return clone

    def kill(self, *names: str) -> None:
        """No goodbye. What it had on its disk is lost unless `restart` takes it up."""
        for name in names:
            self.hosts[name].core = None

    def restart(self, name: str) -> None:
        """Crash, and boot again with the registrations that were on disk."""
        host = self.hosts[name]
        assert host.core is not None
        registrations = host.core.registry.registrations()
        self.boot(host, registrations)

    def leave(self, name: str, hold_s: float = 0.0) -> None:
        self.do(name, lambda node, now: node.goodbye(hold_s, now))
        self.after(0.15, lambda: self.kill(name))

    def pause(self, name: str) -> None:
        self.hosts[name].paused = True

    def resume(self, name: str) -> None:
        """The timer fires first, then the backlog is read."""
        host = self.hosts[name]
        host.paused = False
        host.tick_at = float("inf")
        backlog, host.buffered = host.buffered, []
        self._tick(host)
        for envelope, message, _ in backlog:
            self._deliver(host, envelope, message)

    def register(self, node: str, service: str, *, port: int = 80, **fields: object) -> None:
        spec = InstanceSpec(id=f"{service}-{port}", service=service, port=port)
        spec = replace(spec, **fields)
        self.do(node, lambda core, now: core.change(Change("http", (spec,)), now))

    def hear(self, name: str, envelope: Envelope, message: Message) -> None:
        """Let one host receive this now."""
        self._deliver(self.hosts[name], envelope, message)

    def do(self, name: str, request: Callable[[Node, float], list[Effect]]) -> None:
        host = self.hosts[name]
        assert host.core is not None
        self._perform(host, request(host.core, self.now))

    # ---- the bus

    def bus_down(self) -> None:
        self.weather.down, self.weather.blocked = True, False
        self._bus_changed(up=False, can_publish=False)

    def bus_up(self) -> None:
        self.weather.down = self.weather.blocked = False
        self._bus_changed(up=True, can_publish=True)

    def bus_blocked(self) -> None:
        """A broker's alarm: connected, and nobody can publish."""
        self.weather.blocked = True
        self._bus_changed(up=True, can_publish=False)

    def _bus_changed(self, *, up: bool, can_publish: bool) -> None:
        for name, host in list(self.hosts.items()):
            if host.core is not None:
                self.do(
                    name,
                    lambda n, t: n.bus_changed(
                        "sim", up=up, can_publish=can_publish, reason="", now=t
                    ),
                )

    # ---- time

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (self.now + seconds, next(self._order), action))

    def run(self, seconds: float) -> None:
        """Let virtual time pass; everything due happens in order."""
        end = self.now + seconds
        while True:
            arrives_at = self._queue[0][0] if self._queue else float("inf")
            tick_at, host = self._next_tick()
            if min(arrives_at, tick_at) > end:
                break
            self.now = max(self.now, min(arrives_at, tick_at))
            if arrives_at <= tick_at:
                heapq.heappop(self._queue)[2]()
            elif host is not None:
                self._tick(host)
        self.now = end

    def _next_tick(self) -> tuple[float, Host | None]:
        while self._ticks:
            at, _, host = self._ticks[0]
            if host.core is not None and not host.paused and host.tick_at == at:
                return at, host
            heapq.heappop(self._ticks)
        return float("inf"), None

    def _arm(self, host: Host) -> None:
        assert host.core is not None
        at = host.core.next_deadline()
        if at != host.tick_at:
            host.tick_at = at
            heapq.heappush(self._ticks, (at, next(self._order), host))

    def _tick(self, host: Host) -> None:
        if host.core is not None:
            before = host.core.next_deadline()
            self._perform(host, host.core.tick(self.now))
            assert host.core.next_deadline() > self.now or before > self.now, "a timer that spins"

    # ---- effects

    def _perform(self, host: Host, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Publish(envelope, message):
                    self._transmit(host, envelope, message, list(self.hosts))
                case Send(envelope, message):
                    self._transmit(host, envelope, message, self._named(envelope.to))
                case Emit(event):
                    host.events.append(event)
                    self._note(host, event)
                case Dropped(reason):
                    host.dropped[reason] += 1
                case Probe(number, targets):
                    found = frozenset(t for t in targets if self.reachable(self._at(t[0])))
                    self.after(0.01, lambda n=number, f=found: self._probed(host, n, f))
        self._arm(host)

    def _at(self, address: str) -> str:
        number = [int(part) for part in address.split(".")]
        return list(self.hosts)[number[2] * 250 + number[3] - 2]

    def _named(self, node: str) -> list[str]:
        return [h.name for h in self.hosts.values() if h.core and h.core.settings.node == node]

    def _probed(self, host: Host, number: int, reached: frozenset[tuple[str, int]]) -> None:
        if host.core is not None:
            self._perform(host, host.core.probed(number, reached, self.now))

    def _transmit(
        self, host: Host, envelope: Envelope, message: Message, receivers: list[str]
    ) -> None:
        host.sent += 1
        if self.weather.down or self.weather.blocked:
            return
        for receiver in receivers:
            copies = 1 + (self.rng.random() < self.weather.duplication)
            for _ in range(copies):
                lost = self.rng.random() < self.weather.loss
                delay_s = self.rng.uniform(*self.weather.delay_s)
                if not lost and not self.weather.cut(host.name, receiver):
                    self.after(delay_s, lambda r=receiver: self._arrive(r, envelope, message))

    def _arrive(self, receiver: str, envelope: Envelope, message: Message) -> None:
        host = self.hosts.get(receiver)
        if host is None or host.core is None or self.weather.down:
            return
        if host.paused:
            host.buffered.append((envelope, message, self.now))
        else:
            self._deliver(host, envelope, message)

    def _deliver(self, host: Host, envelope: Envelope, message: Message) -> None:
        assert host.core is not None
        self._perform(
            host,
            host.core.receive(envelope, message, bus="sim", received_at=self.now, now=self.now),
        )

    def _note(self, host: Host, event: Event) -> None:
        about = event.instance or event.agent
        self.history.append(f"{self.now:.3f} {host.name} {event.kind} {event.reason} {about}")

    def _has_core(self, node: str) -> bool:
        return node in self.hosts and self.hosts[node].core is not None

    # ---- looking

    def answer(self, at: str, service: str) -> list[str]:
        """The nodes a lookup at one host finds."""
        core = self.hosts[at].core
        assert core is not None
        found = select(core.view.instances_of(service), Selection())
        return [instance.node for instance in found]

    def kinds(self, at: str, node: str | None = None) -> list[str]:
        return [
            event.kind.value
            for event in self.hosts[at].events
            if node is None
            or (event.agent is not None and event.agent.node == node)
            or (event.instance is not None and event.instance.node == node)
        ]
