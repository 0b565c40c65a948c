"""Being a relay: to tell all, for one shard, which of its nodes we heard ourselves.

Nothing is elected. Who is sent heartbeats is a relay; where several are, the one that ranks first
speaks, and the next one once that has been silent for half a period. Two who speak do no harm.
"""

import random
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from beacond.core.catalog import Catalog
from beacond.core.entry import BEAT_MIN_S, Entry
from beacond.core.hashing import rank_in
from beacond.core.leases import NEVER
from beacond.core.messages import Excepted, Member, ShardDigest
from beacond.core.outbox import Outbox
from beacond.core.shards import Shard
from beacond.core.voice import JITTER, Voice

VOUCH_BEATS = 1.5
"""For so many of its own intervals after a heartbeat a node is vouched for."""
USED_BEATS = 2.5
"""For so many after one sent to us alone we are a relay."""
SILENT_BEATS = 1.5
"""Periods without a word of a better relay after which the next one speaks."""
LISTEN_BEATS, LISTEN_SHORT_BEATS = 1.1, 0.3
"""Intervals before a relay first speaks: all heartbeats have come by then; the lesser where none
speaks, for any word is better than none."""
GONE_BEATS = 6.0
"""For so many intervals a node that is gone is named as an exception: not all of us end its
lease at the same moment."""
OURS_BEATS = 4.0
"""Who was heard longer ago sends elsewhere, or has long been known to be silent."""
EXCEPTED_MAX = 64
NAMES_PER_BEAT = 64
"""A list of names is as dear as so many heartbeats, so a large one may be had less often."""
NAMES_MAX = 4096

Where = tuple[int, str]
"""A shard, and a bus over which it is spoken for."""


@dataclass(slots=True)
class _Duty:
    speak_at: float
    used_until: float
    period_s: float
    names_at: float = -NEVER
    """When names may be told again,"""
    names_wanted: bool = False
    """and somebody asked for them."""
    outdone_until: float = -NEVER
    """Until then a better relay speaks, if for no fewer than we could:"""
    outdone_by: int = 0
    echoed: bool = True
    """What we last said came back: who is deaf can't know who is silent, and says nothing until
    he has forgotten whom he heard."""


