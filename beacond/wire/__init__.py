"""Messages ⇄ bytes: encoding, every size limit, and authentication. `proto/` is normative."""

from beacond.wire.codec import Codec
from beacond.wire.errors import DecodeError, EncodeError
from beacond.wire.keyring import Keyring, KeyringError
from beacond.wire.limits import FRAME_MAX, MESSAGE_MAX, RECORD_MAX

__all__ = [
    "FRAME_MAX",
    "MESSAGE_MAX",
    "RECORD_MAX",
    "Codec",
    "DecodeError",
    "EncodeError",
    "Keyring",
    "KeyringError",
]
