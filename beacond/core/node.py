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
from beacond.core.effects import Effect, SaveRegistrations, Target
from beacond.core.events import EventLog, Kind
from beacond.core.hurry import Hurry
from beacond.core.identity import INDEX_PER_INCARNATION, Identity
from beacond.core.intake import Intake
from beacond.core.leases import NEVER
from beacond.core.local import Change, ModeState, Registration
from beacond.core.messages import Envelope, Heartbeat, Message, Tombstone
from beacond.core.model import Body, Mode, Record, Status, strictest_mode
from beacond.core.opinion import SecondOpinion
from beacond.core.outbox import Outbox
from beacond.core.probes import Probes
from beacond.core.readiness import Readiness
from beacond.core.registry import Registry
from beacond.core.relays import Relays
from beacond.core.settings import Settings
from beacond.core.sight import SightJudge
from beacond.core.silence import SilenceGuard
from beacond.core.sync import AnnounceAsker, DigestWatch, SyncAnswerer, SyncAsker
from beacond.core.tables import Tables
from beacond.core.view import Reach, View
from beacond.core.voice import Voice

LAG_S, LAG_BEATS = 0.5, 0.1
"""Called so much later than asked for, the lesser of the two: this process did not run, or not
enough, and what came meanwhile is not read yet."""
SYNC_PASSES_AT_START = 2
SESSIONS_PER_S = 150
"""Agent sessions that a broker can set up in a second, measured on two cores."""
SESSION_LOAD = 0.7
REST_BEATS = 2.0
"""Intervals between two syncs that only a digest asks for."""
SWEEP_S = 60.0
QUICK_FROM = 16
"""Living nodes from which on a heartbeat is taken quickly. In a small fleet each may be the one
proof that somebody else's silence waits for (see hurry.py), and there are few."""


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
        self._catalog = Catalog(settings.node, self._tables, self._sight)
        self.registry = Registry(settings.addresses)
        self._announces = AnnounceAsker(self._catalog, self._out, rng, settings.interval_s)
        self._relays = Relays(
            settings,
            out=self._out,
            catalog=self._catalog,
            sight=self._sight,
            announces=self._announces,
            rng=rng,
            now=now,
        )
        self._voice = Voice(settings, self._out, self._relays.carry, rng, now)
        probes = Probes(self._out, settings.addresses)
        self._guard = SilenceGuard(
            self._catalog, self._out, rng, probes, self._sight.clock, settings.interval_s
        )
        self._opinion = SecondOpinion(self._catalog, self._out, rng, probes, settings)
        self._identity = Identity(
            settings,
            out=self._out,
            voice=self._voice,
            catalog=self._catalog,
            tables=self._tables,
            rng=rng,
        )
        self._asker = SyncAsker(self._catalog, self._out, rng, settings.interval_s)
        self._asker.want(SYNC_PASSES_AT_START, now)
        self._digests = DigestWatch(self._catalog)
        self._intake = Intake(
            settings.node,
            catalog=self._catalog,
            sight=self._sight,
            identity=self._identity,
            relays=self._relays,
            voice=self._voice,
            opinion=self._opinion,
            announces=self._announces,
            asker=self._asker,
            answerer=SyncAnswerer(self._catalog, self._out),
        )
        self._compare_at = now + settings.interval_s
        self._sweep_at = now + SWEEP_S
        self._hurry = Hurry(self._catalog, self._voice, settings.interval_s)
        self._readiness = Readiness(self._asker, self._catalog, settings.interval_s, now)
        self._deadline = self._armed_at = now
        self._next_due = NEVER
        self._was_blind = True
        self._stale_since = wall
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
    def relayed(self) -> bool:
        """Our heartbeats go to relays, who vouch for us."""
        return self._relays.used

    @property
    def relay_for(self) -> tuple[int, ...]:
        """The shards whose nodes send us their heartbeats."""
        return self._relays.shards

    @property
    def goodbye_said(self) -> bool:
        """Both times."""
        return self._voice.goodbye_said

    def reach(self, bus: str, now: float) -> Reach:
        """What that bus is worth now."""
        sight = self._sight.bus(bus)
        return Reach(
            in_sight=not sight.is_blind(now),
            proof_at=sight.proof_at,
            mute=sight.is_mute(now, relaying=self._relays.used),
            agents=self._catalog.paths.heard_on(bus),
        )

    def last_heard_at(self, node: str) -> float | None:
        entry = self._catalog.entries.get(node)
        if entry is None:
            return None
        self._catalog.shards.settle(entry)
        return entry.known_at

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
        return "stopping" if self._stopping else self._readiness.lacks(now)

    def reconnect_spread_s(self) -> float:
        """Over how long a fleet of this size should spread its reconnects after an outage."""
        nodes = self._tables.agents_present
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
        return self._deadline

    def _reckon_deadline(self) -> float:
        return min(
            self._voice.deadline,
            self.registry.deadline,
            self._asker.deadline,
            self._guard.deadline,
            self._opinion.deadline,
            self._compare_at,
            self._sight.blind_at,
            NEVER if self._tables.view.sight.mute else self._sight.mute_at,
            self._hurry.deadline,
            self._announces.deadline,
            self._relays.deadline,
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
        former = self.settings.former
        ours = {self.settings.node} if former is None else {self.settings.node, former[0]}
        for record in records:
            if record.node not in ours:
                self._catalog.restore(record, self.settings.ttl_s, now)
        # What was there before is no news: readers begin with the whole state.
        self._catalog.tellings.clear()
        if saved_at is not None:
            self._readiness.restored = True
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
        sight = self._sight.bus(bus)
        was_up, could_publish = sight.up, sight.can_publish
        if up != was_up:
            self._out.emit(now, Kind.BUS_UP if up else Kind.BUS_DOWN, reason, bus=bus)
        sight.up, sight.can_publish = up, can_publish
        if can_publish and not could_publish:
            self._identity.say_goodbye_for_former()
            # Reconnects are spread already; a broker's alarm ends for all at the same moment.
            spread_s = self.settings.interval_s / 2 if was_up else 0.0
            self._voice.speak_up(now + self._rng.uniform(0, spread_s))
            self._relays.bus_up(bus, self.settings.interval_s, now)
        return self._leave(now)

    def bus_removed(self, bus: str, now: float) -> list[Effect]:
        """This agent does not use that bus any more."""
        self._enter(now)
        if self._sight.bus(bus).up:
            self._out.emit(now, Kind.BUS_DOWN, "removed", bus=bus)
        self._sight.remove(bus)
        self._catalog.bus_removed(bus, self.reconnect_spread_s())
        return self._leave(now)

    def receive(
        self, envelope: Envelope, message: Message, *, bus: str, received_at: float, now: float
    ) -> list[Effect]:
        """Take one message that `bus` brought.

        What can't be applied is `Dropped`, and nothing ever raises.
        """
        self._enter(now)
        reason = self._intake.take(envelope, message, bus=bus, received_at=received_at, now=now)
        if reason is not None:
            self._out.drop(reason)
        if isinstance(message, Heartbeat) and not self._is_anything_due(envelope, bus, now):
            # Nearly all that is heard ends here: less than half of what a heartbeat would cost.
            return self._out.take()
        return self._leave(now)

    def tick(self, now: float) -> list[Effect]:
        self._enter(now)
        return self._leave(now)

    def probed(self, number: int, reached: frozenset[Target], now: float) -> list[Effect]:
        """Which targets of a `Probe` accepted a connection."""
        self._enter(now)
        self._guard.probed(number, reached)
        self._opinion.probed(number, reached, now)
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
        if late_s > min(LAG_S, LAG_BEATS * self.settings.interval_s):
            self._sight.forgive(late_s)
            self.registry.postpone(late_s)
            self._guard.postpone(late_s)
            self._opinion.postpone(late_s)
            self._relays.postpone(late_s, now)
        self._now = now

    def _is_anything_due(self, envelope: Envelope, bus: str, now: float) -> bool:
        """Whether `_leave` may find something to do after another node's heartbeat: a timer, or
        what that heartbeat changed. All that time alone can change is in the deadline."""
        next_due = self._catalog.due.next_due
        return bool(
            now >= self._deadline
            or len(self._catalog.alive) < QUICK_FROM
            or envelope.sender == self.settings.node
            or bus not in self._sight.visible
            or next_due != self._next_due
            or next_due <= self._sight.clock.proven
            or self._tables.is_touched
            or self._catalog.tellings
            or self._catalog.newly_suspect
            or self._catalog.suspects_changed
            or self._asker.looks_for_a_target
            or self._announces.deadline < self._deadline
            or (envelope.to != "" and self._relays.deadline < self._deadline)
        )

    def _leave(self, now: float) -> list[Effect]:
        self._advance_registry(now)
        self._judge_sight(now)
        if not self._was_blind:
            over = self._catalog.advance(now)
            self._guard.look(now, over)
            self._opinion.look(now)
            self._catalog.end(over, now)
        self._hurry.look(now, idle=self._was_blind or self._relays.used)
        self._announces.advance(now)
        self._asker.advance(now)
        if now >= self._compare_at:
            self._compare_digests(now)
        if now >= self._sweep_at:
            self._sweep_at = now + SWEEP_S
            self._catalog.sweep(now)
        self._relays.advance(now, self._voice)
        self._voice.advance(now, self._catalog.digest, self._sight.can_publish)
        for kind, reason, instance, agent in self._catalog.tellings:
            self._out.emit(now, kind, reason, instance=instance, agent=agent)
        self._catalog.tellings.clear()
        turned = self._show_sight(now)
        self._out.changed(self._tables.flush(), everything=turned)
        self._deadline = self._reckon_deadline()
        self._next_due = self._catalog.due.next_due
        self._armed_at = max(self._deadline, now)
        return self._out.take()

    def _publish_registry(self, now: float, force: bool = False) -> None:
        stopping = Mode.DRAINING if self._stopping else Mode.NORMAL
        body = Body(
            zone=self.settings.zone,
            addresses=self.settings.addresses,
            agent_version=self.settings.agent_version,
            mode=strictest_mode(stopping, self.registry.host_mode.mode),
            instances=self.registry.published(),
            relays=True,
        )
        if self._voice.set_body(body, now) or force:
            self._catalog.put_own(self._voice.record, self.settings.ttl_s, now)

    def _advance_registry(self, now: float) -> None:
        if now < self.registry.deadline:
            return
        ended = self.registry.advance(now)
        self._publish_registry(now)
        if ended:
            self._out.add(SaveRegistrations())

    def _judge_sight(self, now: float) -> None:
        changed, come = self._sight.look(now)
        blind = not self._sight.visible
        if not changed and blind == self._was_blind:
            return
        was_blind, self._was_blind = self._was_blind, blind
        if blind:
            last = self._sight.clock.last_proof_at
            self._stale_since = self._out.wall(now if last is None else min(last, now))
            self._out.emit(now, Kind.VIEW_BLIND, "deaf" if self._sight.up else "bus-down")
            self._guard.freeze(now)
            self._opinion.freeze(now)
            return
        # Before the grace for all: whose bus is still away is parked with the lease it had.
        self._catalog.sight_changed(come, self.reconnect_spread_s())
        if was_blind:
            self._sighted(now)

    def _sighted(self, now: float) -> None:
        again = self._readiness.sighted_at is not None
        self._readiness.sighted_at = now
        self._guard.thaw(now)
        self._opinion.thaw(now)
        self._catalog.grace(self.reconnect_spread_s())
        # As spread as the reconnects, or those who are back first all ask at once.
        spread_s = self.settings.interval_s if again else 0.0
        self._asker.want(1, now, now + self._rng.uniform(0, spread_s))
        self._out.emit(now, Kind.VIEW_SIGHTED)

    def _show_sight(self, now: float) -> bool:
        stale_since = self._stale_since if self._was_blind else None
        return self._tables.set_sight(stale_since=stale_since, mute=self._sight.is_mute(now))

    def _compare_digests(self, now: float) -> None:
        self._compare_at = now + self.settings.interval_s
        # An agent that was outdone believes another of its own name than the others do.
        rested = now - self._asker.rested_since >= REST_BEATS * self.settings.interval_s
        if self._digests.differs(now) and rested and not self._was_blind and not self.conflict:
            self._asker.want(1, now)
