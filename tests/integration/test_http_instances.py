"""Registering over HTTP, as programs and people do it."""

import asyncio
import json

import pytest

from beacond.core.model import InstanceSpec
from tests.support.http_agent import http_agent, until

BODY = {"service": "web", "port": 8080}


async def test_new_is_201_with_its_place_and_replaced_is_200() -> None:
    async with http_agent() as agent:
        url = f"{agent.base}/v1/instances/web-1"
        async with agent.session.put(url, json=BODY) as response:
            assert response.status == 201
            assert response.headers["Location"] == "/v1/instances/web-1"
            assert (await response.json())["addresses"] == ["192.0.2.1"]
        async with agent.session.put(url, json={**BODY, "port": 8081}) as response:
            assert response.status == 200
            assert "Location" not in response.headers
            assert (await response.json())["port"] == 8081


async def test_same_again_changes_nothing_not_even_mode_or_health() -> None:
    async with http_agent() as agent:
        body = {**BODY, "checks": [{"type": "ttl", "ttl": "1h"}]}
        await agent.call("PUT", "/v1/instances/a", body)
        await agent.call("PUT", "/v1/instances/a/health", {"status": "warning", "output": "w"})
        await agent.call("PUT", "/v1/instances/a/mode", {"mode": "draining"})
        _, before = await agent.call("GET", "/v1/instances/a")
        index = agent.driver.view.index
        status, after = await agent.call("PUT", "/v1/instances/a", body)
        assert (status, after) == (200, before)
        assert (after["status"], after["mode"]) == ("warning", "draining")
        assert agent.driver.view.index == index


async def test_registered_instance_is_listed_shown_and_looked_up_then_gone() -> None:
    async with http_agent() as agent:
        await agent.register("b", tags=["x"])
        await agent.register("a")
        _, listed = await agent.call("GET", "/v1/instances")
        assert [each["id"] for each in listed["instances"]] == ["a", "b"]
        _, found = await agent.call("GET", "/v1/services/web")
        assert [each["id"] for each in found["instances"]] == ["a", "b"]
        assert await agent.call("DELETE", "/v1/instances/a") == (204, b"")
        status, problem = await agent.call("DELETE", "/v1/instances/a")
        assert (status, problem["status"]) == (404, 404)
        assert (await agent.call("GET", "/v1/instances/a"))[0] == 404
        _, found = await agent.call("GET", "/v1/services/web")
        assert [each["id"] for each in found["instances"]] == ["b"]


@pytest.mark.parametrize(
    ("segment", "instance_id"),
    [
        ("a%2Fb", "a/b"),
        ("a%2fb", "a/b"),
        ("a:b", "a:b"),
        ("a%20b", "a b"),
        ("a%25b", "a%b"),
        ("a%252Fb", "a%2Fb"),
        ("a%3Fb%23c", "a?b#c"),
        ("..%2F..", "../.."),
        ("a+b", "a+b"),
    ],
)
async def test_ids_are_percent_encoded_in_paths(segment: str, instance_id: str) -> None:
    async with http_agent() as agent:
        path = f"/v1/instances/{segment}"
        body = json.dumps({**BODY, "checks": [{"type": "ttl", "ttl": "1h"}]}).encode()
        assert await raw(agent.port, "PUT", path, body) == (201, instance_id)
        assert await raw(agent.port, "GET", path) == (200, instance_id)
        health = await raw(agent.port, "PUT", f"{path}/health", b'{"status": "passing"}')
        assert health == (200, instance_id)
        assert await raw(agent.port, "DELETE", path) == (204, "")
        assert not agent.driver.local_instances()


