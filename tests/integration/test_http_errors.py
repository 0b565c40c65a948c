"""Bad input gets one clear error and changes nothing; changes come from where they may."""

import asyncio
import gzip
import json
import logging
import socket
from typing import Any

import pytest

from beacond.http.reading import BODY_MAX
from tests.support.http_agent import HttpAgent, http_agent

PATH = "/v1/instances/a"
BODY = {"service": "web", "port": 8080}


async def put(agent: HttpAgent, body: bytes, **headers: str) -> tuple[int, Any]:
    return await agent.call("PUT", PATH, data=body, headers=headers)


def assert_problem(status: int, problem: Any, expected: int) -> None:
    assert status == expected, problem
    assert set(problem) >= {"type", "title", "status", "detail"}
    assert problem["status"] == expected


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"{} {}",
        b"\xff\xfe{}",
        b'{"service": "w\xe9b"}',
        b"NaN",
        b'{"port": Infinity}',
        b"[" * 60_000,
        b'{"a":' * 12_000,
        b'{"port": ' + b"9" * 60_000 + b"}",
        b"\xef\xbb\xbf{}",
    ],
)
async def test_body_that_is_not_json_is_400(body: bytes) -> None:
    async with http_agent() as agent:
        assert_problem(*await put(agent, body), 400)
        assert not agent.driver.local_instances()


@pytest.mark.parametrize(
    "body", [b"[]", b"null", b"7", b'"x"', b"{}", b'{"service": "\\ud800", "port": 1}', b"1e999"]
)
async def test_json_that_is_no_registration_is_422_with_the_fields(body: bytes) -> None:
    async with http_agent() as agent:
        status, problem = await put(agent, body)
        assert_problem(status, problem, 422)
        assert all(set(error) == {"field", "message"} for error in problem["errors"])


async def test_errors_are_problem_json() -> None:
    async with (
        http_agent() as agent,
        agent.session.get(f"{agent.base}/nothing/here") as response,
    ):
        assert response.status == 404
        assert response.headers["Content-Type"] == "application/problem+json"
        assert "/nothing/here" in (await response.json(content_type=None))["detail"]


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded"])
async def test_bodies_are_json_whatever_their_content_type(content_type: str) -> None:
    async with http_agent() as agent:
        body = json.dumps(BODY).encode()
        assert (await put(agent, body, **{"Content-Type": content_type}))[0] == 201


async def test_largest_body_is_read_and_a_larger_one_is_413() -> None:
    async with http_agent() as agent:
        body = json.dumps(BODY).encode()
        assert (await put(agent, body + b" " * (BODY_MAX - len(body))))[0] == 201
        assert_problem(*await put(agent, b" " * (BODY_MAX + 1)), 413)


async def test_compressed_bodies_are_read_within_the_limit() -> None:
    async with http_agent() as agent:
        gz = {"Content-Encoding": "gzip"}
        assert (await put(agent, gzip.compress(json.dumps(BODY).encode()), **gz))[0] == 201
        assert_problem(*await put(agent, gzip.compress(b" " * 50_000_000), **gz), 413)
        assert_problem(*await put(agent, b"no gzip at all", **gz), 400)


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/v1/instances/a", "DELETE, GET, HEAD, PUT"),
        ("DELETE", "/v1/services", "GET, HEAD"),
        ("PROPFIND", "/v1/status", "GET, HEAD"),
        ("OPTIONS", "/v1/status", "GET, HEAD"),
        ("GET", "/v1/leave", "POST"),
        ("GET", "/v1/mode", "PUT"),
    ],
)
async def test_other_methods_are_405_with_those_allowed(method: str, path: str, allow: str) -> None:
    async with (
        http_agent() as agent,
        agent.session.request(method, agent.base + path) as response,
    ):
        assert_problem(response.status, await response.json(content_type=None), 405)
        assert response.headers["Allow"] == allow
        assert "Access-Control-Allow-Origin" not in response.headers


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/", "/v1/services/", "/v1/instances/a/b", "/ui/"])
async def test_paths_that_lead_nowhere_are_404(path: str) -> None:
    async with http_agent() as agent:
        assert_problem(*await agent.call("GET", path), 404)


WRITES = [
    ("PUT", "/v1/instances/a", BODY),
    ("DELETE", "/v1/instances/kept", None),
    ("PUT", "/v1/instances/kept/health", {"status": "critical"}),
    ("PUT", "/v1/instances/kept/mode", {"mode": "draining"}),
    ("PUT", "/v1/mode", {"mode": "draining"}),
    ("POST", "/v1/leave", None),
]


@pytest.mark.parametrize(("method", "path", "body"), WRITES)
async def test_web_pages_of_others_change_nothing(method: str, path: str, body: object) -> None:
    async with http_agent() as agent:
        await agent.register("kept", checks=[{"type": "ttl", "ttl": "1h", "status": "passing"}])
        before = agent.driver.local_instances()
        for origin in ("http://evil.example", "null", "http://127.0.0.1:1"):
            answer = await agent.call(method, path, body, headers={"Origin": origin})
            assert_problem(*answer, 403)
        rebound = {"Origin": "http://evil.example:8650", "Host": "evil.example:8650"}
        assert_problem(*await agent.call(method, path, body, headers=rebound), 403)
        assert agent.driver.local_instances() == before
        assert not agent.driver.leave_asked.is_set()


async def test_own_pages_may_change_and_any_page_may_read() -> None:
    async with http_agent() as agent:
        own = {"Origin": agent.base}
        assert (await agent.call("PUT", PATH, BODY, headers=own))[0] == 201
        foreign = {"Origin": "http://evil.example"}
        assert (await agent.call("GET", PATH, headers=foreign))[0] == 200


def own_address() -> str | None:
    """An address of this machine that is not loopback; nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        address: str = probe.getsockname()[0]
    return None if address.startswith("127.") else address


@pytest.mark.parametrize(("writes", "status"), [("local", 403), ("any", 201)])
async def test_changes_from_beyond_loopback_need_the_config(writes: str, status: int) -> None:
    address = own_address()
    if address is None:
        pytest.skip("this machine has no address but loopback")
    async with http_agent(host=address, writes=writes) as agent:
        assert (await agent.call("PUT", PATH, BODY))[0] == status
        assert (await agent.call("GET", "/v1/services/web"))[0] == 200


async def say(agent: HttpAgent, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", agent.port)
    writer.write(request)
    async with asyncio.timeout(10):
        answer = await reader.read(4096)
    writer.close()
    await writer.wait_closed()
    return answer


@pytest.mark.parametrize(
    "request_",
    [
        b"FOO / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 9000 + b"\r\n\r\n",
        b"PUT /v1/mode HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_400_and_does_not_fill_the_log(
    request_: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with http_agent() as agent:
        with caplog.at_level(logging.INFO):
            caplog.clear()
            assert b" 400 " in (await say(agent, request_)).split(b"\r\n")[0]
        assert not caplog.records
        _, metrics = await agent.call("GET", "/metrics")
        refused = b'beacond_dropped_total{reason="http-malformed"}'
        counted = b'status="400"' in metrics
        assert refused in metrics or counted, "counted by neither"
        assert (await agent.call("GET", "/healthz"))[0] == 200
