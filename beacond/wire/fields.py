"""Taking fields out of a map that came from outside: the right type and in range, or malformed."""

from collections.abc import Callable
from typing import Any

import msgpack

from beacond.core import names
from beacond.wire.errors import DecodeError
from beacond.wire.limits import BOOT_ID_SIZE, COUNT_MAX, INCARNATION_MAX

Fields = dict[Any, Any]


def pack(value: object) -> bytes:
    """Raises ValueError for what has no encoding (an integer beyond 64 bits, a lone surrogate)."""
    try:
        packed: bytes = msgpack.packb(value)
    except OverflowError as error:
        raise ValueError(str(error)) from error
    return packed


def unpack(data: bytes) -> Any:
    """One value and nothing after it. Map keys are text or bytes, text is UTF-8."""
    try:
        return msgpack.unpackb(data)
    except (ValueError, msgpack.UnpackException) as error:
        raise DecodeError("malformed", f"not msgpack: {type(error).__name__}") from error


def malformed(what: str) -> DecodeError:
    return DecodeError("malformed", what)


def mapping(value: object, what: str) -> Fields:
    if type(value) is dict:
        return value
    raise malformed(f"{what} is no map")


def array(value: object, low: int, high: int, what: str) -> list[Any]:
    if type(value) is list and low <= len(value) <= high:
        return value
    raise malformed(f"{what} is no array of {low} to {high}")


def integer(value: object, low: int, high: int, what: str) -> int:
    # Not isinstance(): true and false are no numbers here.
    if type(value) is int and low <= value <= high:
        return value
    raise malformed(f"{what} is no integer from {low} to {high}")


def count(value: object, what: str) -> int:
    return integer(value, 1, COUNT_MAX, what)


def incarnation(value: object) -> int:
    return integer(value, 1, INCARNATION_MAX, "incarnation")


def binary(value: object, size: int, what: str) -> bytes:
    if type(value) is bytes and len(value) == size:
        return value
    raise malformed(f"{what} is not {size} bytes")


def boot_id(value: object) -> bytes:
    return binary(value, BOOT_ID_SIZE, "boot id")


def text(value: object, check: Callable[[str], bool], what: str) -> str:
    if type(value) is str and check(value):
        return value
    raise malformed(f"{what} is not what it may be")


def label(value: object, what: str) -> str:
    return text(value, names.is_label, what)


def label_or_empty(value: object, what: str) -> str:
    return "" if value == "" else label(value, what)
