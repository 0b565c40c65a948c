"""The event log: as a page of JSON, and as a stream that loses nothing and says where it must.

A stream begins with what its reader missed, or with a `reset`: the whole state, under the id from
which the events after it go on. See docs/events.md.
"""

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from aiohttp import web

from beacond.core import names
from beacond.core.events import Event, Kind
from beacond.core.view import ServiceView
from beacond.driver import Driver
from beacond.http import render
from beacond.http.reading import Query
from beacond.http.replies import ROUTE, Kept, Replies
from beacond.http.streams import Format, ReaderTooSlow, StreamWriter, format_of
from beacond.http.waits import Waits
from beacond.readers import EventStream

log = logging.getLogger("beacond.http")

KEEP_ALIVE_S = 15.0
QUEUE_MAX = 1024
"""Events a reader may be behind before it is closed."""
PAGE_MAX = 1000
"""Events in one page of JSON."""
BATCH = 100
"""Missed events rendered and sent at once, between which others get their turn."""
KINDS = frozenset(kind.value for kind in Kind)
STREAM_ROUTE = "/v1/events?stream"
"""The metrics' route of streams, whose duration says nothing of us."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events a reader asked for. Empty means every one.

    With services, only what is about their instances.
    """

    services: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()

    def matches(self, event: Event) -> bool:
        if self.kinds and event.kind not in self.kinds:
            return False
        if not self.services:
            return True
        return event.instance is not None and event.instance.service in self.services

    def tells_of(self, family: str) -> bool:
        """Whether events of this family (`instance.`, `agent.`) can be among those asked for."""
        if self.services and family != "instance.":
            return False
        return not self.kinds or any(kind.startswith(family) for kind in self.kinds)


class EventRoutes:
    def __init__(self, driver: Driver, replies: Replies, streams: Waits) -> None:
        self._driver = driver
        self._replies = replies
        self._streams = streams
        self._kept = Kept()

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/v1/events", self.events)]

    async def events(self, request: web.Request) -> web.StreamResponse:
        wanted, since = _read(request)
        form = format_of(request.headers.get("Accept", ""))
        if form is None:
            return self._page(wanted, since)
        request[ROUTE] = STREAM_ROUTE
        writer = StreamWriter(request, form, self._replies.heads())
        if request.method == "HEAD":
            return await writer.open()
        # Subscribed before the log is read: an event is in the log, or comes live, or both.
        with self._streams.place(), self._driver.events(QUEUE_MAX) as live:
            last_seq = self._driver.log.last_seq
            missed = self._beginning(wanted, since, form)
            response = await writer.open()
            try:
                await writer.send(form.opening)
                while batch := b"".join(islice(missed, BATCH)):
                    await writer.send(batch)
                with self._streams.ended_by(live.end):
                    await self._follow(writer, live, last_seq, wanted, form)
                await writer.close()
            except (ReaderTooSlow, ConnectionError) as error:
                log.info(
                    "event stream cut",
                    extra={"peer": request.remote, "cause": type(error).__name__},
                )
        return response

    async def _follow(
        self,
        writer: StreamWriter,
        live: EventStream,
        last_seq: int,
        wanted: Wanted,
        form: Format,
    ) -> None:
        """Until the reader is gone or too far behind, or the server stops."""
        now = asyncio.get_running_loop().time
        keep_alive_at = now() + KEEP_ALIVE_S
        while True:
            try:
                async with asyncio.timeout_at(keep_alive_at):
                    batch = await live.batch()
            except TimeoutError:
                batch, told = [], form.keep_alive
            else:
                if not batch:
                    return
                mine = (e for e in batch if e.seq > last_seq and wanted.matches(e))
                told = b"".join([self._framed(event, form) for event in mine])
            # What this reader did not ask for does not tell it that the stream lives.
            if told:
                await writer.send(told)
                keep_alive_at = now() + KEEP_ALIVE_S

    def _page(self, wanted: Wanted, since: str) -> web.Response:
        """The oldest events after `since`; without one, or where it can't be told from there, the
        newest there are."""
        events = self._driver.log
        missed = events.since(since) if since else None
        upto = events.last_id
        if missed is None:
            newest = filter(wanted.matches, reversed(events.retained()))
            told = list(islice(newest, PAGE_MAX))[::-1]
        else:
            told = list(islice(filter(wanted.matches, missed), PAGE_MAX))
            if len(told) == PAGE_MAX:
                upto = events.id_of(told[-1])
        body = b",".join(self._json(event) for event in told)
        tail = render.to_json({"next": upto, "gap": bool(since) and missed is None})
        return self._replies.read(b'{"events":[' + body + b"]," + tail[1:] + b"\n")

    def _beginning(self, wanted: Wanted, since: str, form: Format) -> Iterator[bytes]:
        """What a reader who saw everything up to `since` missed."""
        events = self._driver.log
        missed = events.since(since) if since else None
        if missed is None:
            return iter((form.frame(events.last_id, "reset", self._reset(wanted)),))
        return (self._framed(event, form) for event in missed if wanted.matches(event))

    def _reset(self, wanted: Wanted) -> bytes:
        """The whole state, as far as the events that follow would keep it current."""
        view = self._driver.view
        services = sorted(wanted.services or view.services) if wanted.tells_of("instance.") else []
        agents = sorted(view.agents) if wanted.tells_of("agent.") else []
        head = render.to_json(
            {
                "id": self._driver.log.last_id,
                "time": render.rfc3339(self._driver.now_unix()),
                "kind": "reset",
                "reason": "",
                "stale_since": render.rfc3339_or_none(view.sight.stale_since),
                "agents": [render.agent(view.agents[node]) for node in agents],
            }
        )
        body = b",".join(
            self._service(view.services[name]) for name in services if name in view.services
        )
        return head[:-1] + b',"services":[' + body + b"]}"

    def _service(self, service: ServiceView) -> bytes:
        return self._kept.get(
            ("service", service.name),
            service.index,
            lambda: render.to_json(render.service(service)),
        )

    def _json(self, event: Event) -> bytes:
        """Rendered once for all streams."""
        event_id = self._driver.log.id_of(event)
        return self._kept.get(
            ("event", event.seq), event_id, lambda: render.to_json(render.event(event_id, event))
        )

    def _framed(self, event: Event, form: Format) -> bytes:
        return form.frame(self._driver.log.id_of(event), event.kind.value, self._json(event))


def _read(request: web.Request) -> tuple[Wanted, str]:
    """What is asked for, and the id from which on; empty: from the beginning."""
    query = Query(request)
    services = [name.lower() for name in query.many("service")]
    kinds = [kind for listed in query.many("kind") for kind in listed.split(",")]
    for name in services:
        if not names.is_label(name):
            query.problem("service", f"must be {names.LABEL_RULE}")
    for kind in kinds:
        if kind not in KINDS:
            query.problem("kind", f"must be of {', '.join(sorted(KINDS))}")
    since = query.one("since") or ""
    query.finish()
    wanted = Wanted(frozenset(services), frozenset(kinds))
    return wanted, request.headers.get("Last-Event-ID") or since
