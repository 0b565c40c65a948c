"""What a request says, read with limits: its body, its query, the names in its path."""

import asyncio
import json
import re
from collections.abc import Collection
from typing import NoReturn

from aiohttp import web
from aiohttp.web_protocol import RequestPayloadError

from beacond.core import names
from beacond.http.problems import HttpProblem, of_spec_error, refuse
from beacond.spec.durations import format_duration, parse_duration
from beacond.spec.problems import Problem, SpecError, field_path

BODY_MAX = 64 * 1024
"""Bytes of a body, after any content encoding."""
BODY_TIMEOUT_S = 10.0
PARAMETERS_MAX = 64
"""Of one request: what is asked for is matched against every instance."""

_DIGITS = re.compile(r"[0-9]{1,20}")


async def read_json(request: web.Request) -> object:
    """The body, whatever its Content-Type. Raises HttpProblem (400, 408) and what aiohttp
    raises for too large a body (413)."""
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            body = await request.read()
    except TimeoutError:
        raise HttpProblem(408, f"the body did not come within {BODY_TIMEOUT_S:.0f} s") from None
    except RequestPayloadError:
        raise HttpProblem(400, "the body can't be read: its encoding is broken") from None
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_no_such_constant)
    except RecursionError:
        raise HttpProblem(400, "the body is nested too deeply") from None
    except ValueError as error:
        # Also a UnicodeDecodeError, and a number of more digits than Python converts.
        raise HttpProblem(400, f"the body is not JSON: {error}") from None


def _no_such_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def service_name(request: web.Request) -> str:
    """`{name}` of the path, lower-cased; 422 for what no service can be called."""
    name = request.match_info["name"].lower()
    if not names.is_label(name):
        refuse("name", f"a service's name is {names.LABEL_RULE}")
    return name


class Query:
    """The parameters of a request. Read what is known, then `finish`, which refuses the rest:
    a filter that is misspelt must not answer as if there were none."""

    def __init__(self, request: web.Request) -> None:
        self._given: dict[str, list[str]] = {}
        self._problems: list[Problem] = []
        if not request.query_string:
            return
        for name, value in request.query.items():
            self._given.setdefault(name, []).append(value)
        if len(request.query) > PARAMETERS_MAX:
            refuse("query", f"has more than {PARAMETERS_MAX} parameters")

    def many(self, name: str) -> list[str]:
        return self._given.pop(name, [])

    def one(self, name: str) -> str | None:
        values = self.many(name)
        if len(values) > 1:
            self.problem(name, "is given more than once")
        return values[0] if values else None

    def choice(self, name: str, choices: Collection[str], default: str) -> str:
        value = self.one(name)
        if value is None:
            return default
        if value not in choices:
            self.problem(name, f"must be {' or '.join(choices)}")
        return value

    def integer(self, name: str, least: int, most: int) -> int | None:
        text = self.one(name)
        if text is None:
            return None
        value = int(text) if _DIGITS.fullmatch(text) else -1
        if not least <= value <= most:
            self.problem(name, f"must be a whole number from {least} to {most}")
        return value

    def duration(self, name: str, *, default_s: float, most_s: float) -> float:
        """Seconds; what is longer than `most_s` is as long as that."""
        text = self.one(name)
        if text is None:
            return default_s
        try:
            return min(parse_duration(text), most_s)
        except ValueError as error:
            self.problem(name, f"{error} (here at most {format_duration(most_s)} counts)")
            return default_s

    def prefixed(self, prefix: str) -> list[tuple[str, str]]:
        """Every `prefixKEY=value` as (KEY, value)."""
        found = [name for name in self._given if name.startswith(prefix)]
        return [(name[len(prefix) :], value) for name in found for value in self.many(name)]

    def problem(self, name: str, message: str) -> None:
        self._problems.append(Problem(field_path((name,)), message))

    def finish(self) -> None:
        """Raises HttpProblem 422 naming every parameter that is unknown or wrong."""
        for name in self._given:
            self.problem(name, "is not a parameter here")
        if self._problems:
            raise of_spec_error(SpecError(self._problems))
