"""All routes as one application, and what happens around every request."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from time import perf_counter

from aiohttp import web

from beacond.core.local import RequestError
from beacond.http import problems
from beacond.http.front import LOOKUP, Front
from beacond.http.guard import WRITING, Writes, check_write
from beacond.http.problems import HttpProblem
from beacond.http.reading import BODY_MAX
from beacond.http.replies import ROUTE
from beacond.http.waits import InFlight
from beacond.metrics import OTHER, Metrics
from beacond.spec.problems import SpecError

PATH_SHOWN_MAX = 200
OK = 200
HUNG_UP = 499
"""The metrics' status of a request whose caller did not wait for its answer."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def build_app(
    routes: Iterable[web.RouteDef],
    *,
    metrics: Metrics,
    writes: Writes,
    own_names: Callable[[], frozenset[str]],
    in_flight: InFlight,
    front: Front,
) -> web.Application:
    """`own_names`: the host names that mean this agent, for `guard.check_write`."""

    @web.middleware
    async def around(request: web.Request, handler: Handler) -> web.StreamResponse:
        # uvloop's own time counts whole milliseconds.
        started_at, status = perf_counter(), 500
        try:
            if request.method in WRITING:
                check_write(request, writes=writes, own_names=own_names())
            with in_flight.one():
                response = await _answered(request, handler)
            status = response.status
            if LOOKUP in request and status == OK:
                front.learn(request, metrics.http_observer(request.method, _route(request), status))
            return response
        except HttpProblem as problem:
            status = problem.status
            return problems.response(problem)
        except asyncio.CancelledError:
            status = HUNG_UP
            raise
        finally:
            took_s = perf_counter() - started_at
            metrics.http_request(request.method, _route(request), status, took_s)

    app = web.Application(middlewares=[around], client_max_size=BODY_MAX)
    app.add_routes(routes)
    return app


async def _answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The handler's answer; raises HttpProblem for every refusal."""
    try:
        return await handler(request)
    except SpecError as error:
        raise problems.of_spec_error(error) from None
    except RequestError as error:
        raise problems.of_request_error(error) from None
    except web.HTTPException as error:
        raise problems.of_aiohttp(error, request.rel_url.raw_path[:PATH_SHOWN_MAX]) from None


def _route(request: web.Request) -> str:
    resource = request.match_info.route.resource
    by_path = resource.canonical if resource is not None else OTHER
    route: str = request.get(ROUTE, by_path)
    return route
