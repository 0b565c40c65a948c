"""Look-ups: which services there are, who runs one, and one of those."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import Random

from aiohttp import web

from beacond.core.view import InstanceView, Selection, select
from beacond.driver import Driver
from beacond.http import render
from beacond.http.front import LOOKUP
from beacond.http.problems import HttpProblem
from beacond.http.reading import Query, service_name
from beacond.http.replies import ROUTE, Kept, Replies
from beacond.http.waits import Waits

WAIT_DEFAULT_S = 300.0
WAIT_MAX_S = 600.0
LIMIT_MAX = 100_000
INDEX_ASKED_MAX = 2**64 - 1
"""Above any of ours, and then answered at once: what another system's client may still hold."""
BLOCKED_ROUTE = "/v1/services/{name}?index"
"""The metrics' route of what really waited, whose duration says nothing of us."""


@dataclass(frozen=True, slots=True)
class _Lookup:
    selection: Selection
    limit: int | None
    index: int | None
    wait_s: float


_PLAIN = _Lookup(Selection(), None, None, WAIT_DEFAULT_S)


class ServiceRoutes:
    def __init__(self, driver: Driver, replies: Replies, waits: Waits, random: Random) -> None:
        self._driver = driver
        self._replies = replies
        self._waits = waits
        self._random = random
        self._kept = Kept()

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/v1/services", self.services),
            web.get("/v1/services/{name}", self.lookup),
            web.get("/v1/services/{name}/pick", self.pick),
        ]

    async def services(self, request: web.Request) -> web.Response:
        Query(request).finish()
        view = self._driver.view
        body = self._kept.get(
            "services", view.index, lambda: render.to_json(render.services(view.services)) + b"\n"
        )
        return self._replies.read(body)

    async def lookup(self, request: web.Request) -> web.Response:
        name = service_name(request)
        asked = _read_lookup(request)
        if asked.index is None:
            request[LOOKUP] = _Question(self, name, asked)
        # An index above ours is from another life of this agent: its reader must start again.
        if asked.index is not None and asked.index == self._driver.view.index_of(name):
            request[ROUTE] = BLOCKED_ROUTE
            await self._changed(name, asked.index, asked.wait_s)
        return self._answer(name, asked)

    async def _changed(self, name: str, index: int, wait_s: float) -> None:
        """Wait for a change, the end of the time, or the server's stop; whoever asked gets the
        answer of that moment in any case."""
        with self._waits.place(), suppress(TimeoutError):
            async with asyncio.timeout(wait_s) as limit:

                def end() -> None:
                    if not limit.expired():
                        limit.reschedule(0)

                with self._waits.ended_by(end):
                    await self._driver.wait_index(name, index)

    def _answer(self, name: str, asked: _Lookup) -> web.Response:
        index, body = self.answer(name, asked)
        return self._replies.read(body, index=index)

    def stamp(self, name: str) -> tuple[int, float | None]:
        """Differs where an answer about this service may."""
        view = self._driver.view
        return view.index_of(name), view.sight.stale_since

    def answer(self, name: str, asked: _Lookup) -> tuple[int, bytes]:
        """The index, and the body."""
        view = self._driver.view
        index, stale_since = stamp = self.stamp(name)

        def rendered() -> bytes:
            found = select(view.instances_of(name), asked.selection)
            return (
                render.to_json(render.lookup(name, index, stale_since, found, asked.limit)) + b"\n"
            )

        return index, self._kept.get((name, asked.selection, asked.limit), stamp, rendered)

    async def pick(self, request: web.Request) -> web.Response:
        name = service_name(request)
        query = Query(request)
        selection = _read_selection(query)
        form = query.choice("format", ("json", "hostport"), "json")
        query.finish()
        view = self._driver.view
        found = select(view.instances_of(name), selection)
        if not found:
            raise HttpProblem(404, f"no instance of {name} matches")
        picked = pick_one(found, self._driver.status().zone, self._random)
        index = view.index_of(name)
        if form == "hostport":
            return self._replies.read(
                render.host_port(picked), index=index, content_type="text/plain; charset=utf-8"
            )
        return self._replies.read(render.to_json(render.instance(picked)) + b"\n", index=index)


class _Question:
    """A lookup that waits for nothing."""

    def __init__(self, routes: ServiceRoutes, name: str, asked: _Lookup) -> None:
        self._routes = routes
        self._name = name
        self._asked = asked

    def stamp(self) -> tuple[int, float | None]:
        return self._routes.stamp(self._name)

    def answer(self) -> tuple[int, bytes]:
        return self._routes.answer(self._name, self._asked)


def pick_one(found: Sequence[InstanceView], own_zone: str, random: Random) -> InstanceView:
    """Weighted random among those of `own_zone`, else among all. Weight 0 is never picked, unless
    nothing else is there. `found` is not empty."""
    near = [each for each in found if own_zone and each.zone == own_zone] or list(found)
    weights = [each.weight for each in near]
    return random.choices(near, weights if any(weights) else None)[0]


def _read_selection(query: Query) -> Selection:
    return Selection(
        tags=tuple(sorted(set(query.many("tag")))),
        zone=query.one("zone"),
        meta=tuple(sorted(set(query.prefixed("meta.")))),
        any_health=query.choice("health", ("passing", "any"), "passing") == "any",
    )


def _read_lookup(request: web.Request) -> _Lookup:
    if not request.query_string:
        return _PLAIN
    query = Query(request)
    asked = _Lookup(
        selection=_read_selection(query),
        limit=query.integer("limit", 1, LIMIT_MAX),
        index=query.integer("index", 0, INDEX_ASKED_MAX),
        wait_s=query.duration("wait", default_s=WAIT_DEFAULT_S, most_s=WAIT_MAX_S),
    )
    query.finish()
    return asked
