"""A fleet of many hosts in one process, as agents and the broker see it:
`python -m tests.bench.fleet_load BROKER_URL INTERVAL_S KIND HOSTS INSTANCES SERVICES`, the
instances of each host, the services of all.

KIND is `heard` (heartbeats to all, one queue for all hosts), `flat` (the same, a session for each
host as agents have them) or `relayed` (heartbeats to relays, which tell all; a session each).

It speaks the real protocol: heartbeats, announces when asked for, pages of a sync, the digests and
lists of names of its relays. What it leaves out is the processes, and the deciding: that all hosts
believe the same is taken for granted.

Each line on its standard input is a command and a number, answered by a line of JSON:
`change N`: so many changes a second from then on, each an instance of some host that moves to
another address; answered with the number of changes since the last answer to this.
`tell 0`: all counts since the start. `silence N`: so many relays that speak die, where each shard
keeps its other one; who.
"""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from random import Random
from typing import Any

import uvloop

from beacond.bus.amqp_session import Timing
from beacond.bus.amqp_topology import BROADCAST_KEY, node_key
from beacond.bus.amqp_url import parse_amqp
from beacond.core.entry import SUSPECT_BEATS
from beacond.core.messages import (
    SHARDS,
    Announce,
    AnnounceRequest,
    Envelope,
    Goodbye,
    Heartbeat,
    Message,
    ShardDigest,
    ShardRequest,
    SyncRequest,
)
from beacond.core.voice import JITTER
from beacond.wire import Codec, fields, sealed
from tests.bench.fleet_hosts import Hosts
from tests.bench.fleet_relays import Relays
from tests.bench.fleet_state import TTL_S, State
from tests.bench.population import FLEET, Population

PING_EVERY_S = Timing().ping_s
_PLACE_OF_TO = 5
"""In a frame's content."""

Send = Callable[[str, str, bytes], None]
"""From which host, with which routing key, what."""


@dataclass(slots=True)
class Told:
    """Counts since the start."""

    deliveries: int
    """To the hosts' queues, pings included."""
    pings: int
    published: int
    agents: dict[str, dict[str, int]]
    """By agent: what it sent, and to whom."""


class FleetLoad:
    """What the hosts say, and what they make of what agents say."""

    def __init__(
        self,
        send: Send,
        state: State,
        relays: Relays | None,
        interval_s: float,
        now: Callable[[], float],
    ) -> None:
        self._send = send
        self._state = state
        self._interval_s = interval_s
        self._relays = relays
        self._now = now
        self._codec = Codec(fleet=FLEET, node="load", keyring=None)
        self._counters = Counter[str]()
        self.agents: dict[str, Counter[str]] = {}

    # ---- speaking

    def beat(self, node: str, next_s: float) -> None:
        """To all, or to its relays."""
        said = self._state.beat(node, next_s, self._now())
        if self._relays is None:
            self.say(node, said)
            return
        self._relays.beats(node, self._now())
        for relay in self._relays.of(node):
            self.say(node, said, relay)

    def speak(self, shard: int) -> float:
        """Let that shard's relay speak, if one of the hosts is; when to look again."""
        assert self._relays is not None
        relay, again_at = self._relays.turn(shard, self._now())
        if relay is not None:
            self._tell(relay, shard, again_at - self._now(), named=False)
        return again_at

    def _tell(self, relay: str, shard: int, next_s: float, *, named: bool) -> None:
        assert self._relays is not None
        beat = self._state.beat(relay, next_s, self._now())
        said = self._relays.digest(relay, shard, beat, self._now(), named=named)
        self._relays.spoke(relay, shard, said.count, self._now())
        self.say(relay, said)

    def announce(self, node: str) -> None:
        self.say(node, Announce(self._state.records[node]))

    def say(self, node: str, message: Message, to: str = "") -> None:
        self._counters[node] += 1
        record = self._state.records[node]
        counter = self._counters[node]
        envelope = Envelope(node, record.incarnation, record.boot_id, counter, to)
        for frame in self._codec.encode(envelope, message):
            self._send(node, node_key(to) if to else BROADCAST_KEY, frame)

    # ---- hearing

    def heard(self, data: bytes) -> None:
        """What an agent said that is none of our hosts."""
        to = fields.unpack(sealed.unseal(sealed.FRAME, data, None))[_PLACE_OF_TO]
        if to and not self._lives(to):
            return
        decoded = Codec(fleet=FLEET, node=to, keyring=None).decode(data)
        if decoded is None:
            return
        envelope, message = decoded
        self._count(envelope, message)
        match message:
            case Announce(record):
                self._state.others[record.node] = record
                self._believe(record.node, True)
            case Goodbye():
                self._state.others.pop(envelope.sender, None)
                self._believe(envelope.sender, False)
            case Heartbeat() | ShardDigest():
                self._heartbeat(envelope, message)
            case AnnounceRequest():
                self.announce(to)
            case SyncRequest():
                self.say(to, self._state.page(message), envelope.sender)
            case ShardRequest(shard):
                if self._relays is not None and self._relays.may_name(to, shard, self._now()):
                    self._tell(to, shard, self._interval_s, named=True)

    def _heartbeat(self, envelope: Envelope, said: Heartbeat | ShardDigest) -> None:
        agent, now = envelope.sender, self._now()
        if agent not in self._state.others:
            self.say(next(filter(self._lives, self._state.records)), AnnounceRequest(1), agent)
        if self._relays is None:
            return
        self._relays.hears(agent, envelope.to, now)
        if isinstance(said, ShardDigest):
            self._relays.spoke(agent, said.shard, said.count, now)

    def _lives(self, host: str) -> bool:
        dead = self._relays.dead if self._relays is not None else ()
        return host in self._state.records and host not in dead

    def _believe(self, agent: str, alive: bool) -> None:
        if self._relays is not None:
            self._relays.believe(agent, alive)

    def _count(self, envelope: Envelope, message: Message) -> None:
        to = "all"
        if envelope.to:
            ranked = self._relays is not None and self._relays.of(envelope.sender)
            to = "relay" if ranked and envelope.to in ranked else "other"
        counted = self.agents.setdefault(envelope.sender, Counter())
        counted[f"{type(message).__name__} to {to}"] += 1


