"""The event stream, read as EventSource, curl and programs read it."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from beacond.core.model import InstanceSpec
from beacond.http import events, streams
from tests.support.http_agent import HttpAgent, http_agent, until

SSE = {"Accept": "text/event-stream"}
NDJSON = {"Accept": "application/x-ndjson"}


@dataclass
class Message:
    id: str
    event: str
    data: Any


class Reader:
    """Server-sent events as the standard reads them."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self.comments = 0
        self.retry: str | None = None

    async def next(self) -> Message | None:
        """None at the end of the stream."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(20):
            while line := (await self.response.content.readline()).decode():
                name, _, value = line.rstrip("\n").partition(":")
                if line == "\n" and "data" in fields:
                    return Message(fields["id"], fields["event"], json.loads(fields["data"]))
                if line.startswith(":"):
                    self.comments += 1
                elif name == "retry":
                    self.retry = value.strip()
                elif name:
                    assert name not in fields
                    fields[name] = value.removeprefix(" ")
        return None

    async def take(self, count: int) -> list[Message]:
        return [message for _ in range(count) if (message := await self.next())]


@asynccontextmanager
async def stream(agent: HttpAgent, query: str = "", last: str = "") -> AsyncIterator[Reader]:
    headers = {**SSE, **({"Last-Event-ID": last} if last else {})}
    async with agent.session.get(f"{agent.base}/v1/events{query}", headers=headers) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/event-stream"
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["X-Accel-Buffering"] == "no"
        yield Reader(response)


def kinds(messages: list[Message]) -> list[str]:
    return [message.event for message in messages]


async def test_stream_begins_with_the_whole_state_and_goes_on_live() -> None:
    async with http_agent() as agent:
        await agent.register("a", checks=[{"type": "ttl", "ttl": "1h"}])
        async with stream(agent) as reader:
            reset = await reader.next()
            assert reset is not None
            assert (reader.retry, reset.event, reset.id) == (
                "2000",
                "reset",
                agent.driver.log.last_id,
            )
            assert reset.data["kind"] == "reset"
            assert reset.data["stale_since"] is None
            assert [each["node"] for each in reset.data["agents"]] == ["host-a"]
            (service,) = reset.data["services"]
            assert service["service"] == "web"
            assert [(i["id"], i["status"]) for i in service["instances"]] == [("a", "critical")]
            await agent.call("PUT", "/v1/instances/a/health", {"status": "passing"})
            health, started = await reader.take(2)
            assert kinds([health, started]) == ["instance.health", "instance.started"]
            assert (started.data["id"], started.data["kind"]) == (started.id, started.event)
            assert started.data["instance"]["status"] == "passing"
            assert started.data["reason"] == "healthy"


async def test_reader_that_comes_back_gets_what_it_missed_and_no_reset() -> None:
    async with http_agent() as agent:
        async with stream(agent) as reader:
            reset = await reader.next()
        assert reset is not None
        await agent.register("a")
        await agent.call("DELETE", "/v1/instances/a")
        expected = [
            "instance.registered",
            "instance.started",
            "instance.deregistered",
            "instance.stopped",
        ]
        async with stream(agent, last=reset.id) as reader:
            missed = await reader.take(4)
            assert kinds(missed) == expected
        async with stream(agent, f"?since={reset.id}") as reader:
            assert kinds(await reader.take(4)) == expected
        async with stream(agent, f"?since={reset.id}", last=missed[2].id) as reader:
            assert kinds(await reader.take(1)) == ["instance.stopped"]


@pytest.mark.parametrize("since", ["1.1", "nonsense", "", "OWN.999999", "OWN.0x1", "OWN.٣"])
async def test_id_that_cannot_be_continued_is_answered_with_a_reset(since: str) -> None:
    async with http_agent() as agent:
        own = since.replace("OWN", str(agent.driver.log.incarnation))
        async with stream(agent, f"?since={own}") as reader:
            first = await reader.next()
            assert first is not None
            assert first.event == "reset"


async def test_id_that_was_forgotten_is_answered_with_a_reset() -> None:
    async with http_agent(event_log_max=4) as agent:
        first_id = agent.driver.log.last_id
        for number in range(4):
            await agent.register(f"i{number}")
        async with stream(agent, last=first_id) as reader:
            assert kinds(await reader.take(1)) == ["reset"]


async def test_no_event_is_lost_or_doubled_while_readers_come_and_go() -> None:
    async with http_agent() as agent:
        first_id = agent.driver.log.last_id
        changes = 40

        async def change() -> None:
            for number in range(changes):
                await agent.driver.register(InstanceSpec("a", "web", 1000 + number), "http")

        changing = asyncio.create_task(change())
        seen: list[int] = []
        last = first_id
        while not (changing.done() and seen and seen[-1] == agent.driver.log.last_seq):
            async with stream(agent, last=last) as reader:
                for message in await reader.take(3 if not changing.done() else 1):
                    assert message.event != "reset"
                    seen.append(int(message.id.partition(".")[2]))
                    last = message.id
        await changing
        assert seen == list(
            range(int(first_id.partition(".")[2]) + 1, agent.driver.log.last_seq + 1)
        )
        assert len(seen) >= changes


async def test_filters_narrow_the_events_and_the_reset() -> None:
    async with http_agent() as agent:
        await agent.register("w", service="web")
        await agent.register("d", service="db")
        async with stream(agent, "?service=DB&kind=instance.started,instance.stopped") as reader:
            reset = await reader.next()
            assert reset is not None
            assert [each["service"] for each in reset.data["services"]] == ["db"]
            assert reset.data["agents"] == []
            await agent.register("w2", service="web")
            await agent.register("d2", service="db")
            await agent.call("DELETE", "/v1/instances/d2")
            assert kinds(await reader.take(2)) == ["instance.started", "instance.stopped"]
        async with stream(agent, "?kind=agent.joined&kind=agent.left") as reader:
            reset = await reader.next()
            assert reset is not None
            assert reset.data["services"] == []
            assert len(reset.data["agents"]) == 1


async def test_quiet_stream_says_that_it_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "KEEP_ALIVE_S", 0.01)
    async with http_agent() as agent:
        async with stream(agent) as reader:
            await reader.next()
            assert (await reader.response.content.readline()).startswith(b":")
            await agent.register("a")
            assert kinds(await reader.take(2)) == ["instance.registered", "instance.started"]
        url = f"{agent.base}/v1/events?since={agent.driver.log.last_id}"
        async with agent.session.get(url, headers=NDJSON) as response:
            assert await response.content.readline() == b"\n"


async def test_events_of_others_do_not_stand_for_a_sign_of_life(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(events, "KEEP_ALIVE_S", 0.2)
    async with http_agent() as agent:

        async def chatter() -> None:
            for port in range(1, 65536):
                await agent.register("busy", service="busy", port=port)

        async with stream(agent, "?service=quiet") as reader:
            await reader.next()
            noise = asyncio.create_task(chatter())
            try:
                async with asyncio.timeout(10):
                    assert (await reader.response.content.readline()).startswith(b":")
                assert not noise.done()
            finally:
                noise.cancel()
                await asyncio.wait((noise,))


async def test_lines_of_json_carry_the_same() -> None:
    async with (
        http_agent() as agent,
        agent.session.get(f"{agent.base}/v1/events", headers=NDJSON) as response,
    ):
        assert response.headers["Content-Type"] == "application/x-ndjson"
        reset = json.loads(await response.content.readline())
        assert (reset["kind"], reset["id"]) == ("reset", agent.driver.log.last_id)
        await agent.register("a")
        line = json.loads(await response.content.readline())
        assert (line["kind"], line["instance"]["id"]) == ("instance.registered", "a")
        assert agent.driver.log.since(line["id"]) is not None


async def test_page_of_json_goes_on_from_next() -> None:
    async with http_agent() as agent:
        _, first = await agent.call("GET", "/v1/events")
        assert first["gap"] is False
        assert first["events"][0]["kind"] == "bus.up"
        _, nothing = await agent.call("GET", f"/v1/events?since={first['next']}")
        assert nothing == {"events": [], "next": first["next"], "gap": False}
        await agent.register("a")
        _, more = await agent.call("GET", f"/v1/events?since={first['next']}&kind=instance.started")
        assert [event["kind"] for event in more["events"]] == ["instance.started"]
        assert more["next"] == agent.driver.log.last_id


async def test_page_after_a_gap_says_so_and_tells_what_there_is() -> None:
    async with http_agent(event_log_max=3) as agent:
        for number in range(3):
            await agent.register(f"i{number}")
        _, page = await agent.call("GET", f"/v1/events?since={agent.driver.log.incarnation}.0")
        assert page["gap"] is True
        assert [e["id"] for e in page["events"]][-1] == page["next"] == agent.driver.log.last_id
        assert len(page["events"]) == 3


async def test_pages_are_limited_and_lead_to_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "PAGE_MAX", 2)
    async with http_agent() as agent:
        start = agent.driver.log.last_id
        for number in range(3):
            await agent.register(f"i{number}")
        seen, since = [], start
        while page := (await agent.call("GET", f"/v1/events?since={since}"))[1]:
            if not page["events"]:
                break
            assert len(page["events"]) <= 2
            seen += [event["id"] for event in page["events"]]
            since = page["next"]
        assert len(seen) == len(set(seen)) == 6
        _, newest = await agent.call("GET", "/v1/events")
        assert [event["id"] for event in newest["events"]] == seen[-2:]


@pytest.mark.parametrize("query", ["?kind=x", "?service=a_b", "?since=1&since=2", "?follow=1"])
async def test_wrong_filters_are_refused(query: str) -> None:
    async with http_agent() as agent:
        assert (await agent.call("GET", f"/v1/events{query}", headers=SSE))[0] == 422


async def test_too_many_streams_are_refused() -> None:
    async with http_agent(streams_max=1) as agent, stream(agent):
        assert (await agent.call("GET", "/v1/events", headers=SSE))[0] == 503


def streams_open(agent: HttpAgent) -> int:
    return int(agent.metrics.registry.get_sample_value("beacond_http_event_streams") or 0)


async def test_reader_that_goes_away_is_forgotten() -> None:
    async with http_agent() as agent:
        async with stream(agent) as reader:
            await reader.next()
            assert streams_open(agent) == 1
        await until(lambda: streams_open(agent) == 0)


async def test_reader_that_takes_nothing_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "WRITE_TIMEOUT_S", 0.2)
    async with http_agent() as agent:
        _reader, writer = await asyncio.open_connection("127.0.0.1", agent.port, limit=1)
        writer.write(b"GET /v1/events HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n")
        await until(lambda: streams_open(agent) == 1)
        large = tuple((f"k{number:02}", "v" * 512) for number in range(60))
        for number in range(10_000):
            await agent.driver.register(InstanceSpec("a", "web", 1 + number, meta=large), "http")
            if not streams_open(agent):
                break
        assert not streams_open(agent)
        writer.close()


async def test_streams_end_cleanly_when_the_server_stops() -> None:
    async with http_agent() as agent, stream(agent) as reader:
        await reader.next()
        stopping = asyncio.create_task(agent.http.stop(10.0))
        async with asyncio.timeout(5):
            assert await reader.next() is None
            await stopping


async def test_streams_end_when_the_agent_says_that_it_stops() -> None:
    async with http_agent() as agent, stream(agent) as reader:
        await reader.next()
        agent.driver.end_streams()
        assert await reader.next() is None


@pytest.mark.server("curl")
async def test_curl_shows_the_stream() -> None:
    async with http_agent() as agent:
        curl = await asyncio.create_subprocess_exec(
            shutil.which("curl") or "curl", "-sN", "-HAccept: text/event-stream",
            f"{agent.base}/v1/events", stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert curl.stdout is not None
        try:
            lines = [await curl.stdout.readline() for _ in range(5)]
            assert lines[0] == b"retry: 2000\n"
            assert lines[3] == b"event: reset\n"
            await agent.register("a")
            rest = [await curl.stdout.readline() for _ in range(3)]
            assert rest[2] == b"event: instance.registered\n"
        finally:
            curl.kill()
            await curl.wait()
