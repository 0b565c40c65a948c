"""What following a fleet costs one agent, by the number of messages, hosts and instances."""

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import aio_pika

from tests.bench import process
from tests.bench.fleet_load import FleetLoad
from tests.bench.population import FLEET, Population
from tests.support.agent_process import AgentProcess, environment, until
from tests.support.rabbitmq import RabbitMQ

FLEETS = (
    # hosts, instances of each, interval in s
    (0, 0, 5.0),
    (100, 10, 5.0),
    (1000, 10, 5.0),
    (1000, 1, 5.0),
    (1000, 10, 1.0),
)
SERVICES = 10
EXCHANGE = f"bcn.{FLEET}"
WINDOW_S = 20.0
SETTLE_S = 12.0
JOIN_WITHIN_S = 90.0


async def speak(url: str, hosts: int, each: int, interval_s: float) -> None:
    async with await aio_pika.connect(url) as listening, await aio_pika.connect(url) as speaking:
        listener = await listening.channel()
        speaker = await speaking.channel(publisher_confirms=False)
        exchange = await listener.get_exchange(EXCHANGE, ensure=False)
        queue = await listener.declare_queue(exclusive=True)
        people = Population(nodes=hosts, per_node=each, services=SERVICES)
        speaks = await speaker.get_exchange(EXCHANGE, ensure=False)
        load = FleetLoad(speaks, people, interval_s)
        for key in ("all", *(f"to.{node}" for node in load._records)):
            await queue.bind(exchange, key)
        await queue.consume(load.arrived, no_ack=True)
        await load.beat_forever()


def measure(broker: RabbitMQ, folder: Path) -> list[tuple[str, float, str]]:
    """(what, value, unit), in the order measured."""
    return [row for sizes in FLEETS for row in _follow(broker, folder, *sizes)]


def _follow(
    broker: RabbitMQ, folder: Path, hosts: int, each: int, interval_s: float
) -> list[tuple[str, float, str]]:
    name = f"{hosts} hosts of {each}, {interval_s:g} s"
    flags = ("--bus", broker.url(), "--fleet", FLEET, "--heartbeat", f"{interval_s:g}s")
    agent = AgentProcess(folder / name, *flags)
    load = None
    try:
        until(lambda: agent.get("/v1/status")["bus"][0]["state"] == "up")
        if hosts:
            sizes = map(str, (hosts, each, interval_s))
            load = subprocess.Popen(
                [sys.executable, "-m", __name__, broker.url(), *sizes], env=environment()
            )
            wanted = hosts * each
            until(lambda: agent.get("/v1/status")["counts"]["instances"] == wanted, JOIN_WITHIN_S)
        time.sleep(SETTLE_S)
        used_s, from_at = process.cpu_s(agent.process.pid), time.perf_counter()
        time.sleep(WINDOW_S)
        passed_s = time.perf_counter() - from_at
        used_s = process.cpu_s(agent.process.pid) - used_s
        memory = process.rss_mib(agent.process.pid) * 1024
        heard = max(hosts, 1) / interval_s * passed_s
        return [
            (f"{name}: CPU", 100 * used_s / passed_s, "% of a core"),
            (f"{name}: CPU for a message", 1e6 * used_s / heard, "us"),
            (f"{name}: memory", memory, "KiB"),
        ]
    finally:
        if load is not None:
            process.end(load)
        agent.stop()


if __name__ == "__main__":
    asyncio.run(speak(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])))
