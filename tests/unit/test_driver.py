"""What the driver promises its shells: durable first, all or nothing, one timer."""

import asyncio

import pytest
import uvloop

from beacond import driver as driver_module
from beacond.bus.base import BusState, Delivery
from beacond.core.local import NotPersisted, OwnedElsewhere
from beacond.core.model import Check, CheckType, InstanceSpec, Mode, Status
from beacond.core.node import Node
from tests.support.http_agent import http_agent, until


def spec(instance_id: str, port: int = 80, **fields: object) -> InstanceSpec:
    return InstanceSpec(id=instance_id, service="web", port=port, **fields)


def ids(agent) -> list[str]:
    return [i.spec.id for i in agent.driver.local_instances()]


async def test_what_the_disk_refuses_has_not_happened():
    async with http_agent() as agent:
        await agent.driver.register(spec("a"), "http")
        agent.disk.refuses = True
        index = agent.driver.view.index
        with pytest.raises(NotPersisted):
            await agent.driver.register(spec("b"), "http")
        with pytest.raises(NotPersisted):
            await agent.driver.deregister("a", "http")
        with pytest.raises(NotPersisted):
            await agent.driver.set_mode("a", Mode.DRAINING, None, "")
        assert ids(agent) == ["a"]
        assert agent.driver.view.index == index


async def test_the_same_registration_again_does_not_touch_the_disk():
    async with http_agent() as agent:
        await agent.driver.register(spec("a"), "http")
        agent.disk.asked.clear()
        _, new = await agent.driver.register(spec("a"), "http")
        assert not new
        assert not agent.disk.asked.is_set()


async def test_a_file_is_all_that_its_origin_offers():
    async with http_agent() as agent:
        await agent.driver.register(spec("own"), "http")
        refused = await agent.driver.replace_file("a.toml", [spec("own"), spec("x"), spec("y")])
        assert [line.split(":")[0] for line in refused] == ["own"]
        await agent.driver.replace_file("a.toml", [spec("y", 81)])
        await agent.driver.replace_file("b.toml", [spec("z")])
        assert ids(agent) == ["own", "y", "z"]
        with pytest.raises(OwnedElsewhere):
            await agent.driver.deregister("y", "http")
        await agent.driver.files_gone(["b.toml"])
        assert ids(agent) == ["own", "z"]


async def test_a_file_of_many_instances_is_one_write_and_one_change():
    async with http_agent() as agent:
        index = agent.driver.view.index
        await agent.driver.replace_file("a.toml", [spec(f"i{n}", n) for n in range(1, 501)])
        assert len(ids(agent)) == 500
        assert agent.driver.view.index == index + 1


async def test_garbage_from_the_bus_is_counted_and_changes_nothing():
    async with http_agent() as agent:
        index = agent.driver.view.index
        agent.driver.received(next(iter(agent.driver._buses)), [Delivery(b"\0garbage", 0.0)])
        _, metrics = await agent.call("GET", "/metrics")
        assert b"beacond_dropped_total{" in metrics
        assert agent.driver.view.index == index


async def test_a_bus_is_down_since_it_went_down_not_since_the_last_attempt():
    async with http_agent() as agent:
        bus = next(iter(agent.driver._buses))

        def shown() -> tuple[str, float]:
            status = agent.driver.status().bus[0]
            return status.state, status.since

        agent.driver.state_changed(bus, BusState.DOWN, "closed")
        state, since = shown()
        assert state == "down"
        agent.driver.state_changed(bus, BusState.DOWN, "refused")
        assert shown() == ("down", since)
        assert agent.driver.status().bus[0].reason == "refused"
        agent.driver.state_changed(bus, BusState.UP, "")
        assert shown()[1] > since


async def test_a_ttl_that_runs_out_is_acted_on_without_anybody_asking():
    check = Check(CheckType.TTL, "alive", ttl_s=0.05, initial=Status.PASSING)
    async with http_agent() as agent:
        await agent.driver.register(spec("a", checks=(check,)), "http")
        await until(lambda: agent.driver.local_instance("a").status is Status.CRITICAL)


async def test_deregistered_by_its_check_it_is_gone_from_disk_too():
    check = Check(CheckType.TTL, "alive", ttl_s=1.0, deregister_after_s=0.05)
    async with http_agent() as agent:
        await agent.driver.register(spec("a", checks=(check,)), "http")
        agent.disk.asked.clear()
        await until(lambda: ids(agent) == [])
        await until(agent.disk.asked.is_set)


def test_what_is_due_at_once_may_be_looked_at_again_before_it_is_done(monkeypatch):
    async def twice_before_the_timer() -> None:
        async with http_agent() as agent:
            bus, due_at = next(iter(agent.driver._buses)), asyncio.get_running_loop().time()
            with monkeypatch.context() as patch:
                # What is due within half a millisecond gets a handle of another kind from uvloop.
                patch.setattr(Node, "next_deadline", lambda node: due_at)
                for _ in range(2):
                    agent.driver.received(bus, [Delivery(b"garbage", due_at)])

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(twice_before_the_timer())


async def test_a_disk_that_refuses_is_tried_by_one_task_however_often_the_registry_changes():
    check = Check(CheckType.TTL, "alive", ttl_s=1.0, deregister_after_s=0.05)
    async with http_agent() as agent:
        for name in "abcde":
            await agent.driver.register(spec(name, checks=(check,)), "http")
        agent.disk.refuses = True
        await until(lambda: ids(agent) == [])
        assert len(agent.driver._tasks) == 1


async def test_a_bug_in_the_core_is_told_and_time_goes_on(monkeypatch):
    loop, told = asyncio.get_running_loop(), []
    monkeypatch.setattr(driver_module, "AFTER_ERROR_S", 0.01)
    async with http_agent() as agent:
        loop.set_exception_handler(lambda _, context: told.append(context["exception"]))
        healthy = agent.driver._core.tick

        def broken_once(now: float) -> list[object]:
            monkeypatch.setattr(agent.driver._core, "tick", healthy)
            raise AssertionError("a bug")

        monkeypatch.setattr(agent.driver._core, "tick", broken_once)
        await until(lambda: bool(told))
        ticks = []
        monkeypatch.setattr(
            agent.driver._core, "tick", lambda now: (ticks.append(now), healthy(now))[1]
        )
        await until(lambda: len(ticks) > 2)
    assert [str(error) for error in told] == ["a bug"]
