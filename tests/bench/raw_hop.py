"""What the broker and its client library take by themselves: one message, published and heard."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

SIZE = 300
EVERY_S = 0.1


@asynccontextmanager
async def raw_hops(url: str) -> AsyncIterator[list[float]]:
    """Send one message after the other while the body runs; the seconds each took.

    Two connections, a direct exchange and an exclusive queue, as an agent has them.
    """
    took: list[float] = []
    async with await aio_pika.connect(url) as listening, await aio_pika.connect(url) as speaking:
        listener, speaker = await listening.channel(), await speaking.channel()
        exchange = await listener.declare_exchange("bench.raw", aio_pika.ExchangeType.DIRECT)
        queue = await listener.declare_queue(exclusive=True)
        await queue.bind(exchange, "all")
        hops = _Hops(took)
        await queue.consume(hops.arrived, no_ack=True)
        sending = asyncio.create_task(hops.send(await speaker.get_exchange("bench.raw")))
        try:
            yield took
        finally:
            sending.cancel()
            await asyncio.wait({sending})


class _Hops:
    def __init__(self, took: list[float]) -> None:
        self._took = took
        self._sent_at: dict[int, float] = {}

    async def send(self, exchange: aio_pika.abc.AbstractExchange) -> None:
        for number in count():
            body = number.to_bytes(8, "big") + bytes(SIZE - 8)
            self._sent_at[number] = time.perf_counter()
            await exchange.publish(aio_pika.Message(body), "all")
            await asyncio.sleep(EVERY_S)

    async def arrived(self, message: AbstractIncomingMessage) -> None:
        now = time.perf_counter()
        self._took.append(now - self._sent_at.pop(int.from_bytes(message.body[:8], "big")))
