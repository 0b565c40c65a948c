"""Scenarios as text: what happens to a fleet, what must be seen, and what its agents tell of it.

    fleet a b c                    these agents; each offers `web`. Or: fleet 20 (n00, n01, …)
    interval 5s | ttl 15s | seed 1 | buses one two        before anything happens
    log a b from 20s               whose events are listed below, and from when on

    at 30s COMMAND                 see `COMMANDS`; names with commas, `all` for every agent
    at 60s expect a sees web on b c            what a lookup there answers
    expect a tells agent.expired c (silent) between 40s and 50s
    expect a never tells view.held
    until 90s                      the end

Below a line `---` stand the events of the agents logged. `pytest --rewrite` writes them anew; what
is expected above it stays, and is what a scenario is about.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from beacond.core.model import Mode
from tests.sim.history import line_of
from tests.sim.host import Disk, Host
from tests.sim.trial import copy_of
from tests.sim.world import World

DIVIDER = "---"


class ScriptError(ValueError):
    """A line that is not understood."""


@dataclass(slots=True)
class Script:
    """A scenario as read."""

    name: str
    head: str
    log: str
    agents: list[str] = field(default_factory=list)
    settings: dict[str, float] = field(default_factory=dict)
    buses: list[str] = field(default_factory=lambda: ["sim"])
    logged: list[str] = field(default_factory=list)
    logged_from: float = 0.0
    steps: list[tuple[float, str]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    ends_at: float = 0.0


def load(path: Path) -> Script:
    """Raises ScriptError."""
    head, _, log = path.read_text().partition(f"{DIVIDER}\n")
    script = Script(path.stem, head, log)
    for line in head.splitlines():
        words = line.partition("#")[0].split()
        if words:
            _read(script, words)
    if not script.agents or not script.ends_at:
        raise ScriptError(f"{path.name}: a scenario needs `fleet` and `until`")
    return script


def _read(script: Script, words: list[str]) -> None:
    match words:
        case ["fleet", number] if number.isdecimal():
            script.agents = [f"n{each:02}" for each in range(int(number))]
        case ["fleet", *names]:
            script.agents = names
        case ["interval" | "ttl" | "seed" as name, value]:
            script.settings[name] = seconds(value)
        case ["buses", *names]:
            script.buses = names
        case ["log", *names, "from", moment]:
            script.logged, script.logged_from = names, seconds(moment)
        case ["at", moment, *command]:
            script.steps.append((seconds(moment), " ".join(command)))
        case ["expect", *what]:
            script.told.append(" ".join(what))
        case ["until", moment]:
            script.ends_at = seconds(moment)
        case _:
            raise ScriptError(" ".join(words))


def seconds(text: str) -> float:
    """`90s`, `1.5m`, or a bare number."""
    found = re.fullmatch(r"([\d.]+)(s|m|)", text)
    if found is None:
        raise ScriptError(f"no time: {text}")
    return float(found[1]) * (60 if found[2] == "m" else 1)


class Play:
    """A scenario as it happens."""

    def __init__(self, script: Script) -> None:
        self.script = script
        given = script.settings
        self.world = World(
            int(given.get("seed", 1)),
            interval_s=given.get("interval", 5.0),
            ttl_s=given.get("ttl", 15.0),
            buses=script.buses,
        )
        self.world.watch.replay = f"pytest tests/sim/test_scenarios.py -k {script.name}"
        self.disks: dict[str, Disk] = {}
        self.complaints: list[str] = []

    def run(self) -> list[str]:
        """Play all of it; what was not as expected."""
        script, world = self.script, self.world
        self.do(f"start {','.join(script.agents)}")
        for at, command in sorted(script.steps, key=lambda step: step[0]):
            world.run(at - world.now)
            self.do(command)
        world.run(script.ends_at - world.now)
        world.watch.check_replicas()
        for line in script.told:
            if not self._is_told(line):
                self.complaints.append(f"expect {line}")
        return self.complaints

    def log(self) -> str:
        """The events of those listed, in order of time."""
        lines = []
        for name in self.script.logged:
            for at, event in self.world.hosts[name].told_at:
                if at >= self.script.logged_from:
                    lines.append((at, f"{at:7.1f}s {name}: {line_of(event)}\n"))
        return "".join(line for _, line in sorted(lines, key=lambda each: each[0]))

    def do(self, command: str) -> None:
        for pattern, act in COMMANDS:
            found = re.fullmatch(pattern, command)
            if found:
                act(self, *found.groups())
                return
        raise ScriptError(f"not understood: {command}")

    def hosts(self, names: str) -> list[Host]:
        known = self.world.hosts
        if names == "all":
            return [host for host in known.values() if host.core is not None]
        return [known[name] for name in names.split(",")]

    def _is_told(self, line: str) -> bool:
        pattern = r"(\S+) (never tells|tells) (.+?)(?: between (\S+) and (\S+))?"
        found = re.fullmatch(pattern, line)
        if not found:
            raise ScriptError(f"not understood: expect {line}")
        at, how, what, begin, end = found.groups()
        first, last = seconds(begin or "0"), seconds(end or "999999")
        return all(
            (how == "tells")
            == any(first <= when <= last and fits(line_of(e), what) for when, e in host.told_at)
            for host in self.hosts(at)
        )

    def expect_sees(self, at: str, service: str, nodes: str) -> None:
        expected = [h.node for h in self.hosts(nodes)] if nodes != "nobody" else []
        for host in self.hosts(at):
            seen = self.world.answer(host.name, service)
            if seen != sorted(expected):
                self.complaints.append(
                    f"at {self.world.now:g}s {host.name} sees {service} on {' '.join(seen)},"
                    f" not on {' '.join(expected)}"
                )

    def expect_sight(self, at: str, state: str) -> None:
        for host in self.hosts(at):
            assert host.core is not None
            blind = host.core.view.sight.stale_since is not None
            if blind != (state == "is blind"):
                self.complaints.append(f"at {self.world.now:g}s {host.name}: not so: {state}")

    def expect_state(self, at: str, node: str, state: str) -> None:
        for host in self.hosts(at):
            assert host.core is not None
            known = host.core.view.agents.get(node)
            is_in = "unknown" if known is None else known.state.value
            if is_in != state:
                self.complaints.append(
                    f"at {self.world.now:g}s {host.name} has {node} as {is_in}, not {state}"
                )


def fits(line: str, what: str) -> bool:
    """Whether an event's line is what was asked for, which may leave out its end."""
    return line == what or line.startswith(f"{what} ")


