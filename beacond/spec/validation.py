"""Asking pydantic whether something is what a model wants, and telling its answer in our words."""

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from beacond.spec.problems import PROBLEMS_MAX, Problem, SpecError, field_path, join

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
            return Problem(join(field, "type"), f"must be one of {context['expected_tags']}")
        case "union_tag_not_found":
            return Problem(join(field, "type"), "is required")
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
