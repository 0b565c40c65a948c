"""One node: the whole of the deciding.

Three things drive it: a request of its own host, a message from the bus, and time. Each call takes
`now` (this host's monotonic seconds), changes state and returns the effects in order. Equal calls
in equal order give equal effects, in any process. `next_deadline` says when `tick` is next worth
calling; being called much later than that means that this process did not run, and no lease pays
for it.
"""

import random
from collections.abc import Iterable, Mapping
from dataclasses import replace

from beacond.core.catalog import Catalog
from beacond.core.effects import Effect, Publish, SaveIncarnation, SaveRegistrations
from beacond.core.events import EventLog, Kind
from beacond.core.local import Change, ModeState, Registration
from beacond.core.messages import (
    Announce,
    AnnounceRequest,
    Envelope,
    Goodbye,
    Heartbeat,
    Message,
    Superseded,
    SyncReply,
    SyncRequest,
    Tombstone,
)
from beacond.core.model import Body, Mode, Record, Status
from beacond.core.outbox import Outbox
from beacond.core.registry import Registry
from beacond.core.settings import Settings
from beacond.core.sight import SightJudge
from beacond.core.silence import SilenceGuard
from beacond.core.sync import DigestWatch, SyncAnswerer, SyncAsker
from beacond.core.tables import Tables
from beacond.core.view import View
from beacond.core.voice import Voice

INCARNATION_MAX = 2**33 - 1
INDEX_PER_INCARNATION = 2**20
"""Changes between two starts that keep the index growing; one incarnation is about a second."""
BOOT_ID_MAX = b"\xff" * 16
LAG_S = 0.5
"""Called so much later than asked for: this process did not run, or not enough."""
SYNC_PASSES_AT_START = 2
SESSIONS_PER_S = 150
"""Agent sessions that a broker can set up in a second, measured on two cores."""
SESSION_LOAD = 0.7
NOTICES_WANTED = 3
"""How many of all agents should tell a node that it speaks under an old incarnation."""
SWEEP_S = 60.0
READY_BEATS = 1.2
READY_BLIND_BEATS = 3.0


