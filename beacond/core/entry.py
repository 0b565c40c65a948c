"""What is kept of one node."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum, auto

from beacond.core.hashing import shard_of
from beacond.core.leases import NEVER, SendStamps
from beacond.core.messages import Heartbeat
from beacond.core.model import AgentState, Freshness, Mode, Record
from beacond.core.view import AgentView

TTL_MIN_S, TTL_MAX_S = 3.0, 3 * 3600.0
SUSPECT_BEATS = 2.2
"""Suspect when two heartbeats in a row, jitter allowed for, did not come."""
SUSPECT_TTL = 0.8
"""… and in any case before the lease ends."""
RELAYS_SILENT_TTL = 0.9
"""So much of its ttl after a relay last vouched for it, for it need not be the node that is silent:
where it is, the relay says so."""
BEAT_MIN_S = 0.5
"""Who announces its next heartbeat earlier is not suspected before."""

FORGET_S = 24 * 3600.0
"""How long a goodbye, an expired node or a held one is remembered."""
GONE_MAX = 10_000
"""So many gone nodes are remembered, so that they don't keep new ones out."""

BOOTS_MAX = 4
"""Of one node, whose questions are told apart from copies."""

NOTHING: frozenset[str] = frozenset()


class Source(Enum):
    """How its presence is known, from worst to best."""

    SNAPSHOT = auto()
    """From disk: not heard of since our start. Served, and never passed on."""
    SYNCED = auto()
    """Another agent heard it. Never passed on either, or two agents keep the dead alive."""
    HEARD = auto()


@dataclass(slots=True)
class Path:
    """A bus over which a node was heard lately."""

    seq: int = 0
    """Of the latest heartbeat it brought us,"""
    at: float = -NEVER
    """and when that was sent."""
    reading: float = 0.0
    """The lease clock's, when it was last heard there, by us or a relay."""


@dataclass(slots=True)
class Finding:
    """What one agent found when it tried to reach a silent node's instances."""

    speaker: tuple[int, bytes]
    """The boot of that agent."""
    seq: int
    """Of the silent node's last heartbeat that it had heard."""
    counter: int = 0
    """Of the latest message that told of it."""
    tries: dict[str, tuple[bool, float]] = field(default_factory=dict)
    """By instance: whether it accepted a connection, and when we learnt of it."""


