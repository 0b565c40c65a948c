"""What this agent believes of every node: state is merged, liveness is local and never merged."""

from collections.abc import Iterable, Iterator

from beacond.core.entry import (
    FORGET_S,
    NOTHING,
    SUSPECT_TTL,
    TTL_MIN_S,
    Entry,
    Source,
    clamped_ttl_s,
    gone_for_long,
)
from beacond.core.events import Kind
from beacond.core.leases import NEVER, DueHeap
from beacond.core.messages import Envelope, Goodbye, Heartbeat, SyncEntry
from beacond.core.model import AgentState, Mode, Record
from beacond.core.paths import Paths
from beacond.core.shards import Shards
from beacond.core.shown import Shown
from beacond.core.sight import SightJudge
from beacond.core.tables import Tables
from beacond.core.view import InstanceView

NODES_MAX = 20_000
HOLD_MAX_S = 3600.0


class Catalog:
    """Entries by node. What takes something from outside returns why it was dropped; what happened
    is gathered in `tellings`, for the node to turn into events."""

    def __init__(self, node: str, tables: Tables, sight: SightJudge) -> None:
        self._node = node
        self._tables = tables
        self._clock = sight.clock
        self.paths = Paths(sight)
        self.shards = Shards(node, self.paths)
        self.shown = Shown(node, tables, self.paths, self.shards)
        self.alive = self.shown.alive
        self.tellings = self.shown.tellings
        self.due = DueHeap()
        self.entries: dict[str, Entry] = {}
        self.suspects: dict[str, Entry] = {}
        """Silent nodes that were heard since our start, in the order they fell silent."""
        self.suspects_changed = False
        """For who judges them together to set back."""
        self.newly_suspect: list[Entry] = []
        """For who looks at them one by one to take."""

    @property
    def digest(self) -> bytes:
        return self.shards.digest.to_bytes(8, "big")

    # ---- one function per fact from outside; each begins with the same guards (`_speaker`)

    def heartbeat(
        self, envelope: Envelope, beat: Heartbeat, bus: str, received_at: float
    ) -> float | str:
        """About when it was sent, by our clock; or why it was dropped.

        The first copy renews the lease; another, by another bus, tells that it is heard there too.
        """
        entry = self._speaker(envelope, received_at)
        if isinstance(entry, str):
            return entry
        if entry.leaving:
            return "after-goodbye"
        if entry.stamps and beat.series < entry.stamps.series:
            return "replayed"
        copy = beat.seq <= entry.seq
        if copy and not self.paths.is_copy(entry, bus, beat.seq):
            return "replayed"
        age = entry.age_of(beat, received_at)
        reading = self._clock.at(received_at) - age
        sent_at = received_at - age
        alive = entry.node in self.alive
        self.paths.heard(entry, bus, beat.seq, at=sent_at, reading=reading, alive=alive)
        if copy:
            self.place(entry)
            return sent_at
        entry.seq = beat.seq
        if beat.version > entry.version_said:
            entry.version_said = beat.version
        if age >= TTL_MIN_S and age >= clamped_ttl_s(beat.ttl_ms):
            return "too-old"
        entry.take_terms(beat.next_ms, beat.ttl_ms)
        entry.agrees = beat.digest == self.digest
        entry.last_heard_at = sent_at
        self.renew(entry, reading, received_at)
        if entry.parked_reading is not None or not self.paths.is_visible(bus):
            self.place(entry)
        if beat.mode is not entry.mode and (
            entry.record is None or (*entry.speaker, beat.version) >= entry.record.key
        ):
            self._set_mode(entry, beat.mode)
        return sent_at

    def announce(self, envelope: Envelope, record: Record, now: float) -> str | None:
        entry = self._speaker(envelope, now)
        if isinstance(entry, str):
            return entry
        return None if self._merge(entry, record, now) else "old-version"

    def goodbye(self, envelope: Envelope, bye: Goodbye, now: float) -> str | None:
        entry = self._speaker(envelope, now)
        if isinstance(entry, str):
            return entry
        if bye.seq < entry.seq:
            return "replayed"
        entry.seq = bye.seq
        entry.source = Source.HEARD
        if bye.hold_ms <= 0 or not entry.shown:
            self._end(entry, AgentState.LEFT, now)
        elif not entry.leaving:
            hold_s = min(bye.hold_ms / 1000, HOLD_MAX_S)
            entry.leaving = True
            entry.trust()
            if entry.parked_reading is not None:
                entry.parked_reading = self._clock.at(now)
            self._cleared(entry)
            entry.expires_at = self._clock.at(now) + hold_s
            self.due.push(entry.node, entry.expires_at)
            if entry.state is AgentState.ALIVE:
                self._suspect(entry, now, "hold")
            else:
                self.shown.show(entry)
        return None

    def tombstone(self, node: str, incarnation: int, now: float) -> None:
        """A goodbye that somebody else heard."""
        entry = self.entry(node, now)
        if entry is not None and entry.incarnation <= incarnation > entry.left_incarnation:
            entry.incarnation = incarnation
            entry.source = Source.SYNCED
            self._end(entry, AgentState.LEFT, now)

    def synced(self, told: SyncEntry, grant_min_s: float, now: float) -> None:
        """A node's state from another agent, which itself heard it `heard_ms` ago.

        Grants a lease to who is new to us; never renews one that we gave.
        """
        record = told.record
        entry = self.entry(record.node, now)
        if entry is None or record.incarnation <= entry.left_incarnation:
            return
        if (record.incarnation, record.boot_id) < entry.speaker:
            return
        new_boot, held_over = entry.speaker < (record.incarnation, record.boot_id), entry.leaving
        if new_boot:
            self.speaks_anew(entry, record.incarnation, record.boot_id)
        self._merge(entry, record, now)
        unknown = not entry.leased and (new_boot or entry.state is None)
        if unknown or (new_boot and held_over) or entry.source is Source.SNAPSHOT:
            ttl_s = clamped_ttl_s(told.ttl_ms)
            lease_s = max(grant_min_s, ttl_s - told.heard_ms / 1000)
            entry.leased, entry.source, entry.ttl_s = True, Source.SYNCED, ttl_s
            entry.suspect_s = SUSPECT_TTL * ttl_s
            entry.suspect_at = self._clock.at(now) + SUSPECT_TTL * lease_s
            entry.expires_at = self._clock.at(now) + lease_s
            self._revive(entry, now, "synced")

    # ---- time

    def advance(self, now: float) -> list[Entry]:
        """Suspect who is silent; whose lease ran out in time in which we could hear is returned.

        To be ended by `end` once it was judged whether many fell silent together.
        """
        reading = self._clock.proven
        again: list[Entry] = []
        over: list[Entry] = []
        while (node := self.due.pop(reading)) is not None:
            entry = self.entries.get(node)
            if entry is None or not entry.leased or entry.is_kept:
                continue
            self.shards.settle(entry)
            heard_until = min(reading, self.paths.last_reading(entry))
            if entry.state is AgentState.ALIVE and heard_until >= entry.suspect_at:
                self._suspect(entry, now, "silent")
                again.append(entry)
            elif heard_until < entry.expires_at:
                again.append(entry)
            elif entry.record is None:
                entry.leased = False
            else:
                over.append(entry)
        for entry in again:
            self.queue(entry)
        return over

    def overdue_at(self, now: float) -> float:
        """When the next silence counts, once it is proven that we could hear."""
        while (moment := self._clock.when(self.due.next_due)) <= now:
            # Either of the two may be rounded to the other side of the limit.
            reading = max(self._clock.at(now), self.due.next_due)
            node = self.due.pop(reading)
            entry = None if node is None else self.entries.get(node)
            if entry is None or not entry.leased or entry.is_kept:
                continue
            self.shards.settle(entry)
            self.queue(entry)
            if entry.due <= reading:
                break
        return moment

    def end(self, over: Iterable[Entry], now: float) -> None:
        """End these leases, but those of nodes held or vouched for meanwhile."""
        for entry in over:
            if not entry.is_kept:
                self._end(entry, AgentState.LEFT if entry.leaving else AgentState.EXPIRED, now)

    def grace(self, spread_s: float) -> None:
        """Sight is back: nobody expires before it had a whole ttl, and the reconnect spread."""
        self.settle()
        for entry in self.entries.values():
            if entry.leased:
                self._grace(entry, spread_s)

    def settle(self) -> None:
        """Write down for every node what renewals of its shard gave it."""
        for entry in self.entries.values():
            self.shards.settle(entry)

    def sight_changed(self, come: frozenset[str], spread_s: float) -> None:
        """Buses went out of sight, or came back: some leases stand still for it, some run on.

        Who was heard on one that came may depend on it from now on, and gets its grace.
        """
        self.settle()
        for bus in self.paths.out_of_sight():
            self.shards.bus_lost(bus)
        for entry in self.entries.values():
            runs_on = self.place(entry)
            if entry.leased and (runs_on or not come.isdisjoint(entry.paths)):
                self._grace(entry, spread_s)

    def bus_removed(self, bus: str, spread_s: float) -> None:
        """Leases that belonged to it alone belong to all buses, after one grace."""
        self.settle()
        self.shards.bus_lost(bus)
        for entry in self.entries.values():
            if bus in entry.paths:
                self.paths.remove(entry, bus)
        if self.paths.any_visible:
            self.sight_changed(frozenset(), spread_s)

    def sweep(self, now: float) -> None:
        """Forget nodes that have been gone for long."""
        for entry in gone_for_long(self.entries.values(), now):
            del self.entries[entry.node]
            self.due.discard(entry.node)
            self._tables.forget(entry.node)

    # ---- holding (see silence.py)

    def release(self, entry: Entry, *, doubted: bool) -> None:
        """Let the lease end as usual; `doubted`: and don't hold it again while it is silent.

        Of whom nothing was found out yet, the lease does not end before a closer look.
        """
        entry.held = False
        entry.doubted = entry.doubted or doubted
        if not doubted:
            entry.expires_at = max(entry.expires_at, self._clock.proven + entry.suspect_s)
            self.newly_suspect.append(entry)
        self.due.push(entry.node, entry.expires_at)

    def keep_as_last_resort(self, entry: Entry) -> None:
        entry.trust()
        entry.last_resort = True
        entry.expires_at = self._clock.proven + FORGET_S
        self._cleared(entry)
        self.due.push(entry.node, entry.expires_at)
        self.shown.show(entry)

    # ---- our own node, and the past

    def put_own(self, record: Record, ttl_s: float, now: float) -> None:
        """Show what we publish ourselves; it has no lease and never falls silent."""
        entry = self.entries.get(record.node)
        joined = entry is None
        if entry is None:
            entry = self.entries[record.node] = Entry(record.node, now)
        entry.record, entry.mode = record, record.body.mode
        entry.incarnation, entry.boot_id = record.incarnation, record.boot_id
        entry.state, entry.leased, entry.last_heard_at = AgentState.ALIVE, True, now
        entry.suspect_at = entry.expires_at = NEVER
        entry.ttl_s = ttl_s
        self.shown.show(entry)
        if joined:
            self.shown.tell_agent(Kind.AGENT_JOINED, "started", entry)

    def restore(self, record: Record, ttl_s: float, now: float) -> None:
        """Show a node from the snapshot: stale, its lease beginning with our first sight."""
        if record.node in self.entries or len(self.entries) >= NODES_MAX:
            return
        entry = self.entries[record.node] = Entry.restored(record, ttl_s, now)
        self.shown.show(entry, told=False)

    def restore_tombstone(self, node: str, incarnation: int, now: float) -> None:
        if node not in self.entries and len(self.entries) < NODES_MAX:
            self.entries[node] = Entry.gone(node, incarnation, now)

    def shown_instances(self, node: str) -> tuple[InstanceView, ...]:
        return self._tables.instances(node)

    def others(self) -> Iterator[Entry]:
        return (entry for entry in self.entries.values() if entry.node != self._node)

    # ---- a closer look at one silent node (see opinion.py)

    def vouch(self, entry: Entry, vouched: bool) -> None:
        """`vouched`: somebody is still there, so its lease does not end; else it does as usual."""
        if entry.vouched and not vouched:
            self.due.push(entry.node, entry.expires_at)
        entry.vouched = vouched

    def hide(self, entry: Entry, instances: frozenset[str]) -> None:
        """Show all of it but these."""
        if instances != entry.hidden:
            entry.hidden = instances
            self.shown.show(entry, "agent-expired")

    def unreachable(self, entry: Entry, now: float) -> None:
        """Nobody is there any more: it ends before its lease does."""
        self._end(entry, AgentState.EXPIRED, now, "unreachable")

    # ---- for who takes something from outside

    def entry(self, node: str, now: float) -> Entry | None:
        """What is kept of that node, from now on if not before; None: of too many already."""
        entry = self.entries.get(node)
        if entry is None and len(self.entries) < NODES_MAX:
            entry = self.entries[node] = Entry(node, now)
        return entry

    def speaks_anew(self, entry: Entry, incarnation: int, boot_id: bytes) -> None:
        """A later boot: where the one before was heard says nothing of it."""
        self.shards.settle(entry)
        changes = entry.parked_reading is not None or bool(entry.hidden)
        self.paths.forget(entry)
        self._unpark(entry)
        if entry.vouched:
            # Its heartbeats are awaited now, not its ports.
            entry.expires_at = max(entry.expires_at, self._clock.proven + entry.suspect_s)
            self.vouch(entry, False)
        entry.hidden = NOTHING
        entry.speaks_anew(incarnation, boot_id)
        if changes and entry.shown:
            self.shown.show(entry)
        else:
            self.shards.put(entry, entry.share)

    def renew(self, entry: Entry, reading: float, now: float, *, relayed: bool = False) -> None:
        """It was heard, by us or a relay, as of that reading of the lease clock."""
        entry.renew(reading, relayed=relayed)
        if entry.parked_reading is not None:
            entry.parked_reading = reading
        known = entry.leased and entry.state is AgentState.ALIVE and entry.source is Source.HEARD
        entry.leased, entry.source = True, Source.HEARD
        if known:
            self.queue(entry)
        else:
            self._revive(entry, now, "heard")

    def place(self, entry: Entry) -> bool:
        """Park its lease, or (then True) let it run on: do we see any bus that it speaks on?"""
        parked = entry.parked_reading is not None
        out = self.paths.is_out_of_sight(entry)
        if out == parked or not self.paths.any_visible or not entry.leased:
            return False
        if out:
            self.paths.park(entry)
            self.shards.of(entry).parked = True
            self._cleared(entry)
        else:
            self._unpark(entry)
            self._silent(entry)
        if entry.shown:
            self.shown.show(entry)
        return parked

    def queue(self, entry: Entry) -> None:
        self.due.push(entry.node, entry.due)

    # ---- inside

    def _speaker(self, envelope: Envelope, now: float) -> Entry | str:
        """The entry of who speaks, or why it may not."""
        entry = self.entry(envelope.sender, now)
        if entry is None:
            return "too-many-nodes"
        if envelope.boot_id == entry.boot_id and (
            entry.left_incarnation < envelope.incarnation == entry.incarnation
        ):
            return entry
        speaker = (envelope.incarnation, envelope.boot_id)
        if speaker < entry.speaker:
            return "old-incarnation"
        if envelope.incarnation <= entry.left_incarnation:
            return "after-goodbye"
        if speaker > entry.speaker:
            self.speaks_anew(entry, *speaker)
        return entry

    def _merge(self, entry: Entry, record: Record, now: float) -> bool:
        """The merge rule: the greatest (incarnation, boot id, version) is kept."""
        if entry.record is not None and record.key <= entry.record.key:
            return False
        restarted = entry.record is not None and (
            (entry.record.incarnation, entry.record.boot_id) != (record.incarnation, record.boot_id)
        )
        entry.record = record
        entry.request_at = None if not entry.behind else entry.request_at
        if record.version >= entry.version_said:
            entry.mode = record.body.mode
        if entry.leased and entry.state in (AgentState.ALIVE, AgentState.SUSPECT):
            self.shown.show(entry)
            if restarted and entry.state is AgentState.ALIVE:
                self.shown.tell_agent(Kind.AGENT_JOINED, "restarted", entry)
        elif entry.leased:
            self._revive(entry, now, "announced")
        return True

    def _revive(self, entry: Entry, now: float, reason: str) -> None:
        """Show as alive who was not; without a record there is nothing to show yet."""
        entry.trust()
        entry.doubted = entry.last_resort = False
        self._cleared(entry)
        if entry.record is None:
            self.queue(entry)
            return
        before, entry.state = entry.state, AgentState.ALIVE
        self.queue(entry)
        if before is AgentState.ALIVE:
            self.shown.show(entry)
            return
        entry.since_at = now
        kind = Kind.AGENT_RECOVERED if before is AgentState.SUSPECT else Kind.AGENT_JOINED
        self.shown.tell_agent(kind, reason, entry)
        self.shown.show(entry)

    def _suspect(self, entry: Entry, now: float, reason: str) -> None:
        entry.state, entry.since_at = AgentState.SUSPECT, now
        self._silent(entry)
        self.shown.tell_agent(Kind.AGENT_SUSPECT, reason, entry)
        self.shown.show(entry)

    def _silent(self, entry: Entry) -> None:
        heard = entry.source is Source.HEARD and not entry.leaving
        if heard and entry.state is AgentState.SUSPECT:
            self.suspects[entry.node] = entry
            self.suspects_changed = True
            self.newly_suspect.append(entry)

    def _cleared(self, entry: Entry) -> None:
        if self.suspects.pop(entry.node, None) is not None:
            self.suspects_changed = True

    def _end(self, entry: Entry, state: AgentState, now: float, reason: str = "silent") -> None:
        before = entry.state
        entry.leased = entry.held = entry.doubted = entry.last_resort = entry.vouched = False
        entry.parked_reading = None
        entry.findings.clear()
        entry.state, entry.since_at = state, now
        entry.request_at = None
        self._cleared(entry)
        left = state is AgentState.LEFT
        if left:
            entry.left_incarnation = max(entry.left_incarnation, entry.incarnation)
        if before is not None and before is not state:
            self.shown.show(entry, "agent-left" if left else "agent-expired")
        entry.hidden = NOTHING
        self.paths.forget(entry)
        if before is not None and before is not state:
            kind = Kind.AGENT_LEFT if left else Kind.AGENT_EXPIRED
            self.shown.tell_agent(kind, "goodbye" if left else reason, entry)
        entry.leaving = False
        if left:
            entry.record = None

    def _grace(self, entry: Entry, spread_s: float) -> None:
        kept = entry.graced or entry.leaving or entry.parked_reading is not None
        if not kept:
            entry.grace(self._clock.proven, spread_s)
            self.queue(entry)

    def _unpark(self, entry: Entry) -> None:
        if entry.parked_reading is not None:
            entry.run_on(self._clock.proven)
            self.queue(entry)

    def _set_mode(self, entry: Entry, mode: Mode) -> None:
        if mode is not entry.mode:
            entry.mode = mode
            if entry.shown and entry.state is not None:
                self.shown.show(entry)
