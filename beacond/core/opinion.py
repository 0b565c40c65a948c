"""The second opinion: when one node falls silent, is anybody still there?

A few nodes, ranked by rendezvous hashing (Thaler and Ravishankar, 1998), try its instances by TCP
and tell everybody what they found. What can be reached stays suspect and served, past the end of
the lease; where two could reach nobody, though they reached somebody else, it is gone before that.
A word of it renews no lease, and nobody passes on what he did not try himself.
"""

import random
from collections import Counter
from dataclasses import dataclass
from hashlib import blake2b

from beacond.core.catalog import Catalog
from beacond.core.effects import Target
from beacond.core.entry import Entry, Finding, Source
from beacond.core.leases import NEVER, DueHeap
from beacond.core.messages import Envelope, Opinion
from beacond.core.model import Published, Status
from beacond.core.outbox import Outbox
from beacond.core.probes import Probes
from beacond.core.settings import Settings

PROBERS = 3
FAILING_MIN = 2
"""So many probers must have failed, and none succeeded."""
VALID_ROUNDS = 3
"""For which a finding holds, and more where not all instances can be tried in one. A round is one
interval."""
LONGER_S = 600.0
"""How long a node is kept that only its instances' ports speak for."""
INSTANCES_PER_ROUND = 8
CONTROLS = 2
"""Other nodes tried at the same time, to know that it is not us who are cut off."""
PROBES_PER_S = 10.0
AFTER_OTHERS_S = 0.001
FINDINGS_MAX = 8
"""Probers remembered of one silent node."""


@dataclass(frozen=True, slots=True)
class _Round:
    """What one probe is about."""

    node: str
    incarnation: int
    boot_id: bytes
    seq: int
    instances: dict[str, tuple[Target, ...]]
    controls: tuple[Target, ...]


