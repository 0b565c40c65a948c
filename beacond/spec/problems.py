"""What is wrong with something a user wrote: every problem, by field, in plain words."""

from collections.abc import Iterable
from dataclasses import dataclass

PROBLEMS_MAX = 20
"""Told at once; whoever mends these is told the next ones."""
FIELD_MAX = 120
"""Characters of a field's name in a problem: unknown names come from the caller."""


@dataclass(frozen=True, slots=True)
class Problem:
    """`field` is a path like `checks[0].interval`; empty: the whole."""

    field: str
    message: str


class SpecError(ValueError):
    """What was written is not what is asked for; nothing was changed."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)[:PROBLEMS_MAX]
        super().__init__("; ".join(f"{p.field or 'it'}: {p.message}" for p in self.problems))


_UNION_TAGS = frozenset({"http", "tcp", "ttl", "exec"})


def field_path(location: Iterable[int | str]) -> str:
    """A pydantic location as users write it, without the marks pydantic adds."""
    path = ""
    previous: int | str = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif not (part == "[key]" or (isinstance(previous, int) and part in _UNION_TAGS)):
            path = join(path, part)
        previous = part
    printable = path.encode("utf-8", "backslashreplace").decode("utf-8")
    return printable if len(printable) <= FIELD_MAX else printable[: FIELD_MAX - 1] + "…"


def join(path: str, part: str) -> str:
    return f"{path}.{part}" if path else part
