"""What this host offers: register, look, report health, change mode, take back."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar
from urllib.parse import quote

from aiohttp import web

from beacond.core.local import LocalInstance
from beacond.driver import Driver
from beacond.http import render
from beacond.http.reading import Query, read_json
from beacond.http.replies import Replies

# `beacond.spec.registration` is imported by the calls that need it: reads are answered 0.1 s
# earlier after a start, before pydantic is loaded.

ORIGINS = ("http", "run")
"""Who may register over HTTP: programs and people, and `beacond run`."""

_Result = TypeVar("_Result")


class InstanceRoutes:
    def __init__(self, driver: Driver, replies: Replies) -> None:
        self._driver = driver
        self._replies = replies
        self._writing: set[asyncio.Task[Any]] = set()

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/v1/instances", self.list),
            web.get("/v1/instances/{id}", self.get),
            web.put("/v1/instances/{id}", self.put),
            web.delete("/v1/instances/{id}", self.delete),
            web.put("/v1/instances/{id}/health", self.put_health),
            web.put("/v1/instances/{id}/mode", self.put_mode),
            web.put("/v1/mode", self.put_mode),
        ]

    async def list(self, request: web.Request) -> web.Response:
        Query(request).finish()
        listed = [render.local_instance(each) for each in self._driver.local_instances()]
        return self._json({"instances": listed})

    async def get(self, request: web.Request) -> web.Response:
        Query(request).finish()
        return self._instance(self._driver.local_instance(request.match_info["id"]))

    async def put(self, request: web.Request) -> web.Response:
        from beacond.spec.registration import parse_registration

        origin = _origin(request)
        spec = parse_registration(
            request.match_info["id"],
            await read_json(request),
            default_address=self._driver.status().addresses[0],
        )
        instance, new = await self._whole(self._driver.register(spec, origin))
        response = self._instance(instance, status=201 if new else 200)
        if new:
            response.headers["Location"] = f"/v1/instances/{quote(spec.id, safe='')}"
        return response

    async def delete(self, request: web.Request) -> web.Response:
        origin = _origin(request)
        await self._whole(self._driver.deregister(request.match_info["id"], origin))
        return web.Response(status=204)

    async def put_health(self, request: web.Request) -> web.Response:
        from beacond.spec.registration import parse_health

        Query(request).finish()
        report = parse_health(await read_json(request))
        instance = self._driver.set_health(
            request.match_info["id"], report.status, report.output, report.check
        )
        return self._instance(instance)

    async def put_mode(self, request: web.Request) -> web.Response:
        """Of the instance in the path, or, where there is none, of the whole host."""
        from beacond.spec.registration import parse_mode

        Query(request).finish()
        asked = parse_mode(await read_json(request))
        state = await self._whole(
            self._driver.set_mode(
                request.match_info.get("id"), asked.mode, asked.for_s, asked.reason
            )
        )
        return self._json(render.mode(state))

    def _instance(self, instance: LocalInstance, *, status: int = 200) -> web.Response:
        return self._json(render.local_instance(instance), status=status)

    def _json(self, value: render.Json, *, status: int = 200) -> web.Response:
        return self._replies.read(render.to_json(value) + b"\n", status=status)

    async def _whole(self, write: Coroutine[Any, Any, _Result]) -> _Result:
        """Finish a write even where its caller hangs up in the middle."""
        task = asyncio.create_task(write)
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)
        return await asyncio.shield(task)


def _origin(request: web.Request) -> str:
    query = Query(request)
    origin = query.choice("origin", ORIGINS, "http")
    query.finish()
    return origin