class Relay:
    def __init__(
        self, catalog: Catalog, out: Outbox, rng: random.Random, interval_s: float
    ) -> None:
        self._catalog = catalog
        self._out = out
        self._rng = rng
        self._interval_s = interval_s
        self._duties: dict[Where, _Duty] = {}

    @property
    def duties(self) -> tuple[Where, ...]:
        """The shards that we are a relay for, each on one bus."""
        return tuple(sorted(self._duties))

    @property
    def deadline(self) -> float:
        return min((duty.speak_at for duty in self._duties.values()), default=NEVER)

    def used(self, entry: Entry, bus: str, now: float) -> None:
        """A node sent its heartbeat to us alone."""
        used_until = now + USED_BEATS * entry.beat_s
        duty = self._duties.get((entry.shard, bus))
        if duty is not None:
            duty.used_until = max(duty.used_until, used_until)
            return
        silent_s = now - self._catalog.shards.of(entry).word(bus).spoken_at
        silent = silent_s >= SILENT_BEATS * self._interval_s
        listen_s = (LISTEN_SHORT_BEATS if silent else LISTEN_BEATS) * entry.beat_s
        self._duties[entry.shard, bus] = _Duty(now + listen_s, used_until, entry.beat_s)

    def heard(self, relay: str, said: ShardDigest, bus: str, now: float) -> None:
        """Another one speaks for this shard."""
        duty = self._duties.get((said.shard, bus))
        if duty is not None and rank_in(said.shard, relay) > rank_in(said.shard, self._out.node):
            duty.outdone_until = now + SILENT_BEATS * duty.period_s
            duty.outdone_by = said.count

    def echoed(self, shard: int, bus: str) -> None:
        """What we said came back to us."""
        if (shard, bus) in self._duties:
            self._duties[shard, bus].echoed = True

    def asked(self, number: int, bus: str, now: float) -> str | None:
        """Somebody believes otherwise: all names are told, if not just done; why not, if not."""
        duty = self._duties.get((number, bus))
        if duty is None:
            return "no-relay"
        if now < duty.names_at:
            return "too-many-requests"
        duty.names_wanted = True
        return None

    def rest(self, seconds: float, now: float, bus: str = "") -> None:
        """So long this process did not run, or that bus was away: what came meanwhile is heard
        first."""
        for duty in (d for (_, on), d in self._duties.items() if bus in ("", on)):
            short = seconds < duty.period_s / 2
            listen_s = (LISTEN_SHORT_BEATS if short else LISTEN_BEATS) * duty.period_s
            duty.speak_at = max(duty.speak_at, now + listen_s)
            duty.echoed = True

    def advance(self, now: float, buses: Collection[str], voice: Voice) -> None:
        """Speak where it is due, on those buses that take it."""
        for where, duty in list(self._duties.items()):
            number, bus = where
            shard = self._catalog.shards.all[number]
            if now >= duty.used_until or voice.silenced:
                del self._duties[where]
                continue
            if duty.names_wanted and bus in buses:
                self._tell_names(shard, bus, duty, now, voice)
            duty.names_wanted = False
            if now >= duty.speak_at:
                duty.speak_at = now + duty.period_s * (1 - JITTER * self._rng.random())
                if bus in buses:
                    self._turn(shard, bus, duty, now, voice)

    # ---- inside

    def _tell_names(self, shard: Shard, bus: str, duty: _Duty, now: float, voice: Voice) -> None:
        vouched = self._heard(shard, bus, VOUCH_BEATS, now)
        if all(entry.node == self._out.node for entry in vouched):
            return
        duty.names_at = now + duty.period_s * max(1.0, len(vouched) / NAMES_PER_BEAT)
        members = tuple(self._member(e, now) for e in vouched) if len(vouched) <= NAMES_MAX else ()
        self._speak(shard, bus, vouched, now, voice, members)

    def _turn(self, shard: Shard, bus: str, duty: _Duty, now: float, voice: Voice) -> None:
        if not duty.echoed:
            duty.echoed = True
            duty.speak_at = now + OURS_BEATS * duty.period_s
            return
        ours = self._heard(shard, bus, OURS_BEATS, now)
        others = [e.beat_s for e in ours if e.node != self._out.node]
        expected = len(shard.members) - len(shard.silent)
        if not others or 2 * len(ours) < expected:
            return
        vouched = self._heard(shard, bus, VOUCH_BEATS, now)
        if now < duty.outdone_until and duty.outdone_by >= len(vouched):
            duty.speak_at = duty.outdone_until
            return
        duty.period_s = max(min(others), BEAT_MIN_S)
        duty.speak_at = now + duty.period_s * (1 - JITTER * self._rng.random())
        duty.echoed = False
        self._speak(shard, bus, vouched, now, voice)

    def _speak(
        self,
        shard: Shard,
        bus: str,
        vouched: list[Entry],
        now: float,
        voice: Voice,
        members: tuple[Member, ...] = (),
    ) -> None:
        live = 0
        for entry in vouched:
            live ^= entry.live
        shard.word(bus).spoken_at = now
        said = ShardDigest(
            beat=voice.next_beat(now, self._catalog.digest),
            shard=shard.number,
            live=live.to_bytes(8, "big"),
            count=len(vouched),
            excepted=tuple(_exceptions(shard, vouched, now, GONE_BEATS * self._interval_s)),
            members=members,
        )
        self._out.publish(said, bus=bus)

    def _heard(self, shard: Shard, bus: str, beats: float, now: float) -> list[Entry]:
        """Those that we heard on that bus ourselves within so many of their intervals, and we."""
        members, own = shard.members.values(), self._out.node
        return [e for e in members if e.node == own or _is_heard(e, bus, beats, now)]

    def _member(self, entry: Entry, now: float) -> Member:
        heard_at = now if entry.node == self._out.node else entry.last_heard_at or now
        version = entry.record.version if entry.record is not None else 0
        return Member(
            node=entry.node,
            incarnation=entry.incarnation,
            boot_id=entry.boot_id,
            version=max(version, entry.version_said),
            seq=entry.seq_known,
            heard_ms=max(int((now - heard_at) * 1000), 0),
            next_ms=round((entry.beat_s or self._interval_s) * 1000),
            ttl_ms=round(entry.ttl_s * 1000),
        )


def _is_heard(entry: Entry, bus: str, beats: float, now: float) -> bool:
    path = entry.paths.get(bus)
    if path is None or entry.leaving:
        return False
    return now - path.at <= beats * entry.beat_s


def _exceptions(
    shard: Shard, vouched: Iterable[Entry], now: float, gone_s: float
) -> list[Excepted]:
    """Of whom others may believe that they are there, and we don't say so."""
    named = {entry.node for entry in vouched}
    missing = [e for e in shard.members.values() if e.node not in named]
    # Of more than can be named, those whose silence is news.
    missing.sort(key=lambda e: e.last_heard_at or -NEVER, reverse=True)
    gone = [e for e in shard.gone.values() if now - e.since_at <= gone_s]
    return [_excepted(entry, now) for entry in (missing + gone)[:EXCEPTED_MAX]]


def _excepted(entry: Entry, now: float) -> Excepted:
    silent_s = now - (entry.last_heard_at or -NEVER)
    lately = silent_s <= OURS_BEATS * entry.beat_s
    silent_ms = max(int(silent_s * 1000), 1) if lately else 0
    return Excepted(entry.node, entry.incarnation, entry.boot_id, entry.seq_known, silent_ms)
