"""One machine of the fleet: its agent, its disk, its clocks, its programs, its connections."""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from beacond.core.effects import (
    Dropped,
    Effect,
    Emit,
    Probe,
    Publish,
    SaveIncarnation,
    SaveRegistrations,
    Send,
)
from beacond.core.events import Event
from beacond.core.hashing import shard_of
from beacond.core.local import Change, ModeState, Registration
from beacond.core.messages import Envelope, Heartbeat, Message, ShardDigest, Tombstone
from beacond.core.model import CheckType, InstanceSpec, Status
from beacond.core.node import Node
from beacond.core.settings import Settings
from beacond.wire import Codec, DecodeError
from tests.sim.bus import Parcel, Session

if TYPE_CHECKING:
    from tests.sim.world import World

WALL = 1_800_000_000.0
"""What right wall clocks show when virtual time is 0."""
FLEET = "sim"
SNAPSHOT_S = 5.0
VOUCH_BEATS = 1.3
"""For so many intervals after it heard a node a relay vouches for it: 1.5 of the shortest ones."""
LONG_AGO = float("-inf")
NEVER = float("inf")


@dataclass
class Disk:
    """What is left of an agent after its crash."""

    incarnation: int = 0
    registrations: tuple[Registration, ...] = ()
    host_mode: ModeState = field(default_factory=ModeState)
    records: tuple[bytes, ...] = ()
    tombstones: tuple[Tombstone, ...] = ()
    statuses: dict[str, dict[str, Status]] = field(default_factory=dict)
    saved_at: float | None = None


