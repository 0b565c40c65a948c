"""What is wrong with something a user wrote: every problem, by field, in plain words."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

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


_Model = TypeVar("_Model", bound=BaseModel)


def validate(model: type[_Model], data: object) -> _Model:
    """`data` as `model`; raises SpecError."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        raise SpecError(_problem(detail) for detail in details[:PROBLEMS_MAX]) from None


def _problem(detail: Any) -> Problem:
    kind: str = detail["type"]
    context: dict[str, Any] = detail.get("ctx", {})
    field = field_path(detail["loc"])
    match kind:
        case "union_tag_invalid":
            return Problem(_join(field, "type"), f"must be one of {context['expected_tags']}")
        case "union_tag_not_found":
            return Problem(_join(field, "type"), "is required")
        case "value_error":
            return Problem(field, str(context["error"]))
        case "literal_error":
            return Problem(field, f"must be {context['expected']}")
        case "greater_than_equal":
            return Problem(field, f"must be at least {context['ge']}")
        case "less_than_equal":
            return Problem(field, f"must be at most {context['le']}")
        case "too_long":
            return Problem(field, f"must have at most {context['max_length']} entries")
        case "too_short":
            return Problem(field, f"must have at least {context['min_length']} entries")
    return Problem(field, _PLAIN.get(kind, detail["msg"]))


_PLAIN = {
    "missing": "is required",
    "extra_forbidden": "is not a known field here",
    "string_type": "must be a string",
    "int_type": "must be a whole number",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "string_unicode": "must be valid Unicode text",
}

_UNION_TAGS = frozenset({"http", "tcp", "ttl", "exec"})


def field_path(location: Iterable[int | str]) -> str:
    """A pydantic location as users write it, without the marks pydantic adds."""
    path = ""
    previous: int | str = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif not (part == "[key]" or (isinstance(previous, int) and part in _UNION_TAGS)):
            path = _join(path, part)
        previous = part
    printable = path.encode("utf-8", "backslashreplace").decode("utf-8")
    return printable if len(printable) <= FIELD_MAX else printable[: FIELD_MAX - 1] + "…"


def _join(path: str, part: str) -> str:
    return f"{path}.{part}" if path else part
