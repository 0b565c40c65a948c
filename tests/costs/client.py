"""What hearing a message costs an agent's process: with the bus as it is, and at the very least.

The least is a process that reads the same bytes from the same broker and throws them away.
"""

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import uvloop

from beacond.bus.amqp_topology import BROADCAST_KEY
from beacond.bus.base import Bus, BusState, Delivery
from beacond.bus.url import open_bus
from tests.bench import process
from tests.costs.messages import FLEET
from tests.costs.sessions import Sessions, delivery, listener, sessions
from tests.support.agent_process import environment, until
from tests.support.rabbitmq import DEFAULT_USER, RabbitMQ

RATES = (20, 200, 1000)
"""Messages a second, spread evenly."""
WINDOW_S = 15.0
BURST_S = 0.3
"""For so long messages are sent as fast as they can be."""
AT_ONCE = 1e9
HEARERS = ("bus", "least")


def measure(broker: RabbitMQ, heartbeat: bytes) -> list[tuple[str, float, str]]:
    """(what, value, unit), in the order measured."""
    rows: list[tuple[str, float, str]] = []
    for kind in HEARERS:
        with sessions(broker.port, DEFAULT_USER, broker.password) as fleet:
            fleet.add(1)
            hearer = _Hearer(broker, kind, heartbeat)
            try:
                rows += _heard(fleet, hearer, heartbeat)
            finally:
                process.end(hearer.process)
    return rows


def _heard(fleet: Sessions, hearer: "_Hearer", heartbeat: bytes) -> list[tuple[str, float, str]]:
    def used(rate: float, seconds: float = WINDOW_S) -> tuple[float, int]:
        before_s, before = hearer.told()
        sent = fleet.run(seconds, rate, lambda _: (heartbeat, BROADCAST_KEY))
        until(lambda: hearer.told()[1] == before + sent, 60.0)
        return hearer.told()[0] - before_s, sent

    used(RATES[-1], 3.0)
    idle_s, _ = used(0)
    rows = [(f"{hearer.kind}: idle", 1e6 * idle_s / WINDOW_S, "us a second")]
    for rate in RATES:
        busy_s, sent = used(rate)
        rows.append((f"{hearer.kind}: {rate}/s", 1e6 * (busy_s - idle_s) / sent, "us a message"))
    busy_s, sent = used(AT_ONCE, BURST_S)
    rows.append((f"{hearer.kind}: {sent} at once", 1e6 * busy_s / sent, "us a message"))
    return rows


class _Hearer:
    """A process that hears the fleet and tells, when asked, what it has used and heard so far."""

    def __init__(self, broker: RabbitMQ, kind: str, heartbeat: bytes) -> None:
        self.kind = kind
        each = len(delivery(heartbeat, BROADCAST_KEY))
        arguments = (broker.url(), str(broker.port), broker.password, str(each))
        self.process = subprocess.Popen(
            [sys.executable, "-m", __name__, kind, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        assert process.next_line(self.process) == "ready"

    def told(self) -> tuple[float, int]:
        """CPU seconds, messages."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        used_s, heard = process.next_line(self.process).split()
        return float(used_s), int(heard)


class _Counting:
    def __init__(self) -> None:
        self.heard = 0
        self.up = asyncio.Event()

    def received(self, _: Bus, batch: Sequence[Delivery]) -> None:
        self.heard += len(batch)

    def state_changed(self, _: Bus, state: BusState, reason: str) -> None:
        if state is BusState.UP:
            self.up.set()


class _Throwing(asyncio.Protocol):
    def __init__(self, each: int) -> None:
        self._each = each
        self._bytes = 0

    def data_received(self, data: bytes) -> None:
        self._bytes += len(data)

    @property
    def heard(self) -> int:
        return self._bytes // self._each


async def hear_with_bus(url: str) -> None:
    bus, counting = open_bus(url, fleet=FLEET, node="node-9999", incarnation=1), _Counting()
    running = asyncio.create_task(bus.run(counting))
    await counting.up.wait()
    _tell_when_asked(lambda: counting.heard)
    await running


async def hear_the_least(port: int, password: str, each: int) -> None:
    line = listener(port, DEFAULT_USER, password, keys=(BROADCAST_KEY,))
    loop = asyncio.get_running_loop()
    _, counting = await loop.create_connection(lambda: _Throwing(each), sock=line.socket)
    _tell_when_asked(lambda: counting.heard)
    await loop.create_future()


def _tell_when_asked(heard: Callable[[], int]) -> None:
    def tell() -> None:
        sys.stdin.readline()
        print(time.process_time(), heard(), flush=True)

    asyncio.get_running_loop().add_reader(sys.stdin, tell)
    print("ready", flush=True)


if __name__ == "__main__":
    kind, url, port, password, each = sys.argv[1:]
    uvloop.run(
        hear_with_bus(url) if kind == "bus" else hear_the_least(int(port), password, int(each))
    )
