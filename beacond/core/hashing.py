"""What every agent reckons alike from names and records: BLAKE2b with 8 bytes of output."""

from hashlib import blake2b

from beacond.core.messages import SHARDS
from beacond.core.model import Record


def share_of(record: Record) -> int:
    """A record's part of the digest. Never 0."""
    return _hash(_speaker(record.node, record.incarnation, record.boot_id)
                 + record.version.to_bytes(8, "big"))  # fmt: skip


def live_share_of(node: str, incarnation: int, boot_id: bytes) -> int:
    """A living node's part of its shard's digest, whatever it publishes. Never 0."""
    return _hash(_speaker(node, incarnation, boot_id))


def shard_of(node: str) -> int:
    """The first 4 bits of the hash of its name."""
    return blake2b(node.encode(), digest_size=8).digest()[0] * SHARDS >> 8


def rank_in(shard: int, node: str) -> int:
    """How a node ranks among all that may relay for a shard: the greatest does (rendezvous
    hashing, Thaler and Ravishankar, 1998)."""
    return _hash(bytes([shard]) + node.encode())


def _speaker(node: str, incarnation: int, boot_id: bytes) -> bytes:
    return node.encode() + b"\0" + incarnation.to_bytes(8, "big") + boot_id


def _hash(text: bytes) -> int:
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "big") or 1