class Host:
    """`core` is None while no agent runs. Moments are of virtual time, but for the core's, which
    live on this host's own monotonic clock."""

    def __init__(self, world: "World", name: str, number: int, offset_s: float) -> None:
        self.world = world
        self.name = name
        self.node = name
        """The name it speaks under."""
        self.addresses = (f"10.{number // 62500}.{number // 250 % 250}.{number % 250 + 1}",)
        self.offset_s = offset_s
        """Of its monotonic clock: what it shows at time 0."""
        self.wall_error_s = 0.0
        self.disk = Disk()
        self.core: Node | None = None
        self.machine_up = False
        self.programs: dict[str, InstanceSpec] = {}
        """What runs here while the machine does, whether its agent knows of it or not."""
        self.reports: dict[str, Status] = {}
        """What programs with a ttl check say of themselves."""
        self.paused = self.asleep = False
        self.lag_s = 0.0
        """Everything that comes to its agent is handled so late."""
        self.listening: set[str] = set()
        """The buses it is configured for."""
        self.sessions: dict[str, Session] = {}
        """The connections that its clients believe in; False there: can't publish."""
        self.can_publish: dict[str, bool] = {}
        self.heard: dict[str, dict[str, float]] = {}
        """By bus and node: when the latest heartbeat that it applied was sent."""
        self.renewal: dict[tuple[int, str], int] = {}
        """By shard and bus: the latest that an agreeing digest made."""
        self.told_at: list[tuple[float, Event]] = []
        """Its events, with when they happened."""
        self.dropped: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.sent = self.received = self.boots = 0
        self._latest = LONG_AGO
        self._tick_at = NEVER
        self._paused_at = 0.0
        self._waiting: list[tuple[Callable[..., None], tuple[object, ...]]] = []

    @property
    def events(self) -> list[Event]:
        return [event for _, event in self.told_at]

    # ---- its clocks

    @property
    def now(self) -> float:
        """Its monotonic clock never goes back, whatever floats are rounded to."""
        now = self.world.clock.now + self.offset_s
        self._latest = now = max(now, self._latest)
        return now

    @property
    def wall(self) -> float:
        return WALL + self.world.clock.now + self.wall_error_s

    def jump_wall(self, error_s: float) -> None:
        self.wall_error_s = error_s
        if self.core is not None:
            self.core.set_wall(self.wall, self.now)

    # ---- its agent's life

    def boot(self, *, rebooted: bool = False, **overrides: object) -> None:
        """Start the agent with what its disk holds."""
        world, disk = self.world, self.disk
        settings = Settings(
            node=self.node,
            incarnation=max(disk.incarnation + 1, int(self.wall)),
            boot_id=world.rng.randbytes(16),
            addresses=self.addresses,
            interval_s=world.interval_s,
            ttl_s=world.ttl_s,
            relay_from=world.relay_from,
        )
        settings = replace(settings, **overrides)
        self.node, disk.incarnation = settings.node, settings.incarnation
        self.machine_up, self.boots = True, self.boots + 1
        self.paused = self.asleep = False
        self.codec = Codec(fleet=FLEET, node=self.node, keyring=world.keyring)
        self._waiting.clear()
        self._tick_at = NEVER
        self.heard.clear()
        self.renewal.clear()
        self.core = Node(settings, random.Random(world.rng.random()), self.now, self.wall)
        world.watch.booted(self)
        effects = self.core.restore(
            registrations=disk.registrations,
            host_mode=disk.host_mode,
            statuses=disk.statuses,
            rebooted=rebooted,
            records=[self.codec.open(raw, verify=False) for raw in disk.records],
            tombstones=disk.tombstones,
            saved_at=disk.saved_at,
        )
        self.programs |= {r.spec.id: r.spec for r in disk.registrations}
        world.watch.restored(self)
        self.perform(effects)
        for registration in disk.registrations:
            self._keep_reporting(registration.spec)
        world.clock.after(SNAPSHOT_S, self._save_snapshots, self.core)

    def stop(self) -> None:
        """The agent ends without a word; its machine and programs go on."""
        self.core = None
        self.paused = self.asleep = False
        self.sessions.clear()
        self.can_publish.clear()

    def change(self, change: Change) -> None:
        """What the driver does: on disk first, then believed."""
        core = self.core
        assert core is not None
        core.registry.check(change)
        self.disk.registrations = core.registry.plan(change)
        for instance_id in change.drop:
            self.programs.pop(instance_id, None)
        for spec in change.put:
            self.programs[spec.id] = spec
        self.world.watch.changed(self)
        self.perform(core.change(change, self.now))
        for spec in change.put:
            self._keep_reporting(spec)

    def do(self, request: Callable[[Node, float], list[Effect]]) -> None:
        """Make one call into the core, as a shell would."""
        assert self.core is not None
        self.perform(request(self.core, self.now))

    def _keep_reporting(self, spec: InstanceSpec) -> None:
        for check in spec.checks:
            if check.type is CheckType.TTL:
                self.world.clock.after(check.ttl_s / 3, self._report, self.core, spec, check.ttl_s)

    def _report(self, core: Node, spec: InstanceSpec, ttl_s: float) -> None:
        if core is not self.core or self.programs.get(spec.id) != spec:
            return
        self.world.clock.after(ttl_s / 3, self._report, core, spec, ttl_s)
        known = any(i.spec.id == spec.id for i in core.registry.instances())
        if known and not self.paused:
            status = self.reports.get(spec.id, Status.PASSING)
            self.perform(core.set_health(spec.id, status, "", None, self.now))

    def _save_snapshots(self, core: Node) -> None:
        if core is not self.core:
            return
        self.world.clock.after(SNAPSHOT_S, self._save_snapshots, core)
        if not self.paused:
            self.save_snapshot()

    def save_snapshot(self) -> None:
        core, disk = self.core, self.disk
        assert core is not None
        disk.records = tuple(r.raw for r in core.records() if r.raw is not None)
        disk.tombstones, disk.saved_at = core.tombstones(), self.wall
        disk.statuses = {
            i.spec.id: {c.check.name: c.status for c in i.checks} for i in core.registry.instances()
        }

    # ---- not running for a while

    def pause(self, *, asleep: bool = False) -> None:
        """`asleep`: the whole machine, with its monotonic clock and its programs."""
        if not self.paused:
            self.paused, self.asleep = True, asleep
            self._paused_at = self.world.clock.now

    def resume(self, *, timer_first: bool = True) -> None:
        """Go on: what waited is read after the late timer, or before it."""
        if not self.paused:
            return
        slept, self.paused, self.asleep = self.asleep, False, False
        self._tick_at = NEVER
        waiting, self._waiting = self._waiting, []
        if slept:
            self.offset_s -= self.world.clock.now - self._paused_at
            self.do(lambda core, now: core.suspended(now))
        if timer_first:
            self._tick_now()
        for call, arguments in waiting:
            call(*arguments)
        for session in list(self.sessions.values()):
            backlog = list(session.backlog)
            session.backlog.clear()
            for parcel in backlog:
                self.receive(session, parcel)
        self._tick_now()

    def _or_wait(self, call: Callable[..., None], *arguments: object) -> bool:
        if self.paused:
            self._waiting.append((call, arguments))
        return self.paused

    # ---- its clients of the buses

    def listens_to(self, bus: str) -> bool:
        return self.core is not None and not self.paused and bus in self.listening

    def reconnect_spread_s(self) -> float:
        return self.core.reconnect_spread_s() if self.core is not None else 0.0

    def connected(self, session: Session, *, can_publish: bool) -> None:
        self.sessions[session.bus.key] = session
        self._bus_changed(session.bus.key, up=True, can_publish=can_publish, reason="")

    def disconnected(self, session: Session, reason: str) -> None:
        key = session.bus.key
        if self._or_wait(self.disconnected, session, reason):
            return
        if self.sessions.get(key) is session:
            del self.sessions[key]
            self._bus_changed(key, up=False, can_publish=False, reason=reason)

    def publishing(self, session: Session, *, can_publish: bool) -> None:
        key = session.bus.key
        if self.paused:
            self._waiting.append((self._publishing, (session, can_publish)))
        elif self.sessions.get(key) is session and self.can_publish[key] != can_publish:
            self._bus_changed(key, up=True, can_publish=can_publish, reason="")

    def _publishing(self, session: Session, can_publish: bool) -> None:
        self.publishing(session, can_publish=can_publish)

    def _bus_changed(self, bus: str, *, up: bool, can_publish: bool, reason: str) -> None:
        self.can_publish[bus] = can_publish
        if self.core is not None:
            self.perform(
                self.core.bus_changed(
                    bus, up=up, can_publish=can_publish, reason=reason, now=self.now
                )
            )

    def receive(self, session: Session, parcel: Parcel) -> None:
        core = self.core
        if core is None:
            return
        read = parcel.read or self._read(parcel)
        if read is None:
            return
        self.received += 1
        envelope, message = read
        self.world.watch.calm.heard(self, envelope.sender, parcel.sent_at)
        now = self.now
        effects = core.receive(envelope, message, bus=session.bus.key, received_at=now, now=now)
        if isinstance(message, Heartbeat | ShardDigest) and not (effects and _is_dropped(effects)):
            for node in (envelope.sender, *self._renewed_by(parcel, message, session)):
                if session.heard.get(node, LONG_AGO) < parcel.sent_at:
                    session.heard[node] = parcel.sent_at
            session.heard_itself[envelope.sender] = parcel.sent_at
        if effects:
            self.perform(effects)
        else:
            self._arm(core)

    def _renewed_by(self, parcel: Parcel, message: Message, session: Session) -> list[str]:
        """Whose leases a relay's word must have renewed: it is true of them, and agreed with what
        is believed here."""
        assert self.core is not None
        if not isinstance(message, ShardDigest) or message.members:
            return []
        word = self.core._catalog.shards.all[message.shard].words.get(session.bus.key)
        if word is None or self.renewal.get((message.shard, session.bus.key), 0) == word.renewal:
            return []
        self.renewal[message.shard, session.bus.key] = word.renewal
        return [node for node in parcel.vouches if node not in word.out]

    def hear(self, envelope: Envelope, message: Message, bus: str) -> None:
        """Let it receive this now, as any sender may have put it on the wire."""
        sender = Codec(fleet=FLEET, node=envelope.sender, keyring=self.world.keyring)
        core, now = self.core, self.now
        assert core is not None
        for frame in sender.encode(envelope, message):
            read = self.codec.decode(frame)
            if read is not None:
                self.perform(core.receive(*read, bus=bus, received_at=now, now=now))

    def _read(self, parcel: Parcel) -> tuple[Envelope, Message] | None:
        try:
            read = self.codec.decode(parcel.frame)
        except DecodeError as error:
            self.refused[error.reason] += 1
            self.world.watch.refused(self, parcel, error)
            return None
        if parcel.damaged:
            self.world.watch.believed(self, parcel)
        if parcel.shared:
            parcel.read = read
        return read

    # ---- effects

    def perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Publish(envelope, message, bus) | Send(envelope, message, bus):
                    self._transmit(envelope, message, bus)
                case Emit(event):
                    self.told_at.append((self.world.clock.now, event))
                    self.world.watch.told(self, event)
                case Dropped(reason):
                    self.dropped[reason] += 1
                case Probe():
                    self.world.probe(self, effect)
                case SaveRegistrations():
                    assert self.core is not None
                    self.disk.registrations = self.core.registry.registrations()
                    self.disk.host_mode = self.core.registry.host_mode
                    self.world.watch.changed(self)
                case SaveIncarnation(incarnation):
                    self.disk.incarnation = max(self.disk.incarnation, incarnation)
        if self.core is not None:
            self._arm(self.core)

    def _transmit(self, envelope: Envelope, message: Message, bus: str) -> None:
        self.sent += 1
        self.world.watch.said(self, envelope, message)
        frames = self.codec.encode(envelope, message)
        shared = self.world.share_decoded and not envelope.to and len(frames) == 1
        now = self.world.clock.now
        parcels = [Parcel(frame, self.name, envelope.to, now, shared) for frame in frames]
        for key, session in self.sessions.items():
            if bus not in ("", key) or not self.can_publish[key]:
                continue
            if isinstance(message, ShardDigest):
                parcels[-1].vouches = self._heard_of(message.shard, session)
            session.bus.carry(session, parcels)

    def _heard_of(self, shard: int, session: Session) -> tuple[str, ...]:
        """Whom a relay's word can be true of."""
        since = self.world.clock.now - VOUCH_BEATS * self.world.interval_s
        heard = session.heard_itself.items()
        return tuple(node for node, at in heard if at >= since and shard_of(node) == shard)

    def _arm(self, core: Node) -> None:
        at = core.next_deadline()
        if at != self._tick_at:
            self._tick_at = at
            self.world.clock.at(at - self.offset_s + self.lag_s, self._tick, core, at)

    def _tick(self, core: Node, at: float) -> None:
        if core is self.core and at == self._tick_at and not self.paused:
            self._latest = max(self._latest, at)
            self._tick_now()

    def _tick_now(self) -> None:
        core = self.core
        assert core is not None
        now, before = self.now, core.next_deadline()
        self._tick_at = NEVER
        self.perform(core.tick(now))
        if core is self.core and not (core.next_deadline() > now or before > now):
            self.world.watch.fail(f"the timer of {self.name} spins", self)


def _is_dropped(effects: list[Effect]) -> bool:
    return any(type(effect) is Dropped for effect in effects)
