"""An agent whose clock is set, or whose name is taken, under lookups without pause."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.support.fake_clock import FakeClock
from tests.support.fleet_of_agents import FleetOfAgents, eventually
from tests.support.rabbitmq import RabbitMQ

pytestmark = pytest.mark.broker
with_clock = pytest.mark.server("faketime")

HOUR_S = 3600
STEADY_S = 5.0
"""More than a lease: time in which a decision by a wrong clock would show."""
DRAIN_S = 8.0


@pytest.fixture
def clock(tmp_path: Path) -> Iterator[FakeClock]:
    clock = FakeClock(tmp_path / "clock")
    yield clock
    clock.close()


@pytest.fixture
async def fleet(rabbitmq: RabbitMQ, tmp_path: Path) -> AsyncIterator[FleetOfAgents]:
    """Agents a and c, with an instance of web each; b is each test's own."""
    async with FleetOfAgents(tmp_path, rabbitmq.url(), "a c") as fleet:
        for node in ("a", "c"):
            await fleet.register("web", node, listening=True)
        yield fleet


async def start(fleet: FleetOfAgents, clock: FakeClock, offset_s: int) -> int:
    """Start b by this clock; the incarnation it drew."""
    clock.set(offset_s)
    await fleet.start("b", env=clock.env)
    clock.shown_to(fleet["b"].process.process.pid)
    (line,) = fleet["b"].process.logged("starting")
    drawn: int = line["incarnation"]
    return drawn


async def told_at(fleet: FleetOfAgents, instance_id: str) -> float:
    """By b's own clock: when it says that it registered this."""
    page = await fleet.get("b", "/v1/events?kind=instance.registered")
    (label,) = [e["time"] for e in page["events"] if e["instance"]["id"] == instance_id]
    return time.mktime(time.strptime(label[:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone


@with_clock
async def test_a_clock_set_forward_and_back_an_hour_moves_labels_and_nothing_else(
    fleet: FleetOfAgents, clock: FakeClock
) -> None:
    await start(fleet, clock, 0)
    await fleet.register("web", "b", listening=True)
    await put(fleet, "/v1/instances/aside-1", {"service": "aside", "port": 1})
    await fleet.agree()
    since = await fleet.mark()
    async with fleet.asking(["web"]):
        for offset_s in (HOUR_S, -HOUR_S, 0):
            clock.set(offset_s)
            added = await fleet.register("web", "b", listening=True)
            assert abs(await told_at(fleet, added) - time.time() - offset_s) < 60
            began_at = time.monotonic()
            draining: dict[str, object] = {"mode": "draining", "for": f"{DRAIN_S:g}s"}
            await put(fleet, "/v1/instances/aside-1/mode", draining)
            # Set again while it drains: that ends neither sooner nor an hour later.
            clock.set(offset_s - HOUR_S)
            await normal(fleet, "aside-1")
            assert DRAIN_S - 1 < time.monotonic() - began_at < DRAIN_S + 30
            await fleet.agree()
            await fleet.deregister(added, "b")
            await fleet.agree()
    assert not await fleet.events(since, "agent.expired", "agent.left")
    stopped = await fleet.events(since, "instance.stopped")
    of_web = [event["reason"] for event in stopped if event["instance"]["service"] == "web"]
    assert {*of_web} == {"deregistered"}


async def put(fleet: FleetOfAgents, path: str, body: dict[str, object]) -> None:
    url = f"{fleet['b'].url}{path}"
    async with aiohttp.ClientSession() as session, session.put(url, json=body) as response:
        assert response.status in (200, 201), await response.text()


async def normal(fleet: FleetOfAgents, instance_id: str) -> None:
    """Wait until this instance of b drains no more."""

    async def drains() -> str:
        mode: str = (await fleet.get("b", f"/v1/instances/{instance_id}"))["mode"]
        return "" if mode == "normal" else mode

    await eventually(drains)


@with_clock
async def test_an_hour_ahead_or_behind_at_the_start_it_is_believed_all_the_same(
    fleet: FleetOfAgents, clock: FakeClock
) -> None:
    drawn = [await start(fleet, clock, HOUR_S)]
    assert abs(drawn[0] - time.time() - HOUR_S) < 60
    await fleet.register("web", "b", listening=True)
    await fleet.agree()
    since = await fleet.mark()
    async with fleet.asking() as asked:
        for offset_s in (0, -HOUR_S, HOUR_S):
            await asked.underway()
            await fleet.kill("b", host=False)
            drawn.append(await start(fleet, clock, offset_s))
            await fleet.agree()
            assert (await fleet.get("b", "/v1/status"))["incarnation"] == drawn[-1]
    assert drawn == sorted(set(drawn))
    assert not await fleet.events(since, "agent.expired", "agent.left", "agent.conflict")


@with_clock
async def test_with_its_folder_lost_and_its_clock_behind_others_tell_it_and_it_goes_on(
    fleet: FleetOfAgents, clock: FakeClock, tmp_path: Path
) -> None:
    before = await start(fleet, clock, 0)
    own = await fleet.register("web", "b", listening=True)
    await fleet.agree()
    async with fleet.asking() as asked:
        await asked.underway()
        await fleet.kill("b", host=False)
        shutil.rmtree(tmp_path / "b" / "data")
        fleet.truth.stopped("web", "b", own)
        drawn = await start(fleet, clock, -HOUR_S)
        assert drawn < before
        await fleet.agree()
        await raised(fleet, above=before)
        await fleet.register("web", "b", listening=True)
        await fleet.agree()
        # What it was told is on disk: nobody has to tell it again.
        now = (await fleet.get("b", "/v1/status"))["incarnation"]
        await fleet.kill("b", host=False)
        assert await start(fleet, clock, -HOUR_S) == now + 1
        await fleet.agree()
        assert not (await fleet.get("b", "/v1/status"))["conflict"]


async def raised(fleet: FleetOfAgents, *, above: int) -> None:
    async def not_yet() -> str:
        incarnation = (await fleet.get("b", "/v1/status"))["incarnation"]
        return "" if incarnation > above else f"{incarnation} is not above {above}"

    await eventually(not_yet)


async def test_of_two_with_one_name_one_gives_way_and_both_answer(
    fleet: FleetOfAgents, tmp_path: Path
) -> None:
    await fleet.start("b")
    # Where it is does not depend on who of the two is heard.
    at = (fleet["b"].address, 700)
    fleet.truth.started("web", "b", "web-700", place=at)
    body = {"service": "web", "address": at[0], "port": at[1]}
    await put(fleet, "/v1/instances/web-700", body)
    await fleet.agree()
    await fleet.saved("b")
    since = await fleet.mark()
    shutil.copytree(tmp_path / "b" / "data", tmp_path / "clone" / "data")
    async with fleet.asking() as asked:
        await fleet.start("clone", flags=("--node", "b"))

        async def one_gave_way() -> str:
            said = [(await fleet.get(n, "/v1/status"))["conflict"] for n in ("b", "clone")]
            return "" if sorted(said) == [False, True] else f"conflict: {said}"

        await eventually(one_gave_way)
        # The one that won is heard, and what it offers from now on as well.
        said = (await fleet.get("b", "/v1/status"))["conflict"]
        winner, loser = ("clone", "b") if said else ("b", "clone")
        await asked.underway()
        await asyncio.sleep(STEADY_S)
        await fleet.agree("a", "c", winner)
        told = await fleet.events(since, "agent.conflict")
        assert {event["told_by"] for event in told} == {loser}
        assert len(told) == 1
    assert not await fleet.events(since, "agent.expired", "agent.left", "instance.stopped")
