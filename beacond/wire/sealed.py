"""The outer layer of frames and records: header, content, tag.

    magic 1 | major 1 | minor 1 | auth 1 | key id 4 | content | tag 16 (where auth is 1)

The tag is HMAC-SHA256 over all before it, cut to 16 bytes. What a frame says and what a record
says can't be taken for one another: their magic differs, and is under the tag.
"""

import hmac

from beacond.wire.errors import DecodeError
from beacond.wire.keyring import Keyring

FRAME = ord("B")
RECORD = ord("R")
MAJOR = 1
MINOR = 2
HEADER_SIZE = 8
TAG_SIZE = 16

_UNSIGNED = 0
_HMAC_SHA256_128 = 1
_NO_KEY = bytes(4)


def seal(magic: int, content: bytes, keyring: Keyring | None) -> bytes:
    if keyring is None:
        return bytes((magic, MAJOR, MINOR, _UNSIGNED)) + _NO_KEY + content
    signed = bytes((magic, MAJOR, MINOR, _HMAC_SHA256_128)) + keyring.signing_id + content
    return signed + _tag(keyring.signing_key, signed)


def unseal(magic: int, data: bytes, keyring: Keyring | None) -> bytes:
    """The content, once the tag is found good. Without a keyring a tag is not looked at.

    The caller has checked the length; everything else about `data` is unknown.
    """
    if len(data) < HEADER_SIZE or data[0] != magic:
        raise DecodeError("malformed", "unknown first byte")
    if data[1] != MAJOR:
        raise DecodeError("wrong-version", f"protocol version {data[1]}")
    auth = data[3]
    if auth == _HMAC_SHA256_128:
        if len(data) < HEADER_SIZE + TAG_SIZE:
            raise DecodeError("malformed", "no room for a tag")
        if keyring is not None:
            _verify(data, keyring)
        return data[HEADER_SIZE:-TAG_SIZE]
    if auth != _UNSIGNED:
        raise DecodeError("wrong-version", f"authentication scheme {auth}")
    if keyring is not None:
        raise DecodeError("unsigned")
    return data[HEADER_SIZE:]


def _verify(data: bytes, keyring: Keyring) -> None:
    right = keyring.digest(data[4:HEADER_SIZE], data[:-TAG_SIZE])
    if right is None:
        raise DecodeError("bad-signature", "unknown key")
    if not hmac.compare_digest(right[:TAG_SIZE], data[-TAG_SIZE:]):
        raise DecodeError("bad-signature", "the tag does not fit")


def _tag(key: bytes, signed: bytes) -> bytes:
    return hmac.digest(key, signed, "sha256")[:TAG_SIZE]
