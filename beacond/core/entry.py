"""What is kept of one node."""

from dataclasses import dataclass, field
from enum import Enum, auto
from hashlib import blake2b

from beacond.core.leases import SendStamps
from beacond.core.model import AgentState, Freshness, Mode, Record
from beacond.core.view import AgentView


class Source(Enum):
    """How its presence is known, from worst to best."""

    SNAPSHOT = auto()
    """From disk: not heard of since our start. Served, and never passed on."""
    SYNCED = auto()
    """Another agent heard it. Never passed on either, or two agents keep the dead alive."""
    HEARD = auto()


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
    counter: int = 0
    stamps: SendStamps | None = None
    version_said: int = 0
    mode: Mode = Mode.NORMAL
    agrees: bool | None = None
    """Whether its latest heartbeat had our own digest of that moment."""
    last_heard_at: float | None = None

    leased: bool = False
    ttl_s: float = 0.0
    suspect_s: float = 0.0
    suspect_at: float = 0.0
    expires_at: float = 0.0
    graced: bool = False
    """Has had its grace since its last heartbeat: a flapping bus keeps no corpse."""
    leaving: bool = False
    """Said that it stops and its instances go on; gone when that lease ends."""

    held: bool = False
    """Silent together with many others: not expired for now."""
    doubted: bool = False
    """Silent, and a closer look found nobody there: not held again."""
    last_resort: bool = False
    """Held past the deadline: served only where nothing fresher remains."""

    request_at: float | None = None
    """When to ask its owner for the state we miss."""
    share: int = field(default=0)
    """What this node adds to our digest; 0: nothing."""

    @property
    def speaker(self) -> tuple[int, bytes]:
        return (self.incarnation, self.boot_id)

    @property
    def shown(self) -> bool:
        return self.leased and self.record is not None

    @property
    def freshness(self) -> Freshness:
        if self.source is Source.SNAPSHOT or self.last_resort:
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
        self.seq = self.counter = self.version_said = 0
        self.stamps = None
        self.leaving = False

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


def share_of(record: Record) -> int:
    """A record's part of the digest: 64 bits of BLAKE2b over its node and key. Never 0."""
    text = b"".join(
        (
            record.node.encode(),
            b"\0",
            record.incarnation.to_bytes(8, "big"),
            record.boot_id,
            record.version.to_bytes(8, "big"),
        )
    )
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "big") or 1