class Node:
    """The core as its driver sees it. Attributes without underscore are for reading only."""

    def __init__(self, settings: Settings, rng: random.Random, now: float, wall: float) -> None:
        self.settings = settings
        self._rng = rng
        self._now = now
        self.log = EventLog(settings.incarnation, settings.event_log_max)
        self._out = Outbox(settings.node, settings.incarnation, settings.boot_id, self.log)
        self._out.wall_offset_s = wall - now
        self._sight = SightJudge(settings.interval_s)
        self._tables = Tables(settings.incarnation * INDEX_PER_INCARNATION)
        self._catalog = Catalog(settings.node, self._tables, self._sight.clock)
        self.registry = Registry(settings.addresses)
        self._voice = Voice(settings, self._out, rng, now)
        self._guard = SilenceGuard(self._catalog, self._out, rng, settings.addresses)
        self._asker = SyncAsker(self._catalog, self._out, rng)
        self._asker.want(SYNC_PASSES_AT_START)
        self._answerer = SyncAnswerer(self._catalog, self._out)
        self._digests = DigestWatch(self._catalog)
        self._compare_at = now + settings.interval_s
        self._sweep_at = now + SWEEP_S
        self._started_at = now
        self._armed_at = now
        self._requests: dict[str, float] = {}
        self._was_blind = True
        self._sighted_at: float | None = None
        self._stale_since = wall
        self._raised = False
        self._former = settings.former
        self._restored = False
        self._stopping = False

    # ---- reads

    @property
    def view(self) -> View:
        return self._tables.view

    @property
    def incarnation(self) -> int:
        return self._out.incarnation

    @property
    def conflict(self) -> bool:
        """Another agent speaks under our name and won."""
        return self._out.muzzled

    @property
    def held(self) -> tuple[str, ...]:
        return self._guard.held

    @property
    def goodbye_said(self) -> bool:
        """Both times."""
        return self._voice.goodbye_said

    def last_heard_at(self, node: str) -> float | None:
        entry = self._catalog.entries.get(node)
        return entry.last_heard_at if entry is not None else None

    def record_after(self, change: Change) -> Record:
        """What we would publish after it: for the wire to judge its size."""
        record = self._voice.record
        body = replace(record.body, instances=self.registry.published_after(change))
        return replace(record, version=record.version + 1, body=body, raw=None)

    def echo_s(self, beat: Heartbeat, received_at: float) -> float | None:
        """How long one of our own heartbeats took to come back."""
        sent_at = self._voice.sent_at(beat)
        return None if sent_at is None else max(received_at - sent_at, 0.0)

    def not_ready(self, now: float) -> str:
        """Why the view should not be relied on yet; empty once it may."""
        if self._stopping:
            return "stopping"
        if self._restored or self._asker.done:
            return ""
        waited_s = now - self._started_at
        interval_s = self.settings.interval_s
        if self._sighted_at is not None and now - self._sighted_at >= READY_BEATS * interval_s:
            return "" if not self._catalog.alive or self._asker.wanted == 0 else "syncing"
        if waited_s >= READY_BLIND_BEATS * interval_s:
            return ""
        return "listening for other agents" if self._sighted_at is not None else "bus not in sight"

    def reconnect_spread_s(self) -> float:
        """Over how long a fleet of this size should spread its reconnects after an outage."""
        nodes = len(self._catalog.entries)
        return max(self.settings.interval_s, nodes / (SESSION_LOAD * SESSIONS_PER_S))

    def records(self) -> tuple[Record, ...]:
        """Other nodes' records, for the snapshot."""
        return tuple(e.record for e in self._catalog.others() if e.leased and e.record is not None)

    def tombstones(self) -> tuple[Tombstone, ...]:
        return tuple(
            Tombstone(e.node, e.left_incarnation)
            for e in self._catalog.others()
            if e.left_incarnation and not e.leased
        )

    def next_deadline(self) -> float:
        """Monotonic seconds at which `tick` has something to do."""
        return min(
            self._voice.deadline,
            self.registry.deadline,
            self._asker.deadline,
            self._guard.deadline,
            self._compare_at,
            self._sight.blind_at if not self._was_blind else float("inf"),
            min(self._requests.values(), default=float("inf")),
        )

    # ---- the past, once, before anything else

    def restore(
        self,
        *,
        registrations: Iterable[Registration],
        host_mode: ModeState,
        statuses: Mapping[str, Mapping[str, Status]],
        rebooted: bool,
        records: Iterable[Record],
        tombstones: Iterable[Tombstone],
        saved_at: float | None,
    ) -> list[Effect]:
        """Take up what was on disk. `saved_at`: Unix seconds of the snapshot, None without one."""
        now, wall = self._now, self._out.wall(self._now)
        self.registry.restore(
            registrations, host_mode, statuses, rebooted=rebooted, now=now, wall=wall
        )
        for tombstone in tombstones:
            self._catalog.restore_tombstone(tombstone.node, tombstone.incarnation, now)
        ours = {self.settings.node, *(self.settings.former or ())}
        for record in records:
            if record.node not in ours:
                self._catalog.restore(record, self.settings.ttl_s, now)
        # What was there before is no news: readers begin with the whole state.
        self._catalog.tellings.clear()
        if saved_at is not None:
            self._restored = True
            self._stale_since = min(saved_at, wall)
        return self.start(now)

    def start(self, now: float) -> list[Effect]:
        """Begin to speak for this host."""
        self._publish_registry(now, force=True)
        return self._leave(now)

    # ---- requests of this host (validated and made durable by the caller)

    def change(self, change: Change, now: float) -> list[Effect]:
        """Register and deregister what `registry.check` allowed."""
        self._enter(now)
        self.registry.apply(change, now)
        self._publish_registry(now)
        return self._leave(now)

    def set_mode(
        self, instance_id: str | None, mode: Mode, for_s: float | None, reason: str, now: float
    ) -> list[Effect]:
        """Raises UnknownInstance."""
        self._enter(now)
        wall = self._out.wall(now)
        self.registry.set_mode(instance_id, mode, for_s, reason, now=now, wall=wall)
        self._publish_registry(now)
        return self._leave(now)

    def set_health(
        self, instance_id: str, status: Status, output: str, check: str | None, now: float
    ) -> list[Effect]:
        """Raises UnknownInstance, NoSuchCheck."""
        self._enter(now)
        wall = self._out.wall(now)
        if self.registry.set_health(instance_id, status, output, check, now=now, wall=wall):
            self._publish_registry(now)
        return self._leave(now)

    def check_result(
        self, instance_id: str, check: str, status: Status, output: str, now: float
    ) -> list[Effect]:
        self._enter(now)
        wall = self._out.wall(now)
        if self.registry.check_result(instance_id, check, status, output, now=now, wall=wall):
            self._publish_registry(now)
        return self._leave(now)

    def republish(self, now: float) -> list[Effect]:
        """The key that signs has changed: others must hold our state under the new one."""
        self._enter(now)
        self._voice.republish(now)
        self._catalog.put_own(self._voice.record, self.settings.ttl_s, now)
        return self._leave(now)

    def goodbye(self, hold_s: float, now: float) -> list[Effect]:
        """Stop speaking for this host: gone at once, or kept by others for `hold_s`."""
        self._enter(now)
        self._stopping = True
        self._voice.say_goodbye(hold_s, now)
        return self._leave(now)

    def stop_soon(self, now: float) -> list[Effect]:
        """Draining, for the rest of this process: not to be used any more, still answered for."""
        self._enter(now)
        self._stopping = True
        self._publish_registry(now)
        return self._leave(now)

    # ---- the bus

    def bus_changed(
        self, bus: str, *, up: bool, can_publish: bool, reason: str, now: float
    ) -> list[Effect]:
        self._enter(now)
        if up != self._sight.bus_up:
            self._out.emit(now, Kind.BUS_UP if up else Kind.BUS_DOWN, reason, bus=bus)
        could_publish = self._sight.can_publish
        self._sight.bus_up, self._sight.can_publish = up, can_publish
        if can_publish and not could_publish:
            self._say_goodbye_for_former()
            self._voice.speak_up(now)
        return self._leave(now)

    def receive(
        self, envelope: Envelope, message: Message, received_at: float, now: float
    ) -> list[Effect]:
        """Take one message; what can't be applied is `Dropped`, and nothing ever raises."""
        self._enter(now)
        if envelope.sender == self.settings.node:
            reason = self._from_our_name(envelope, message, now)
        else:
            reason = self._from_another(envelope, message, received_at, now)
        if reason is not None:
            self._out.drop(reason)
        return self._leave(now)

    def tick(self, now: float) -> list[Effect]:
        self._enter(now)
        return self._leave(now)

    def probed(self, node: str, reachable: bool, now: float) -> list[Effect]:
        """What a `ProbeNode` found."""
        self._enter(now)
        self._guard.probed(node, reachable)
        return self._leave(now)

    def suspended(self, now: float) -> list[Effect]:
        """This host was asleep, and its monotonic clock with it."""
        self._enter(now)
        self._voice.new_series()
        self._voice.speak_up(now)
        return self._leave(now)

    def set_wall(self, wall: float, now: float) -> None:
        """What the wall clock shows at `now`: for labels, never for a decision."""
        self._out.wall_offset_s = wall - now

    # ---- inside: every call begins and ends the same way

    def _enter(self, now: float) -> None:
        late_s = now - self._armed_at
        if late_s > LAG_S:
            self._sight.forgive(late_s)
            self.registry.postpone(late_s)
        self._now = now

    def _leave(self, now: float) -> list[Effect]:
        self._advance_registry(now)
        self._judge_sight(now)
        self._catalog.advance(now)
        self._guard.look(now)
        self._ask_what_is_due(now)
        self._asker.advance(now, self.settings.interval_s)
        if now >= self._compare_at:
            self._compare_digests(now)
        if now >= self._sweep_at:
            self._sweep_at = now + SWEEP_S
            self._catalog.sweep(now)
        self._voice.advance(now, self._catalog.digest, self._sight.can_publish)
        for kind, reason, instance, agent in self._catalog.tellings:
            self._out.emit(now, kind, reason, instance=instance, agent=agent)
        self._catalog.tellings.clear()
        turned = self._show_sight(now)
        self._out.changed(self._tables.flush(), everything=turned)
        self._armed_at = max(self.next_deadline(), now)
        return self._out.take()

    def _publish_registry(self, now: float, force: bool = False) -> None:
        mode = Mode.DRAINING if self._stopping else self.registry.host_mode.mode
        body = Body(
            zone=self.settings.zone,
            addresses=self.settings.addresses,
            agent_version=self.settings.agent_version,
            mode=mode,
            instances=self.registry.published(),
        )
        if self._voice.set_body(body, now) or force:
            self._catalog.put_own(self._voice.record, self.settings.ttl_s, now)

    def _advance_registry(self, now: float) -> None:
        if now < self.registry.deadline:
            return
        changed, gone = self.registry.advance(now)
        self.registry.apply(Change("", drop=tuple(gone)), now)
        if changed or gone:
            self._publish_registry(now)
            self._out.add(SaveRegistrations())

    def _judge_sight(self, now: float) -> None:
        blind = self._sight.is_blind(now)
        if blind == self._was_blind:
            return
        self._was_blind = blind
        if blind:
            last = self._sight.clock.last_proof_at
            self._stale_since = self._out.wall(now if last is None else min(last, now))
            self._out.emit(now, Kind.VIEW_BLIND, "bus-down" if not self._sight.bus_up else "deaf")
            return
        self._sighted_at = now
        self._catalog.grace(self.reconnect_spread_s())
        self._asker.want(1)
        self._out.emit(now, Kind.VIEW_SIGHTED)

    def _show_sight(self, now: float) -> bool:
        stale_since = self._stale_since if self._was_blind else None
        return self._tables.set_sight(stale_since=stale_since, mute=self._sight.is_mute(now))

    def _compare_digests(self, now: float) -> None:
        self._compare_at = now + self.settings.interval_s
        if self._digests.differs() and not self._was_blind:
            self._asker.want(1)

    def _ask_what_is_due(self, now: float) -> None:
        for node, at in list(self._requests.items()):
            entry = self._catalog.entries.get(node)
            if entry is None or not entry.leased or not entry.behind:
                del self._requests[node]
            elif now >= at:
                # Asked again after a while: the question or the answer may be lost.
                self._requests[node] = now + self.settings.interval_s
                self._voice.ask(node, entry.version_said)

    def _say_goodbye_for_former(self) -> None:
        """This agent ran under another name before: nobody else can end that node."""
        if self._former is not None:
            node, incarnation = self._former
            envelope = Envelope(node, incarnation, BOOT_ID_MAX, 1)
            for _ in range(2):
                self._out.add(Publish(envelope, Goodbye(seq=1, hold_ms=0)))
            self._former = None

    def _from_our_name(self, envelope: Envelope, message: Message, now: float) -> str | None:
        if envelope.boot_id == self._out.boot_id:
            if isinstance(message, Heartbeat):
                sent_at = self._voice.sent_at(message)
                if sent_at is not None and sent_at <= now:
                    self._sight.echoed(sent_at)
            return None
        self._outdone_by(envelope.incarnation, envelope.boot_id, now)
        return None

    def _outdone_by(self, incarnation: int, boot_id: bytes, now: float) -> None:
        """Somebody holds, or is, a later boot of our name.

        Raise our incarnation above it, once a boot: that mends a lost disk or an early clock. The
        second time another agent is alive under our name: the one with less says so and is quiet.
        """
        if (incarnation, boot_id) <= (self._out.incarnation, self._out.boot_id):
            return
        if self._out.muzzled:
            return
        if self._raised or incarnation >= INCARNATION_MAX:
            self._out.muzzled = True
            agent = self.view.agents.get(self.settings.node)
            self._out.emit(now, Kind.AGENT_CONFLICT, "superseded", agent=agent)
            return
        self._raised = True
        self._out.incarnation = incarnation + 1
        self._voice.raise_incarnation(incarnation + 1, now)
        self._tables.raise_index(self._out.incarnation * INDEX_PER_INCARNATION)
        self._catalog.put_own(self._voice.record, self.settings.ttl_s, now)
        self._out.add(SaveIncarnation(incarnation + 1))

    def _from_another(
        self, envelope: Envelope, message: Message, received_at: float, now: float
    ) -> str | None:
        match message:
            case Heartbeat():
                return self._heartbeat(envelope, message, received_at, now)
            case Announce():
                reason = self._catalog.announce(envelope, message.record, now)
                return self._correct(envelope, reason)
            case Goodbye():
                return self._catalog.goodbye(envelope, message, now)
            case Superseded():
                self._outdone_by(message.incarnation, message.boot_id, now)
                return None
            case SyncReply():
                return self._asker.answered(envelope.sender, message, self.settings.interval_s, now)
            case AnnounceRequest() | SyncRequest():
                return self._asked(envelope, message, now)

    def _heartbeat(
        self, envelope: Envelope, beat: Heartbeat, received_at: float, now: float
    ) -> str | None:
        reason = self._catalog.heartbeat(envelope, beat, received_at)
        if reason is not None:
            return self._correct(envelope, reason)
        entry = self._catalog.entries[envelope.sender]
        if entry.last_heard_at is not None:
            self._sight.heard(entry.node, entry.last_heard_at, len(self._catalog.alive))
        if entry.behind and entry.node not in self._requests:
            self._requests[entry.node] = now + self._rng.uniform(0, self.settings.interval_s / 2)
        return None

    def _asked(
        self, envelope: Envelope, message: AnnounceRequest | SyncRequest, now: float
    ) -> str | None:
        entry = self._catalog.entries.get(envelope.sender)
        if entry is not None and (envelope.incarnation, envelope.boot_id) == entry.speaker:
            if envelope.counter <= entry.counter:
                return "replayed"
            entry.counter = envelope.counter
        if isinstance(message, SyncRequest):
            return self._answerer.asked(envelope.sender, message, now)
        self._voice.announce_soon(now)
        return None

    def _correct(self, envelope: Envelope, reason: str | None) -> str | None:
        """Tell a node that its incarnation is old; a few of all who hear it do."""
        if reason not in ("old-incarnation", "after-goodbye"):
            return reason
        entry = self._catalog.entries[envelope.sender]
        said_goodbye = envelope.incarnation <= entry.left_incarnation
        if self._rng.random() < NOTICES_WANTED / max(len(self._catalog.alive), 1):
            # A goodbye yields to a greater incarnation only, whatever the boot id.
            boot_id = BOOT_ID_MAX if said_goodbye else entry.boot_id
            incarnation = entry.left_incarnation if said_goodbye else entry.incarnation
            self._out.send(envelope.sender, Superseded(incarnation, boot_id))
        return reason