def _start(play: Play, names: str) -> None:
    for name in names.split(","):
        new = name not in play.world.hosts
        play.world.start(name)
        if new:
            play.world.register(name, "web")


def _join(play: Play, count: str) -> None:
    _start(play, ",".join(f"j{number:03}" for number in range(int(count))))


def _each(act: Callable[[World, Host], object]) -> Callable[..., None]:
    def run(play: Play, names: str) -> None:
        for host in play.hosts(names):
            act(play.world, host)

    return run


def _bus(act: str, **options: bool) -> Callable[..., None]:
    def run(play: Play, keys: str) -> None:
        getattr(play.world, act)(*(keys or "").split(), **options)

    return run


def _groups(act: Callable[[Play, list[str], list[str]], None]) -> Callable[..., None]:
    def run(play: Play, one: str, other: str) -> None:
        act(play, [h.name for h in play.hosts(one)], [h.name for h in play.hosts(other)])

    return run


def _partition(play: Play, one: list[str], other: list[str]) -> None:
    for bus in play.world.buses.values():
        bus.partition(one, other)


def _cut(play: Play, one: list[str], other: list[str]) -> None:
    for bus in play.world.buses.values():
        bus.cut(one, other)


def _heal(play: Play) -> None:
    for bus in play.world.buses.values():
        bus.heal()
    play.world.heal_tcp()


def _weather(play: Play, name: str, value: str) -> None:
    low, _, high = value.partition("-")
    for bus in play.world.buses.values():
        is_delay = name == "delay_s"
        setattr(bus.weather, name, (float(low), float(high)) if is_delay else float(value))


