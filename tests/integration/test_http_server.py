"""Start, stop, readiness, metrics, and the description the server gives of itself."""

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

import aiohttp
import jsonschema
import pytest
from prometheus_client.parser import text_string_to_metric_families

from beacond.http.server import HttpServer
from tests.support.http_agent import HttpAgent, http_agent, until

ROOT = Path(__file__).resolve().parents[2]


async def test_port_in_use_is_an_error_and_a_later_start_works() -> None:
    async with http_agent() as agent:
        server = HttpServer(agent.driver, metrics=agent.metrics)
        with pytest.raises(OSError, match="in use"):
            await server.start("127.0.0.1", agent.port)
        _, port = await server.start("127.0.0.1", 0)
        assert port != agent.port
        async with agent.session.get(f"http://127.0.0.1:{port}/healthz") as response:
            assert response.status == 200
        await server.stop(1.0)


async def test_one_server_listens_on_several_addresses() -> None:
    async with http_agent() as agent:
        address, port = await agent.http.start("::1", 0)
        assert address == "::1"
        async with agent.session.get(f"http://[::1]:{port}/healthz") as response:
            assert response.status == 200


async def test_stop_answers_blocking_queries_and_refuses_new_connections() -> None:
    async with http_agent() as agent:
        index = agent.driver.view.index_of("web")
        call = asyncio.create_task(agent.call("GET", f"/v1/services/web?index={index}"))
        await until(lambda: agent.metrics.registry.get_sample_value("beacond_http_waiters") == 1)
        await agent.http.stop(10.0)
        status, found = await call
        assert (status, found["instances"]) == (200, [])
        with pytest.raises(aiohttp.ClientConnectionError):
            await agent.call("GET", "/healthz")


async def test_stop_waits_for_a_request_under_way() -> None:
    async with http_agent() as agent:
        agent.disk.hold()
        call = asyncio.create_task(
            agent.call("PUT", "/v1/instances/a", {"service": "web", "port": 1})
        )
        await asyncio.to_thread(agent.disk.asked.wait)
        stopping = asyncio.create_task(agent.http.stop(10.0))
        await asyncio.sleep(0)
        assert not stopping.done()
        agent.disk.release()
        assert (await call)[0] == 201
        await stopping


async def test_stop_cuts_what_does_not_end_in_time(caplog: pytest.LogCaptureFixture) -> None:
    async with http_agent() as agent:
        agent.disk.hold()
        call = asyncio.create_task(
            agent.call("PUT", "/v1/instances/a", {"service": "web", "port": 1})
        )
        await asyncio.to_thread(agent.disk.asked.wait)
        async with asyncio.timeout(8):
            await agent.http.stop(0.05)
        with contextlib.suppress(aiohttp.ClientError):
            await call
        assert "requests cut" in caplog.messages
        agent.disk.release()
        await until(lambda: len(agent.driver.local_instances()) == 1)


async def test_idle_connection_does_not_hold_up_the_stop() -> None:
    async with http_agent() as agent, aiohttp.ClientSession() as session:
        async with session.get(f"{agent.base}/healthz") as response:
            await response.read()
        async with asyncio.timeout(2):
            await agent.http.stop(60.0)


async def test_readiness_follows_the_agent_and_liveness_does_not() -> None:
    async with http_agent() as agent:
        status, problem = await agent.call("GET", "/readyz")
        assert status == 503
        assert problem["detail"].startswith("not ready: ")
        await until(lambda: agent.driver.status().ready)
        assert await agent.call("GET", "/readyz") == (200, {"status": "ready"})
        await agent.stop_bus()
        await until(lambda: agent.driver.view.sight.stale_since is not None)
        assert (await agent.call("GET", "/readyz"))[0] == 200
        agent.driver.drain()
        status, problem = await agent.call("GET", "/readyz")
        assert (status, problem["detail"]) == (503, "not ready: stopping")
        assert await agent.call("GET", "/healthz") == (200, {"status": "ok"})


async def test_status_tells_who_and_how() -> None:
    async with http_agent(zone="z1") as agent:
        await agent.register("a")
        _, status = await agent.call("GET", "/v1/status")
        assert (status["node"], status["fleet"], status["zone"]) == ("host-a", "default", "z1")
        assert status["addresses"] == ["192.0.2.1"]
        assert status["bus"][0]["state"] == "up"
        assert status["counts"] == {
            "agents": 1,
            "services": 1,
            "instances": 1,
            "local_instances": 1,
        }
        assert isinstance(status["uptime"], int)


