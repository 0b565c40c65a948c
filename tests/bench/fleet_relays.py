"""Who relays in a fleet that one process speaks for, and what relays vouch for."""

from heapq import nlargest
from random import Random

from beacond.core.hashing import live_share_of, rank_in, shard_of
from beacond.core.messages import SHARDS, Excepted, Heartbeat, Member, ShardDigest
from beacond.core.model import Record
from beacond.core.relay import EXCEPTED_MAX, GONE_BEATS, SILENT_BEATS, VOUCH_BEATS
from beacond.core.route import RELAYS
from beacond.core.voice import JITTER
from tests.bench.fleet_state import TTL_S, State

NEVER = float("-inf")


class Relays:
    """As each of the hosts would find out for itself: all of them believe in the same nodes, those
    agents included that speak for themselves and may be relays, too."""

    def __init__(self, state: State, interval_s: float, random: Random, now: float) -> None:
        self._state = state
        self._interval_s = interval_s
        self._random = random
        self._shards: list[list[str]] = [[] for _ in range(SHARDS)]
        """Hosts by shard, those that died too."""
        for node in state.records:
            self._shards[shard_of(node)].append(node)
        self._records = dict(state.records)
        self._beat_at = dict.fromkeys(state.records, now)
        self._heard_at: dict[tuple[str, str], float] = {}
        """When an agent's heartbeat came to that host; to all of them: under no host's name."""
        self._believed = set(state.records)
        self._ranked: dict[int, list[str]] = {}
        self._spoken: dict[int, tuple[str, float, int]] = {}
        """By shard: who last spoke, when, for how many."""
        self._named_at: dict[int, float] = {}
        self.dead: set[str] = set()

    # ---- who is there

    def believe(self, node: str, alive: bool) -> None:
        if alive != (node in self._believed):
            self._believed ^= {node}
            self._ranked.clear()

    def of(self, node: str) -> list[str]:
        """To whom it sends its heartbeats."""
        return [each for each in self._ranking(shard_of(node)) if each != node][:RELAYS]

    def die(self, number: int) -> list[str]:
        """So many of the hosts that speak, at once; the other relay of each shard lives on."""
        relays = [self._ranking(shard)[:RELAYS] for shard in range(SHARDS)]
        gone: list[str] = []
        for node in dict.fromkeys(first for first, _ in relays):
            without = {*gone, node} | self.dead
            spared = not any(without.issuperset(pair) for pair in relays)
            if len(gone) < number and spared and self.is_host(node):
                gone.append(node)
        self.dead.update(gone)
        return gone

    def _ranking(self, shard: int) -> list[str]:
        """One more than is needed: a relay of its own shard sends to others."""
        if shard not in self._ranked:
            found = nlargest(RELAYS + 1, self._believed, key=lambda node: rank_in(shard, node))
            self._ranked[shard] = found
        return self._ranked[shard]

    # ---- who was heard

    def beats(self, node: str, now: float) -> None:
        """A host has sent its heartbeat."""
        self._beat_at[node] = now

    def hears(self, agent: str, host: str, now: float) -> None:
        """An agent's heartbeat came to that host; empty: to all."""
        self._heard_at[agent, host] = now

    def spoke(self, relay: str, shard: int, count: int, now: float) -> None:
        self._spoken[shard] = (relay, now, count)

    # ---- what relays say

    def turn(self, shard: int, now: float) -> tuple[str | None, float]:
        """Which host speaks for that shard now, if one does; and when to look again."""
        first, second = self._ranking(shard)[:RELAYS]
        period_s = self._interval_s * (1 - JITTER * self._random.random())
        if self.is_host(first):
            return first, now + period_s
        if not self.is_host(second):
            return None, now + period_s
        relay, at, count = self._spoken.get(shard, ("", NEVER, 0))
        quiet_until = at + SILENT_BEATS * self._interval_s
        if relay == second or count < len(self._vouched(shard, second, now)) or now >= quiet_until:
            return second, now + period_s
        return None, quiet_until

    def is_host(self, node: str) -> bool:
        return node in self._beat_at and node not in self.dead

    def digest(
        self, relay: str, shard: int, beat: Heartbeat, now: float, *, named: bool
    ) -> ShardDigest:
        vouched = self._vouched(shard, relay, now)
        live = 0
        for record in vouched:
            live ^= live_share_of(record.node, record.incarnation, record.boot_id)
        return ShardDigest(
            beat=beat,
            shard=shard,
            live=live.to_bytes(8, "big"),
            count=len(vouched),
            excepted=self._excepted(shard, now),
            members=tuple(self._member(each, relay, now) for each in vouched) if named else (),
        )

    def may_name(self, relay: str, shard: int, now: float) -> bool:
        """It is one of this shard's, and did not just do so."""
        due = now >= self._named_at.get(shard, NEVER) + self._interval_s
        if due and relay in self._ranking(shard)[:RELAYS]:
            self._named_at[shard] = now
            return True
        return False

    def _vouched(self, shard: int, relay: str, now: float) -> list[Record]:
        since = now - VOUCH_BEATS * self._interval_s
        hosts = (n for n in self._shards[shard] if n == relay or self._beat_at[n] >= since)
        agents = (
            record
            for record in self._state.others.values()
            if shard_of(record.node) == shard and self._agent_at(record.node, relay) >= since
        )
        return [*(self._records[node] for node in hosts), *agents]

    def _agent_at(self, agent: str, relay: str) -> float:
        return max(self._heard_at.get((agent, host), NEVER) for host in (relay, ""))

    def _excepted(self, shard: int, now: float) -> tuple[Excepted, ...]:
        found = []
        for node in self._shards[shard]:
            silent_s = now - self._beat_at[node]
            if VOUCH_BEATS * self._interval_s < silent_s < TTL_S + GONE_BEATS * self._interval_s:
                record = self._records[node]
                speaker = (record.incarnation, record.boot_id)
                silent_ms = round(silent_s * 1000)
                found.append(Excepted(node, *speaker, self._state.seqs[node], silent_ms))
        return tuple(found[:EXCEPTED_MAX])

    def _member(self, record: Record, relay: str, now: float) -> Member:
        node = record.node
        host = node in self._beat_at
        heard_at = self._beat_at[node] if host else self._agent_at(node, relay)
        return Member(
            node=node,
            incarnation=record.incarnation,
            boot_id=record.boot_id,
            version=(self._state.records[node] if host else record).version,
            seq=self._state.seqs.get(node, 0),
            heard_ms=0 if node == relay else round((now - heard_at) * 1000),
            next_ms=round(self._interval_s * 1000),
            ttl_ms=round(TTL_S * 1000),
        )
