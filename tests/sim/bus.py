"""A bus: its broker, the way to it, and what each agent's client would notice of both.

A broadcast reaches every session that is open, the sender's own included, each copy after its own
delay. Whatever goes wrong is drawn from the bus's own seeded generator.
"""

import random
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from beacond.core.messages import Envelope, Message
from tests.sim.clock import Clock

if TYPE_CHECKING:
    from tests.sim.host import Host

QUEUE_MAX = 1000
"""Messages that a broker keeps for one agent that does not read; then the oldest goes."""
TOLD_AFTER_S = 0.2
"""At most so long until a client sees that its connection was closed, or blocked."""
SILENT_AFTER_S = (9.0, 16.0)
"""When a client gives up a connection over which nothing comes back."""


@dataclass(slots=True, eq=False)
class Parcel:
    """One frame. `read`: what it says, once known, where that is the same for every receiver."""

    frame: bytes
    sender: str
    """The host's name, not the node's: two hosts may share that."""
    to: str
    sent_at: float
    shared: bool
    damaged: bool = False
    read: tuple[Envelope, Message] | None = None
    vouches: tuple[str, ...] = ()
    """The nodes that its sender, a relay, really heard lately, and says so."""


@dataclass(slots=True)
class Weather:
    """What happens to messages on their way. Shares are of 1."""

    loss: float = 0.0
    duplication: float = 0.0
    copy_late_s: float = 0.0
    """The second copy comes at most so much later than the first."""
    mangling: float = 0.0
    reordering: float = 0.0
    """Share that is held up for up to `held_up_s`, so that later ones overtake it."""
    held_up_s: float = 3.0
    delay_s: tuple[float, float] = (0.001, 0.01)
    links: dict[tuple[str, str], float] = field(default_factory=dict)
    """Seconds more, by (sender, receiver)."""


@dataclass(slots=True, eq=False)
class Session:
    """One agent's connection. What is on its way to it is lost with it."""

    host: "Host"
    bus: "Bus"
    heard: dict[str, float]
    """See `Host.heard`."""
    heard_itself: dict[str, float] = field(default_factory=dict)
    """The same without what relays told."""
    alive: bool = True
    """As the broker sees it; the client is told later."""
    deaf: bool = False
    backlog: deque[Parcel] = field(default_factory=lambda: deque(maxlen=QUEUE_MAX))

    def arrive(self, parcel: Parcel) -> None:
        if not self.alive or self.deaf:
            return
        if self.bus.frozen:
            self.bus.stuck.append((self, parcel))
        elif self.host.paused:
            self.backlog.append(parcel)
        elif self.host.lag_s:
            self.bus.clock.after(self.host.lag_s, self._arrive_late, parcel)
        else:
            self.host.receive(self, parcel)

    def _arrive_late(self, parcel: Parcel) -> None:
        if self.host.paused:
            self.backlog.append(parcel)
        elif self.host.sessions.get(self.bus.key) is self:
            self.host.receive(self, parcel)


