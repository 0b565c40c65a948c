"""A made-up fleet of any size that speaks in virtual time, and one agent's core that listens to it.

The fleet signs every frame, relays its heartbeats, and believes all that it says: its digests are
those of a real fleet at rest.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from math import floor
from random import Random

from beacond.core.effects import Dropped, Effect, Publish, Send
from beacond.core.hashing import live_share_of, rank_in, shard_of, share_of
from beacond.core.local import ModeState
from beacond.core.messages import (
    SHARDS,
    Announce,
    AnnounceRequest,
    Envelope,
    Excepted,
    Heartbeat,
    Message,
    Opinion,
    ShardDigest,
    ShardRequest,
    SyncReply,
    SyncRequest,
)
from beacond.core.model import Body, Mode, Record
from beacond.core.node import Node
from beacond.core.settings import Settings
from beacond.wire import Codec, Keyring
from tests.bench.population import FLEET, INCARNATION, Population

KEYRING = Keyring([bytes(range(32))])
INTERVAL_S, TTL_S = 5.0, 15.0
GAP_S = INTERVAL_S / SHARDS
"""Between two relays' digests."""
BUS = "bus"
WALL = 1_800_000_000.0
START = 100.0
OPINION_INSTANCES = 8
OWN = Settings(
    node="listener",
    incarnation=INCARNATION,
    boot_id=b"\x80" * 16,
    addresses=("10.255.0.1",),
    interval_s=INTERVAL_S,
    ttl_s=TTL_S,
    relay_from=50,
)
"""Of the agent that listens: relays are used at every size that is measured."""
OWN_VERSION = 2
"""Which it publishes at its start."""


@dataclass(slots=True)
class _Peer:
    record: Record
    seq: int = 0
    counter: int = 0
    started_at: float = START


class Load:
    """All other nodes. Each method gives the frame in which one of them says something."""

    def __init__(self, population: Population, *, seed: int = 1) -> None:
        self.rng = Random(seed)
        self._codec = Codec(fleet=FLEET, node="load", keyring=KEYRING)
        self._peers: dict[str, _Peer] = {}
        self._live = [0] * SHARDS
        self._count = [0] * SHARDS
        self._digest = 0
        for record in population.records():
            body = replace(record.body, relays=True)
            sealed = self._codec.seal(replace(record, body=body, raw=None))
            self._peers[record.node] = _Peer(sealed)
            self._believe(sealed)
        own = Record(OWN.node, OWN.incarnation, OWN.boot_id, OWN_VERSION, Body())
        self._believe(own)
        self.nodes = tuple(self._peers)
        self.relays = tuple(
            max(self.nodes, key=lambda node, shard=shard: rank_in(shard, node))
            for shard in range(SHARDS)
        )
        self.others = tuple(sorted(set(self.nodes) - set(self.relays)))
        """Those that relay for nobody."""

    def heartbeat(self, node: str, at: float) -> bytes:
        return self._frame(node, self._beat(self._peers[node], at))

    def announce(self, node: str) -> bytes:
        return self._frame(node, Announce(self._peers[node].record))

    def change(self, node: str) -> bytes:
        """The announce of another weight of one of its instances."""
        peer = self._peers[node]
        old = peer.record
        instances = list(old.body.instances)
        place = self.rng.randrange(len(instances))
        instances[place] = replace(instances[place], weight=instances[place].weight % 9 + 1)
        body = replace(old.body, instances=tuple(instances))
        self._forget(old)
        peer.record = self._codec.seal(replace(old, version=old.version + 1, body=body, raw=None))
        self._believe(peer.record)
        return self.announce(node)

    def digest(self, shard: int, at: float, excepted: tuple[Excepted, ...] = ()) -> bytes:
        """Of a relay, for all of its shard that is alive."""
        relay = self.relays[shard]
        live = self._live[shard].to_bytes(8, "big")
        beat = self._beat(self._peers[relay], at)
        said = ShardDigest(beat, shard, live, self._count[shard], excepted, ())
        return self._frame(relay, said)

    def silence(self, node: str, silent_s: float, at: float) -> bytes:
        """It is dead: its relay's digest says since when it has been silent."""
        peer = self._peers[node]
        record = peer.record
        self._forget(record)
        silent = Excepted(
            node, record.incarnation, record.boot_id, peer.seq, round(1000 * silent_s)
        )
        return self.digest(shard_of(node), at, (silent,))

    def opinion(self, prober: str, node: str) -> bytes:
        """Some other tried a dead node's instances, and reached none."""
        peer = self._peers[node]
        record = peer.record
        ids = tuple(instance.id for instance in record.body.instances[:OPINION_INSTANCES])
        said = Opinion(node, record.incarnation, record.boot_id, peer.seq, (), ids, True)
        return self._frame(prober, said)

    def reboot(self, node: str, at: float) -> tuple[bytes, ...]:
        """A dead node is back: what it says itself, then its relay."""
        old = self._peers[node].record
        new = replace(
            old, incarnation=old.incarnation + 1, boot_id=self.rng.randbytes(16), version=1
        )
        self._peers[node] = _Peer(self._codec.seal(replace(new, raw=None)), started_at=at)
        self._believe(self._peers[node].record)
        return self.announce(node), self.heartbeat(node, at), self.digest(shard_of(node), at)

    def sync_reply(self, by: str, request: SyncRequest) -> bytes:
        """Nothing is missed."""
        return self._frame(by, SyncReply(request.request, (), (), ""), OWN.node)

    def joining(self) -> Iterator[tuple[float, bytes]]:
        """When and what an agent hears that starts together with this fleet, until relays do."""
        beats = 4
        for turn in range(beats):
            for number, node in enumerate(self.nodes):
                at = START + (turn + number / len(self.nodes)) * INTERVAL_S
                if turn == 0:
                    yield at, self.announce(node)
                yield at, self.heartbeat(node, at)
        since = START + beats * INTERVAL_S
        yield from self.resting(since, since + 4 * INTERVAL_S)

    def resting(self, since: float, until: float) -> Iterator[tuple[float, bytes]]:
        """When and what an agent hears after that moment while nothing happens."""
        number = floor(since / GAP_S) + 1
        while (at := number * GAP_S) <= until:
            yield at, self.digest(number % SHARDS, at)
            number += 1

    def _beat(self, peer: _Peer, at: float) -> Heartbeat:
        peer.seq += 1
        return Heartbeat(
            seq=peer.seq,
            version=peer.record.version,
            digest=self._digest.to_bytes(8, "big"),
            series=1,
            stamp_ms=round((at - peer.started_at) * 1000),
            next_ms=round(INTERVAL_S * 1000),
            ttl_ms=round(TTL_S * 1000),
            mode=Mode.NORMAL,
        )

    def _frame(self, node: str, message: Message, to: str = "") -> bytes:
        peer = self._peers[node]
        peer.counter += 1
        record = peer.record
        envelope = Envelope(node, record.incarnation, record.boot_id, peer.counter, to)
        (frame,) = self._codec.encode(envelope, message)
        return frame

    def _believe(self, record: Record) -> None:
        self._count[shard_of(record.node)] += 1
        self._turn(record)

    def _forget(self, record: Record) -> None:
        self._count[shard_of(record.node)] -= 1
        self._turn(record)

    def _turn(self, record: Record) -> None:
        live = live_share_of(record.node, record.incarnation, record.boot_id)
        self._live[shard_of(record.node)] ^= live
        self._digest ^= share_of(record)


