"""Frames and records made by hand: what no agent would send can be had from here too."""

import hmac
from collections.abc import Sequence
from typing import Any

import msgpack

FLEET, NODE = "default", "web-a"
VERSION = b"\x01\x02"
"""Major and minor."""
KEYS = {
    "old": b"a key that is going to be dropped",
    "new": b"the key that signs, 32 bytes big",
    "foreign": b"a key of some other fleet's agent",
}
BOOT = bytes(range(16))
HEARTBEAT_FIELDS = {
    "seq": 41,
    "ver": 7,
    "dig": b"\x01\x23\x45\x67\x89\xab\xcd\xef",
    "ser": 1,
    "at": 205_000,
    "next": 5_000,
    "ttl": 15_000,
}


def sealed(magic: bytes, content: bytes, key: str = "", head: bytes = VERSION) -> bytes:
    """Header, content and (with a key's name) tag."""
    if not key:
        return magic + head + b"\0" + bytes(4) + content
    secret = KEYS[key]
    key_id = hmac.digest(secret, b"beacond key id", "sha256")[:4]
    signed = magic + head + b"\x01" + key_id + content
    return signed + hmac.digest(secret, signed, "sha256")[:16]


def frame(
    kind: Any = 1,
    payload: Any = None,
    *,
    more: Sequence[Any] = (),
    key: str = "",
    head: bytes = VERSION,
    **changed: Any,
) -> bytes:
    values = {
        "fleet": FLEET,
        "sender": "web-b",
        "incarnation": 3,
        "boot": BOOT,
        "counter": 12,
        "to": "",
    } | changed
    payload = HEARTBEAT_FIELDS if payload is None else payload
    content = msgpack.packb([*values.values(), kind, payload, *more])
    return sealed(b"B", content, key, head)


def raw_record(
    body: Any = None, *, more: Sequence[Any] = (), key: str = "", **changed: Any
) -> bytes:
    values = {"fleet": FLEET, "node": "web-b", "incarnation": 3, "boot": BOOT, "version": 1}
    body = {"addrs": ["127.0.0.1"]} if body is None else body
    content = msgpack.packb([*(values | changed).values(), body, *more])
    return sealed(b"R", content, key)