async def raw(port: int, method: str, path: str, body: bytes = b"") -> tuple[int, str]:
    """Status and the answer's id, for a path that no client library may touch."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    head_got, _, body_got = answer.partition(b"\r\n\r\n")
    return int(head_got.split()[1]), json.loads(body_got)["id"] if body_got else ""


async def test_health_reports_renew_the_ttl_check_and_others_hear_of_it() -> None:
    async with http_agent() as agent:
        await agent.register("a", checks=[{"type": "ttl", "ttl": "1h", "name": "beat"}])
        assert (await agent.call("GET", "/v1/services/web"))[1]["instances"] == []
        status, shown = await agent.call(
            "PUT", "/v1/instances/a/health", {"status": "passing", "output": "fine"}
        )
        assert (status, shown["status"], shown["checks"][0]["output"]) == (200, "passing", "fine")
        assert shown["checks"][0]["checked_at"].endswith("Z")
        assert len((await agent.call("GET", "/v1/services/web"))[1]["instances"]) == 1


@pytest.mark.parametrize("body", [{"status": "passing"}, {"status": "passing", "check": "beat"}])
async def test_health_of_what_has_no_such_ttl_check_is_409(body: dict[str, str]) -> None:
    async with http_agent() as agent:
        await agent.register("a", checks=[{"type": "tcp"}])
        assert (await agent.call("PUT", "/v1/instances/a/health", body))[0] == 409
        assert (await agent.call("PUT", "/v1/instances/b/health", body))[0] == 404


async def test_modes_of_an_instance_and_of_the_host_end_by_themselves() -> None:
    async with http_agent() as agent:
        await agent.register("a")
        path = "/v1/instances/a/mode"
        status, shown = await agent.call("PUT", path, {"mode": "maintenance", "reason": "disk"})
        assert (status, shown["mode"], shown["reason"]) == (200, "maintenance", "disk")
        assert shown["until"] is not None
        assert (await agent.call("GET", "/v1/services/web"))[1]["instances"] == []
        await agent.call("PUT", path, {"mode": "normal"})
        status, shown = await agent.call("PUT", "/v1/mode", {"mode": "maintenance", "for": "1s"})
        assert (status, shown["mode"]) == (200, "maintenance")
        assert (await agent.call("GET", "/v1/status"))[1]["mode"] == shown
        assert (await agent.call("GET", "/v1/services/web"))[1]["instances"] == []
        await until(lambda: agent.driver.view.instances_of("web")[0].passing)
        assert (await agent.call("PUT", "/v1/instances/b/mode", {"mode": "normal"}))[0] == 404


async def test_run_has_its_own_instances_and_may_be_overruled_by_deregistering() -> None:
    async with http_agent() as agent:
        status, shown = await agent.call("PUT", "/v1/instances/a?origin=run", BODY)
        assert (status, shown["origin"]) == (201, "run")
        status, problem = await agent.call("PUT", "/v1/instances/a", BODY)
        assert status == 409
        assert "beacond run" in problem["detail"]
        assert (await agent.call("DELETE", "/v1/instances/a"))[0] == 204
        assert (await agent.call("PUT", "/v1/instances/a?origin=file:x", BODY))[0] == 422


async def test_what_a_file_holds_is_409_to_change() -> None:
    async with http_agent() as agent:
        await agent.driver.replace_file("web.toml", [InstanceSpec("a", "web", 1)])
        assert (await agent.call("PUT", "/v1/instances/a", BODY))[0] == 409
        assert (await agent.call("DELETE", "/v1/instances/a"))[0] == 409
        _, shown = await agent.call("GET", "/v1/instances/a")
        assert (shown["origin"], shown["port"]) == ("file:web.toml", 1)


async def test_disk_that_refuses_is_503_and_nothing_changed() -> None:
    async with http_agent() as agent:
        agent.disk.refuses = True
        status, problem = await agent.call("PUT", "/v1/instances/a", BODY)
        assert (status, problem["detail"]) == (503, "the disk is full")
        assert (await agent.call("GET", "/v1/instances"))[1] == {"instances": []}


async def test_exec_check_over_http_is_refused() -> None:
    async with http_agent() as agent:
        body = {**BODY, "checks": [{"type": "exec", "command": ["/bin/true"]}]}
        status, problem = await agent.call("PUT", "/v1/instances/a", body)
        assert (status, problem["errors"][0]["field"]) == (422, "checks[0].type")


async def test_path_of_a_check_goes_to_the_agents_address_by_default() -> None:
    async with http_agent(addresses=("2001:db8::7",)) as agent:
        shown = await agent.register("a", checks=[{"type": "http", "path": "/h"}])
        assert shown["checks"][0]["url"] == "http://[2001:db8::7]:8080/h"


async def test_caller_that_hangs_up_does_not_tear_a_registration() -> None:
    async with http_agent() as agent:
        agent.disk.hold()
        call = asyncio.create_task(agent.call("PUT", "/v1/instances/a", BODY))
        await asyncio.to_thread(agent.disk.asked.wait)
        call.cancel()
        await asyncio.wait((call,))
        # Its connection is closed: let the server see that before the disk goes on.
        assert (await agent.call("GET", "/v1/instances"))[1] == {"instances": []}
        agent.disk.release()
        await until(lambda: len(agent.driver.local_instances()) == 1)


async def test_leave_is_accepted_and_asks_the_agent_to_go() -> None:
    async with http_agent() as agent:
        assert await agent.call("POST", "/v1/leave") == (202, {"leaving": "host-a"})
        assert agent.driver.leave_asked.is_set()
