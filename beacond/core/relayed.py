"""What relays say: where a digest of theirs agrees with what we believe, all of its shard is
renewed; where it does not, and goes on so, one of them is asked for names.

A relay's word renews leases and nothing else. It is never grounds for vouching ourselves, or two
relays would keep the dead alive between them; and an exception shortens no lease.
"""

import random

from beacond.core.catalog import Catalog
from beacond.core.entry import Entry
from beacond.core.hashing import live_share_of
from beacond.core.leases import NEVER, LeaseClock
from beacond.core.messages import Excepted, Member, ShardDigest, ShardRequest
from beacond.core.model import AgentState
from beacond.core.outbox import Outbox
from beacond.core.shards import Shard, Word
from beacond.core.sync import AnnounceAsker

ASK_AFTER_BEATS = 0.9
"""Intervals since a digest last agreed: before that, another relay may speak for us all."""
ASK_SPREAD_BEATS = 0.25
"""Most of all who differ hear the answer to somebody else first."""
ASK_AGAIN_BEATS, ASK_SELDOM_BEATS = 1.5, 12.0
"""Until the next question, twice as long after each that brought no answer, and at most."""
SYNC_BEATS = 1.0
"""For so long after our start a sync is on its way, and more likely to mend it."""

Where = tuple[int, str]
"""A shard, and the bus over which its relays spoke."""


