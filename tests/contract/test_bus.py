"""What every bus does, whatever carries it."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest
import uvloop

from beacond.bus.base import Bus, BusState
from beacond.bus.url import open_bus
from tests.support.listener import Listener
from tests.support.rabbitmq import RabbitMQ

_fleets = itertools.count()


@dataclass(frozen=True)
class Member:
    bus: Bus
    heard: Listener


Join = Callable[..., Awaitable[Member]]


@asynccontextmanager
async def running(bus: Bus, heard: Listener) -> AsyncIterator[Member]:
    task = asyncio.create_task(bus.run(heard))
    try:
        yield Member(bus, heard)
    finally:
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()


@pytest.fixture(params=["local", pytest.param("amqp", marks=pytest.mark.broker)])
def url(request: pytest.FixtureRequest) -> str:
    if request.param == "local":
        return "local://"
    broker: RabbitMQ = request.getfixturevalue("rabbitmq")
    return broker.url()


@pytest.fixture
def fleet() -> str:
    """A new one for each test: they share the broker."""
    return f"fleet-{os.getpid()}-{next(_fleets)}"


@pytest.fixture
async def join(url: str, fleet: str) -> AsyncIterator[Join]:
    """Adds a running bus that is up."""
    async with AsyncExitStack() as stack:

        async def joined(node: str, in_fleet: str = fleet) -> Member:
            bus = open_bus(url, fleet=in_fleet, node=node, incarnation=1)
            member = await stack.enter_async_context(running(bus, Listener()))
            await member.heard.reaches(BusState.UP)
            return member

        yield joined


async def test_a_broadcast_reaches_everybody_and_oneself(join: Join) -> None:
    members = [await join(node) for node in ("a", "b", "c")]
    assert members[0].bus.broadcast(b"hello")
    for member in members:
        await member.heard.hears(b"hello")
        assert member.heard.bodies == [b"hello"]


async def test_a_send_reaches_one_node_only(join: Join) -> None:
    a, b, c = [await join(node) for node in ("a", "b", "c")]
    assert a.bus.send("b", b"for b")
    assert a.bus.broadcast(b"end")
    for member in (a, b, c):
        await member.heard.hears(b"end")
    assert b.heard.bodies == [b"for b", b"end"]
    assert a.heard.bodies == c.heard.bodies == [b"end"]


async def test_a_node_may_send_to_itself(join: Join) -> None:
    a = await join("a")
    assert a.bus.send("a", b"note")
    await a.heard.hears(b"note")


async def test_another_fleet_hears_nothing(join: Join, fleet: str) -> None:
    a = await join("a")
    stranger = await join("a", fleet + "-other")
    a.bus.broadcast(b"ours")
    a.bus.send("a", b"ours too")
    await a.heard.hears(b"ours", b"ours too")
    stranger.bus.broadcast(b"theirs")
    await stranger.heard.hears(b"theirs")
    assert stranger.heard.bodies == [b"theirs"]
    assert b"theirs" not in a.heard.bodies


@pytest.mark.parametrize("size", [1, 2, 255, 4096, 65536, 300_000])
async def test_bytes_arrive_unchanged(join: Join, size: int) -> None:
    a, b = await join("a"), await join("b")
    body = bytes(position * 7 % 256 for position in range(size))
    assert a.bus.broadcast(body)
    await b.heard.hears(body)


async def test_batches_carry_receipt_times_in_order(join: Join) -> None:
    a, b = await join("a"), await join("b")
    before = asyncio.get_running_loop().time()
    bodies = [b"%d" % number for number in range(100)]
    assert all(a.bus.broadcast(body) for body in bodies)
    await b.heard.hears(*bodies)
    after = asyncio.get_running_loop().time()
    assert b.heard.bodies == bodies
    times = [delivery.received_at for batch in b.heard.batches for delivery in batch]
    assert times == sorted(times)
    assert before <= times[0] <= times[-1] <= after


async def test_nothing_is_delivered_inside_the_call_that_sends(join: Join) -> None:
    a = await join("a")
    a.bus.broadcast(b"later")
    assert a.heard.bodies == []
    await a.heard.hears(b"later")


async def test_a_node_that_is_not_there_is_no_error(join: Join) -> None:
    a = await join("a")
    assert a.bus.send("nobody", b"hello?")
    assert a.bus.broadcast(b"still well")
    await a.heard.hears(b"still well")
    assert a.bus.state is BusState.UP
    assert a.heard.states == [(BusState.UP, "")]


async def test_what_is_sent_before_the_bus_is_up_is_refused_and_never_delivered(
    url: str, fleet: str
) -> None:
    bus, heard = open_bus(url, fleet=fleet, node="a", incarnation=1), Listener()
    assert bus.state is BusState.DOWN
    assert not bus.broadcast(b"early")
    assert not bus.send("a", b"early")
    async with running(bus, heard):
        await heard.reaches(BusState.UP)
        bus.broadcast(b"in time")
        await heard.hears(b"in time")
        assert heard.bodies == [b"in time"]


async def test_a_flushed_message_outlives_its_sender(join: Join, url: str, fleet: str) -> None:
    a = await join("a")
    async with running(open_bus(url, fleet=fleet, node="b", incarnation=1), Listener()) as b:
        await b.heard.reaches(BusState.UP)
        b.bus.broadcast(b"goodbye")
        assert await b.bus.flush(5)
    await a.heard.hears(b"goodbye")


async def test_a_stopped_bus_is_down_hears_nothing_and_can_run_again(
    join: Join, url: str, fleet: str
) -> None:
    a = await join("a")
    bus, heard = open_bus(url, fleet=fleet, node="b", incarnation=1), Listener()
    async with running(bus, heard):
        await heard.reaches(BusState.UP)
    assert bus.state is BusState.DOWN
    assert not bus.broadcast(b"from the grave")
    a.bus.broadcast(b"meanwhile")
    await a.heard.hears(b"meanwhile")
    assert heard.bodies == []
    async with running(bus, Listener()) as again:
        await again.heard.reaches(BusState.UP)
        a.bus.send("b", b"welcome back")
        await again.heard.hears(b"welcome back")
        assert b"meanwhile" not in again.heard.bodies


def test_it_runs_on_the_agent_s_event_loop(url: str, fleet: str) -> None:
    async def talk() -> None:
        bus = open_bus(url, fleet=fleet, node="a", incarnation=1)
        async with running(bus, Listener()) as member:
            await member.heard.reaches(BusState.UP)
            assert bus.broadcast(b"hello")
            await member.heard.hears(b"hello")

    uvloop.run(talk())


async def test_the_shown_url_holds_no_password(url: str, fleet: str) -> None:
    bus = open_bus(url, fleet=fleet, node="a", incarnation=1)
    scheme, _, rest = url.partition("://")
    assert bus.url.startswith(scheme + "://")
    if "@" in rest:
        password = rest.partition("@")[0].partition(":")[2]
        assert password not in bus.url