async def test_agents_are_listed_with_when_they_were_heard() -> None:
    async with (
        http_agent(node="host-b", group="agents"),
        http_agent(node="host-a", group="agents") as agent,
    ):
        await until(lambda: len(agent.driver.view.agents) == 2)
        _, found = await agent.call("GET", "/v1/agents")
        assert [each["node"] for each in found["agents"]] == ["host-a", "host-b"]
        assert all(each["state"] == "alive" for each in found["agents"])
        assert all(each["last_heard"].endswith("Z") for each in found["agents"])


async def scrape(agent: HttpAgent) -> dict[str, list[tuple[dict[str, str], float]]]:
    status, text = await agent.call("GET", "/metrics")
    assert status == 200
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


async def test_metrics_have_the_promised_names_and_labels() -> None:
    async with http_agent() as agent:
        await agent.register("a", checks=[{"type": "ttl", "ttl": "1h"}])
        agent.metrics.dns_query("A", "NOERROR")
        agent.metrics.dns_query("TYPE65280", "NOTIMP")
        agent.metrics.dropped("oversized")
        found = await scrape(agent)
        assert found["beacond_build_info"][0][1] == 1
        assert found["beacond_blind"] == [({}, 0)]
        assert found["beacond_bus_up"][0][1] == 1
        assert ({"status": "critical"}, 1) in found["beacond_instances"]
        assert ({"state": "alive"}, 1) in found["beacond_agents"]
        assert [labels for labels, _ in found["beacond_dns_queries_total"]] == [
            {"type": "A", "rcode": "NOERROR"},
            {"type": "other", "rcode": "NOTIMP"},
        ]
        assert {"direction", "kind"} == set(found["beacond_bus_messages_total"][0][0])
        assert found["beacond_dropped_total"] == [({"reason": "oversized"}, 1)]
        assert found["beacond_echo_seconds_count"][0][1] >= 1
        assert not any(name.endswith("_created") for name in found)


async def test_requests_are_counted_by_route_never_by_path() -> None:
    async with http_agent() as agent:
        await agent.call("GET", "/v1/services/one")
        await agent.call("GET", "/v1/services/two")
        await agent.call("GET", "/x/../etc")
        await agent.call("PROPFIND", "/v1/services")
        async with agent.session.get(
            f"{agent.base}/v1/events", headers={"Accept": "text/event-stream"}
        ) as response:
            await response.content.readline()
        counts: Any = {}
        name = "beacond_http_request_duration_seconds_count"

        def counted() -> bool:
            nonlocal counts
            counts = {
                tuple(sample.labels.values()): sample.value
                for family in agent.metrics.registry.collect()
                for sample in family.samples
                if sample.name == name
            }
            return any(route == "/v1/events?stream" for _, route, _ in counts)

        await until(counted)
        assert counts["GET", "/v1/services/{name}", "200"] == 2
        assert counts["GET", "other", "404"] == 1
        assert counts["other", "other", "405"] == 1


def routes(agent: HttpAgent) -> set[tuple[str, str]]:
    runner = agent.http._runner
    assert runner is not None
    return {
        (route.method, route.resource.canonical)
        for route in runner.app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }


async def test_description_is_served_as_it_is_written_and_names_every_route() -> None:
    async with http_agent() as agent:
        _, description = await agent.call("GET", "/openapi.json")
        assert description == json.loads((ROOT / "proto" / "openapi.json").read_text())
        assert (ROOT / "beacond" / "http" / "openapi.json").is_symlink()
        described = {
            (method.upper(), path)
            for path, operations in description["paths"].items()
            for method in operations
            if method != "parameters"
        }
        assert described == routes(agent)


async def test_events_and_resets_are_as_described() -> None:
    async with http_agent() as agent:
        await agent.register("a", checks=[{"type": "ttl", "ttl": "1h"}])
        _, description = await agent.call("GET", "/openapi.json")
        headers = {"Accept": "application/x-ndjson"}
        async with agent.session.get(f"{agent.base}/v1/events", headers=headers) as response:
            reset = json.loads(await response.content.readline())
            await agent.register("b")
            event = json.loads(await response.content.readline())
        for value, name in ((reset, "Reset"), (event, "Event")):
            schema = {"$ref": f"#/components/schemas/{name}", **description}
            jsonschema.Draft202012Validator(schema).validate(value)
