"""Messages ⇄ frames. A frame's content is an array:

    [fleet, sender, incarnation, boot id, counter, to, kind, payload, ...]

What a newer agent puts after the payload, or into a payload under new keys, is ignored.
"""

from collections import Counter

from beacond.core.messages import (
    Announce,
    AnnounceRequest,
    Envelope,
    Goodbye,
    Heartbeat,
    Message,
    Opinion,
    ShardDigest,
    ShardRequest,
    Superseded,
    SyncReply,
    SyncRequest,
)
from beacond.core.model import Record
from beacond.wire import fields, payloads, sealed, shards
from beacond.wire.errors import DecodeError, EncodeError
from beacond.wire.fields import Fields, malformed
from beacond.wire.keyring import Keyring
from beacond.wire.limits import (
    BOOT_ID_SIZE,
    CHUNK_MAX,
    COUNT_MAX,
    FRAME_MAX,
    INCARNATION_MAX,
    MESSAGE_MAX,
)
from beacond.wire.parts import Reassembler, read_part, split
from beacond.wire.record import open_record, seal_record

_CONTENT_FIELDS = 8


class Codec:
    """Encodes for one node of one fleet, and reads what is meant for it.

    `keyring` may be replaced at any time: None signs nothing and looks at no tag. One codec
    serves all buses of an agent, so that parts of a message may come by several.
    """

    def __init__(self, *, fleet: str, node: str, keyring: Keyring | None) -> None:
        self.keyring = keyring
        self.skipped: Counter[str] = Counter()
        """Records left out of sync replies, by reason: grows for as long as the agent runs."""
        self._fleet = fleet
        self._node = node
        self._reassembler = Reassembler()

    def encode(self, envelope: Envelope, message: Message) -> list[bytes]:
        """One or more frames, each at most FRAME_MAX.

        Raises EncodeError where the message exceeds a limit.
        """
        kind, written = self._payload(message)
        try:
            payload = fields.pack(written)
        except ValueError as error:
            raise EncodeError(f"a message that can't be encoded: {error}") from error
        if len(payload) <= CHUNK_MAX:
            return [self._frame(envelope, kind, payload)]
        if len(payload) > MESSAGE_MAX:
            raise EncodeError(f"a message of {len(payload)} bytes: at most {MESSAGE_MAX}")
        return [
            self._frame(envelope, payloads.PART, fields.pack(part)) for part in split(kind, payload)
        ]

    def decode(self, data: bytes) -> tuple[Envelope, Message] | None:
        """What one frame says; None for a part of a message that is not complete yet.

        Raises DecodeError.
        """
        if len(data) > FRAME_MAX:
            raise DecodeError("oversized", f"a frame of {len(data)} bytes")
        content = fields.unpack(sealed.unseal(sealed.FRAME, data, self.keyring))
        if type(content) is not list or len(content) < _CONTENT_FIELDS:
            raise malformed("content is no array of 8 or more")
        if content[0] != self._fleet:
            raise DecodeError("wrong-fleet")
        envelope = _envelope(content)
        if envelope.to and envelope.to != self._node:
            raise DecodeError("not-for-us")
        kind = fields.integer(content[6], 0, COUNT_MAX, "kind")
        written = fields.mapping(content[7], "payload")
        if kind == payloads.PART:
            return self._decode_part(envelope, written)
        return envelope, self._message(envelope, kind, written)

    def seal(self, record: Record) -> Record:
        """Our own record, encoded and tagged: `raw` filled in.

        Raises EncodeError where it exceeds a limit; call it before promising to publish.
        """
        return seal_record(record, fleet=self._fleet, keyring=self.keyring)

    def open(self, raw: bytes, *, verify: bool) -> Record:
        """The record in its bytes. `verify` needs a keyring to mean anything.

        Raises DecodeError.
        """
        return open_record(raw, fleet=self._fleet, keyring=self.keyring if verify else None)

    def _frame(self, envelope: Envelope, kind: int, payload: bytes) -> bytes:
        head = fields.pack(
            [
                self._fleet,
                envelope.sender,
                envelope.incarnation,
                envelope.boot_id,
                envelope.counter,
                envelope.to,
                kind,
                None,
            ]
        )
        # The payload is packed already: it takes the place of the one byte that None is.
        return sealed.seal(sealed.FRAME, head[:-1] + payload, self.keyring)

    def _payload(self, message: Message) -> tuple[int, Fields]:
        match message:
            case Heartbeat():
                return payloads.HEARTBEAT, payloads.heartbeat_fields(message)
            case Announce(record):
                return payloads.ANNOUNCE, {"rec": self._raw_of(record)}
            case AnnounceRequest(version):
                return payloads.ANNOUNCE_REQUEST, {"ver": version}
            case Goodbye(seq, hold_ms):
                return payloads.GOODBYE, {"seq": seq, "hold": hold_ms}
            case SyncRequest():
                return payloads.SYNC_REQUEST, payloads.sync_request_fields(message)
            case SyncReply():
                return payloads.SYNC_REPLY, payloads.sync_reply_fields(message, self._raw_of)
            case Superseded(incarnation, boot_id):
                return payloads.SUPERSEDED, {"inc": incarnation, "boot": boot_id}
            case Opinion():
                return payloads.OPINION, payloads.opinion_fields(message)
            case ShardDigest():
                return payloads.SHARD_DIGEST, shards.digest_fields(message)
            case ShardRequest(shard):
                return payloads.SHARD_REQUEST, {"sh": shard}

    def _raw_of(self, record: Record) -> bytes:
        raw = record.raw
        if raw is None and record.node == self._node:
            raw = self.seal(record).raw
        if raw is None:
            raise EncodeError(f"a record of {record.node}, and not as {record.node} published it")
        return raw

    def _decode_part(self, envelope: Envelope, written: Fields) -> tuple[Envelope, Message] | None:
        part = read_part(written)
        if part.kind not in _KINDS:
            # Before anything is kept: what we can't read we need not put together.
            raise DecodeError("unknown-kind", f"kind {part.kind}, in parts")
        payload = self._reassembler.add(envelope, part)
        if payload is None:
            return None
        whole = fields.mapping(fields.unpack(payload), "payload")
        return envelope, self._message(envelope, part.kind, whole)

    def _message(self, envelope: Envelope, kind: int, written: Fields) -> Message:
        match kind:
            case payloads.HEARTBEAT:
                return payloads.heartbeat(written)
            case payloads.ANNOUNCE:
                return self._announce(envelope, written)
            case payloads.ANNOUNCE_REQUEST:
                return payloads.announce_request(written)
            case payloads.GOODBYE:
                return payloads.goodbye(written)
            case payloads.SYNC_REQUEST:
                return payloads.sync_request(written)
            case payloads.SYNC_REPLY:
                return payloads.sync_reply(written, self._open_relayed)
            case payloads.SUPERSEDED:
                return payloads.superseded(written)
            case payloads.OPINION:
                return payloads.opinion(written)
            case payloads.SHARD_DIGEST:
                return shards.digest(written)
            case payloads.SHARD_REQUEST:
                return shards.request(written)
            case _:
                raise DecodeError("unknown-kind", f"kind {kind}")

    def _announce(self, envelope: Envelope, written: Fields) -> Announce:
        record = self.open(payloads.announce_record(written), verify=True)
        said = (record.node, record.incarnation, record.boot_id)
        if said != (envelope.sender, envelope.incarnation, envelope.boot_id):
            raise malformed("an announce of another's record")
        return Announce(record)

    def _open_relayed(self, raw: bytes) -> Record | None:
        """One record that we can't use, perhaps of an owner newer or with an older key than
        ours, must not cost us all the others of its reply."""
        try:
            return self.open(raw, verify=True)
        except DecodeError as error:
            self.skipped[error.reason] += 1
            return None


_KINDS = frozenset(range(payloads.HEARTBEAT, payloads.SHARD_REQUEST + 1))


def _envelope(content: list[object]) -> Envelope:
    _, sender, incarnation, boot_id, counter, to, *_ = content
    # One condition on the common path: every message passes here.
    if (
        type(incarnation) is int
        and 1 <= incarnation <= INCARNATION_MAX
        and type(boot_id) is bytes
        and len(boot_id) == BOOT_ID_SIZE
    ):
        return Envelope(
            fields.label(sender, "sender"),
            incarnation,
            boot_id,
            fields.integer(counter, 1, COUNT_MAX, "counter"),
            to if to == "" else fields.label(to, "to"),
        )
    raise malformed("envelope")
