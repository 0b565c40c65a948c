"""What agents say to each other. Encoding, limits and signatures are the wire's business.

A message from the bus always has passed the wire's checks: types, limits, fleet, destination and
authentication. `proto/` has the normative text.
"""

from dataclasses import dataclass

from beacond.core.model import Mode, Record

SHARDS = 16
"""Into so many parts a fleet is cut for its relays, whatever its size: so what an agent hears of
all of them together stays the same, and nobody need agree on a number."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """Who speaks. `to` is empty for a broadcast, else the one node addressed."""

    sender: str
    incarnation: int
    boot_id: bytes
    """16 random bytes, drawn at every start of an agent."""
    counter: int
    """Counts all messages of one boot, from 1; never repeats within a boot."""
    to: str = ""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    seq: int
    """Counts heartbeats of an incarnation, from 1."""
    version: int
    """Of the state its sender publishes now."""
    digest: bytes
    """8 bytes over all the sender believes: equal where two agents believe the same."""
    series: int
    """Stamps are comparable within one series only."""
    stamp_ms: int
    """When it was sent, in ms since the sender's incarnation began."""
    next_ms: int
    """ms from this heartbeat until the next is due."""
    ttl_ms: int
    """How long to keep the sender after this."""
    mode: Mode


@dataclass(frozen=True, slots=True)
class Announce:
    record: Record


@dataclass(frozen=True, slots=True)
class AnnounceRequest:
    """To the owner: I miss your state from `version` on."""

    version: int


@dataclass(frozen=True, slots=True)
class Goodbye:
    seq: int
    """The last heartbeat's."""
    hold_ms: int
    """0: gone at once; else keep my instances, suspect and served, for so long."""


@dataclass(frozen=True, slots=True)
class Known:
    """One line of a sync request: the newest state held of a node."""

    node: str
    incarnation: int
    boot_id: bytes
    version: int


@dataclass(frozen=True, slots=True)
class SyncRequest:
    """Send me what you heard and I miss, of the nodes named after `after`, in name order."""

    request: int
    """Echoed in the reply."""
    after: str
    """Exclusive; empty begins at the start."""
    upto: str
    """Inclusive; empty means to the end. `known` covers exactly this range."""
    known: tuple[Known, ...]


@dataclass(frozen=True, slots=True)
class SyncEntry:
    record: Record
    heard_ms: int
    """ms since the sender of the reply itself heard this node."""
    ttl_ms: int
    """The node's announced ttl."""


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A remembered goodbye; yields only to a greater incarnation."""

    node: str
    incarnation: int


@dataclass(frozen=True, slots=True)
class SyncReply:
    request: int
    entries: tuple[SyncEntry, ...]
    tombstones: tuple[Tombstone, ...]
    covered: str
    """The last name covered; empty: all of the range asked for."""


@dataclass(frozen=True, slots=True)
class Superseded:
    """To a node that speaks under an older incarnation than one already known of it."""

    incarnation: int
    boot_id: bytes


@dataclass(frozen=True, slots=True)
class Opinion:
    """What its sender found when it tried to reach a silent node's instances by TCP."""

    node: str
    incarnation: int
    boot_id: bytes
    seq: int
    """Of the latest heartbeat that its sender heard of that node: the silence since is meant."""
    reached: tuple[str, ...]
    """Ids of instances that accepted a connection."""
    unreached: tuple[str, ...]
    control: bool
    """It reached some other node at the same time: so it is not itself cut off."""


@dataclass(frozen=True, slots=True)
class Excepted:
    """A node of the shard that the relay does not vouch for."""

    node: str
    incarnation: int
    boot_id: bytes
    seq: int
    """Of the latest heartbeat of that boot that the relay knows of."""
    silent_ms: int
    """ms since the relay heard it; 0: it never did, or long ago."""


@dataclass(frozen=True, slots=True)
class Member:
    """A node of the shard that the relay vouches for, by name."""

    node: str
    incarnation: int
    boot_id: bytes
    version: int
    """Of the state that it publishes."""
    seq: int
    heard_ms: int
    """ms since the relay heard it."""
    next_ms: int
    ttl_ms: int


@dataclass(frozen=True, slots=True)
class ShardDigest:
    """From a relay to all: these nodes of one shard I heard myself, lately."""

    beat: Heartbeat
    """The relay's own, for it is one."""
    shard: int
    live: bytes
    """8 bytes over all that it vouches for."""
    count: int
    """How many those are."""
    excepted: tuple[Excepted, ...]
    members: tuple[Member, ...]
    """All of them, where somebody asked; else empty."""


@dataclass(frozen=True, slots=True)
class ShardRequest:
    """To a relay: I believe otherwise; name those you vouch for."""

    shard: int


Message = (
    Heartbeat
    | Announce
    | AnnounceRequest
    | Goodbye
    | SyncRequest
    | SyncReply
    | Superseded
    | Opinion
    | ShardDigest
    | ShardRequest
)
