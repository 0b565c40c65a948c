"""What a file holds, read strictly into the dataclasses that were written to it.

No conversions but those that JSON and msgpack make necessary: a list becomes a tuple, a whole
number a float, a word its enumeration. Fields that nobody knows are passed over: a newer agent
wrote them. By hand, because an agent that starts needs nothing else of pydantic, and loading that
takes a tenth of a second.
"""

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import StrEnum
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")


class ShapeError(ValueError):
    """The message says where, as `spec.checks.0.type`, and what is wrong there."""


def read(kind: type[T], value: object) -> T:
    """`value`, as json or msgpack gave it, as `kind`: a dataclass of text, bytes, numbers, word
    enumerations, tuples, mappings by text, and dataclasses. Raises ShapeError."""
    found: T = _read(kind, value, "")
    return found


def _read(kind: Any, value: object, where: str) -> Any:
    if kind in _NAMES:
        return _plain(kind, value, where)
    origin = get_origin(kind)
    if origin is tuple:
        return _tuple(get_args(kind), value, where)
    if origin is UnionType:
        return _optional(get_args(kind), value, where)
    if origin is Mapping:
        return _mapping(get_args(kind)[1], value, where)
    if is_dataclass(kind):
        return _dataclass(kind, value, where)
    return _word(kind, value, where)


def _dataclass(kind: Any, value: object, where: str) -> Any:
    if type(value) is not dict:
        raise _wrong(where, "not an object")
    found = {}
    for name, (field_kind, needed) in _fields(kind).items():
        if name in value:
            found[name] = _read(field_kind, value[name], _inside(where, name))
        elif needed:
            raise _wrong(_inside(where, name), "is required")
    return kind(**found)


@cache
def _fields(kind: Any) -> dict[str, tuple[Any, bool]]:
    """Of a dataclass: the kind of each field, and whether it has no default."""
    kinds = get_type_hints(kind)
    return {each.name: (kinds[each.name], each.default is MISSING) for each in fields(kind)}


def _tuple(kinds: tuple[Any, ...], value: object, where: str) -> tuple[Any, ...]:
    if type(value) is not list:
        raise _wrong(where, "not a list")
    if kinds[-1] is Ellipsis:
        kinds = kinds[:1] * len(value)
    if len(value) != len(kinds):
        raise _wrong(where, f"{len(value)} entries, not {len(kinds)}")
    pairs = enumerate(zip(kinds, value, strict=True))
    return tuple([_read(kind, each, _inside(where, number)) for number, (kind, each) in pairs])


def _optional(kinds: tuple[Any, ...], value: object, where: str) -> Any:
    [kind] = [each for each in kinds if each is not NoneType]
    return None if value is None else _read(kind, value, where)


def _mapping(kind: Any, value: object, where: str) -> dict[str, Any]:
    if type(value) is not dict:
        raise _wrong(where, "not an object")
    return {
        _plain(str, key, where): _read(kind, each, _inside(where, key))
        for key, each in value.items()
    }


def _plain(kind: type, value: object, where: str) -> Any:
    if kind is float and type(value) is int:
        try:
            return float(value)
        except OverflowError:
            raise _wrong(where, "too large") from None
    if type(value) is not kind:
        raise _wrong(where, f"not {_NAMES[kind]}")
    if type(value) is str:
        try:
            value.encode()  # JSON can spell half a surrogate pair, which no answer could carry
        except UnicodeEncodeError:
            raise _wrong(where, "not Unicode text") from None
    return value


def _word(kind: type[StrEnum], value: object, where: str) -> StrEnum:
    text = _plain(str, value, where)
    try:
        return kind(text)
    except ValueError:
        raise _wrong(where, "not one of those known") from None


_NAMES = {str: "text", bytes: "bytes", int: "a whole number", float: "a number"}


def _inside(where: str, part: object) -> str:
    return f"{where}.{part}" if where else f"{part}"


def _wrong(where: str, what: str) -> ShapeError:
    return ShapeError(f"{where or 'entry'}: {what}")
