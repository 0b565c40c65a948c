"""Errors as RFC 9457 problem details, and what each refusal is in HTTP."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import NoReturn

from aiohttp import web

from beacond.core.local import (
    LimitReached,
    NoSuchCheck,
    NotPersisted,
    OwnedElsewhere,
    RequestError,
    UnknownInstance,
)
from beacond.http.render import to_json
from beacond.spec.problems import Problem, SpecError

CONTENT_TYPE = "application/problem+json"

_STATUS_OF: dict[type[RequestError], int] = {
    UnknownInstance: 404,
    OwnedElsewhere: 409,
    NoSuchCheck: 409,
    LimitReached: 503,
    NotPersisted: 503,
}


class HttpProblem(Exception):
    """An answer that is an error; the middleware turns it into a response."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        errors: Sequence[Problem] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = errors
        self.headers = headers or {}


def of_request_error(error: RequestError) -> HttpProblem:
    return HttpProblem(_STATUS_OF.get(type(error), 409), str(error))


def of_spec_error(error: SpecError) -> HttpProblem:
    return HttpProblem(422, str(error), errors=error.problems)


def of_aiohttp(error: web.HTTPException, path: str) -> HttpProblem:
    """What aiohttp's own router and body reader refuse."""
    match error:
        case web.HTTPMethodNotAllowed():
            allow = ", ".join(sorted(error.allowed_methods))
            return HttpProblem(
                405, f"{error.method} is not allowed here, only {allow}", headers={"Allow": allow}
            )
        case web.HTTPNotFound():
            return HttpProblem(404, f"there is nothing at {path}")
        case web.HTTPRequestEntityTooLarge():
            return HttpProblem(413, "the body is larger than this server reads")
    return HttpProblem(error.status, error.reason)


def response(problem: HttpProblem) -> web.Response:
    body: dict[str, object] = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
    }
    if problem.errors:
        body["errors"] = [{"field": e.field, "message": e.message} for e in problem.errors]
    return web.Response(
        status=problem.status,
        body=to_json(body) + b"\n",
        headers={"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store", **problem.headers},
    )


def refuse(field: str, message: str) -> NoReturn:
    """422 for one field."""
    raise of_spec_error(SpecError([Problem(field, message)]))
