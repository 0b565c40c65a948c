"""A fleet of 1,000 nodes in one process, as another agent hears it:
`python -m tests.bench.fleet_load BROKER_URL INTERVAL_S`.

It speaks the real protocol: a heartbeat of each node an interval, announces when asked for, pages
of a sync. Its nodes hold each other's state and that of every agent which they heard announce, so
their digests are what a real fleet's would be. What it leaves out is 1,000 processes.
"""

import asyncio
import sys
import time
from collections.abc import Iterator

import aio_pika
from aio_pika.abc import AbstractExchange, AbstractIncomingMessage

from beacond.core.entry import share_of
from beacond.core.messages import (
    Announce,
    AnnounceRequest,
    Envelope,
    Heartbeat,
    Message,
    SyncEntry,
    SyncReply,
    SyncRequest,
)
from beacond.core.model import Mode, Record
from beacond.wire import Codec
from tests.bench.population import FLEET, FOLLOWED

TTL_S = 15.0
PAGE_ENTRIES = 200


class FleetLoad:
    def __init__(self, exchange: AbstractExchange, interval_s: float) -> None:
        self._exchange = exchange
        self._interval_s = interval_s
        self._records = {record.node: record for record in FOLLOWED.records()}
        self._counters = dict.fromkeys(self._records, 0)
        self._codec = Codec(fleet=FLEET, node="load", keyring=None)
        self._others: dict[str, Record] = {}
        self._own_digest = 0
        for record in self._records.values():
            self._own_digest ^= share_of(record)
        self._began_at = time.monotonic()

    # ---- speaking
    async def beat_forever(self) -> None:
        """All nodes evenly over each interval, which is how jitter leaves a fleet."""
        gap_s = self._interval_s / len(self._records)
        due_at = time.monotonic()
        seq = 0
        while True:
            seq += 1
            for node in self._records:
                await self._say(node, self._heartbeat(seq))
                due_at += gap_s
                await asyncio.sleep(max(due_at - time.monotonic(), 0))

    def _heartbeat(self, seq: int) -> Heartbeat:
        return Heartbeat(
            seq=seq,
            version=1,
            digest=self._digest(),
            series=1,
            stamp_ms=round((time.monotonic() - self._began_at) * 1000),
            next_ms=round(self._interval_s * 1000),
            ttl_ms=round(TTL_S * 1000),
            mode=Mode.NORMAL,
        )

    def _digest(self) -> bytes:
        digest = self._own_digest
        for record in self._others.values():
            digest ^= share_of(record)
        return digest.to_bytes(8, "big")

    async def _say(self, node: str, message: Message, to: str = "") -> None:
        self._counters[node] += 1
        record = self._records[node]
        counter = self._counters[node]
        envelope = Envelope(node, record.incarnation, record.boot_id, counter, to)
        for frame in self._codec.encode(envelope, message):
            said = aio_pika.Message(frame, delivery_mode=aio_pika.DeliveryMode.NOT_PERSISTENT)
            await self._exchange.publish(said, f"to.{to}" if to else "all")

    # ---- hearing
    async def arrived(self, delivery: AbstractIncomingMessage) -> None:
        key = delivery.routing_key or ""
        node = key.removeprefix("to.") if key.startswith("to.") else "load"
        if node != "load" and node not in self._records:
            return
        heard = Codec(fleet=FLEET, node=node, keyring=None).decode(delivery.body)
        if heard is None or heard[0].sender in self._records:
            return
        envelope, message = heard
        match message:
            case Announce(record):
                self._others[record.node] = record
            case Heartbeat() if envelope.sender not in self._others:
                await self._say(next(iter(self._records)), AnnounceRequest(1), envelope.sender)
            case AnnounceRequest():
                await self._say(node, Announce(self._records[node]))
            case SyncRequest():
                await self._say(node, self._page(message), envelope.sender)

    def _page(self, asked: SyncRequest) -> SyncReply:
        known = {each.node: (each.incarnation, each.boot_id, each.version) for each in asked.known}
        missing = list(self._missing(asked, known))
        page = missing[:PAGE_ENTRIES]
        covered = page[-1].node if len(page) < len(missing) else ""
        heard_ms = round(self._interval_s * 500)
        entries = tuple(SyncEntry(record, heard_ms, round(TTL_S * 1000)) for record in page)
        return SyncReply(asked.request, entries, (), covered)

    def _missing(
        self, asked: SyncRequest, known: dict[str, tuple[int, bytes, int]]
    ) -> Iterator[Record]:
        for node, record in self._records.items():  # in the order of their names
            within = node > asked.after and (not asked.upto or node <= asked.upto)
            if within and record.key > known.get(node, (0, b"", 0)):
                yield record


async def main(url: str, interval_s: float) -> None:
    async with await aio_pika.connect(url) as listening, await aio_pika.connect(url) as speaking:
        listener = await listening.channel()
        speaker = await speaking.channel(publisher_confirms=False)
        name, kind = f"bcn.{FLEET}", aio_pika.ExchangeType.TOPIC
        exchange = await listener.declare_exchange(name, kind, durable=True)
        queue = await listener.declare_queue(exclusive=True)
        for key in ("all", "to.#"):
            await queue.bind(exchange, key)
        load = FleetLoad(await speaker.get_exchange(name), interval_s)
        await queue.consume(load.arrived, no_ack=True)
        print("speaking", flush=True)
        await load.beat_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2])))
