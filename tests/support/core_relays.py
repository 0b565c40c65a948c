"""What relays say, put together by hand, and an agent in a fleet that has them."""

from collections.abc import Iterable, Sequence
from functools import reduce
from itertools import count

from beacond.core.effects import Effect, Publish, Send
from beacond.core.entry import Entry
from beacond.core.hashing import live_share_of, rank_in, shard_of
from beacond.core.messages import Excepted, Heartbeat, Member, ShardDigest, ShardRequest
from beacond.core.model import AgentState
from beacond.core.shards import Shard
from tests.support.core import INTERVAL_S, TTL_S, Hand, Peer, Said, published

ALL = "*"
"""Stands for all, where a heartbeat was broadcast."""


def names_in(shard: int, many: int, prefix: str = "n") -> list[str]:
    """So many names of that shard."""
    found: list[str] = []
    for number in count():
        if len(found) == many:
            break
        if shard_of(name := f"{prefix}{number}") == shard:
            found.append(name)
    return found


def best(shard: int, names: Iterable[str], many: int) -> list[str]:
    """Who of them rank first in that shard, best first."""
    return sorted(names, key=lambda name: rank_in(shard, name), reverse=True)[:many]


def live_of(speakers: Iterable[Peer]) -> bytes:
    shares = (live_share_of(each.name, each.incarnation, each.boot_id) for each in speakers)
    return reduce(int.__xor__, shares, 0).to_bytes(8, "big")


def excepted(peer: Peer, silent_s: float = 0.0) -> Excepted:
    silent_ms = round(silent_s * 1000)
    return Excepted(peer.name, peer.incarnation, peer.boot_id, peer.seq, silent_ms)


def member(peer: Peer, heard_s: float = 0.0, *, version: int = 1) -> Member:
    return Member(
        node=peer.name,
        incarnation=peer.incarnation,
        boot_id=peer.boot_id,
        version=version,
        seq=peer.seq,
        heard_ms=round(heard_s * 1000),
        next_ms=int(INTERVAL_S * 1000),
        ttl_ms=int(TTL_S * 1000),
    )


class Fleet(Hand):
    """An agent that knows these others, each of which takes the word of relays."""

    def __init__(
        self, names: Iterable[str] = (), *, name: str = "me", relay_from: int = 3, **given: object
    ) -> None:
        super().__init__(name, relay_from=relay_from, **given)
        self.me = Peer(name, self.node.incarnation, self.node.settings.boot_id)
        """We, as others name us."""
        self.shard = shard_of(name)
        self.peers: dict[str, Peer] = {}
        self.moments: list[tuple[float, Effect]] = []
        """All effects, each with when it was."""
        self.start().up()
        self.join(*names)

    def did(self, effects: list[Effect]) -> list[Effect]:
        self.moments += [(self.now, effect) for effect in effects]
        return super().did(effects)

    def take(self) -> list[Effect]:
        self.moments.clear()
        return super().take()

    # ---- others

    def join(self, *names: str, bus: str = "b", **given: object) -> list[Peer]:
        """They announce themselves, and beat."""
        joined = [Peer(name, relays=True, started_at=self.now, **given) for name in names]
        for peer in joined:
            self.peers[peer.name] = peer
            self.hear(peer.announce(published("web")), self.beat(peer), bus=bus)
        return joined

    def beat(self, peer: Peer, *, to: str = "", **changes: object) -> Said:
        """It believes what we do."""
        _, beat = peer.heartbeat(self.now, digest=self.node._catalog.digest, **changes)
        return peer.envelope(to), beat

    def flat(self, seconds: float, silent: Sequence[str] = (), *, bus: str = "b") -> None:
        """Time in which all others broadcast their heartbeats."""
        end = self.now + seconds
        while self.now < end:
            self.run(min(INTERVAL_S, end - self.now))
            speaking = (peer for name, peer in self.peers.items() if name not in silent)
            self.hear(*(self.beat(peer) for peer in speaking), bus=bus)

    def tell(self, relay: Peer, vouched: Iterable[Peer], **said: object) -> Said:
        """What it says as a relay."""
        speakers = tuple(vouched)
        digest = {
            "shard": self.shard,
            "live": live_of(speakers),
            "count": len(speakers),
            "excepted": (),
            "members": (),
        }
        envelope, beat = self.beat(relay)
        return envelope, ShardDigest(beat=beat, **(digest | said))

    def name(self, relay: Peer, vouched: Iterable[Peer], **said: object) -> Said:
        """What it says to who asked for names."""
        speakers = tuple(vouched)
        return self.tell(relay, speakers, members=tuple(member(p) for p in speakers), **said)

    def use(self, *names: str, bus: str = "b", **changes: object) -> None:
        """They send their heartbeats to us alone."""
        for name in names:
            self.hear(self.beat(self.peers[name], to="me", **changes), bus=bus)

    def relayed(self, seconds: float, *names: str) -> None:
        """Time in which they do so every interval."""
        end = self.now + seconds
        while self.now < end:
            self.use(*names)
            self.run(min(INTERVAL_S, end - self.now))

    # ---- looking

    def entry(self, name: str) -> Entry:
        return self.node._catalog.entries[name]

    def state(self, name: str) -> AgentState | None:
        return self.entry(name).state

    @property
    def our_shard(self) -> Shard:
        """Our own shard, as we see it."""
        return self.node._catalog.shards.all[self.shard]

    @property
    def duties(self) -> tuple[tuple[int, str], ...]:
        """For which shards we relay, each on one bus."""
        return self.node._relays._relay.duties

    def beats(self, bus: str | None = None) -> list[tuple[float, list[str]]]:
        """Our heartbeats: when, and to whom each went (over that bus, if one is named)."""
        ways: dict[int, tuple[float, list[str]]] = {}
        for at, effect in self.moments:
            if not isinstance(effect, Publish | Send) or not isinstance(effect.message, Heartbeat):
                continue
            _, whom = ways.setdefault(effect.message.seq, (at, []))
            if bus in (None, effect.bus):
                whom.append(effect.envelope.to or ALL)
        return list(ways.values())

    def words(self, shard: int | None = None) -> list[tuple[float, ShardDigest]]:
        """What we said as a relay, and when."""
        return [
            (at, effect.message)
            for at, effect in self.moments
            if isinstance(effect, Publish)
            and isinstance(effect.message, ShardDigest)
            and shard in (None, effect.message.shard)
        ]

    def asked(self) -> list[tuple[float, str, int]]:
        """Our questions for names: when, whom, of which shard."""
        return [
            (at, effect.envelope.to, effect.message.shard)
            for at, effect in self.moments
            if isinstance(effect, Send) and isinstance(effect.message, ShardRequest)
        ]


