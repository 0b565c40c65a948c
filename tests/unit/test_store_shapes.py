"""Reading what a file holds: right types in the right places, or where they are not."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pytest

from beacond.store.shapes import ShapeError, read


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True, slots=True)
class Inner:
    colour: Colour
    pair: tuple[str, int]


@dataclass(frozen=True, slots=True)
class Outer:
    name: str
    many: tuple[Inner, ...] = ()
    until: float | None = None
    data: bytes = b""
    words: Mapping[str, int] | None = None


INNER: dict[str, Any] = {"colour": "red", "pair": ["a", 1]}


def test_everything_in_its_place_is_read() -> None:
    written = {"name": "n", "many": [INNER], "until": 5, "data": b"x", "words": {"a": 1}}
    found = read(Outer, written)
    assert found == Outer("n", (Inner(Colour.RED, ("a", 1)),), 5.0, b"x", {"a": 1})
    assert type(found.until) is float


def test_defaults_take_the_place_of_what_is_absent_and_the_unknown_is_passed_over() -> None:
    assert read(Outer, {"name": "n", "new": {"deep": []}}) == Outer("n")


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ([], "entry: not an object"),
        ({}, "name: is required"),
        ({"name": 5}, "name: not text"),
        ({"name": None}, "name: not text"),
        ({"name": "\ud800"}, "name: not Unicode text"),
        ({"name": "n", "many": {}}, "many: not a list"),
        ({"name": "n", "many": "text"}, "many: not a list"),
        ({"name": "n", "many": [INNER, 5]}, "many.1: not an object"),
        ({"name": "n", "many": [INNER | {"colour": "blue"}]}, "many.0.colour: not one of those"),
        ({"name": "n", "many": [INNER | {"colour": 1}]}, "many.0.colour: not text"),
        ({"name": "n", "many": [INNER | {"pair": ["a"]}]}, "many.0.pair: 1 entries, not 2"),
        ({"name": "n", "many": [INNER | {"pair": ["a", True]}]}, "many.0.pair.1: not a whole"),
        ({"name": "n", "many": [INNER | {"pair": ["a", 1.0]}]}, "many.0.pair.1: not a whole"),
        ({"name": "n", "until": "5"}, "until: not a number"),
        ({"name": "n", "until": False}, "until: not a number"),
        ({"name": "n", "until": 10**400}, "until: too large"),
        ({"name": "n", "data": "text"}, "data: not bytes"),
        ({"name": "n", "words": [1]}, "words: not an object"),
        ({"name": "n", "words": {"a": "b"}}, "words.a: not a whole number"),
        ({"name": "n", "words": {1: 1}}, "words: not text"),
    ],
)
def test_what_is_out_of_place_is_told_with_its_place(written: object, told: str) -> None:
    with pytest.raises(ShapeError, match=told):
        read(Outer, written)
