"""A large fleet's heartbeats go by relays: what this node has to do with that, in one place.

`route`: to whom our own go. `relay`: what we tell of others, where they send theirs to us.
`relayed`: what relays tell us.
"""

import random

from beacond.core.catalog import Catalog
from beacond.core.entry import Entry
from beacond.core.messages import Envelope, Heartbeat, ShardDigest, ShardRequest
from beacond.core.outbox import Outbox
from beacond.core.relay import Relay
from beacond.core.relayed import Relayed
from beacond.core.route import Route
from beacond.core.settings import Settings
from beacond.core.sight import SightJudge
from beacond.core.sync import AnnounceAsker
from beacond.core.voice import Voice


class Relays:
    def __init__(
        self,
        settings: Settings,
        *,
        out: Outbox,
        catalog: Catalog,
        sight: SightJudge,
        announces: AnnounceAsker,
        rng: random.Random,
        now: float,
    ) -> None:
        self._out = out
        self._catalog = catalog
        self._sight = sight
        interval_s = settings.interval_s
        self._route = Route(settings, out=out, catalog=catalog, sight=sight, rng=rng, now=now)
        self._relay = Relay(catalog, out, rng, interval_s)
        self._relayed = Relayed(catalog, out, sight.clock, announces, rng, interval_s, now)

    @property
    def used(self) -> bool:
        """Our own heartbeats go to relays."""
        return self._route.relaying

    @property
    def shards(self) -> tuple[int, ...]:
        """Those that we are a relay for."""
        return tuple(sorted({shard for shard, _ in self._relay.duties}))

    @property
    def deadline(self) -> float:
        return min(self._relayed.deadline, self._relay.deadline, self._route.deadline)

    def bus_up(self, bus: str, within_s: float, now: float) -> None:
        """We can speak there again, and do within that time; of what others said meanwhile we know
        nothing."""
        self._route.confirmed(bus, now + within_s)
        self._relay.rest(within_s, now, bus)

    def postpone(self, seconds: float, now: float) -> None:
        """Forgive time in which this process did not run."""
        self._relay.rest(seconds, now)

    def sent_to_us(self, entry: Entry, bus: str, now: float) -> None:
        """A heartbeat of this node came to us alone."""
        self._relay.used(entry, bus, now)

    def told(
        self, envelope: Envelope, said: ShardDigest, *, bus: str, sent_at: float, received_at: float
    ) -> None:
        """A relay spoke at that moment; its own heartbeat, which is in it, has been taken."""
        expected = self._catalog.paths.expected(bus)
        self._sight.relayed(bus, said.shard, said.count, sent_at, expected)
        self._relay.heard(envelope.sender, said, bus, received_at)
        if self._take(envelope.sender, said, bus, sent_at, received_at):
            # Its word went out to all, for us: as good as our own coming back.
            self._sight.echoed(bus, sent_at)

    def echoed(self, said: ShardDigest, *, bus: str, sent_at: float, received_at: float) -> None:
        """What we said as a relay came back: it renews what it renews for all others."""
        self._relay.echoed(said.shard, bus)
        self._take(self._out.node, said, bus, sent_at, received_at)

    def _take(
        self, sender: str, said: ShardDigest, bus: str, sent_at: float, received_at: float
    ) -> bool:
        confirmed = self._relayed.take(
            sender, said, bus=bus, sent_at=sent_at, received_at=received_at
        )
        if confirmed:
            self._route.confirmed(bus, sent_at)
        return confirmed

    def asked(self, request: ShardRequest, bus: str, now: float) -> str | None:
        """Somebody wants names; why they were not told, if so."""
        return self._relay.asked(request.shard, bus, now)

    def carry(self, beat: Heartbeat, now: float) -> None:
        """Send our own heartbeat on its way."""
        self._route.carry(beat, now)

    def advance(self, now: float, voice: Voice) -> None:
        """Say and ask what is due, and let our own heartbeat go early where nobody vouches."""
        self._relayed.advance(now)
        if self._route.look(now):
            voice.speak_up(now)
        self._sight.relaying = self._route.relaying
        self._relay.advance(now, self._sight.open, voice)
