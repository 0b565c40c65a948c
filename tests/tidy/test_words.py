"""One word per thing, and nothing left for later."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

UNFINISHED = re.compile(r"\b(?:TODO|FIXME|XXX|HACK|NotImplementedError)\b")
INSTEAD = {
    r"quiesce\w*": "drain",
    r"panic mode|safe mode": "blind, or held",
    r"re-?sync(?:s|ed|ing)?\b": "sync",
    r"backends?\b": "instance",
    r"terms? number|generation number|epoch number": "incarnation",
    r"deleted flag": "tombstone",
}
"""Other projects' words → ours, wherever a reader could take them for a second thing."""


def wrong_words(text: str) -> Iterator[str]:
    for number, line in enumerate(text.splitlines(), 1):
        if found := UNFINISHED.search(line):
            yield f"{number}: {found[0]}"
        for pattern, ours in INSTEAD.items():
            if found := re.search(rf"\b{pattern}", line, re.IGNORECASE):
                yield f"{number}: {found[0]!r} is {ours!r} here"


def test_code_uses_our_words_and_leaves_nothing_for_later() -> None:
    paths = sorted((ROOT / "beacond").rglob("*.py"))
    assert paths
    found = [
        f"{path.relative_to(ROOT)}:{problem}"
        for path in paths
        for problem in wrong_words(path.read_text())
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "line",
    ["# TODO: later", "raise NotImplementedError", "# a full resync follows", "def quiesce(self):"],
)
def test_wrong_word_is_found(line: str) -> None:
    assert list(wrong_words(line))


def test_right_words_are_not_found() -> None:
    assert not list(wrong_words("return NotImplemented  # sync, then drain"))
