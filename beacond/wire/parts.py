"""Messages too large for one frame: cut into parts, and put together again within bounds.

There is no clock: what stays incomplete is pushed out by what comes after it.
"""

from collections import OrderedDict
from dataclasses import dataclass, field

from beacond.core.messages import Envelope
from beacond.wire import fields
from beacond.wire.errors import DecodeError
from beacond.wire.fields import Fields, malformed
from beacond.wire.limits import (
    CHUNK_MAX,
    COUNT_MAX,
    FINISHED_MAX,
    FRAME_MAX,
    MESSAGE_MAX,
    PARTIAL_BYTES_MAX,
    PARTIALS_MAX,
    PARTIALS_PER_SENDER_MAX,
    PARTS_MAX,
)

_Key = tuple[str, bytes, int]
"""(sender, boot id, counter): one message, whichever bus its parts came by."""


@dataclass(frozen=True, slots=True)
class Part:
    kind: int
    """Of the whole message."""
    index: int
    """From 0."""
    total: int
    chunk: bytes


def split(kind: int, payload: bytes) -> list[Fields]:
    """The payloads of the part frames that carry a packed payload."""
    starts = range(0, len(payload), CHUNK_MAX)
    return [
        {
            "kind": kind,
            "part": index,
            "of": len(starts),
            "data": payload[start : start + CHUNK_MAX],
        }
        for index, start in enumerate(starts)
    ]


def read_part(written: Fields) -> Part:
    total = fields.integer(written.get("of"), 1, PARTS_MAX, "of")
    chunk = written.get("data")
    if type(chunk) is not bytes or not 0 < len(chunk) <= FRAME_MAX:
        raise malformed("data is no chunk")
    return Part(
        kind=fields.integer(written.get("kind"), 0, COUNT_MAX, "kind"),
        index=fields.integer(written.get("part"), 0, total - 1, "part"),
        total=total,
        chunk=chunk,
    )


@dataclass(slots=True)
class _Partial:
    envelope: Envelope
    kind: int
    total: int
    chunks: dict[int, bytes] = field(default_factory=dict)
    size: int = 0


class Reassembler:
    """Bounded in messages, in messages a sender, and in bytes; forgets what was idle longest."""

    def __init__(self) -> None:
        self._partials: OrderedDict[_Key, _Partial] = OrderedDict()
        self._finished: OrderedDict[_Key, None] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._partials)

    @property
    def held_bytes(self) -> int:
        return self._bytes

    def add(self, envelope: Envelope, part: Part) -> bytes | None:
        """The whole payload once its last missing part is here, else None.

        Raises DecodeError for a part that does not go with those before it, or one too many.
        """
        key = (envelope.sender, envelope.boot_id, envelope.counter)
        if key in self._finished:
            return None
        partial = self._partials.get(key)
        if partial is None:
            partial = self._begin(key, envelope, part)
        elif (partial.envelope, partial.kind, partial.total) != (envelope, part.kind, part.total):
            raise malformed("a part that differs from those before it")
        self._partials.move_to_end(key)
        if part.index not in partial.chunks:
            self._take(key, partial, part)
        return self._finish(key) if len(partial.chunks) == partial.total else None

    def _begin(self, key: _Key, envelope: Envelope, part: Part) -> _Partial:
        others = [each for each in self._partials if each[0] == envelope.sender]
        if len(others) >= PARTIALS_PER_SENDER_MAX:
            self._drop(others[0])
        elif len(self._partials) >= PARTIALS_MAX:
            self._drop(next(iter(self._partials)))
        partial = _Partial(envelope, part.kind, part.total)
        self._partials[key] = partial
        return partial

    def _take(self, key: _Key, partial: _Partial, part: Part) -> None:
        if partial.size + len(part.chunk) > MESSAGE_MAX:
            self._drop(key)
            raise DecodeError("oversized", "the parts of a message")
        partial.chunks[part.index] = part.chunk
        partial.size += len(part.chunk)
        self._bytes += len(part.chunk)
        while self._bytes > PARTIAL_BYTES_MAX:
            self._drop(next(iter(self._partials)))

    def _finish(self, key: _Key) -> bytes:
        chunks = self._drop(key).chunks
        self._finished[key] = None
        if len(self._finished) > FINISHED_MAX:
            self._finished.popitem(last=False)
        return b"".join([chunks[index] for index in range(len(chunks))])

    def _drop(self, key: _Key) -> _Partial:
        partial = self._partials.pop(key)
        self._bytes -= partial.size
        return partial
