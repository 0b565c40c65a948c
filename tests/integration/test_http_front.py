"""Look-ups asked again get ready bytes, and no client can tell."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beacond.http import front, server
from tests.support.http_agent import HttpAgent, http_agent, until


def get(path: str, *heads: str, version: str = "1.1") -> bytes:
    return "\r\n".join((f"GET {path} HTTP/{version}", "Host: agent", *heads, "\r\n")).encode()


class Client:
    """A connection; what comes back is read as bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def answer(self) -> bytes:
        """One, with its date left out."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)", head)
        body = await self.reader.readexactly(int(length[1])) if length else b""
        return re.sub(rb"Date: [^\r]+", b"Date: -", head) + body

    async def ask(self, request: bytes) -> bytes:
        self.writer.write(request)
        return await self.answer()


@asynccontextmanager
async def connected(agent: HttpAgent) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", agent.port)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()


def fast_count(agent: HttpAgent) -> int:
    """How many requests have been answered in front of aiohttp so far."""
    assert agent.http._runner is not None
    assert agent.http._runner.server is not None
    text = agent.metrics.exposition("")[0].decode()
    pattern = r"beacond_http_request_duration_seconds_count\{.*\} (\d+)"
    answered = sum(int(float(n)) for n in re.findall(pattern, text))
    return answered - agent.http._runner.server.requests_count


@pytest.mark.parametrize(
    "path",
    [
        "/v1/services/web",
        "/v1/services/WEB",
        "/v1/services/nothing",
        "/v1/services/web?tag=blue&health=any",
        "/v1/services/web?limit=1",
        "/v1/services/w%65b",
    ],
)
async def test_the_same_request_gets_the_same_bytes_without_aiohttp(path: str) -> None:
    async with http_agent() as agent, connected(agent) as client:
        await agent.register("a", tags=["blue"])
        await agent.register("b")
        first = await client.ask(get(path, "User-Agent: x"))
        before = fast_count(agent)
        assert [await client.ask(get(path, "User-Agent: x")) for _ in range(3)] == [first] * 3
        assert fast_count(agent) == before + 3
        async with connected(agent) as other:
            # A connection's first request may meet aiohttp before it waits for one.
            again = [await other.ask(get(path, "User-Agent: x")) for _ in range(2)]
        assert again == [first] * 2
        assert fast_count(agent) >= before + 4


async def test_a_change_is_in_the_next_answer() -> None:
    async with http_agent() as agent, connected(agent) as client:
        for number in range(5):
            await agent.register(f"i{number}")
            for _ in range(3):
                body = await client.ask(get("/v1/services/web"))
                assert body.count(b'"id":') == number + 1
        assert fast_count(agent) >= 10


async def test_both_ways_say_how_old_a_stale_answer_is() -> None:
    async with http_agent() as agent, connected(agent) as client:
        await agent.register("a")
        await client.ask(get("/v1/services/web"))
        before = fast_count(agent)
        await agent.stop_bus()
        await until(lambda: agent.driver.view.sight.stale_since is not None)
        answers = [await client.ask(get("/v1/services/web")) for _ in range(2)]
        assert fast_count(agent) == before + 2
        stale = [re.search(rb"X-Beacond-Stale: (\d+)", answer) for answer in answers]
        long_way = await client.ask(get("/v1/services/web", "Accept: */*"))
        expected = re.search(rb"X-Beacond-Stale: (\d+)", long_way)
        assert expected is not None
        for found in stale:
            assert found is not None
            assert 0 <= int(expected[1]) - int(found[1]) <= 1


@pytest.mark.parametrize(
    "request_",
    [
        get("/v1/services/web", version="1.0"),
        get("/v1/services/web", "Connection: close"),
        get("/v1/services/web/pick"),
        get("/v1/services/web?index=0"),
        get("/v1/services/web?what=1"),
        get("/v1/services/-"),
        get("/v1/status"),
        get("/v1/services/web", "Content-Length: 0"),
        get("/v1/services/web", "X: " + "x" * 2048),
        get("/v1/services/web").replace(b"GET", b"HEAD"),
        get("/v1/services/web").replace(b"\r\n", b"\n"),
    ],
    ids=lambda request: request[:60].decode().replace("\r\n", " "),
)
async def test_what_is_no_plain_lookup_always_goes_to_aiohttp(request_: bytes) -> None:
    async with http_agent() as agent:
        await agent.register("a")
        for _ in range(3):
            async with connected(agent) as client:
                with suppress(asyncio.IncompleteReadError, ConnectionError):
                    for _ in range(3):
                        client.writer.write(request_)
                        await client.reader.readuntil(b"\r\n\r\n")
        assert fast_count(agent) <= 0
        assert not agent.http._front.known


async def test_known_request_waits_for_one_that_was_asked_before_it() -> None:
    async with http_agent() as agent, connected(agent) as client:
        await agent.register("a")
        for _ in range(2):
            answer = await client.ask(get("/v1/services/web"))
        index = re.search(rb"X-Beacond-Index: (\d+)", answer)
        assert index is not None
        client.writer.write(get(f"/v1/services/web?index={int(index[1])}"))
        await until(lambda: b"beacond_http_waiters 1.0" in agent.metrics.exposition("")[0])
        client.writer.write(get("/v1/services/web"))
        await agent.register("b")
        answers = [await client.answer() for _ in range(2)]
        assert [answer.count(b'"id":') for answer in answers] == [2, 2]


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: a\n\nGET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\rGET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n",
    ],
)
def test_what_some_parser_may_take_for_more_than_one_request_is_none(data: bytes) -> None:
    assert not front._is_whole_get(data)
    assert front._is_whole_get(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")


async def test_more_requests_than_are_kept_are_all_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(front, "KEPT_MAX", 4)
    async with http_agent() as agent, connected(agent) as client:
        for number in range(30):
            assert b"200 OK" in await client.ask(get(f"/v1/services/s{number % 10}"))
            assert len(agent.http._front.known) <= 4


async def test_busy_connection_outlives_the_time_for_idle_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "KEEPALIVE_S", 0.6)
    async with http_agent() as agent, connected(agent) as client:
        loop = asyncio.get_running_loop()
        end = loop.time() + 2.5
        while loop.time() < end:
            assert b"200 OK" in await client.ask(get("/v1/services/web"))
            await asyncio.sleep(0.02)
        assert fast_count(agent) > 10
        assert await client.reader.read() == b""


async def test_server_that_stops_closes_connections_that_were_only_in_front() -> None:
    async with http_agent() as agent, connected(agent) as client:
        for _ in range(3):
            await client.ask(get("/v1/services/web"))
        await agent.http.stop(1.0)
        async with asyncio.timeout(10):
            assert await client.reader.read() == b""


# ---- nothing a client sends is answered differently

KNOWN = get("/v1/services/web")
POST = b"PUT /v1/instances/x HTTP/1.1\r\nHost: agent\r\nContent-Length: %d\r\n\r\n" % len(KNOWN)
PIECES = (
    KNOWN,
    KNOWN[:20],
    KNOWN[20:],
    KNOWN[:-2],
    b"\r\n",
    KNOWN + KNOWN,
    get("/v1/services/other"),
    get("/v1/nothing"),
    get("/v1/services/web", "X: y"),
    b"GET /v1/services/web HTTP/1.1\r\nHost: agent\r\nX: ",
    POST,
    POST + KNOWN,
    b"POST /v1/leave?x HTTP/1.1\r\nHost: agent\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"GET /v1/services/web HTTP/1.1\r\nHost: agent\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"0\r\n\r\n",
    b"GET /v1/services/web HTTP/1.1\nHost: agent\n\n",
    b"GET / HTTP/1.1\r\nHost: agent\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    b"rubbish\r\n\r\n",
)


async def said_to(agent: HttpAgent, pieces: Sequence[bytes]) -> bytes:
    """Everything that comes back; each piece is sent once the last has brought what it brings."""
    said = b""
    async with connected(agent) as client:
        for piece in pieces:
            client.writer.write(piece)
            # Some bring nothing before the next comes, so there is nothing else to wait for.
            with suppress(TimeoutError, ConnectionError):
                said += await asyncio.wait_for(client.reader.read(65536), 0.05)
            if client.reader.at_eof():
                break
        with suppress(OSError):
            client.writer.write_eof()
        with suppress(ConnectionError):
            said += await client.reader.read()
    return re.sub(rb"Date: [^\r]+", b"Date: -", said)


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(pieces=st.lists(st.sampled_from(PIECES), min_size=1, max_size=6))
def test_whatever_is_sent_the_answers_are_those_of_aiohttp(pieces: list[bytes]) -> None:
    async def compare() -> None:
        async with http_agent() as agent:
            await agent.register("a")
            async with connected(agent) as client:
                for _ in range(2):
                    await client.ask(KNOWN)
            ours = await said_to(agent, pieces)
            agent.http._front.known.clear()
            agent.http._front.long_way_s = 0.0
            theirs = await said_to(agent, pieces)
            assert ours == theirs

    asyncio.run(compare())
