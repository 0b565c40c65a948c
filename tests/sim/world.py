"""A fleet: its hosts, its buses, its network, and what goes wrong with them."""

import random
from collections.abc import Callable, Iterable
from dataclasses import replace

from beacond.core.effects import Effect, Probe
from beacond.core.local import Change, Registration
from beacond.core.messages import Envelope, Message
from beacond.core.model import InstanceSpec
from beacond.core.node import Node
from beacond.core.view import Selection, select
from beacond.wire import Keyring
from tests.sim.bus import Bus
from tests.sim.clock import Clock
from tests.sim.host import Disk, Host
from tests.sim.watch import Watch

REFUSED_S = 0.005
"""A machine without that program says so at once,"""
UNANSWERED_S = 2.0
"""one that is away says nothing, and is given up after so long."""
GOODBYE_S = 0.15
"""How long an agent that leaves goes on, to say it twice."""
OFFSET_MAX_S = 1_000_000.0
KEY = b"a key that every simulated agent has"


class World:
    """All that is drawn is drawn from `seed`: the same calls give the same history.

    `rules`: look for what must never happen, all along; a breach raises `Violation`.
    `probing`: else nobody reaches anybody over TCP, and leases alone decide.
    """

    def __init__(
        self,
        seed: int = 1,
        *,
        interval_s: float = 5.0,
        ttl_s: float = 15.0,
        buses: Iterable[str] = ("sim",),
        signed: bool = False,
        rules: bool = True,
        probing: bool = True,
        relay_from: int = 100,
    ) -> None:
        self.seed = seed
        self.interval_s, self.ttl_s = interval_s, ttl_s
        self.relay_from = relay_from
        self.keyring = Keyring([KEY]) if signed else None
        self.clock = Clock()
        self.rng = random.Random(f"{seed} hosts")
        self.hosts: dict[str, Host] = {}
        self.buses = {key: self._new_bus(key) for key in buses}
        self.probing = probing
        self.tcp_cuts: set[tuple[str, str]] = set()
        self.share_decoded = True
        """Decode a broadcast frame once, not once a receiver: what it says is the same for all."""
        self.watch = Watch(self, rules=rules)
        for bus in self.buses.values():
            bus.changed = self.watch.conditions_changed
        if rules:
            self.watch.calm.watch()

    def _new_bus(self, key: str) -> Bus:
        return Bus(key, self.clock, random.Random(f"{self.seed} bus {key}"))

    @property
    def now(self) -> float:
        return self.clock.now

    @property
    def bus(self) -> Bus:
        """The first, where there is one only."""
        return next(iter(self.buses.values()))

    @property
    def history(self) -> list[str]:
        return self.watch.history.lines

    def run(self, seconds: float) -> None:
        self.clock.run(seconds)

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        self.clock.after(seconds, action)

    # ---- hosts

    def add(self, name: str, *, buses: Iterable[str] | None = None) -> Host:
        """A machine, switched off."""
        offset_s = self.rng.uniform(0, OFFSET_MAX_S)
        host = self.hosts[name] = Host(self, name, len(self.hosts) + 1, offset_s)
        host.listening = set(self.buses if buses is None else buses)
        return host

    def start(self, *names: str, connect_within_s: float = 0.0, **overrides: object) -> None:
        """Boot these; one that ran before comes back with what is on its disk."""
        for name in names:
            host = self.hosts.get(name) or self.add(name)
            rebooted = host.boots > 0 and not host.machine_up
            self.boot(host, connect_within_s, rebooted=rebooted, **overrides)

    def boot(self, host: Host, connect_within_s: float = 0.0, **overrides: object) -> None:
        self._drop_sessions(host)
        host.stop()
        self.note(host, "boot")
        host.boot(**overrides)
        for key, bus in self.buses.items():
            if key not in host.listening:
                continue
            if connect_within_s:
                bus.connect_within(host, connect_within_s)
            else:
                bus.connect(host)

    def start_without_disk(self, name: str, **overrides: object) -> None:
        host = self.hosts[name]
        host.disk = Disk()
        host.programs.clear()
        self.start(name, **overrides)

    def add_clone(self, of: str, name: str, *, ahead: int = 0) -> Host:
        """Another machine that took over name and disk of host `of`; it is `name` only here.

        It speaks with the same incarnation, or one that is `ahead`.
        """
        original = self.hosts[of]
        assert original.core is not None
        clone = self.add(name)
        clone.node = original.node
        clone.disk = replace(original.disk)
        self.boot(clone, incarnation=original.core.incarnation + ahead)
        return clone

    def kill(self, *names: str) -> None:
        """These machines are off: no goodbye, and nothing on them runs."""
        for name in names:
            self.kill_agent(name)
            self.hosts[name].machine_up = False

    def kill_agent(self, *names: str) -> None:
        """The agent's process ends without a goodbye; the machine and its programs run on."""
        for name in names:
            host = self.hosts[name]
            self.note(host, "killed")
            self.watch.calm.died(host)
            self._drop_sessions(host)
            host.stop()

    def restart(self, name: str, **overrides: object) -> None:
        """Kill the agent, and start it again at once."""
        self.kill_agent(name)
        self.start(name, **overrides)

    def leave(self, name: str, hold_s: float = 0.0) -> None:
        """A graceful stop; with `hold_s` one that means to come back."""
        host = self.hosts[name]
        self.note(host, "leaves" if not hold_s else f"leaves, back within {hold_s:g} s")
        core = host.core
        host.do(lambda node, now: node.goodbye(hold_s, now))
        self.clock.after(GOODBYE_S, self._gone, host, core)

    def _gone(self, host: Host, core: Node) -> None:
        if host.core is core:
            host.save_snapshot()
            self._drop_sessions(host)
            host.stop()

    def _drop_sessions(self, host: Host) -> None:
        for bus in self.buses.values():
            bus.close(host)

    def pause(self, name: str, *, asleep: bool = False) -> None:
        self.note(self.hosts[name], "asleep" if asleep else "paused")
        self.hosts[name].pause(asleep=asleep)
        self.watch.hearing.stops(self.hosts[name])

    def resume(self, name: str, *, timer_first: bool = True) -> None:
        host = self.hosts[name]
        self.note(host, "goes on")
        self.watch.hearing.goes_on(host)
        host.resume(timer_first=timer_first)
        for bus in self.buses.values():
            bus.connect_within(host, host.reconnect_spread_s())

    # ---- what runs on them

    def register(self, node: str, service: str, *, port: int = 80, **fields: object) -> None:
        spec = replace(InstanceSpec(id=f"{service}-{port}", service=service, port=port), **fields)
        self.hosts[node].change(Change("http", (spec,)))

    def deregister(self, node: str, instance_id: str) -> None:
        self.hosts[node].change(Change("http", drop=(instance_id,)))

    def registrations(self, name: str) -> tuple[Registration, ...]:
        core = self.hosts[name].core
        assert core is not None
        return core.registry.registrations()

    def do(self, name: str, request: Callable[[Node, float], list[Effect]]) -> None:
        self.hosts[name].do(request)

    def hear(self, name: str, envelope: Envelope, message: Message) -> None:
        """Let one host receive this now."""
        self.hosts[name].hear(envelope, message, self.bus.key)

    # ---- buses and network

    def add_bus(self, key: str) -> Bus:
        bus = self.buses[key] = self._new_bus(key)
        bus.changed = self.watch.conditions_changed
        return bus

    def attach(self, host: Host, key: str, within_s: float = 0.0) -> None:
        """This agent's configuration names one bus more."""
        host.listening.add(key)
        self.buses[key].connect_within(host, within_s)

    def detach(self, host: Host, key: str) -> None:
        """… and one less."""
        host.listening.discard(key)
        session = self.buses[key].close(host)
        if session is not None:
            host.disconnected(session, "removed from the configuration")
        host.heard.pop(key, None)
        host.do(lambda node, now: node.bus_removed(key, now))

    def bus_down(self, *keys: str) -> None:
        self._each(keys, Bus.go_down, "is down")

    def bus_up(self, *keys: str) -> None:
        self._each(keys, lambda bus: bus.come_up(self.hosts.values()), "is up")

    def bus_blocked(self, *keys: str) -> None:
        self._each(keys, Bus.block, "takes nothing")

    def bus_unblocked(self, *keys: str, late: bool = True) -> None:
        self._each(keys, lambda bus: bus.unblock(late=late), "takes again")
        self.watch.mended(len(self.hosts))

    def bus_frozen(self, *keys: str, noticed: bool = True) -> None:
        self._each(keys, lambda bus: bus.freeze(noticed=noticed), "stands still")

    def bus_thawed(self, *keys: str, late: bool = True) -> None:
        self._each(keys, lambda bus: bus.thaw(self.hosts.values(), late=late), "goes on")

    def _each(self, keys: tuple[str, ...], act: Callable[[Bus], None], what: str) -> None:
        for key in keys or self.buses:
            self.note(None, f"bus {key} {what}")
            act(self.buses[key])

    def probe(self, by: Host, probe: Probe) -> None:
        """Try to reach programs over TCP, without any bus."""
        owners = {address: host for host in self.hosts.values() for address in host.addresses}
        reached, waits_s = set(), REFUSED_S
        for address, port in probe.targets:
            host = owners.get(address)
            away = host is None or not host.machine_up or host.asleep
            if away or not self.probing or (by.name, host.name) in self.tcp_cuts:
                waits_s = UNANSWERED_S
            elif any(program.port == port for program in host.programs.values()):
                reached.add((address, port))
        self.clock.after(waits_s, self._probed, by, by.core, probe.number, frozenset(reached))

    def _probed(
        self, by: Host, core: Node, number: int, reached: frozenset[tuple[str, int]]
    ) -> None:
        if by.core is not core or by._or_wait(self._probed, by, core, number, reached):
            return
        self.note(by, f"probe {number} reached {sorted(reached)}")
        by.do(lambda node, now: node.probed(number, reached, now))

    def cut_tcp(self, one: Iterable[str], other: Iterable[str]) -> None:
        other = list(other)
        self.tcp_cuts |= {pair for o in one for t in other for pair in ((o, t), (t, o))}
        self.watch.hearing.tcp_changed()

    def heal_tcp(self) -> None:
        self.tcp_cuts.clear()
        self.watch.hearing.tcp_changed()

    # ---- looking

    def running(self) -> list[Host]:
        """Hosts whose agent runs now."""
        return [h for h in self.hosts.values() if h.core is not None and not h.paused]

    def note(self, host: Host | None, text: str) -> None:
        """Write down what was done to the fleet."""
        self.watch.history.note(self.now, "-" if host is None else host.name, f"** {text}")

    def answer(self, at: str, service: str) -> list[str]:
        """The nodes a lookup at one host finds."""
        core = self.hosts[at].core
        assert core is not None
        return [i.node for i in select(core.view.instances_of(service), Selection())]

    def kinds(self, at: str, node: str | None = None) -> list[str]:
        """The kinds of events at one host; about one node, if named."""
        return [
            event.kind.value
            for event in self.hosts[at].events
            if node is None
            or (event.agent is not None and event.agent.node == node)
            or (event.instance is not None and event.instance.node == node)
        ]
