"""A fleet of many nodes in one process, as another agent hears it:
`python -m tests.bench.fleet_load BROKER_URL INTERVAL_S NODES`.

It speaks the real protocol: a heartbeat of each node an interval, announces when asked for, pages
of a sync. Its nodes hold each other's state and that of every agent which they heard announce, so
their digests are what a real fleet's would be. What it leaves out is the processes.

Each line on its standard input is a number: so many changes a second from then on, each an instance
of some node that moves to another address. It answers how many there were since the line before.
"""

import asyncio
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from random import Random

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
from tests.bench.population import FLEET, Population, population

TTL_S = 15.0
PAGE_ENTRIES = 200


class FleetLoad:
    def __init__(self, exchange: AbstractExchange, fleet: Population, interval_s: float) -> None:
        self._exchange = exchange
        self._interval_s = interval_s
        self._records = {record.node: record for record in fleet.records()}
        self._nodes = tuple(self._records)
        self._random = Random(1)
        self._counters = dict.fromkeys(self._records, 0)
        self._codec = Codec(fleet=FLEET, node="load", keyring=None)
        self._others: dict[str, Record] = {}
        self._own_digest = 0
        self.changes = 0
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
                await self.beat(node, seq)
                due_at += gap_s
                await asyncio.sleep(max(due_at - time.monotonic(), 0))

    async def change_forever(self, per_s: float) -> None:
        """Evenly over each second."""
        due_at = time.monotonic()
        while True:
            due_at += 1 / per_s
            await asyncio.sleep(max(due_at - time.monotonic(), 0))
            await self.announce(self.change())

    async def beat(self, node: str, seq: int) -> None:
        await self._say(node, self._heartbeat(node, seq))

    async def announce(self, node: str) -> None:
        await self._say(node, Announce(self._records[node]))

    def change(self) -> str:
        """An instance goes from its host's address to one of its own, or back; which node's."""
        node = self._random.choice(self._nodes)
        old = self._records[node]
        instances = list(old.body.instances)
        place = self._random.randrange(len(instances))
        elsewhere = old.body.addresses[0].replace("10.", "172.", 1)
        moved = None if instances[place].address else elsewhere
        instances[place] = replace(instances[place], address=moved)
        body = replace(old.body, instances=tuple(instances))
        new = self._codec.seal(replace(old, version=old.version + 1, body=body, raw=None))
        self._own_digest ^= share_of(old) ^ share_of(new)
        self._records[node] = new
        self.changes += 1
        return node

    def _heartbeat(self, node: str, seq: int) -> Heartbeat:
        return Heartbeat(
            seq=seq,
            version=self._records[node].version,
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
                await self.announce(node)
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


async def main(url: str, interval_s: float, nodes: int) -> None:
    async with await aio_pika.connect(url) as listening, await aio_pika.connect(url) as speaking:
        listener = await listening.channel()
        speaker = await speaking.channel(publisher_confirms=False)
        name, kind = f"bcn.{FLEET}", aio_pika.ExchangeType.TOPIC
        exchange = await listener.declare_exchange(name, kind, durable=True)
        queue = await listener.declare_queue(exclusive=True)
        for key in ("all", "to.#"):
            await queue.bind(exchange, key)
        load = FleetLoad(await speaker.get_exchange(name), population(nodes), interval_s)
        await queue.consume(load.arrived, no_ack=True)
        print("speaking", flush=True)
        async with asyncio.TaskGroup() as group:
            group.create_task(load.beat_forever())
            group.create_task(_obey(load))


async def _obey(load: FleetLoad) -> None:
    """What standard input says, until this process is ended."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    changing: asyncio.Task[None] | None = None
    while line := await reader.readline():
        if changing is not None:
            changing.cancel()
            await asyncio.wait({changing})
        changing = None
        print(load.changes, flush=True)
        load.changes = 0
        if per_s := float(line):
            changing = asyncio.create_task(load.change_forever(per_s))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3])))