class Bus:
    def __init__(self, key: str, clock: Clock, rng: random.Random) -> None:
        self.key = key
        self.clock = clock
        self.rng = rng
        self.weather = Weather()
        self.up = True
        self.frozen = False
        self.blocked = False
        """The broker takes nothing from anybody."""
        self.mute: set[str] = set()
        """Hosts from which it takes nothing."""
        self.cuts: set[tuple[str, str]] = set()
        """(sender, receiver): nothing gets from one to the other."""
        self.sessions: dict[str, Session] = {}
        self.stuck: list[tuple[Session, Parcel]] = []
        """On its way out of a broker that stands still."""
        self._stuck_in: list[tuple[Session, Parcel]] = []
        """On its way in: neither lost nor read."""
        self.changed: Callable[[Host | None], None] = lambda host: None
        """Called when one host, or None for any, may hear what it did not before, or no more."""
        self.carried = 0
        """Copies delivered or on their way."""

    # ---- messages

    def carry(self, session: Session, parcels: Iterable[Parcel]) -> None:
        """A client hands these to its connection."""
        if not session.alive:
            return
        for parcel in parcels:
            if self.frozen or self.takes_nothing_from(session.host.name):
                self._stuck_in.append((session, parcel))
            else:
                self._route(parcel)

    def takes_nothing_from(self, host: str) -> bool:
        return self.blocked or host in self.mute

    def _route(self, parcel: Parcel) -> None:
        weather, rng, at, now = self.weather, self.rng.random, self.clock.at, self.clock.now
        least_s, most_s = weather.delay_s
        cuts, links, sender = self.cuts, weather.links, parcel.sender
        rough = weather.loss or weather.duplication or weather.mangling or weather.reordering
        for session in self._receivers(parcel.to):
            if cuts and (sender, session.host.name) in cuts:
                continue
            delay_s = least_s + (most_s - least_s) * rng()
            if links:
                delay_s += links.get((sender, session.host.name), 0.0)
            if rough:
                self._route_roughly(session, parcel, delay_s)
            else:
                self.carried += 1
                at(now + delay_s, session.arrive, parcel)

    def _route_roughly(self, session: Session, parcel: Parcel, delay_s: float) -> None:
        weather, rng = self.weather, self.rng
        for copy in range(1 + (rng.random() < weather.duplication)):
            if rng.random() < weather.loss:
                continue
            late_s = rng.uniform(0, weather.copy_late_s) if copy and weather.copy_late_s else 0.0
            if rng.random() < weather.reordering:
                late_s += rng.uniform(0, weather.held_up_s)
            damaged = rng.random() < weather.mangling
            self.carried += 1
            sent = self._mangled(parcel) if damaged else parcel
            self.clock.after(delay_s + late_s, session.arrive, sent)

    def _mangled(self, parcel: Parcel) -> Parcel:
        data = bytearray(parcel.frame)
        data[self.rng.randrange(len(data))] ^= 1 << self.rng.randrange(8)
        return Parcel(
            bytes(data), parcel.sender, parcel.to, parcel.sent_at, shared=False, damaged=True
        )

    def _receivers(self, to: str) -> Iterable[Session]:
        if not to:
            return self.sessions.values()
        return [session for session in self.sessions.values() if session.host.node == to]

    # ---- sessions

    def connect(self, host: "Host") -> None:
        """A client tries once; where it fails it is tried again when the broker is there."""
        if not host.listens_to(self.key) or host.name in self.sessions:
            return
        if self.up and not self.frozen:
            heard = host.heard.setdefault(self.key, {})
            session = self.sessions[host.name] = Session(host, self, heard)
            self.changed(host)
            host.connected(session, can_publish=not self.takes_nothing_from(host.name))

    def connect_within(self, host: "Host", seconds: float) -> None:
        self.clock.after(self.rng.uniform(0, seconds), self.connect, host)

    def lose(self, host: "Host", reason: str, told_after_s: float = TOLD_AFTER_S) -> None:
        """This agent's connection ends; it finds that out a moment later, and comes back."""
        session = self.close(host)
        if session is not None:
            told_s = self.rng.uniform(0, told_after_s)
            self.clock.after(told_s, host.disconnected, session, reason)
            self.clock.after(told_s, self.connect_within, host, host.reconnect_spread_s())

    def close(self, host: "Host") -> Session | None:
        """The broker forgets this agent."""
        session = self.sessions.pop(host.name, None)
        if session is not None:
            session.alive = False
            session.backlog.clear()
            self.changed(host)
        return session

    def deafen(self, host: "Host", *, noticed: bool = True) -> None:
        """The connection stands, and nothing comes over it until the agent makes another."""
        session = self.sessions.get(host.name)
        if session is not None and not session.deaf:
            session.deaf = True
            self.changed(host)
            if noticed:
                self.clock.after(self.rng.uniform(*SILENT_AFTER_S), self._give_up, session)

    # ---- the broker

    def go_down(self, reason: str = "connection refused") -> None:
        self.up = self.frozen = self.blocked = False
        self.mute.clear()
        self.stuck.clear()
        self._stuck_in.clear()
        for session in list(self.sessions.values()):
            self.lose(session.host, reason)
        self.changed(None)

    def come_up(self, hosts: Iterable["Host"]) -> None:
        """Everybody comes back, each within the spread that its view of the fleet asks for."""
        self.up = True
        self.changed(None)
        for host in hosts:
            if host.listens_to(self.key) and host.name not in self.sessions:
                self.connect_within(host, host.reconnect_spread_s())

    def freeze(self, *, noticed: bool = True) -> None:
        """It stands still with all connections open. Nobody is told; clients may give up."""
        if self.frozen or not self.up:
            return
        self.frozen = True
        self.changed(None)
        for session in list(self.sessions.values()) if noticed else ():
            self.clock.after(self.rng.uniform(*SILENT_AFTER_S), self._give_up, session)

    def _give_up(self, session: Session) -> None:
        host = session.host
        silent = self.frozen or session.deaf
        if silent and self.sessions.get(host.name) is session and not host.paused:
            self.lose(host, "silent")

    def thaw(self, hosts: Iterable["Host"], *, late: bool) -> None:
        """It goes on. `late`: what it was given meanwhile comes now, in a burst; else never."""
        if not self.frozen:
            return
        self.frozen = False
        self.changed(None)
        self._release(late=late)
        self.come_up(hosts)

    def block(self, *names: str) -> None:
        """An alarm: it reads nothing more from anybody, or from these hosts. It goes on sending."""
        if names:
            self.mute.update(names)
        else:
            self.blocked = True
        self.changed(None)
        self._tell_publishers()

    def unblock(self, *, late: bool = True) -> None:
        """`late`: what was caught on its way in is read now."""
        self.blocked = False
        self.mute.clear()
        self.changed(None)
        if not self.frozen:
            self._release(late=late)
        self._tell_publishers()

    def _tell_publishers(self) -> None:
        for session in list(self.sessions.values()):
            told_s = self.rng.uniform(0, TOLD_AFTER_S)
            self.clock.after(told_s, self._tell_publisher, session)

    def _tell_publisher(self, session: Session) -> None:
        if session.alive:
            can_publish = not self.takes_nothing_from(session.host.name)
            session.host.publishing(session, can_publish=can_publish)

    def _release(self, *, late: bool) -> None:
        caught, self._stuck_in = self._stuck_in, []
        stuck, self.stuck = self.stuck, []
        if not late:
            return
        for session, parcel in stuck:
            session.arrive(parcel)
        for _, parcel in caught:
            self._route(parcel)

    # ---- partitions

    def cut(self, senders: Iterable[str], receivers: Iterable[str]) -> None:
        """One way."""
        receivers = list(receivers)
        self.cuts |= {(s, r) for s in senders for r in receivers}

    def partition(self, one: Iterable[str], other: Iterable[str]) -> None:
        one, other = list(one), list(other)
        self.cut(one, other)
        self.cut(other, one)

    def heal(self) -> None:
        self.cuts.clear()

    # ---- what an onlooker knows

    def reaches(self, host: "Host") -> bool:
        """Whether this host can hear anything here: what decides that it may judge by it."""
        session = self.sessions.get(host.name)
        works = self.up and not self.frozen and not self.blocked
        return works and session is not None and not session.deaf
