"""Look-ups over HTTP: filters, stable bytes, blocking queries, picks."""

import asyncio
from typing import Any

import aiohttp
import pytest

from beacond.http import reading
from tests.support.http_agent import HttpAgent, http_agent, until


async def look(agent: HttpAgent, query: str = "", service: str = "web") -> list[str]:
    status, found = await agent.call("GET", f"/v1/services/{service}{query}")
    assert status == 200, found
    assert found["total"] >= len(found["instances"])
    return [each["id"] for each in found["instances"]]


async def fill(agent: HttpAgent) -> None:
    await agent.register("a", tags=["blue"], meta={"k": "1"})
    await agent.register("b", tags=["blue", "green"], meta={"k": "2"})
    await agent.register("c", checks=[{"type": "ttl", "ttl": "1h"}])


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("", ["a", "b"]),
        ("?health=passing", ["a", "b"]),
        ("?health=any", ["a", "b", "c"]),
        ("?tag=blue", ["a", "b"]),
        ("?tag=blue&tag=green", ["b"]),
        ("?tag=Blue", []),
        ("?zone=z1", ["a", "b"]),
        ("?zone=z2", []),
        ("?meta.k=1", ["a"]),
        ("?meta.k=1&meta.k=2", []),
        ("?limit=1", ["a"]),
        ("?limit=1&tag=green", ["b"]),
    ],
)
async def test_filters_must_all_hold(query: str, ids: list[str]) -> None:
    async with http_agent(zone="z1") as agent:
        await fill(agent)
        assert await look(agent, query) == ids


async def test_total_counts_what_the_limit_cut() -> None:
    async with http_agent() as agent:
        await fill(agent)
        _, found = await agent.call("GET", "/v1/services/web?health=any&limit=2")
        assert (len(found["instances"]), found["total"]) == (2, 3)


async def test_unknown_service_is_an_empty_answer_and_an_impossible_one_is_refused() -> None:
    async with http_agent() as agent:
        _, found = await agent.call("GET", "/v1/services/none")
        assert (found["service"], found["instances"], found["total"]) == ("none", [], 0)
        assert found["index"] >= 1
        status, problem = await agent.call("GET", "/v1/services/web_api")
        assert status == 422
        assert "a-z, 0-9 and '-'" in problem["detail"]


async def test_names_are_found_whatever_their_case() -> None:
    async with http_agent() as agent:
        await agent.register("a", service="Web")
        assert await look(agent, service="WEB") == ["a"]


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v1/services/web?healthy=1", "healthy"),
        ("/v1/services/web?health=all", "health"),
        ("/v1/services/web?health=any&health=any", "health"),
        ("/v1/services/web?limit=0", "limit"),
        ("/v1/services/web?limit=x", "limit"),
        ("/v1/services/web?index=-1", "index"),
        ("/v1/services/web?index=18446744073709551616", "index"),
        ("/v1/services/web?index=٣", "index"),
        ("/v1/services/web?wait=10", "wait"),
        ("/v1/services/web?zone=a&zone=b", "zone"),
        ("/v1/services/web/pick?limit=1", "limit"),
        ("/v1/services/web/pick?format=xml", "format"),
        ("/v1/services?tag=a", "tag"),
        ("/v1/services/web?" + "&".join(["tag=a"] * (reading.PARAMETERS_MAX + 1)), "query"),
    ],
)
async def test_wrong_parameters_are_named(path: str, field: str) -> None:
    async with http_agent() as agent:
        status, problem = await agent.call("GET", path)
        assert status == 422
        assert [error["field"] for error in problem["errors"]] == [field]


async def test_services_are_summed_up_over_the_fleet() -> None:
    async with (
        http_agent(node="host-a", zone="z1", group="sum") as a,
        http_agent(node="host-b", zone="z2", group="sum") as b,
    ):
        await a.register("1", tags=["x"])
        await b.register("1", tags=["y"], checks=[{"type": "ttl", "ttl": "1h"}])
        await until(lambda: len(a.driver.view.instances_of("web")) == 2)
        assert (await a.call("GET", "/v1/services"))[1] == {
            "services": [
                {
                    "name": "web",
                    "instances": 2,
                    "passing": 1,
                    "tags": ["x", "y"],
                    "zones": ["z1", "z2"],
                }
            ]
        }


async def get(agent: HttpAgent, path: str) -> tuple[bytes, Any]:
    async with agent.session.get(agent.base + path) as response:
        assert response.status == 200
        return await response.read(), response.headers


async def test_bytes_and_index_change_only_with_the_content() -> None:
    async with http_agent() as agent:
        await agent.register("a")
        before = await get(agent, "/v1/services/web")
        heard = heartbeats(agent)
        await agent.register("other", service="other")
        await until(lambda: heartbeats(agent) > heard)
        again = await get(agent, "/v1/services/web")
        assert again[0] == before[0]
        assert again[1]["X-Beacond-Index"] == before[1]["X-Beacond-Index"]
        await agent.register("a", tags=["new"])
        after = await get(agent, "/v1/services/web")
        assert after[0] != before[0]
        assert int(after[1]["X-Beacond-Index"]) > int(before[1]["X-Beacond-Index"])


def heartbeats(agent: HttpAgent) -> float:
    labels = {"direction": "in", "kind": "heartbeat"}
    return agent.metrics.registry.get_sample_value("beacond_bus_messages_total", labels) or 0


