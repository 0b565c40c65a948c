"""One fleet under a program of faults; what must hold is looked at all along, and at its end.

A program is a list of steps, each a fault's name, two numbers that choose whom and how, and how
many intervals pass after it. It is drawn from a seed here, and by hypothesis in `test_faults.py`.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from beacond.core.model import Check, CheckType, Mode, Status
from tests.sim.bus import Bus
from tests.sim.host import Disk, Host
from tests.sim.world import GOODBYE_S, World

SERVICES = ("web", "db", "queue")
TTL_CHECK_S = 4.0
HOSTS_MAX = 14
AGREE_BEATS = 3.0
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Setup:
    seed: int
    hosts: int
    interval_s: float
    ttl_beats: float
    buses: int
    signed: bool
    probing: bool
    relay_from: int = 100


@dataclass(frozen=True, slots=True)
class Step:
    fault: str
    who: int
    how: int
    beats: float


class Trial:
    def __init__(self, setup: Setup, again: str = "") -> None:
        self.setup = setup
        self.world = World(
            setup.seed,
            interval_s=setup.interval_s,
            ttl_s=max(setup.ttl_beats * setup.interval_s, 3.0),
            buses=[f"bus{number}" for number in range(setup.buses)],
            signed=setup.signed,
            probing=setup.probing,
            relay_from=setup.relay_from,
        )
        self.world.watch.replay = again
        self.old_disks: dict[str, Disk] = {}
        self.bus_was_away = False
        names = [f"n{number}" for number in range(setup.hosts)]
        self.world.start(*names, connect_within_s=1.0)
        for name in names:
            self.world.register(name, "web")
        self._pass(4)

    def run(self, program: list[Step]) -> None:
        for step in program:
            FAULTS[step.fault](self, step.who, step.how)
            self._pass(step.beats)
        self.settle()

    def _pass(self, beats: float) -> None:
        self.world.run(beats * self.setup.interval_s)

    def settle(self, *_: int) -> None:
        """End every fault, wait as long as is promised, and compare."""
        world = self.world
        world.note(None, "all faults end")
        self._end_faults()
        spread_s = max(h.reconnect_spread_s() for h in world.hosts.values())
        away_s = spread_s if self.bus_was_away else 0.0
        self.bus_was_away = False
        world.run(world.ttl_s + AGREE_BEATS * world.interval_s + away_s)
        world.watch.check_replicas()
        world.watch.check_agreement()
        for host in world.running():
            world.watch.reset(host)

    def _end_faults(self) -> None:
        world = self.world
        world.run(2 * GOODBYE_S)
        self.calm()
        self.heal()
        world.heal_tcp()
        for host in list(world.hosts.values()):
            host.lag_s = 0.0
            if host.paused:
                world.resume(host.name)
            if host.core is None and host.machine_up:
                if host.name == host.node:
                    world.start(host.name)
                else:
                    host.machine_up = False
        for bus in world.buses.values():
            self._end_outage(bus)
        self.end_clones()
        for host in world.running():
            for key, bus in world.buses.items():
                if key not in host.listening:
                    world.attach(host, key)
                elif host.name in bus.sessions and bus.sessions[host.name].deaf:
                    bus.lose(host, "deaf")

    def _end_outage(self, bus: Bus) -> None:
        if not bus.up:
            self.world.bus_up(bus.key)
        elif bus.frozen:
            self.world.bus_thawed(bus.key)
        self.world.bus_unblocked(bus.key)

    # ---- choosing

    def _host(self, who: int, *, fit: Callable[[Host], bool]) -> Host | None:
        return pick([h for _, h in sorted(self.world.hosts.items()) if fit(h)], who)

    def _bus(self, who: int) -> Bus:
        return list(self.world.buses.values())[who % len(self.world.buses)]

    def _running(self, who: int) -> Host | None:
        return self._host(who, fit=lambda h: h.core is not None and not h.paused)

    def _enough(self) -> bool:
        return len(self.world.running()) > 2

    # ---- what hosts offer

    def register(self, who: int, how: int) -> None:
        host = self._running(who)
        if host is None or host.core is None or host.core.conflict:
            return
        service, port = SERVICES[how % 3], 80 + how // 3 % 3
        check = Check(CheckType.TTL, "c", ttl_s=TTL_CHECK_S, initial=Status.PASSING)
        checks = (check,) if how % 5 == 0 else ()
        tags = ("a", "b")[: how % 3]
        self.world.register(host.name, service, port=port, tags=tags, checks=checks)

    def deregister(self, who: int, how: int) -> None:
        host = self._running(who)
        if host is None:
            return
        instance = pick([r.spec.id for r in self.world.registrations(host.name)], how)
        if instance is not None:
            self.world.deregister(host.name, instance)

    def mode(self, who: int, how: int) -> None:
        host = self._running(who)
        if host is None:
            return
        mode = list(Mode)[how % 3]
        instance = pick([r.spec.id for r in self.world.registrations(host.name)], how // 6)
        of = instance if how % 2 else None
        host.do(lambda core, now: core.set_mode(of, mode, 20.0, "", now))

    def health(self, who: int, how: int) -> None:
        host = self._running(who)
        if host is not None and (instance := pick(sorted(host.programs), how // 3)) is not None:
            host.reports[instance] = list(Status)[how % 3]

    def program_ends(self, who: int, how: int) -> None:
        """It crashed; its agent finds out by a check, or not at all."""
        host = self._running(who)
        checked = [i for i, spec in sorted(host.programs.items()) if spec.checks] if host else []
        if host is not None and (instance := pick(checked, how)) is not None:
            del host.programs[instance]

    # ---- hosts

    def crash(self, who: int, how: int) -> None:
        host = self._host(who, fit=lambda h: h.core is not None)
        if host is not None and self._enough():
            self.world.kill(host.name)

    def agent_dies(self, who: int, how: int) -> None:
        host = self._host(who, fit=lambda h: h.core is not None)
        if host is not None and self._enough():
            self.world.kill_agent(host.name)

    def boot(self, who: int, how: int) -> None:
        host = self._host(who, fit=lambda h: h.core is None and h.name == h.node)
        if host is None:
            return
        if how % 4 == 0:
            self.world.start_without_disk(host.name)
            self.world.register(host.name, "web")
        else:
            if how % 4 == 1 and host.name in self.old_disks:
                host.disk = self.old_disks[host.name]
            self.world.start(host.name, connect_within_s=0.3)

    def backup(self, who: int, how: int) -> None:
        """A copy of its disk that may be put back later."""
        host = self._running(who)
        if host is not None:
            self.old_disks[host.name] = copy_of(host.disk)

    def restart(self, who: int, how: int) -> None:
        host = self._host(who, fit=lambda h: h.core is not None and h.name == h.node)
        if host is not None:
            self.world.restart(host.name, connect_within_s=0.3)

    def leave(self, who: int, how: int) -> None:
        host = self._running(who)
        if host is not None and self._enough():
            hold_s = (0.0, 0.0, 2.0, 6.0)[how % 4] * self.setup.interval_s
            self.world.leave(host.name, hold_s)
            if not hold_s:
                self.world.run(0.3)
                host.machine_up = False

    def join(self, who: int, how: int) -> None:
        """One, two or three, on every bus or on one."""
        for _ in range(1 + how // 2 % 3):
            if len(self.world.hosts) < HOSTS_MAX:
                name = f"n{len(self.world.hosts)}"
                if how % 2:
                    self.world.add(name, buses=[self._bus(who).key])
                self.world.start(name, connect_within_s=0.2)
                self.world.register(name, "web")

    def clone(self, who: int, how: int) -> None:
        host = self._running(who)
        if host is not None and host.name == host.node and len(self.world.hosts) < HOSTS_MAX:
            name = f"n{len(self.world.hosts)}"
            self.world.add_clone(host.name, name, ahead=how % 3)

    def end_clones(self, *_: int) -> None:
        for host in list(self.world.hosts.values()):
            if host.name != host.node and host.core is not None:
                self.world.kill(host.name)
                original = self.world.hosts[host.node]
                if original.core is not None and original.core.conflict:
                    self.world.restart(original.name)

    def pause(self, who: int, how: int) -> None:
        host = self._running(who)
        if host is not None and self._enough():
            self.world.pause(host.name, asleep=how % 3 == 0)
            if how % 2:
                for bus in self.world.buses.values():
                    self.world.clock.after(20.0, self._drop_paused, bus, host)

    def _drop_paused(self, bus: Bus, host: Host) -> None:
        """A broker ends a connection over which nothing came for long."""
        if host.paused and host.core is not None:
            bus.lose(host, "missed heartbeats")

    def resume(self, who: int, how: int) -> None:
        host = self._host(who, fit=lambda h: h.paused)
        if host is not None:
            self.world.resume(host.name, timer_first=bool(how % 2))

    def lag(self, who: int, how: int) -> None:
        host = self._running(who)
        if host is not None:
            host.lag_s = (0.0, 0.3, 1.0, 3.0)[how % 4]

    def clocks(self, who: int, how: int) -> None:
        host = self._running(who)
        if host is not None:
            host.jump_wall((-86400.0, 3600.0, -3600.0, 0.0)[how % 4])

    # ---- the bus

    def bus_down(self, who: int, how: int) -> None:
        self.world.bus_down(self._bus(who).key)
        self.bus_was_away = True

    def bus_back(self, who: int, how: int) -> None:
        self._end_outage(self._bus(who))

    def freeze(self, who: int, how: int) -> None:
        self.world.bus_frozen(self._bus(who).key, noticed=bool(how % 2))
        self.bus_was_away = True

    def thaw(self, who: int, how: int) -> None:
        self.world.bus_thawed(self._bus(who).key, late=bool(how % 2))

    def block(self, who: int, how: int) -> None:
        host = self._running(who)
        if how % 2 and host is not None:
            self._bus(who).block(host.name)
        else:
            self.world.bus_blocked(self._bus(who).key)

    def unblock(self, who: int, how: int) -> None:
        self.world.bus_unblocked(self._bus(who).key, late=bool(how % 2))

    def session(self, who: int, how: int) -> None:
        host = self._running(who)
        if host is not None:
            self._bus(how).lose(host, "connection reset")
            self.bus_was_away = True

    def deaf(self, who: int, how: int) -> None:
        host = self._running(who)
        if host is not None:
            self._bus(how // 2).deafen(host, noticed=bool(how % 2))
            self.bus_was_away = True

    def detach(self, who: int, how: int) -> None:
        host = self._running(who)
        if host is not None and len(host.listening) > 1:
            self.world.detach(host, sorted(host.listening)[how % len(host.listening)])

    def attach(self, who: int, how: int) -> None:
        host = self._host(who, fit=lambda h: len(h.listening) < len(self.world.buses))
        if host is not None and host.core is not None:
            for key in self.world.buses:
                self.world.attach(host, key, 1.0)

    def partition(self, who: int, how: int) -> None:
        names = sorted(self.world.hosts)
        size = 1 + who % max(len(names) - 1, 1)
        shift = how // 6 % len(names)
        group = (names[shift:] + names[:shift])[:size]
        rest = [name for name in names if name not in group]
        bus = self._bus(how // 2)
        self.world.note(None, f"cut {bus.key}: {' '.join(group)}{' one way' * (how % 2)}")
        bus.cut(group, rest)
        if not how % 2:
            bus.cut(rest, group)

    def cut(self, who: int, how: int) -> None:
        """Nothing gets from one to one other, or to anybody."""
        names = sorted(self.world.hosts)
        sender, receiver = names[who % len(names)], names[how // 2 % len(names)]
        self.world.note(None, f"cut from {sender} to {receiver if how % 2 else 'all'}")
        self._bus(how // 4).cut([sender], [receiver] if how % 2 else names)

    def heal(self, *_: int) -> None:
        for bus in self.world.buses.values():
            bus.heal()

    def tcp(self, who: int, how: int) -> None:
        names = sorted(self.world.hosts)
        group = names[: 1 + who % len(names)]
        self.world.note(None, f"tcp cut: {' '.join(group)}")
        self.world.cut_tcp(group, [name for name in names if name not in group])

    def tcp_heals(self, *_: int) -> None:
        self.world.heal_tcp()

    def storm(self, who: int, how: int) -> None:
        weather = self._bus(who).weather
        weather.loss = (0.0, 0.05, 0.2, 0.5)[how % 4]
        weather.duplication = (0.0, 0.2)[how // 4 % 2]
        weather.reordering = (0.0, 0.3)[how // 16 % 2]
        weather.delay_s = ((0.001, 0.01), (0.01, 1.0), (0.5, 4.0))[how // 32 % 3]
        weather.copy_late_s = (0.0, 1.5 * self.world.ttl_s)[how // 8 % 2]
        weather.mangling = 0.05 * (how // 96 % 2) * self.setup.signed
        self.world.note(None, f"{self._bus(who).key}: {weather}")

    def link(self, who: int, how: int) -> None:
        names = sorted(self.world.hosts)
        pair = (names[who % len(names)], names[how % len(names)])
        self._bus(how).weather.links[pair] = (0.1, 1.0, 6.0)[how % 3]

    def calm(self, *_: int) -> None:
        for bus in self.world.buses.values():
            bus.weather = type(bus.weather)()


def copy_of(disk: Disk) -> Disk:
    return Disk(**{name: getattr(disk, name) for name in Disk.__dataclass_fields__})


def pick(items: list[Item], number: int) -> Item | None:
    return items[number % len(items)] if items else None


_NAMES = """
    register deregister mode health program_ends crash agent_dies boot backup restart leave join
    clone end_clones pause resume lag clocks bus_down bus_back freeze thaw block unblock session
    deaf detach attach partition cut heal tcp tcp_heals storm link calm settle
