"""The last known view on disk: what a restarted agent answers with before it hears anyone.

    offset  size  content (integers big-endian)
    0       8     the magic `beacond\\0`
    8       2     format
    10      8     length of the payload in bytes
    18      16    BLAKE2b-128 of the payload
    34            payload: a msgpack map

Records are kept as their owners encoded and signed them; the wire reads them again.
"""

import hashlib
import logging
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgpack

from beacond.core.model import Status
from beacond.core.view import INDEX_MAX
from beacond.store.durable import Damaged, StoredFile, StoreError
from beacond.store.shapes import read

MAGIC = b"beacond\0"
FORMAT = 1
SIZE_MAX = 512 * 1024 * 1024
_HEAD = struct.Struct(">8sHQ16s")

log = logging.getLogger("beacond.store")

CheckMemory = tuple[str, Status, str]
"""(check name, status, output)"""


@dataclass(frozen=True, slots=True)
class Snapshot:
    records: tuple[bytes, ...]
    """Opaque: each as its owner published it."""
    tombstones: tuple[tuple[str, int], ...]
    """(node, incarnation)"""
    index: int
    """The view's change counter, up to INDEX_MAX."""
    own_checks: Mapping[str, tuple[CheckMemory, ...]]
    """Instance id → what was known of its checks."""
    saved_at: float
    """Unix seconds: for people."""


class SnapshotFile:
    def __init__(self, path: Path, ready: Callable[[], None] = lambda: None) -> None:
        """`ready` is called before each write; see `StoredFile`."""
        self._file = StoredFile(path, ready)

    def load(self) -> Snapshot | None:
        """None where there is none, or a damaged one, which is set aside. Raises StoreError
        where the file is there and the disk or its rights do not let us have it."""
        with self._file.turn:
            return self._file.load(SIZE_MAX, decode)

    def save(self, snapshot: Snapshot) -> None:
        """Raises StoreError; the snapshot before is whole then."""
        data = encode(snapshot)
        if len(data) > SIZE_MAX:
            raise StoreError(
                f"cannot write {self._file.path}: {len(data)} bytes are more than the {SIZE_MAX}"
                " allowed"
            )
        with self._file.turn:
            self._file.replace(data)


def encode(snapshot: Snapshot) -> bytes:
    content = {
        "records": snapshot.records,
        "tombstones": snapshot.tombstones,
        "index": snapshot.index,
        "own_checks": dict(snapshot.own_checks),
        "saved_at": snapshot.saved_at,
    }
    # Outputs of checks come from anywhere: half a character must not cost the whole snapshot.
    payload: bytes = msgpack.packb(content, unicode_errors="replace")
    return _HEAD.pack(MAGIC, FORMAT, len(payload), _checksum(payload)) + payload


def decode(data: bytes) -> Snapshot:
    """Raises Damaged."""
    if len(data) < _HEAD.size:
        raise Damaged("too short")
    magic, number, length, checksum = _HEAD.unpack_from(data)
    if magic != MAGIC:
        raise Damaged("not a snapshot")
    if number != FORMAT:
        raise Damaged(f"format {number}, not {FORMAT}")
    payload = memoryview(data)[_HEAD.size :]
    if len(payload) != length:
        raise Damaged(f"{len(payload)} bytes instead of {length}")
    if _checksum(payload) != checksum:
        raise Damaged("wrong checksum")
    try:
        snapshot = read(Snapshot, msgpack.unpackb(payload))
    except (ValueError, msgpack.UnpackException) as error:
        raise Damaged("unexpected content") from error
    if not 0 <= snapshot.index <= INDEX_MAX:
        raise Damaged("unexpected content")
    return snapshot


def _checksum(payload: bytes | memoryview) -> bytes:
    return hashlib.blake2b(payload, digest_size=16).digest()