class Listener:
    """One agent's core, and its wire, on a bus that brings its own words back.

    CPU seconds count what they do, not what it takes to make the others' frames.
    """

    def __init__(self) -> None:
        self.node = Node(OWN, Random(1), START, WALL)
        self.codec = Codec(fleet=FLEET, node=OWN.node, keyring=KEYRING)
        self.now = START
        self.tick_s = self.hear_s = self.longest_s = 0.0
        self.sent: list[Send] = []
        """Not yet looked at."""
        self.dropped: list[str] = []
        nothing = {"registrations": (), "statuses": {}, "records": (), "tombstones": ()}
        past = {"host_mode": ModeState(), "rebooted": False, "saved_at": None}
        self._did(self.node.restore(**nothing, **past))
        self._did(self.node.bus_changed(BUS, up=True, can_publish=True, reason="", now=self.now))

    def hear(self, frame: bytes) -> float:
        """Decode, verify, merge; the CPU seconds."""
        began = time.process_time()
        decoded = self.codec.decode(frame)
        assert decoded is not None
        envelope, message = decoded
        effects = self.node.receive(envelope, message, bus=BUS, received_at=self.now, now=self.now)
        took_s = time.process_time() - began
        self._did(effects)
        self.hear_s += took_s
        self.longest_s = max(self.longest_s, took_s)
        return took_s

    def hear_all(self, frames: Iterable[tuple[float, bytes]]) -> float:
        """The same of many in a row, at their moments; no timer is due meanwhile."""
        node, codec, done = self.node, self.codec, []
        began = time.process_time()
        for now, frame in frames:
            envelope, message = codec.decode(frame)  # type: ignore[misc]
            done.append(node.receive(envelope, message, bus=BUS, received_at=now, now=now))
        took_s = time.process_time() - began
        self.now = now
        for effects in done:
            self._did(effects)
        return took_s

    def tick(self) -> float:
        """The CPU seconds."""
        began = time.process_time()
        effects = self.node.tick(self.now)
        took_s = time.process_time() - began
        self._did(effects)
        self.tick_s += took_s
        self.longest_s = max(self.longest_s, took_s)
        return took_s

    def follow(self, frames: Iterable[tuple[float, bytes]], load: Load | None = None) -> None:
        """Hear these at their moments, and do what is due in between."""
        for at, frame in frames:
            self.tick_until(at)
            self.now = max(self.now, at)
            self.hear(frame)
            if load is not None:
                self.reply(load)

    def tick_until(self, at: float) -> None:
        while self.node.next_deadline() <= at:
            self.now = max(self.now, self.node.next_deadline())
            self.tick()

    def reply(self, load: Load) -> None:
        """Raises AssertionError where it finds anything amiss with what it hears."""
        assert not self.dropped, f"dropped: {self.dropped}"
        while self.sent:
            sent = self.sent.pop()
            asks = isinstance(sent.message, AnnounceRequest | ShardRequest)
            assert not asks, f"the fleet is not at rest: {sent}"
            if isinstance(sent.message, SyncRequest):
                self.hear(load.sync_reply(sent.envelope.to, sent.message))

    def _did(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Publish):
                now = self.now
                echoed = self.node.receive(
                    effect.envelope, effect.message, bus=BUS, received_at=now, now=now
                )
                self._did(echoed)
            elif isinstance(effect, Send):
                self.sent.append(effect)
            elif isinstance(effect, Dropped):
                self.dropped.append(effect.reason)
