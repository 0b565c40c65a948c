"""What messages, agents and pairs of them cost a RabbitMQ, in CPU seconds and memory."""

import asyncio
import time

from beacond.bus.amqp_topology import BROADCAST_KEY, node_key
from tests.bench import process
from tests.costs.messages import PING
from tests.costs.sessions import Message, Sessions, delivery, sessions
from tests.support.rabbitmq import DEFAULT_USER, RabbitMQ

STEPS = (50, 100, 200, 300)
"""Agents; each step on top of the one before."""
DELIVERIES_PER_S = 4000.0
PINGS_PER_S = 100.0
WARM_ROUNDS = 2
"""Every agent speaks so often before memory is looked at."""
WINDOW_S = 15.0
SETTLE_S = 3.0


def measure(broker: RabbitMQ, heartbeat: bytes) -> list[tuple[str, float, str]]:
    """(what, value, unit), in the order measured."""
    found: list[tuple[str, float, str]] = []
    server = broker._server
    assert server is not None
    pid = server.pid
    with sessions(broker.port, DEFAULT_USER, broker.password) as fleet:
        found.append(("memory, no agent", _memory(pid), "KiB"))
        have = 0
        for agents in STEPS:
            before_s = process.cpu_s(pid)
            fleet.add(agents - have)
            fleet.run(SETTLE_S, 0, _nothing)
            each_ms = 1000 * (process.cpu_s(pid) - before_s) / (agents - have)
            found.append((f"{agents} agents: CPU for a session", each_ms, "ms"))
            have = agents
            found.append((f"{agents} agents: memory, silent", _memory(pid), "KiB"))
            found += _traffic(fleet, pid, agents, heartbeat)
            found.append((f"{agents} agents: memory", _memory(pid), "KiB"))
            asyncio.run(broker.rabbitmqctl("force_gc"))
            time.sleep(1)
            found.append((f"{agents} agents: memory, collected", _memory(pid), "KiB"))
    return found


def _traffic(
    fleet: Sessions, pid: int, agents: int, heartbeat: bytes
) -> list[tuple[str, float, str]]:
    def beat(_: int) -> tuple[bytes, str]:
        return heartbeat, BROADCAST_KEY

    def ping(number: int) -> tuple[bytes, str]:
        return PING, node_key(f"node-{number:04}")

    rate = DELIVERIES_PER_S / agents
    fleet.run(WARM_ROUNDS * agents / rate, rate, beat)
    idle_s, _ = _used(pid, fleet, 0, _nothing)
    ping_s, pings = _used(pid, fleet, PINGS_PER_S, ping)
    heard = fleet.heard_bytes
    beats_s, beats = _used(pid, fleet, rate, beat)
    came = (fleet.heard_bytes - heard) / len(delivery(heartbeat, BROADCAST_KEY))
    deliveries = beats * agents
    name = f"{agents} agents: "
    return [
        (name + "idle CPU", 100 * idle_s / WINDOW_S, "% of a core"),
        (name + "CPU for a ping", 1e6 * (ping_s - idle_s) / pings, "us"),
        (name + "CPU for a delivery", 1e6 * (beats_s - idle_s) / deliveries, "us"),
        (name + "delivered of what was to be", 100 * came / deliveries, "%"),
    ]


def _used(pid: int, fleet: Sessions, rate: float, message: Message) -> tuple[float, int]:
    """CPU seconds of the broker for so many messages."""
    before_s = process.cpu_s(pid)
    sent = fleet.run(WINDOW_S, rate, message)
    return process.cpu_s(pid) - before_s, sent


def _nothing(_: int) -> tuple[bytes, str]:
    return b"", ""


def _memory(pid: int) -> float:
    return process.rss_mib(pid) * 1024