@dataclass(slots=True)
class Entry:
    """A node's state, which is merged, and its liveness, which is ours alone.

    `suspect_at` and `expires_at` are readings of the lease clock, other `*_at` monotonic seconds.
    """

    node: str
    since_at: float
    """When `state` became what it is."""
    state: AgentState | None = None
    """None: known of, but not shown yet (no record, or never a heartbeat)."""
    source: Source = Source.HEARD
    record: Record | None = None

    incarnation: int = 0
    boot_id: bytes = b""
    left_incarnation: int = 0
    """The tombstone: what speaks with this incarnation or less has said goodbye."""
    seq: int = 0
    """Of the latest heartbeat that we heard."""
    seq_told: int = 0
    """… that a relay did. It may still come to us, so it tells no copies."""
    asked: dict[bytes, int] = field(default_factory=dict)
    """The counter of the latest question of each of its last boots."""
    stamps: SendStamps | None = None
    version_said: int = 0
    mode: Mode = Mode.NORMAL
    agrees: bool | None = None
    """Whether its latest heartbeat had our own digest of that moment."""
    last_heard_at: float | None = None
    """When its latest heartbeat was sent of those that we heard ourselves."""
    relayed_at: float | None = None
    """The latest moment at which a relay said that it had heard it."""
    beat_s: float = 0.0
    """From its latest heartbeat to the next, as it said."""

    leased: bool = False
    ttl_s: float = 0.0
    suspect_s: float = 0.0
    suspect_at: float = 0.0
    expires_at: float = 0.0
    set_reading: float = 0.0
    """When its lease was last renewed, or given a grace."""
    graced: bool = False
    """Has had its grace since its last heartbeat: a flapping bus keeps no corpse."""
    paths: dict[str, Path] = field(default_factory=dict)
    """By bus. Silence counts only while at least one of them is in sight."""
    parked_reading: float | None = None
    """None of its buses is in sight, others are: its lease stands still since this reading."""
    leaving: bool = False
    """Said that it stops and its instances go on; gone when that lease ends."""

    held: bool = False
    """Silent together with many others: not expired for now."""
    doubted: bool = False
    """Silent, and a closer look found nobody there: not held again."""
    last_resort: bool = False
    """Held past the deadline: served only where nothing fresher remains."""

    findings: dict[str, Finding] = field(default_factory=dict)
    """Second opinions on its silence, by prober."""
    vouched: bool = False
    """Silent, and some of its instances can be reached: not expired for now."""
    hidden: frozenset[str] = NOTHING
    """Instances that several agents could not reach since it fell silent: not shown."""

    corrected_at: float = -NEVER
    """When an old boot of it was last heard, and perhaps told so."""
    request_at: float | None = None
    """When to ask its owner for the state we miss."""
    share: int = 0
    """What this node adds to our digest; 0: nothing."""
    live: int = 0
    """… to its shard's."""
    renewals: int = 0
    """Of its shard, that its lease follows already."""
    rank: int = 0
    """Among those that may relay for our own heartbeats; 0: not reckoned yet."""
    shard: int = field(init=False)

    def __post_init__(self) -> None:
        self.shard = shard_of(self.node)

    @classmethod
    def restored(cls, record: Record, ttl_s: float, now: float) -> "Entry":
        """Of a node from the snapshot."""
        return cls(
            node=record.node,
            since_at=now,
            state=AgentState.SUSPECT,
            source=Source.SNAPSHOT,
            record=record,
            incarnation=record.incarnation,
            boot_id=record.boot_id,
            mode=record.body.mode,
            leased=True,
            ttl_s=ttl_s,
            suspect_s=ttl_s,
        )

    @classmethod
    def gone(cls, node: str, incarnation: int, now: float) -> "Entry":
        """Of a node that said goodbye before our start."""
        return cls(
            node=node,
            since_at=now,
            state=AgentState.LEFT,
            source=Source.SNAPSHOT,
            incarnation=incarnation,
            left_incarnation=incarnation,
        )

    @property
    def speaker(self) -> tuple[int, bytes]:
        return (self.incarnation, self.boot_id)

    @property
    def seq_known(self) -> int:
        """Of the latest heartbeat that anybody heard: its silence since is meant."""
        return max(self.seq, self.seq_told)

    @property
    def known_at(self) -> float | None:
        """The latest moment at which it is known to have been there."""
        if self.last_heard_at is None or self.relayed_at is None:
            return self.relayed_at if self.last_heard_at is None else self.last_heard_at
        return max(self.last_heard_at, self.relayed_at)

    @property
    def shown(self) -> bool:
        return self.leased and self.record is not None

    @property
    def freshness(self) -> Freshness:
        parked = self.parked_reading is not None
        if self.source is Source.SNAPSHOT or self.last_resort or parked:
            return Freshness.STALE
        return Freshness.FRESH if self.state is AgentState.ALIVE else Freshness.SUSPECT

    @property
    def behind(self) -> bool:
        """Its owner has published something that we don't have."""
        record = self.record
        if record is None or (record.incarnation, record.boot_id) != self.speaker:
            return True
        return record.version < self.version_said

    def speaks_anew(self, incarnation: int, boot_id: bytes) -> None:
        """A later boot of the same node: its counters begin again."""
        self.incarnation, self.boot_id = incarnation, boot_id
        self.seq = self.seq_told = self.version_said = 0
        self.stamps = None
        self.last_heard_at = self.relayed_at = None
        self.leaving = False
        self.paths.clear()
        self.findings.clear()

    def is_new_question(self, boot_id: bytes, counter: int) -> bool:
        """Not a replay, nor the copy that another bus brought. Whichever boot asks is answered: who
        has to be told that his is old, too."""
        if counter <= self.asked.get(boot_id, 0):
            return False
        self.asked[boot_id] = counter
        if len(self.asked) > BOOTS_MAX:
            del self.asked[next(iter(self.asked))]
        return True

    # ---- its lease

    @property
    def is_kept(self) -> bool:
        """Whatever its lease says, it does not end now."""
        return self.held or self.vouched or self.parked_reading is not None

    @property
    def due(self) -> float:
        """The reading of the lease clock at which silence has its next consequence."""
        return self.suspect_at if self.state is AgentState.ALIVE else self.expires_at

    def age_of(self, beat: Heartbeat, received_at: float) -> float:
        """Seconds the heartbeat waited somewhere; of a new series nothing is known yet."""
        stamp_s = beat.stamp_ms / 1000
        if self.stamps is None or beat.series > self.stamps.series:
            self.stamps = SendStamps.first(beat.series, stamp_s, received_at)
            return 0.0
        return self.stamps.age(stamp_s, received_at)

    def take_terms(self, next_ms: int, ttl_ms: int) -> None:
        """When silence begins and ends, as its heartbeat says."""
        self.ttl_s = clamped_ttl_s(ttl_ms)
        self.beat_s = max(next_ms / 1000, BEAT_MIN_S)
        self.suspect_s = min(SUSPECT_BEATS * self.beat_s, SUSPECT_TTL * self.ttl_s)

    def renew(self, reading: float, *, relayed: bool = False) -> None:
        """Heard, by us or a relay, as of that reading of the lease clock."""
        suspect_s = RELAYS_SILENT_TTL * self.ttl_s if relayed else self.suspect_s
        suspect_at, expires_at = reading + suspect_s, reading + self.ttl_s
        if self.state is AgentState.ALIVE:
            # A heartbeat that waited somewhere must not shorten what an earlier one gave.
            suspect_at = max(suspect_at, self.suspect_at)
            expires_at = max(expires_at, self.expires_at)
        elif self.state is AgentState.SUSPECT and not self.last_resort:
            # A relay may have said that it is silent, and another what it heard before.
            expires_at = max(expires_at, self.expires_at)
        self.suspect_at, self.expires_at = suspect_at, expires_at
        self.set_reading = reading
        self.graced = False
        self.findings.clear()

    def trust(self) -> None:
        """What its silence made us doubt is forgotten."""
        self.held = self.vouched = False
        self.hidden = NOTHING

    def grace(self, reading: float, spread_s: float) -> None:
        """A whole ttl from that reading on, and the time the fleet takes to reconnect."""
        self.graced = True
        self.set_reading = reading
        self.suspect_at = max(self.suspect_at, reading + self.suspect_s + spread_s)
        self.expires_at = max(self.expires_at, reading + self.ttl_s + spread_s)

    def run_on(self, reading: float) -> None:
        """It was parked: let it run on from where it stood."""
        if self.parked_reading is not None:
            stood = max(reading - self.parked_reading, 0.0)
            self.parked_reading = None
            self.suspect_at += stood
            self.expires_at += stood

    def view(self, state: AgentState) -> AgentView:
        body = self.record.body if self.record is not None else None
        gone = state in (AgentState.LEFT, AgentState.EXPIRED)
        return AgentView(
            node=self.node,
            zone=body.zone if body else "",
            addresses=body.addresses if body else (),
            state=state,
            incarnation=self.incarnation,
            version=body.agent_version if body else "",
            instances=0 if gone or body is None else len(body.instances),
            freshness=self.freshness,
        )


def clamped_ttl_s(ttl_ms: int) -> float:
    return min(max(ttl_ms / 1000, TTL_MIN_S), TTL_MAX_S)


def gone_for_long(entries: Iterable[Entry], now: float) -> list[Entry]:
    """Of the nodes that are gone, those to forget."""
    gone = sorted((e for e in entries if not e.leased), key=lambda entry: entry.since_at)
    too_many = len(gone) - GONE_MAX
    return [e for n, e in enumerate(gone) if n < too_many or now - e.since_at > FORGET_S]