class Relayed:
    def __init__(
        self,
        catalog: Catalog,
        out: Outbox,
        clock: LeaseClock,
        announces: AnnounceAsker,
        rng: random.Random,
        interval_s: float,
        now: float,
    ) -> None:
        self._catalog = catalog
        self._out = out
        self._clock = clock
        self._announces = announces
        self._rng = rng
        self._interval_s = interval_s
        self._not_before = now + SYNC_BEATS * interval_s
        self._asks: dict[Where, tuple[float, str]] = {}
        """When to ask, and whom."""
        self._asked: dict[Where, tuple[float, float]] = {}
        """When we may ask again, and how long that was after we asked."""

    @property
    def deadline(self) -> float:
        return min((at for at, _ in self._asks.values()), default=NEVER)

    def take(
        self, sender: str, said: ShardDigest, *, bus: str, sent_at: float, received_at: float
    ) -> bool:
        """What a relay said at that moment; whether it vouches for us ourselves."""
        shards = self._catalog.shards
        shard = shards.all[said.shard]
        word = shard.word(bus)
        word.spoken_at = max(word.spoken_at, sent_at)
        # From receipt back to sending, as for any message that lay somewhere.
        reading = self._clock.at(received_at) - (received_at - sent_at)
        if received_at - sent_at < self._interval_s:
            # What lay somewhere for longer says nothing of who is silent now.
            for each in said.excepted:
                self._excepted(each, sent_at, reading)
        if said.members:
            self._settled((shard.number, bus))
            # Since it was sent each was heard so much longer ago.
            lain_s = received_at - sent_at
            return self._take_names(shard, word, said, bus, lain_s, received_at)
        out, agrees = _compare(shard, word, said, self._catalog.entries)
        if not agrees:
            self._differs(shard, bus, sender, received_at)
            return False
        self._settled((shard.number, bus))
        for entry in shards.renew(shard, word, at=sent_at, reading=reading, out=out):
            shards.settled(entry)
            self._catalog.renew(entry, reading, received_at, relayed=True)
            self._catalog.place(entry)
        own = self._catalog.entries[self._out.node]
        return own.shard == shard.number and own.node not in out

    def advance(self, now: float) -> None:
        """Ask where an answer to somebody else did not come first."""
        for where, (at, whom) in list(self._asks.items()):
            if now >= at:
                del self._asks[where]
                _, rest_s = self._asked.get(where, (0.0, 0.0))
                rest_s = max(2 * rest_s, ASK_AGAIN_BEATS * self._interval_s)
                rest_s = min(rest_s, ASK_SELDOM_BEATS * self._interval_s)
                self._asked[where] = now + rest_s, rest_s
                number, bus = where
                self._out.send(whom, ShardRequest(number), bus=bus)

    # ---- inside

    def _excepted(self, said: Excepted, at: float, reading: float) -> None:
        """It is suspect no later than if we had heard what the relay did; its lease stays."""
        entry = self._catalog.entries.get(said.node)
        if said.node == self._out.node:
            return
        if entry is None or entry.speaker != (said.incarnation, said.boot_id) or not entry.live:
            return
        self._catalog.shards.settle(entry)
        entry.seq_told = max(entry.seq_told, said.seq)
        silent_s = said.silent_ms / 1000
        ours = entry.last_heard_at is not None and entry.last_heard_at > at - silent_s
        if not said.silent_ms or ours or entry.graced or entry.state is not AgentState.ALIVE:
            return
        suspect_at = reading - silent_s + entry.suspect_s
        if suspect_at < entry.suspect_at:
            entry.suspect_at = suspect_at
            self._catalog.queue(entry)

    def _differs(self, shard: Shard, bus: str, relay: str, now: float) -> None:
        where = (shard.number, bus)
        lately = now - shard.word(bus).at < ASK_AFTER_BEATS * self._interval_s
        if now < self._not_before or lately:
            return
        again_at, _ = self._asked.get(where, (-NEVER, 0.0))
        if now >= again_at:
            at = now + self._rng.uniform(0, ASK_SPREAD_BEATS * self._interval_s)
            self._asks.setdefault(where, (at, relay))

    def _settled(self, where: Where) -> None:
        """There is nothing to ask any more."""
        self._asks.pop(where, None)
        self._asked.pop(where, None)

    def _take_names(
        self, shard: Shard, word: Word, said: ShardDigest, bus: str, lain_s: float, now: float
    ) -> bool:
        """All whom the relay vouches for, one by one; wherein we differ is kept for its next
        digests, so that they can agree."""
        named, confirmed = set(), False
        for member in said.members:
            named.add(live_share_of(member.node, member.incarnation, member.boot_id))
            if member.node == self._out.node:
                confirmed = member.boot_id == self._out.boot_id
            else:
                self._named(member, bus, lain_s + member.heard_ms / 1000, now)
        word.unknown = named - shard.members.keys()
        word.disowned = {live: entry for live, entry in shard.members.items() if live not in named}
        return confirmed

    def _named(self, member: Member, bus: str, heard_s: float, now: float) -> None:
        """A relay heard this node itself, so many seconds ago."""
        reading = self._clock.at(now) - heard_s
        entry = self._catalog.entry(member.node, now)
        if entry is None or member.incarnation <= entry.left_incarnation:
            return
        speaker = (member.incarnation, member.boot_id)
        if speaker < entry.speaker or (speaker == entry.speaker and entry.leaving):
            return
        gone = speaker == entry.speaker and entry.state is AgentState.EXPIRED
        if gone and member.seq <= entry.seq_known:
            # A relay that just started takes a replay for news.
            return
        if speaker > entry.speaker:
            self._catalog.speaks_anew(entry, *speaker)
        entry.version_said = max(entry.version_said, member.version)
        entry.seq_told = max(entry.seq_told, member.seq)
        entry.take_terms(member.next_ms, member.ttl_ms)
        entry.relayed_at = max(entry.relayed_at or -NEVER, now - heard_s)
        self._catalog.renew(entry, reading, now, relayed=True)
        if entry.node in self._catalog.alive:
            self._catalog.paths.told(entry, bus, reading)
        self._catalog.place(entry)
        self._announces.heard(entry, now)


def _compare(
    shard: Shard, word: Word, said: ShardDigest, entries: dict[str, Entry]
) -> tuple[dict[str, Entry], bool]:
    """Whom that we believe in the relay does not vouch for, and whether all else agrees."""
    out = {}
    for each in said.excepted:
        entry = entries.get(each.node)
        if entry is not None and entry.live in shard.members:
            out[entry.node] = entry
    for live, entry in word.disowned.items():
        if live in shard.members:
            out[entry.node] = entry
    # Not `-=`: that would look at all members, however few are unknown.
    word.unknown = {live for live in word.unknown if live not in shard.members}
    rest = int.from_bytes(said.live, "big") ^ shard.live
    for entry in out.values():
        rest ^= entry.live
    for live in word.unknown:
        rest ^= live
    alone = shard.members.get(rest)
    if alone is not None and alone.node in out:
        del out[alone.node]
        word.disowned.pop(rest, None)
    elif alone is not None:
        # The one that only we believe in. Of two there is no telling which.
        out[alone.node] = alone
    elif rest in word.unknown:
        word.unknown.discard(rest)
    else:
        return out, rest == 0
    return out, True