class Running:
    """Its hosts, over a broker, in time."""

    def __init__(self, interval_s: float, kind: str, people: Population) -> None:
        self._loop = asyncio.get_running_loop()
        self._interval_s = interval_s
        self._random = Random(2)
        now = self._loop.time()
        self._state = State(people, interval_s, now, relays=kind == "relayed")
        self._each = kind != "heard"
        self._relays: Relays | None = None
        self.hosts = Hosts(lambda data: self.load.heard(data))
        if kind == "relayed":
            self._relays = Relays(self._state, interval_s, self._random, now)
        self.load = FleetLoad(
            self.hosts.send, self._state, self._relays, interval_s, self._loop.time
        )
        self._changing: asyncio.Task[None] | None = None

    async def open(self, url: str) -> None:
        """Connect all, and let all begin to speak."""
        target = parse_amqp(url)
        nodes = list(self._state.records)
        login = (target.hosts[0], target.user, target.password)
        await self.hosts.open(*login, nodes, each=self._each)
        for node in nodes:
            self._later(self._interval_s, self._beat, node)
            if self._each:
                self._later(PING_EVERY_S, self._ping, node)
        for shard in range(SHARDS) if self._relays is not None else ():
            self._later(self._interval_s, self._turn, shard)

    # ---- in time

    def _later(self, most_s: float, what: Callable[[Any], None], whom: str | int) -> None:
        self._loop.call_later(self._random.uniform(0, most_s), what, whom)

    def _beat(self, node: str) -> None:
        if self._is_dead(node):
            return
        next_s = self._interval_s * self._random.uniform(1 - JITTER, 1 + JITTER)
        self.load.beat(node, next_s)
        self._loop.call_later(next_s, self._beat, node)

    def _ping(self, node: str) -> None:
        if not self._is_dead(node):
            self.hosts.ping(node)
            self._loop.call_later(PING_EVERY_S, self._ping, node)

    def _turn(self, shard: int) -> None:
        self._loop.call_at(self.load.speak(shard), self._turn, shard)

    def _is_dead(self, node: str) -> bool:
        return self._relays is not None and node in self._relays.dead

    async def _change_forever(self, per_s: float) -> None:
        """Evenly over each second."""
        due_at = self._loop.time()
        while True:
            due_at += 1 / per_s
            await asyncio.sleep(max(due_at - self._loop.time(), 0))
            self.load.announce(self._state.change())

    # ---- commands

    async def change(self, per_s: float) -> int:
        if self._changing is not None:
            self._changing.cancel()
            await asyncio.wait({self._changing})
        self._changing = None
        changes, self._state.changes = self._state.changes, 0
        if per_s:
            self._changing = asyncio.create_task(self._change_forever(per_s))
        return changes

    async def tell(self, _: float) -> dict[str, Any]:
        counted = (self.hosts.deliveries, self.hosts.pings, self.hosts.published)
        agents = {name: dict(counts) for name, counts in self.load.agents.items()}
        return asdict(Told(*counted, agents))

    async def silence(self, number: float) -> list[str]:
        """The others believe in them until two heartbeats are missing."""
        relays = self._relays
        assert relays is not None
        gone = relays.die(int(number))
        for node in gone:
            self.hosts.close(node)
            missed_s = SUSPECT_BEATS * self._interval_s
            self._loop.call_later(missed_s, relays.believe, node, False)
            self._loop.call_later(TTL_S, self._state.forget, node)
        return gone


async def main(url: str, interval_s: float, kind: str, people: Population) -> None:
    running = Running(interval_s, kind, people)
    await running.open(url)
    print("speaking", flush=True)
    obeying = asyncio.create_task(_obey(running))
    await asyncio.wait({obeying, running.hosts.lost}, return_when=asyncio.FIRST_COMPLETED)
    if running.hosts.lost.done():
        running.hosts.lost.result()
    await obeying


async def _obey(running: Running) -> None:
    """What standard input says, until it or this process is ended."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    commands = {"change": running.change, "tell": running.tell, "silence": running.silence}
    while line := await reader.readline():
        command, number = line.decode().split()
        print(json.dumps(await commands[command](float(number))), flush=True)


if __name__ == "__main__":
    uvloop.run(
        main(sys.argv[1], float(sys.argv[2]), sys.argv[3], Population(*map(int, sys.argv[4:])))
    )
