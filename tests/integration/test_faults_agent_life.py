"""Agents killed, frozen, killed by half, and drowned in messages, under lookups without pause."""

import asyncio
import re
import time
from collections.abc import Collection
from pathlib import Path

import aio_pika
import aiohttp
import pytest
from aio_pika.abc import AbstractIncomingMessage

from beacond.bus.amqp_topology import BROADCAST_KEY, QUEUE_BYTES_MAX
from tests.support.fleet_of_agents import FleetOfAgents, eventually
from tests.support.rabbitmq import RabbitMQ

pytestmark = pytest.mark.broker

FROZEN_S = 25.0
"""Longer than the broker keeps a silent client, and than it keeps messages for one."""
STEADY_S = 6.0
"""Two leases, in which whoever flaps would be seen to."""
FAT = {f"key-{number}": "x" * 512 for number in range(64)}
DROWNING_BYTES = QUEUE_BYTES_MAX + (16 << 20)
"""More than the queue and all buffers on the way hold."""
GONE = ("agent.expired", "agent.left", "instance.stopped")


async def states(fleet: FleetOfAgents, name: str) -> dict[str, str]:
    """What `name` thinks of each agent."""
    return {a["node"]: a["state"] for a in (await fleet.get(name, "/v1/agents"))["agents"]}


async def nodes(fleet: FleetOfAgents, name: str, service: str) -> set[str]:
    found = (await fleet.get(name, f"/v1/services/{service}"))["instances"]
    return {each["node"] for each in found}


async def told_of(
    fleet: FleetOfAgents, since: dict[str, str], told_by: str, about: Collection[str]
) -> list[str]:
    """Kinds of the events that one agent told of these, in order."""
    return [
        event["kind"]
        for event in await fleet.events(since)
        if event["told_by"] == told_by
        and (event.get("instance") or event.get("agent") or {}).get("node") in about
    ]


async def test_killed_and_started_again_it_knows_all_at_once_and_nobody_misses_it(
    rabbitmq: RabbitMQ, tmp_path: Path
) -> None:
    async with FleetOfAgents(tmp_path, rabbitmq.url()) as fleet:
        for node in fleet.nodes:
            await fleet.register("web", node, listening=True)
        await fleet.agree()
        await fleet.saved("b")
        since = await fleet.mark()
        async with fleet.asking() as asked:
            for _ in range(3):
                await asked.underway()
                await fleet.kill("b", host=False)
                await fleet.start("b")
                assert await nodes(fleet, "b", "web") == {"a", "b", "c"}
            await fleet.agree()
        for name in ("a", "c"):
            assert not {*await told_of(fleet, since, name, {"b"})} & {*GONE}


async def test_killed_with_its_host_it_is_suspect_and_then_gone(
    rabbitmq: RabbitMQ, tmp_path: Path
) -> None:
    async with FleetOfAgents(tmp_path, rabbitmq.url()) as fleet:
        for node in fleet.nodes:
            await fleet.register("web", node, listening=True)
        await fleet.agree()
        since = await fleet.mark()
        async with fleet.asking() as asked:
            await asked.underway()
            await fleet.kill("b")
            await fleet.agree()
        for name in ("a", "c"):
            told = await told_of(fleet, since, name, {"b"})
            agent = [kind for kind in told if kind.startswith("agent.")]
            assert agent[-2:] == ["agent.suspect", "agent.expired"]
            assert told.count("instance.stopped") == 1


async def test_frozen_for_many_leases_it_gives_up_nobody_when_it_goes_on(
    rabbitmq: RabbitMQ, tmp_path: Path
) -> None:
    # Slower than elsewhere: a busy machine must not look like flapping.
    async with FleetOfAgents(tmp_path, rabbitmq.url(), heartbeat_s=2.0, ttl_s=6.0) as fleet:
        ids = {n: await fleet.register("web", n, listening=n != "b") for n in fleet.nodes}
        await fleet.agree()
        since = await fleet.mark()
        async with fleet.asking() as asked:
            await asked.underway()
            await fleet.freeze("b")
            began_at = time.monotonic()
            # To the others it is gone.
            await fleet.agree()
            await fleet.deregister(ids["c"], "c")
            await fleet.register("web", "a", listening=True)
            await fleet.agree()
            await asyncio.sleep(max(0.0, began_at + FROZEN_S - time.monotonic()))
            await fleet.thaw("b")
            assert "a" in await nodes(fleet, "b", "web")
            await fleet.agree()
            await asyncio.sleep(STEADY_S)
        of_others = await told_of(fleet, since, "b", {"a", "c"})
        assert not {"agent.expired", "agent.left"} & {*of_others}
        assert of_others.count("instance.stopped") == 1, "that which c deregistered"
        for name in ("a", "c"):
            told = await told_of(fleet, since, name, {"b"})
            assert told.count("instance.stopped") == told.count("instance.started") == 1
            assert told.count("agent.expired") == 1
            assert (await states(fleet, name))["b"] == "alive"


