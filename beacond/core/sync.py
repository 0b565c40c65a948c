"""Anti-entropy: a newcomer, and who finds that it believes otherwise than most, asks one node.

The asker walks through all names in order, page by page; who answers keeps no state of it. An
answer holds only nodes that its sender itself heard, each with the seconds since.
"""

import random
from bisect import bisect_right
from dataclasses import dataclass

from beacond.core.catalog import Catalog
from beacond.core.entry import Entry, Source
from beacond.core.leases import NEVER, DueHeap
from beacond.core.messages import (
    AnnounceRequest,
    Known,
    SyncEntry,
    SyncReply,
    SyncRequest,
    Tombstone,
)
from beacond.core.model import AgentState
from beacond.core.outbox import Outbox
from beacond.core.voice import ANNOUNCE_GAP_S

KNOWN_MAX = 400
"""Lines of one request; some 60 bytes each."""
PAGE_BYTES_MAX = 256 * 1024
PAGE_ENTRIES_MAX = 400
TOMBSTONES_MAX = 1000
REPLIES_PER_S = 20.0
REPLY_BURST = 20.0
ANSWER_S = 2.0
"""At least so long, and at least an interval, an answer is waited for."""
TRIES = 4


@dataclass(slots=True)
class _Walk:
    """One pass through all names, with one node answering."""

    target: str
    request: int
    after: str
    upto: str
    asked_at: float


class SyncAsker:
    """Asks for what we miss. `wanted` counts passes still to be made."""

    def __init__(
        self, catalog: Catalog, out: Outbox, rng: random.Random, interval_s: float
    ) -> None:
        self._catalog = catalog
        self._out = out
        self._rng = rng
        self._interval_s = interval_s
        self._answer_s = max(ANSWER_S, interval_s)
        self._walk: _Walk | None = None
        self._requests = 0
        self._failures = 0
        self._asked: set[str] = set()
        self._heard_since = 0.0
        self._wait_until = NEVER
        """When to begin what is wanted; NEVER: nothing to wait for."""
        self.wanted = 0
        self.done = False
        """A whole pass was made since our start."""
        self.rested_since = -NEVER
        """When the latest pass ended, or was given up."""

    @property
    def deadline(self) -> float:
        return self._walk.asked_at + self._answer_s if self._walk is not None else self._wait_until

    @property
    def looks_for_a_target(self) -> bool:
        """Whoever is heard now may be asked."""
        return self.wanted > 0 and self._walk is None and self._wait_until == NEVER

    def want(self, passes: int, now: float, begin_at: float = -NEVER) -> None:
        """Make so many passes, each with another node, as soon as there is one to ask.

        Only who is heard from now on: others may not be there any more, or not yet again.
        """
        self._heard_since = now
        self._wait_until = begin_at if begin_at > now else NEVER
        self._asked.clear()
        self._failures = 0
        self.wanted = max(self.wanted, passes)

    def advance(self, now: float) -> None:
        """Begin what is wanted; ask elsewhere where no answer came."""
        if self._walk is not None and now >= self.deadline:
            self._walk = None
            self._failures += 1
            if self._failures >= TRIES:
                self.wanted = 0
                self.rested_since = now
        if now >= self._wait_until:
            self._wait_until = NEVER
        if self._walk is None and self.wanted > 0 and self._wait_until == NEVER:
            target = self._choose()
            if target is not None:
                self._asked.add(target)
                self._ask(target, "", now)

    def answered(self, sender: str, reply: SyncReply, now: float) -> str | None:
        """Take one page; why it was dropped, if it was."""
        walk = self._walk
        if walk is None or walk.request != reply.request or walk.target != sender:
            return "unasked"
        for tombstone in reply.tombstones:
            if tombstone.node != self._out.node:
                self._catalog.tombstone(tombstone.node, tombstone.incarnation, now)
        for entry in reply.entries:
            if entry.record.node != self._out.node:
                self._catalog.synced(entry, self._interval_s, now)
        reached = reply.covered or walk.upto
        if reached > walk.after:
            self._ask(walk.target, reached, now)
            return None
        self._walk = None
        self.wanted -= 1
        self.done = True
        self.rested_since = now
        self.advance(now)
        return None

    def _choose(self) -> str | None:
        self._catalog.settle()
        heard = sorted(
            e.node
            for e in self._catalog.alive.values()
            if e.source is Source.HEARD
            and e.node not in self._asked
            and (e.known_at or 0.0) >= self._heard_since
        )
        return self._rng.choice(heard) if heard else None

    def _ask(self, target: str, after: str, now: float) -> None:
        known, upto = _known(self._catalog, after)
        self._requests += 1
        self._walk = _Walk(target, self._requests, after, upto, now)
        self._out.send(target, SyncRequest(self._requests, after, upto, known))


def _known(catalog: Catalog, after: str) -> tuple[tuple[Known, ...], str]:
    """What we hold of the names after `after`, and how far that goes (empty: to the end)."""
    names = sorted(
        node
        for node, e in catalog.entries.items()
        if node > after and (e.record is not None or e.left_incarnation)
    )
    known = tuple(_line(catalog.entries[node]) for node in names[:KNOWN_MAX])
    return known, (names[KNOWN_MAX - 1] if len(names) > KNOWN_MAX else "")