def _backup(play: Play, names: str) -> None:
    play.disks |= {host.name: copy_of(host.disk) for host in play.hosts(names)}


def _boot_backup(play: Play, name: str) -> None:
    play.world.hosts[name].disk = play.disks[name]
    play.world.start(name)


def _lost_disk(play: Play, name: str) -> None:
    """Its wall clock is early as well, or nobody would notice."""
    host = play.world.hosts[name]
    host.wall_error_s = -3600.0
    play.world.start_without_disk(name)
    play.world.register(name, "web")


def _move(play: Play, how: str, names: str, key: str) -> None:
    for host in play.hosts(names):
        if how == "attach":
            play.world.attach(host, key)
        else:
            play.world.detach(host, key)


def _mode(play: Play, name: str, mode: str) -> None:
    play.world.do(name, lambda core, now: core.set_mode(None, Mode(mode), None, "", now))


def _on_all(act: str) -> Callable[[World, Host], None]:
    def run(world: World, host: Host) -> None:
        for bus in world.buses.values():
            getattr(bus, act)(host)

    return run


COMMANDS: list[tuple[str, Callable[..., None]]] = [
    (r"start (\S+)", _start),
    (r"join (\d+)", _join),
    (r"crash (\S+)", _each(lambda world, host: world.kill(host.name))),
    (r"crash agent of (\S+)", _each(lambda world, host: world.kill_agent(host.name))),
    (r"restart (\S+)", _each(lambda world, host: world.restart(host.name))),
    (r"leave (\S+)", _each(lambda world, host: world.leave(host.name))),
    (r"hold (\S+)", _each(lambda world, host: world.leave(host.name, 60.0))),
    (r"pause (\S+)", _each(lambda world, host: world.pause(host.name))),
    (r"sleep (\S+)", _each(lambda world, host: world.pause(host.name, asleep=True))),
    (r"resume (\S+)", _each(lambda world, host: world.resume(host.name))),
    (r"lose disk of (\S+)", _lost_disk),
    (r"backup (\S+)", _backup),
    (r"boot (\S+) from backup", _boot_backup),
    (r"clone (\S+) as (\S+)", lambda play, of, name: play.world.add_clone(of, name)),
    (r"register (\S+) (\S+)", lambda play, name, what: play.world.register(name, what)),
    (r"deregister (\S+) (\S+)", lambda play, name, what: play.world.deregister(name, what)),
    (r"mode (\S+) (\S+)", _mode),
    (r"bus ?(.*) down", _bus("bus_down")),
    (r"bus ?(.*) up", _bus("bus_up")),
    (r"bus ?(.*) blocked", _bus("bus_blocked")),
    (r"bus ?(.*) unblocked", _bus("bus_unblocked")),
    (r"bus ?(.*) frozen", _bus("bus_frozen")),
    (r"bus ?(.*) frozen unnoticed", _bus("bus_frozen", noticed=False)),
    (r"bus ?(.*) thawed", _bus("bus_thawed")),
    (r"add bus (\S+)", lambda play, key: play.world.add_bus(key)),
    (r"(attach|detach) (\S+) (\S+)", _move),
    (r"deafen (\S+)", _each(_on_all("deafen"))),
    (r"lose session of (\S+)", _each(lambda world, host: world.bus.lose(host, "reset"))),
    (r"block (\S+)", _each(lambda world, host: world.bus.block(host.name))),
    (r"part (\S+) from (\S+)", _groups(_partition)),
    (r"cut from (\S+) to (\S+)", _groups(_cut)),
    (r"cut tcp of (\S+) to (\S+)", _groups(lambda play, a, b: play.world.cut_tcp(a, b))),
    (r"heal", _heal),
    (r"(loss|duplication|reordering|delay_s) (\S+)", _weather),
    (r"expect (\S+) sees? (\S+) on (\S+)", Play.expect_sees),
    (r"expect (\S+) (is blind|sees)", Play.expect_sight),
    (r"expect (\S+) has (\S+) as (\S+)", Play.expect_state),
    (r"expect agreement", lambda play: play.world.watch.check_agreement()),
]