"""
FAULTS: dict[str, Callable[[Trial, int, int], None]] = {
    name: getattr(Trial, name) for name in _NAMES.split()
}
OFTEN = ("register", "boot", "resume", "bus_back", "heal", "calm", "deregister", "bus_down")
FEW_SHARE = 0.6
"""Of the programs, that are drawn from a few faults only, so that those meet often and nothing
else hides what they do together (swarm testing, Groce et al., ISSTA 2012)."""
WAITS = (0.01, 0.1, 0.4, 1.0, 2.5, 5.0)


def drawn(seed: int) -> tuple[Setup, list[Step]]:
    rng = random.Random(f"{seed} program")
    setup = Setup(
        seed=seed,
        hosts=rng.choice((2, 3, 3, 4, 5, 5, 6, 7, 8, 10, 12)),
        interval_s=rng.choice((1.0, 5.0, 5.0)),
        ttl_beats=rng.choice((3.0, 3.0, 4.0, 6.0)),
        buses=rng.choice((1, 1, 1, 2, 2, 3)),
        signed=rng.random() < 0.3,
        probing=True,
    )
    names = [*FAULTS, *OFTEN, *OFTEN]
    if rng.random() < FEW_SHARE:
        names = [*rng.sample(list(FAULTS), rng.choice((2, 3, 5))), rng.choice(OFTEN), "calm"]
    steps = [
        Step(rng.choice(names), rng.randrange(1000), rng.randrange(1000), rng.choice(WAITS))
        for _ in range(rng.randrange(8, 25))
    ]
    relay_from = random.Random(f"{seed} relays").choice((3, 4, 100, 100))
    return replace(setup, probing=rng.random() < 0.5, relay_from=relay_from), steps


def run_seed(seed: int) -> Trial:
    """Raises `Violation`, with the command that brings it about again."""
    setup, program = drawn(seed)
    trial = Trial(setup, again=f"python -m tests.sim --seed {seed}")
    trial.run(program)
    return trial