READS = [
    "/v1/instances",
    "/v1/instances/a",
    "/v1/services",
    "/v1/services/web",
    "/v1/services/web/pick",
    "/v1/agents",
    "/v1/events",
    "/v1/status",
]


async def test_every_read_has_its_index_and_says_when_it_is_blind() -> None:
    async with http_agent() as agent:
        await agent.register("a")
        for path in READS:
            _, headers = await get(agent, path)
            assert 1 <= int(headers["X-Beacond-Index"]) < 2**53
            assert "X-Beacond-Stale" not in headers
        await agent.stop_bus()
        await until(lambda: agent.driver.view.sight.stale_since is not None)
        for path in READS:
            _, headers = await get(agent, path)
            assert int(headers["X-Beacond-Stale"]) >= 0
        _, found = await agent.call("GET", "/v1/services/web")
        assert found["stale_since"].endswith("Z")
        assert len(found["instances"]) == 1
        assert found["index"] == agent.driver.view.index_of("web")


async def test_blocking_query_answers_when_the_service_changes() -> None:
    async with http_agent() as agent:
        index = (await agent.call("GET", "/v1/services/web"))[1]["index"]
        path = f"/v1/services/web?index={index}&wait=30s"
        waiting = asyncio.create_task(agent.call("GET", path))
        await until(lambda: waiters(agent) == 1)
        await agent.register("x", service="other")
        assert not waiting.done()
        await agent.register("a")
        status, found = await waiting
        assert (status, [each["id"] for each in found["instances"]]) == (200, ["a"])
        assert found["index"] > index


def waiters(agent: HttpAgent) -> int:
    return int(agent.metrics.registry.get_sample_value("beacond_http_waiters") or 0)


async def test_blocking_query_answers_the_same_when_its_time_is_over() -> None:
    async with http_agent() as agent:
        await agent.register("a")
        before, headers = await get(agent, "/v1/services/web")
        after, _ = await get(
            agent, f"/v1/services/web?index={headers['X-Beacond-Index']}&wait=100ms"
        )
        assert after == before


@pytest.mark.parametrize("index", ["0", "1", "9007199254740991", "18446744073709551615"])
async def test_index_that_is_not_ours_is_answered_at_once(index: str) -> None:
    async with http_agent() as agent:
        await agent.register("a")
        async with asyncio.timeout(20):
            await get(agent, f"/v1/services/web?index={index}&wait=10m")


async def test_reader_that_goes_away_leaves_no_waiter() -> None:
    async with http_agent() as agent:
        index = agent.driver.view.index_of("web")
        path = f"/v1/services/web?index={index}"
        waiting = asyncio.create_task(agent.call("GET", path))
        await until(lambda: waiters(agent) == 1)
        told_of = agent.driver._readers._waiters
        assert told_of
        waiting.cancel()
        await until(lambda: waiters(agent) == 0 and not told_of)


async def test_more_waiters_than_allowed_are_told_to_come_back() -> None:
    async with http_agent(waiters_max=1) as agent:
        path = f"{agent.base}/v1/services/web?index={agent.driver.view.index_of('web')}"
        waiting = asyncio.create_task(agent.session.get(path))
        await until(lambda: waiters(agent) == 1)
        async with agent.session.get(path) as response:
            assert response.status == 503
            assert response.headers["Retry-After"] == "5"
        await agent.register("a")
        (await waiting).release()


async def test_pick_is_one_that_matches_near_first() -> None:
    async with (
        http_agent(node="host-a", zone="z1", group="pick") as a,
        http_agent(node="host-b", zone="z2", group="pick", addresses=("2001:db8::2",)) as b,
    ):
        assert (await a.call("GET", "/v1/services/web/pick"))[0] == 404
        await b.register("far", weight=1000, tags=["x"])
        await until(lambda: bool(a.driver.view.instances_of("web")))
        assert await a.call("GET", "/v1/services/web/pick?format=hostport") == (
            200,
            b"[2001:db8::2]:8080\n",
        )
        await a.register("near")
        for _ in range(5):
            _, picked = await a.call("GET", "/v1/services/web/pick")
            assert (picked["id"], picked["node"]) == ("near", "host-a")
        _, picked = await a.call("GET", "/v1/services/web/pick?tag=x")
        assert picked["id"] == "far"
        assert (await a.call("GET", "/v1/services/web/pick?tag=y"))[0] == 404


async def test_head_is_answered_wherever_get_is() -> None:
    async with http_agent() as agent:
        await agent.register("a")
        await until(lambda: agent.driver.status().ready)
        for path in [*READS, "/healthz", "/readyz", "/metrics", "/openapi.json"]:
            async with agent.session.head(agent.base + path) as response:
                assert response.status == 200, path
                assert await response.read() == b""
        headers = {"Accept": "text/event-stream"}
        async with agent.session.head(f"{agent.base}/v1/events", headers=headers) as response:
            assert response.headers["Content-Type"] == "text/event-stream"


async def test_one_connection_carries_many_requests() -> None:
    async with (
        http_agent() as agent,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session,
    ):
        for _ in range(3):
            async with session.get(f"{agent.base}/v1/services/web") as response:
                assert response.status == 200
                await response.read()
        await session.close()