def _line(entry: Entry) -> Known:
    # What the snapshot alone vouches for is asked for again: the answer is what confirms it.
    if entry.record is None or entry.source is Source.SNAPSHOT:
        return Known(entry.node, max(entry.left_incarnation, 1), bytes(16), 1)
    record = entry.record
    return Known(entry.node, record.incarnation, record.boot_id, record.version)


class SyncAnswerer:
    """Answers others' questions, so many a second."""

    def __init__(self, catalog: Catalog, out: Outbox) -> None:
        self._catalog = catalog
        self._out = out
        self._budget = REPLY_BURST
        self._budget_at = 0.0

    def asked(self, sender: str, request: SyncRequest, now: float) -> str | None:
        """Send one page; why not, if not."""
        refill = (now - self._budget_at) * REPLIES_PER_S
        self._budget = min(REPLY_BURST, self._budget + refill)
        self._budget_at = now
        if self._budget < 1:
            return "too-many-syncs"
        self._budget -= 1
        self._out.send(sender, self._page(request, now))
        return None

    def _page(self, request: SyncRequest, now: float) -> SyncReply:
        held = {known.node: (known.incarnation, known.boot_id, known.version)
                for known in request.known}  # fmt: skip
        names = sorted(self._catalog.entries)
        begin = bisect_right(names, request.after)
        end = bisect_right(names, request.upto) if request.upto else len(names)
        entries: list[SyncEntry] = []
        tombstones: list[Tombstone] = []
        size = 0
        for position, node in enumerate(names[begin:end], begin):
            entry = self._catalog.entries[node]
            if entry.state is AgentState.LEFT:
                if entry.source is not Source.HEARD:
                    # Only by who heard the goodbye itself, or it is passed round for ever.
                    continue
                tombstones.append(Tombstone(node, entry.left_incarnation))
            elif (told := _vouch(self._catalog, entry, now)) and told.record.key > held.get(
                node, (0, b"", 0)
            ):
                entries.append(told)
                size += len(told.record.raw or b"") + 64
            full = size >= PAGE_BYTES_MAX or len(entries) >= PAGE_ENTRIES_MAX
            if (full or len(tombstones) >= TOMBSTONES_MAX) and position + 1 < end:
                return SyncReply(request.request, tuple(entries), tuple(tombstones), node)
        return SyncReply(request.request, tuple(entries), tuple(tombstones), "")


def _vouch(catalog: Catalog, entry: Entry, now: float) -> SyncEntry | None:
    """A node that we or a relay have heard since our start and still believe in, else None."""
    catalog.shards.settle(entry)
    known_at = entry.known_at
    if not entry.shown or entry.source is not Source.HEARD or known_at is None:
        return None
    if entry.state is not AgentState.ALIVE or entry.record is None:
        return None
    own = entry.expires_at == NEVER
    heard_s = 0.0 if own else max(now - known_at, 0.0)
    ttl_s = entry.ttl_s or 0.0
    return SyncEntry(entry.record, int(heard_s * 1000), int(ttl_s * 1000))


class AnnounceAsker:
    """Asks owners for the state that their heartbeats speak of and we don't have."""

    def __init__(
        self, catalog: Catalog, out: Outbox, rng: random.Random, interval_s: float
    ) -> None:
        self._catalog = catalog
        self._out = out
        self._rng = rng
        # The owner answers once in ANNOUNCE_GAP_S: most should hear it before they ask.
        self._spread_s = max(interval_s / 2, 2 * ANNOUNCE_GAP_S)
        self._again_s = max(interval_s, self._spread_s)
        self._due = DueHeap()

    @property
    def deadline(self) -> float:
        return self._due.next_due

    def heard(self, entry: Entry, now: float) -> None:
        """After a heartbeat: most of all who miss the state will hear another's answer first."""
        if entry.behind and entry.request_at is None:
            self._ask_at(entry, now + self._rng.uniform(0, self._spread_s))

    def advance(self, now: float) -> None:
        while (node := self._due.pop(now)) is not None:
            entry = self._catalog.entries.get(node)
            if entry is None or entry.request_at is None:
                continue
            if not entry.leased or not entry.behind:
                entry.request_at = None
            elif now < entry.request_at:
                self._due.push(node, entry.request_at)
            else:
                self._out.send(node, AnnounceRequest(entry.version_said))
                # Asked again after a while: the question or the answer may be lost.
                self._ask_at(entry, now + self._again_s)

    def _ask_at(self, entry: Entry, at: float) -> None:
        entry.request_at = at
        self._due.push(entry.node, at)


class DigestWatch:
    """Whether others believe what we do, once an interval."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._alone = 0

    def differs(self, now: float) -> bool:
        """Whether most others have believed otherwise than we do twice in a row.

        Of those whom we hear: of others, relays vouch for their lives only.
        """
        agrees = [
            e.agrees
            for e in self._catalog.alive.values()
            if e.agrees is not None and now - (e.last_heard_at or now) <= e.suspect_s
        ]
        if 2 * sum(agrees) >= len(agrees):
            self._alone = 0
            return False
        self._alone += 1
        return self._alone >= 2
