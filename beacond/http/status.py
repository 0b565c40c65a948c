"""The agent itself: who it is, whom it knows, whether it is well; and what describes this API."""

from pathlib import Path

from aiohttp import web

from beacond.driver import Driver
from beacond.http import render
from beacond.http.problems import HttpProblem
from beacond.http.reading import Query
from beacond.http.replies import Replies
from beacond.metrics import Metrics

DESCRIPTION = Path(__file__).with_name("openapi.json")


class StatusRoutes:
    def __init__(self, driver: Driver, replies: Replies, metrics: Metrics) -> None:
        self._driver = driver
        self._replies = replies
        self._metrics = metrics
        self._description = DESCRIPTION.read_bytes()

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/v1/agents", self.agents),
            web.get("/v1/status", self.status),
            web.post("/v1/leave", self.leave),
            web.get("/healthz", self.healthz),
            web.get("/readyz", self.readyz),
            web.get("/metrics", self.metrics),
            web.get("/openapi.json", self.openapi),
        ]

    async def agents(self, request: web.Request) -> web.Response:
        Query(request).finish()
        known = self._driver.view.agents.values()
        return self._json(
            render.agents((each, self._driver.last_heard(each.node)) for each in known)
        )

    async def status(self, request: web.Request) -> web.Response:
        Query(request).finish()
        status, view = self._driver.status(), self._driver.view
        counts = {
            "agents": len(view.agents),
            "services": len(view.services),
            "instances": sum(len(each.instances) for each in view.services.values()),
            "local_instances": len(self._driver.local_instances()),
        }
        uptime_s = self._driver.now_unix() - status.started_at
        return self._json(render.status(status, uptime_s=uptime_s, counts=counts))

    async def leave(self, request: web.Request) -> web.Response:
        Query(request).finish()
        await self._driver.leave()
        return self._json({"leaving": self._driver.status().node}, status=202)

    async def healthz(self, _request: web.Request) -> web.Response:
        return self._json({"status": "ok"})

    async def readyz(self, _request: web.Request) -> web.Response:
        """Ready with the first view; stays so while blind: a stale answer beats none."""
        status = self._driver.status()
        if not status.ready:
            raise HttpProblem(503, f"not ready: {status.ready_reason}")
        return self._json({"status": "ready"})

    async def metrics(self, request: web.Request) -> web.Response:
        body, content_type = self._metrics.exposition(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def openapi(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._description, content_type="application/json")

    def _json(self, value: render.Json, *, status: int = 200) -> web.Response:
        return self._replies.read(render.to_json(value) + b"\n", status=status)
