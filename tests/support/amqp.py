"""An AMQP bus that notices and retries quickly, for tests that break its broker."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

from beacond.bus.amqp import AmqpBus
from beacond.bus.amqp_session import Timing
from tests.support.listener import Listener

QUICK = Timing(connect_s=2.0, rpc_s=3.0, confirm_s=0.5, overdue_s=0.1, ping_s=0.6, close_s=1.0)


class Eager(Random):
    """Draws no long waits; the rest is as random, from a seed."""

    def uniform(self, a: float, b: float) -> float:
        return min(super().uniform(a, b), 0.2)


@asynccontextmanager
async def running(
    url: str, *, fleet: str, node: str = "a", incarnation: int = 1, timing: Timing = QUICK
) -> AsyncIterator[tuple[AmqpBus, Listener]]:
    bus = AmqpBus(url, fleet=fleet, node=node, incarnation=incarnation, rng=Eager(7), timing=timing)
    heard = Listener()
    task = asyncio.create_task(bus.run(heard))
    try:
        yield bus, heard
    finally:
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled(), task.exception()