OTHERS = 3
"""A shard that is not our own: of most relays that is so."""
HIGHER, LOWER = "r3", "r10"
"""Of other shards; in this one the first ranks before us, the second after."""


class Relaying(Fleet):
    """An agent that relays for nodes of that shard, and two that may, in so small a fleet that our
    own heartbeats go to all."""

    def __init__(self, *names: str) -> None:
        self.served = names or tuple(names_in(OTHERS, 3))
        super().__init__([*self.served, HIGHER, LOWER], relay_from=1000)
        assert best(OTHERS, ["me", HIGHER, LOWER], 3) == [HIGHER, "me", LOWER]
        self.take()

    def worked(self) -> "Relaying":
        """It has relayed for them for some time."""
        self.relayed(3 * INTERVAL_S, *self.served)
        self.take()
        return self


class Told(Fleet):
    """An agent that hears of others in its own shard by two relays of other shards."""

    SHARD = 14
    """Its own."""
    NAMES = tuple(names_in(SHARD, 4))

    def __init__(self, *names: str, seed: int = 1) -> None:
        super().__init__([*(names or self.NAMES), "r0", "r6"], seed=seed)
        assert self.shard == self.SHARD
        self.r, self.s = self.peers["r0"], self.peers["r6"]
        self.flat(4 * INTERVAL_S)
        # Once looked at one by one, they are renewed together.
        self.hear(self.tell(self.r, self.ours()))
        self.node._catalog.settle()
        self.take()

    def ours(self, *but: str) -> list[Peer]:
        """All of our shard, but these."""
        names = {entry.node for entry in self.our_shard.members.values()}
        everybody = (self.me, *self.peers.values())
        return [p for p in everybody if p.name in names and p.name not in but]

    def relayed(self, intervals: int, *but: str) -> None:
        """Time in which a relay vouches for all but these, and excepts them."""
        died_at = self.now
        for _ in range(intervals):
            self.run(INTERVAL_S)
            gone = tuple(excepted(self.peers[name], self.now - died_at) for name in but)
            self.hear(self.tell(self.r, self.ours(*but), excepted=gone), self.beat(self.s))

    def prove(self) -> None:
        """The bus brings us a word of others, so that silence counts."""
        self.hear(self.tell(self.s, [], shard=OTHERS, count=len(self.peers)))

    def lease_s(self, name: str) -> float:
        """What is left of its lease."""
        entry = self.entry(name)
        self.node._catalog.shards.settle(entry)
        return entry.expires_at - self.node._sight.clock.at(self.now)

    def suspect_s(self, name: str) -> float:
        """How long until it is suspect."""
        return self.entry(name).suspect_at - self.node._sight.clock.at(self.now)
