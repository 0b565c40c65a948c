"""What must hold wherever nothing stands in the way, even while elsewhere something does.

A host is well on a bus while everything that it is sent there comes, at once and once. Looked at
each half second, and whenever a connection changes.
"""

from typing import TYPE_CHECKING

from beacond.core.events import Event, Kind
from beacond.core.model import AgentState
from tests.sim.bus import Weather
from tests.sim.host import LONG_AGO

if TYPE_CHECKING:
    from tests.sim.host import Host
    from tests.sim.world import World

LOOK_S = 0.5
SIGHT_BEATS = 3.0
"""A host that is well on a bus for so many intervals must not think itself blind."""
LATE_BEATS, LATE_S = 3.0, 1.5
"""A lease ends so late at most: as is promised, and a bit for what is on its way."""
RELAYED_BEATS = 2.6
"""More where relays vouch: for a node heard 1.5 intervals ago, once in 1.1 at most."""
VOUCHED_S = 590.0
"""For at least so long after its agent's death an instance that TCP reaches is kept."""
VOUCHERS_MIN = 3
"""Agents that can tell an instance that can't be reached from their own being cut off."""
PRESENT = (AgentState.ALIVE, AgentState.SUSPECT)
SIGHT = (Kind.VIEW_BLIND, Kind.VIEW_SIGHTED, Kind.VIEW_HELD)


class Calm:
    def __init__(self, world: "World") -> None:
        self._world = world
        self._unwell_at: dict[tuple[str, str], float] = {}
        """(host, bus): when something last stood in the way of what it is sent there."""
        self._unsure_at: dict[str, float] = {}
        """Host → when its sight last changed, its agent began, or its connections changed."""
        self._told_at: dict[tuple[str, str], float] = {}
        """(host, node): when it last told of that node, or heard from it what was new."""
        self._newest: dict[tuple[str, str], float] = {}
        """(host, node): when the newest it heard of that node was sent."""
        self._died_at: dict[str, float] = {}
        """Node → when its agent ended without a goodbye."""
        self._off_since: dict[str, float] = {}
        self._still = Weather()

    # ---- what happens

    def watch(self) -> None:
        """Begin to look."""
        self.look()
        self._world.clock.after(LOOK_S, self.watch)

    def troubled(self, host: "Host | None") -> None:
        """Something about the connections of this host, or of any, is not as it was."""
        now = self._world.now
        for each in self._world.hosts.values() if host is None else (host,):
            self._unsure_at[each.name] = now
            for key in self._world.buses:
                self._unwell_at[each.name, key] = now

    def heard(self, host: "Host", node: str, sent_at: float) -> None:
        """Copies, and what comes late, prove nothing new."""
        where = (host.name, node)
        if sent_at > self._newest.get(where, LONG_AGO):
            self._newest[where] = sent_at
            self._told_at[where] = self._world.now

    def told(self, host: "Host", event: Event) -> str:
        """What it tells and must not."""
        node = event.agent or event.instance
        if node is not None:
            self._told_at[host.name, node.node] = self._world.now
        if event.kind in SIGHT:
            self._unsure_at[host.name] = self._world.now
        # An agent whose name is another's says nothing, so it can't hear itself.
        speaks = host.core is not None and not host.core.conflict
        return self._blind_with_sight(host) if speaks and event.kind is Kind.VIEW_BLIND else ""

    def began(self, host: "Host") -> None:
        self._died_at.pop(host.node, None)
        self.troubled(host)

    def died(self, host: "Host") -> None:
        self._died_at[host.node] = self._world.now

    # ---- judgement

    def look(self) -> None:
        world = self._world
        cut = {name for bus in world.buses.values() for pair in bus.cuts for name in pair}
        for host in world.hosts.values():
            stopped = host.core is None or host.paused or host.lag_s > 0
            if stopped:
                self._unsure_at[host.name] = world.now
            for key, bus in world.buses.items():
                well = bus.reaches(host) and bus.weather == self._still and host.name not in cut
                if stopped or not well or bus.takes_nothing_from(host.name):
                    self._unwell_at[host.name, key] = world.now
        for name, host in world.hosts.items():
            if host.machine_up:
                self._off_since.pop(name, None)
            else:
                self._off_since.setdefault(name, world.now)
        for host in world.running() if self._off_since else ():
            if complaint := self._keeps_too_long(host):
                world.watch.fail(complaint, host)

    def _keeps_too_long(self, host: "Host") -> str:
        """That `host` sees and still believes one that is off, and was last heard long ago."""
        world, core = self._world, host.core
        assert core is not None
        if any(not world.buses[key].reaches(host) for key in host.listening):
            return ""
        beats = LATE_BEATS + RELAYED_BEATS * (len(world.hosts) >= world.relay_from)
        most_s = world.ttl_s + beats * world.interval_s + LATE_S
        sure_s = world.now - self._unsure_at.get(host.name, LONG_AGO)
        if sure_s <= most_s:
            return ""
        for node, off_at in self._off_since.items():
            agent = core.view.agents.get(node)
            if agent is None or agent.state not in PRESENT:
                continue
            quiet_s = world.now - max(off_at, self._told_at.get((host.name, node), LONG_AGO))
            if quiet_s > most_s and not world.watch.contested(node):
                return f"{host.name} keeps {node}, which is off: nothing new for {quiet_s:.1f} s"
        return ""

    def _blind_with_sight(self, host: "Host") -> str:
        now, needed_s = self._world.now, SIGHT_BEATS * self._world.interval_s
        for key in sorted(host.listening):
            well_s = now - self._unwell_at.get((host.name, key), LONG_AGO)
            if well_s > needed_s:
                return f"{host.name} is blind, and has been well on {key} for {well_s:.1f} s"
        return ""

    def vouched_and_lost(self, host: "Host", owner: "Host", instance_id: str) -> str:
        """Whether `host` gave up what only lost its agent, and what every agent can reach."""
        world, died_at = self._world, self._died_at.get(owner.node)
        runs = owner.machine_up and not owner.asleep and instance_id in owner.programs
        if died_at is None or not runs or not world.probing:
            return ""
        witnesses = world.running()
        since = died_at - 2 * world.interval_s
        disturbed = any(at >= since for at in self._unsure_at_of(witnesses))
        if disturbed or len(witnesses) < VOUCHERS_MIN or world.watch.hearing.tcp_in_doubt(owner):
            return ""
        dead_s = world.now - died_at
        return f"its agent died {dead_s:.1f} s ago" if dead_s < VOUCHED_S else ""

    def _unsure_at_of(self, hosts: "list[Host]") -> list[float]:
        times = [self._unsure_at.get(host.name, LONG_AGO) for host in hosts]
        keys = self._world.buses
        return times + [
            self._unwell_at.get((host.name, key), LONG_AGO) for host in hosts for key in keys
        ]
