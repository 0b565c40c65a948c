"""What the hosts of a made-up fleet publish, and what all of them believe."""

from collections.abc import Iterator
from dataclasses import replace
from random import Random

from beacond.core.hashing import share_of
from beacond.core.messages import Heartbeat, SyncEntry, SyncReply, SyncRequest
from beacond.core.model import Mode, Record
from beacond.wire import Codec
from tests.bench.population import FLEET, Population

TTL_S = 15.0
PAGE_ENTRIES = 200


class State:
    """Each host holds every other's state, and that of the agents which they heard announce; so
    their digests are what a real fleet's would be."""

    def __init__(self, fleet: Population, interval_s: float, began_at: float, *, relays: bool):
        """`relays`: they take the word of relays, and send them theirs."""
        self._codec = Codec(fleet=FLEET, node="load", keyring=None)
        self._interval_s = interval_s
        self._began_at = began_at
        self._random = Random(1)
        self.records = {
            each.node: self._codec.seal(_relayed(each)) if relays else each
            for each in fleet.records()
        }
        self._nodes = tuple(self.records)
        self.seqs = dict.fromkeys(self.records, 0)
        self.others: dict[str, Record] = {}
        """Of agents that speak for themselves."""
        self.changes = 0
        self._own_digest = 0
        for record in self.records.values():
            self._own_digest ^= share_of(record)

    def change(self) -> str:
        """An instance goes from its host's address to one of its own, or back; which node's."""
        node = self._random.choice(self._nodes)
        old = self.records[node]
        instances = list(old.body.instances)
        place = self._random.randrange(len(instances))
        elsewhere = old.body.addresses[0].replace("10.", "172.", 1)
        moved = None if instances[place].address else elsewhere
        instances[place] = replace(instances[place], address=moved)
        body = replace(old.body, instances=tuple(instances))
        new = self._codec.seal(replace(old, version=old.version + 1, body=body, raw=None))
        self._own_digest ^= share_of(old) ^ share_of(new)
        self.records[node] = new
        self.changes += 1
        return node

    def forget(self, node: str) -> None:
        """It is gone for good."""
        record = self.records.pop(node)
        self._own_digest ^= share_of(record)

    def beat(self, node: str, next_s: float, now: float) -> Heartbeat:
        """Its next one."""
        self.seqs[node] += 1
        return Heartbeat(
            seq=self.seqs[node],
            version=self.records[node].version,
            digest=self._digest(),
            series=1,
            stamp_ms=round((now - self._began_at) * 1000),
            next_ms=round(next_s * 1000),
            ttl_ms=round(TTL_S * 1000),
            mode=Mode.NORMAL,
        )

    def _digest(self) -> bytes:
        digest = self._own_digest
        for record in self.others.values():
            digest ^= share_of(record)
        return digest.to_bytes(8, "big")

    def page(self, asked: SyncRequest) -> SyncReply:
        """Of all whom they hold, one page of what the asker misses."""
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
        for node, record in sorted((self.records | self.others).items()):
            within = node > asked.after and (not asked.upto or node <= asked.upto)
            if within and record.key > known.get(node, (0, b"", 0)):
                yield record


def _relayed(record: Record) -> Record:
    """The same of a host that relays; on loopback, so that nobody who finds it silent probes it."""
    (address,) = record.body.addresses
    local = address.replace("10.", "127.", 1)
    return replace(record, body=replace(record.body, addresses=(local,), relays=True), raw=None)