class SecondOpinion:
    def __init__(
        self,
        catalog: Catalog,
        out: Outbox,
        rng: random.Random,
        probes: Probes,
        settings: Settings,
    ) -> None:
        self._catalog = catalog
        self._out = out
        self._rng = rng
        self._probes = probes
        self._round_s = settings.interval_s
        self._due = DueHeap()
        self._awaited: dict[int, _Round] = {}
        self._turns: Counter[str] = Counter()
        self._free_at = 0.0
        self._frozen_at: float | None = None

    @property
    def deadline(self) -> float:
        return NEVER if self._frozen_at is not None else self._due.next_due

    def freeze(self, now: float) -> None:
        """We are blind: what a probe finds now says nothing of the silent."""
        self._frozen_at = now
        self._awaited.clear()

    def thaw(self, now: float) -> None:
        if self._frozen_at is not None:
            frozen_s, self._frozen_at = now - self._frozen_at, None
            self.postpone(frozen_s)

    def postpone(self, seconds: float) -> None:
        """Forgive time in which nothing could be found out."""
        if self._frozen_at is not None:
            return
        self._awaited.clear()
        for entry in self._catalog.suspects.values():
            entry.since_at += seconds
            for finding in entry.findings.values():
                finding.tries = {i: (ok, at + seconds) for i, (ok, at) in finding.tries.items()}

    def look(self, now: float) -> None:
        """Look into nodes that fell silent, again every round. To be called while we can see."""
        for entry in self._catalog.newly_suspect:
            self._turns.pop(entry.node, None)
            self._due.push(entry.node, now)
        self._catalog.newly_suspect.clear()
        while (node := self._due.pop(now)) is not None:
            silent = self._catalog.suspects.get(node)
            if silent is not None:
                self._judge(silent, now)
            if node not in self._catalog.suspects or silent is None:
                self._turns.pop(node, None)
            elif now < self._free_at:
                self._due.push(node, self._free_at)
            else:
                if self._is_ours(node):
                    self._probe(silent, now)
                # After those that had to wait for us.
                self._due.push(node, max(now + self._round_s, self._free_at + AFTER_OTHERS_S))

    def probed(self, number: int, reached: frozenset[Target], now: float) -> None:
        """What came of a probe of ours."""
        asked = self._awaited.pop(number, None)
        entry = None if asked is None else self._catalog.suspects.get(asked.node)
        if asked is None or entry is None:
            return
        if (*entry.speaker, entry.seq_known) != (asked.incarnation, asked.boot_id, asked.seq):
            return
        up = [i for i, targets in asked.instances.items() if not reached.isdisjoint(targets)]
        down = [i for i in asked.instances if i not in up]
        opinion = Opinion(
            node=asked.node,
            incarnation=asked.incarnation,
            boot_id=asked.boot_id,
            seq=asked.seq,
            reached=tuple(up),
            unreached=tuple(down),
            control=not reached.isdisjoint(asked.controls),
        )
        envelope = Envelope(self._out.node, self._out.incarnation, self._out.boot_id, number)
        self._note(entry, envelope, opinion, now)
        self._out.publish(opinion)
        self._judge(entry, now)

    def heard(self, envelope: Envelope, opinion: Opinion, now: float) -> str | None:
        """Take another's finding; why it was dropped, if it was."""
        if self._frozen_at is not None:
            return "blind"
        teller = self._catalog.alive.get(envelope.sender)
        if teller is None or teller.speaker != (envelope.incarnation, envelope.boot_id):
            return "stranger"
        entry = self._catalog.entries.get(opinion.node)
        if entry is None or not entry.leased or opinion.node == self._out.node:
            return "unknown-node"
        said = (opinion.incarnation, opinion.boot_id)
        latest = max((f.seq for f in entry.findings.values()), default=entry.seq_known)
        if said != entry.speaker or opinion.seq < max(entry.seq_known, latest):
            return "outdated"
        known = entry.findings.get(envelope.sender)
        if known is not None and known.speaker == teller.speaker:
            if envelope.counter <= known.counter:
                return "replayed"
        elif len(entry.findings) >= FINDINGS_MAX and not self._make_room(entry, now):
            return "too-many-opinions"
        self._note(entry, envelope, opinion, now)
        if opinion.node in self._catalog.suspects:
            self._judge(entry, now)
        return None

    # ---- inside

    def _note(self, entry: Entry, prober: Envelope, said: Opinion, now: float) -> None:
        speaker = (prober.incarnation, prober.boot_id)
        finding = entry.findings.get(prober.sender)
        if finding is None or (finding.speaker, finding.seq) != (speaker, said.seq):
            finding = entry.findings[prober.sender] = Finding(speaker, said.seq)
        finding.counter = prober.counter
        fresh = now - self._valid_s(entry)
        finding.tries = {i: each for i, each in finding.tries.items() if each[1] > fresh}
        for instance in said.reached:
            finding.tries[instance] = (True, now)
        # Who reached nobody at all is perhaps cut off himself: he knows nothing.
        for instance in said.unreached if said.control else ():
            finding.tries[instance] = (False, now)

    def _make_room(self, entry: Entry, now: float) -> bool:
        """Forget who found nothing for long."""
        fresh = now - self._valid_s(entry)
        entry.findings = {
            prober: finding
            for prober, finding in entry.findings.items()
            if any(at > fresh for _, at in finding.tries.values())
        }
        return len(entry.findings) < FINDINGS_MAX

    def _valid_s(self, entry: Entry) -> float:
        """For how long a finding holds: until all of a node's instances have had their turn."""
        turns = -(-len(_published(entry)) // INSTANCES_PER_ROUND)
        return (turns + VALID_ROUNDS - 1) * self._round_s

    def _judge(self, entry: Entry, now: float) -> None:
        reached, failed, tried = self._sum_up(entry, now)
        if reached and now - entry.since_at < LONGER_S:
            self._catalog.vouch(entry, True)
            self._catalog.hide(entry, frozenset(failed))
        elif not reached and failed and failed == tried:
            self._catalog.unreachable(entry, now)
        else:
            self._catalog.vouch(entry, False)

    def _sum_up(self, entry: Entry, now: float) -> tuple[set[str], set[str], set[str]]:
        """Instances that somebody reached, that several could not and nobody did, that were tried.

        Of this silence: a later one begins with a greater seq.
        """
        known = {instance.id for instance in _published(entry)}
        fresh = now - self._valid_s(entry)
        seq = max((finding.seq for finding in entry.findings.values()), default=0)
        tries = [
            (instance, ok)
            for finding in entry.findings.values()
            if finding.seq == seq
            for instance, (ok, at) in finding.tries.items()
            if at > fresh and instance in known
        ]
        reached = {instance for instance, ok in tries if ok}
        failures = Counter(instance for instance, ok in tries if not ok)
        failed = {i for i, times in failures.items() if times >= FAILING_MIN} - reached
        return reached, failed, {instance for instance, _ in tries}

    def _is_ours(self, node: str) -> bool:
        """Whether we are among those who look into it; most others reckon alike."""
        if self._out.muzzled:
            return False
        own, ahead = _rank(node, self._out.node), 0
        for name, other in self._catalog.alive.items():
            looks = other.source is Source.HEARD and other.parked_reading is None
            if looks and _rank(node, name) > own:
                ahead += 1
                if ahead >= PROBERS:
                    return False
        return True

    def _probe(self, entry: Entry, now: float) -> None:
        instances = self._instances(entry)
        if not instances:
            return
        controls = self._controls()
        targets = [*(t for found in instances.values() for t in found), *controls]
        # One node a round: many corpses must not make the living say more than they may.
        self._free_at = max(self._free_at, now) + max(len(targets) / PROBES_PER_S, self._round_s)
        number = self._probes.send(targets)
        self._awaited[number] = _Round(
            entry.node, entry.incarnation, entry.boot_id, entry.seq_known, instances, controls
        )

    def _instances(self, entry: Entry) -> dict[str, tuple[Target, ...]]:
        """What to try in this round: the same everywhere, other ones each time."""
        known = {
            i.id: targets
            for i in _published(entry)
            if i.status is not Status.CRITICAL
            if (targets := self._probes.targets(_addresses(entry, i), i.port))
        }
        ids = list(known)
        if len(ids) > INSTANCES_PER_ROUND:
            turn = self._turns[entry.node] * INSTANCES_PER_ROUND
            self._turns[entry.node] += 1
            ids = [ids[(turn + n) % len(ids)] for n in range(INSTANCES_PER_ROUND)]
        return {instance: known[instance] for instance in ids}

    def _controls(self) -> tuple[Target, ...]:
        found: list[Target] = []
        names = sorted(self._catalog.alive)
        for name in self._rng.sample(names, min(len(names), 4 * CONTROLS)):
            shown = [i for i in self._catalog.shown_instances(name) if i.passing][:1]
            found += [t for i in shown for t in self._probes.targets(i.addresses, i.port)[:1]]
        return tuple(found[:CONTROLS])


def _rank(node: str, prober: str) -> bytes:
    return blake2b(f"{node}\0{prober}".encode(), digest_size=8).digest()


def _published(entry: Entry) -> tuple[Published, ...]:
    return entry.record.body.instances if entry.record is not None else ()


def _addresses(entry: Entry, instance: Published) -> tuple[str, ...]:
    if instance.address or entry.record is None:
        return (instance.address,) if instance.address else ()
    return entry.record.body.addresses