async def test_half_of_all_agents_killed_at_once_are_kept_while_their_programs_run(
    rabbitmq: RabbitMQ, tmp_path: Path
) -> None:
    half = ("d", "e", "f")
    async with FleetOfAgents(tmp_path, rabbitmq.url(), "a b c d e f") as fleet:
        for node in fleet.nodes:
            await fleet.register("web", node, listening=True)
        await fleet.agree()
        since = await fleet.mark()
        async with fleet.asking() as asked:
            await asked.underway()
            await asyncio.gather(*(fleet.kill(name, host=False) for name in half))
            for name in ("a", "b", "c"):
                await all_suspect(fleet, name, half)
            await asyncio.sleep(STEADY_S)
            for name in ("a", "b", "c"):
                assert await nodes(fleet, name, "web") == set(fleet.nodes)
                assert not {*await told_of(fleet, since, name, half)} & {*GONE}
                assert set((await fleet.get(name, "/v1/status"))["held"]) == set(half)
            await fleet.start(*half)
            await fleet.agree()
            for name in ("a", "b", "c"):
                assert (await fleet.get(name, "/v1/status"))["held"] == []
            # And now with their hosts: nobody answers any more.
            await asyncio.gather(*(fleet.kill(name) for name in half))
            await fleet.agree()


async def all_suspect(fleet: FleetOfAgents, name: str, nodes: Collection[str]) -> None:
    async def others() -> str:
        known = await states(fleet, name)
        return ", ".join(f"{node} is {known[node]}" for node in nodes if known[node] != "suspect")

    await eventually(others)


async def test_too_slow_for_its_queue_it_believes_nothing_old_and_asks_for_what_it_missed(
    rabbitmq: RabbitMQ, tmp_path: Path
) -> None:
    async with FleetOfAgents(tmp_path, rabbitmq.url(), "a b c slow") as fleet:
        ids = {n: await fleet.register("web", n, listening=n != "slow") for n in fleet.nodes}
        await fleet.agree()
        async with fleet.asking(["web"]):
            frames = await recorded(fleet, rabbitmq)
            await fleet.freeze("slow")
            # What c says now is read much later.
            await asyncio.sleep(3.0)
            await fleet.kill("c")
            await fleet.register("web", "a", listening=True)
            await drown(fleet, rabbitmq, frames)
            queues = await rabbitmq.listing("queues", "name", "message_bytes")
            most = max(queue["message_bytes"] for queue in queues)
            assert QUEUE_BYTES_MAX / 2 < most <= QUEUE_BYTES_MAX, "its queue overflows"
            await fleet.deregister(ids["b"], "b")
            await fleet.register("web", "b", listening=True)
            await fleet.agree()
            await fleet.thaw("slow")
            await fleet.agree()
            assert await dropped(fleet, "slow", "too-old") > 0
            (c,) = [
                a for a in (await fleet.get("slow", "/v1/agents"))["agents"] if a["node"] == "c"
            ]
            assert c["state"] == "expired"


async def recorded(fleet: FleetOfAgents, broker: RabbitMQ) -> list[bytes]:
    """What all say in a while in which a changes all the time, large messages for the most."""
    frames: list[bytes] = []

    async def received(message: AbstractIncomingMessage) -> None:
        frames.append(message.body)

    connection = await aio_pika.connect(broker.url())
    async with connection:
        channel = await connection.channel()
        exchange = await channel.get_exchange(f"bcn.{fleet.name}", ensure=False)
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(exchange, BROADCAST_KEY)
        await queue.consume(received, no_ack=True)
        async with aiohttp.ClientSession() as session:
            for number in range(12):
                url = f"{fleet['a'].url}/v1/instances/fat-{number}"
                body = {"service": "fat", "port": 9, "meta": FAT}
                async with session.put(url, json=body) as response:
                    assert response.status == 201

        async def too_few() -> str:
            large = sum(len(frame) > 30_000 for frame in frames)
            return "" if large >= 6 else f"{large} large messages"

        await eventually(too_few)
    return frames


async def drown(fleet: FleetOfAgents, broker: RabbitMQ, frames: list[bytes]) -> None:
    """Say it all again and again: nobody may believe any of it twice."""
    connection = await aio_pika.connect(broker.url())
    async with connection:
        channel = await connection.channel()
        exchange = await channel.get_exchange(f"bcn.{fleet.name}", ensure=False)
        sent = number = 0
        while sent < DROWNING_BYTES:
            frame = frames[number % len(frames)]
            await exchange.publish(aio_pika.Message(frame), BROADCAST_KEY)
            sent, number = sent + len(frame), number + 1


async def dropped(fleet: FleetOfAgents, name: str, reason: str) -> float:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{fleet[name].url}/metrics") as response,
    ):
        text = await response.text()
    found = re.search(rf'^beacond_dropped_total{{reason="{reason}"}} (\S+)$', text, re.M)
    return float(found[1]) if found else 0.0
