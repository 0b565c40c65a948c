"""What each host could really hear, and so whom it may give up: the yardstick for its leases."""

from collections import defaultdict
from typing import TYPE_CHECKING

from beacond.core.events import Kind

if TYPE_CHECKING:
    from tests.sim.host import Host
    from tests.sim.world import World

USUAL_GAP_BEATS = 1.2
"""An outage shorter than this can't be told from a message that was lost."""
BLIND_BEATS = 1.5
"""After so many intervals of an outage an agent must know that it is blind."""
INEXACT_BEATS = 0.4
"""Leases are counted between messages, so they may end so much early."""
TCP_BEATS = 4
"""Intervals for which what was found by TCP may be held against a node."""

Span = tuple[float, float]


class Hearing:
    def __init__(self, world: "World") -> None:
        self._world = world
        self._out_since: dict[tuple[str, str], float] = {}
        """(host, bus) that brings it nothing now."""
        self._outages: dict[tuple[str, str], list[Span]] = defaultdict(list)
        self._stopped_since: dict[str, float] = {}
        self._stops: dict[str, list[Span]] = defaultdict(list)
        self._tcp_cut: set[str] = set()
        self._tcp_cut_at: dict[str, float] = {}
        """Host → when anything last lay between it and another."""

    # ---- what happens

    def conditions_changed(self, host: "Host | None") -> None:
        now = self._world.now
        for each in self._world.hosts.values() if host is None else (host,):
            for key, bus in self._world.buses.items():
                where = (each.name, key)
                if bus.reaches(each):
                    since = self._out_since.pop(where, None)
                    if since is not None:
                        self._outages[where].append((since, now))
                else:
                    self._out_since.setdefault(where, now)

    def stops(self, host: "Host") -> None:
        self._stopped_since.setdefault(host.name, self._world.now)

    def goes_on(self, host: "Host") -> None:
        since = self._stopped_since.pop(host.name, None)
        if since is not None:
            self._stops[host.name].append((since, self._world.now))

    def tcp_changed(self) -> None:
        self._tcp_cut |= {name for pair in self._world.tcp_cuts for name in pair}
        self._tcp_cut_at |= dict.fromkeys(self._tcp_cut, self._world.now)
        if not self._world.tcp_cuts:
            self._tcp_cut.clear()

    # ---- judgement

    def lost_too_early(self, host: "Host", owner: "Host", instance_id: str) -> str:
        """Whether `host` gave up what runs at `owner` though it heard of it lately; how it did."""
        runs = owner.machine_up and not owner.asleep and instance_id in owner.programs
        if not runs or self.tcp_in_doubt(owner):
            return ""
        now, beat_s = self._world.now, self._world.interval_s
        ttl_s = owner.core.settings.ttl_s if owner.core is not None else self._world.ttl_s
        heard = {bus: by[owner.node] for bus, by in host.heard.items() if owner.node in by}
        if not heard:
            return ""
        last_at = max(heard.values())
        # A lease belongs to the buses on which its node was heard lately.
        buses = [bus for bus, at in heard.items() if at > last_at - ttl_s - beat_s]
        least_s = ttl_s - INEXACT_BEATS * beat_s
        seen_s = self._seen_s(host, buses, last_at)
        if seen_s < least_s:
            return f"heard {now - last_at:.1f} s ago, {seen_s:.1f} s of sight"
        returned_at = self._returned_once(host, buses, last_at)
        if returned_at is not None and self._seen_s(host, buses, returned_at) < least_s:
            return f"sight is back for {now - returned_at:.1f} s only"
        return ""

    def lost_while_deaf(self, host: "Host") -> str:
        """Whether nothing has reached `host` for so long that it must give up nobody."""
        since = [self._out_since.get((host.name, key)) for key in host.listening]
        if not since or None in since:
            return ""
        deaf_s = self._world.now - max(at for at in since if at is not None)
        allowed_s = BLIND_BEATS * self._world.interval_s + host.lag_s + self._slowest_s()
        return f"nothing has reached it for {deaf_s:.1f} s" if deaf_s > allowed_s else ""

    def _slowest_s(self) -> float:
        """On its way out of a broker that is gone: nothing. But clients take a moment to see it."""
        return max(bus.weather.delay_s[1] for bus in self._world.buses.values())

    def _seen_s(self, host: "Host", buses: list[str], begin: float) -> float:
        """For how much of the time since then one of these buses could bring it anything."""
        now, usual_s = self._world.now, USUAL_GAP_BEATS * self._world.interval_s
        stops = self._spans(self._stops[host.name], self._stopped_since.get(host.name))
        outages = [(a + usual_s, b) for a, b in self._all_out(host, buses) if b - a > usual_s]
        return now - begin - _covered([*outages, *stops], begin, now)

    def _returned_once(self, host: "Host", buses: list[str], since: float) -> float | None:
        """When sight by these buses was back, if it was gone just once since then. Grace is given
        once between two heartbeats, and a host in a storm may think itself blind."""
        sighted = [at for at, e in host.told_at if at > since and e.kind is Kind.VIEW_SIGHTED]
        noticed_s = (BLIND_BEATS + USUAL_GAP_BEATS) * self._world.interval_s
        outages = [span for span in self._all_out(host, buses) if span[1] > since]
        if len(outages) != 1 or len(sighted) > 1:
            return None
        begin, end = outages[0]
        return end if end - begin > noticed_s else None

    def _all_out(self, host: "Host", buses: list[str]) -> list[Span]:
        """Spans in which none of these buses brought this host anything."""
        common = [(float("-inf"), float("inf"))]
        for bus in buses:
            where = (host.name, bus)
            spans = self._spans(self._outages[where], self._out_since.get(where))
            both = ((max(a, c), min(b, d)) for a, b in common for c, d in spans)
            common = [(begin, end) for begin, end in both if begin < end]
        return common

    def _spans(self, ended: list[Span], since: float | None) -> list[Span]:
        return ended if since is None else [*ended, (since, self._world.now)]

    def tcp_in_doubt(self, owner: "Host") -> bool:
        if owner.name in self._tcp_cut:
            return True
        cut_at = self._tcp_cut_at.get(owner.name)
        return cut_at is not None and self._world.now - cut_at < TCP_BEATS * self._world.interval_s


def _covered(spans: list[Span], begin: float, end: float) -> float:
    """How much of the time from `begin` to `end` lies in one of them or more."""
    covered_s, until = 0.0, begin
    for a, b in sorted(spans):
        covered_s += max(min(b, end) - max(a, until), 0.0)
        until = max(until, min(b, end))
    return covered_s
