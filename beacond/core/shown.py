"""Brings what others read up to date with an entry: the view, the digests, the counts."""

from dataclasses import replace

from beacond.core.entry import Entry, Source
from beacond.core.events import Kind
from beacond.core.hashing import share_of
from beacond.core.model import AgentState, Body
from beacond.core.paths import Paths
from beacond.core.shards import Shards
from beacond.core.story import tell
from beacond.core.tables import Tables, instances_of
from beacond.core.view import AgentView, InstanceView

Telling = tuple[Kind, str, InstanceView | None, AgentView | None]


class Shown:
    def __init__(self, node: str, tables: Tables, paths: Paths, shards: Shards) -> None:
        self._node = node
        self._tables = tables
        self._paths = paths
        self._shards = shards
        self.alive: dict[str, Entry] = {}
        """Other nodes of whom a heartbeat is expected."""
        self.unrelayed: set[str] = set()
        """Those of them whose agents must hear every heartbeat themselves."""
        self.tellings: list[Telling] = []
        """What happened, for the node to turn into events."""

    @property
    def all_relay(self) -> bool:
        """Every living node's agent takes the word of relays."""
        return not self.unrelayed

    def show(self, entry: Entry, gone_because: str = "deregistered", *, told: bool = True) -> None:
        """`told`: as news; not so what was there before our start."""
        state = entry.state or AgentState.ALIVE
        record = entry.record if entry.leased else None
        body = Body() if record is None else record.body
        instances = instances_of(
            entry.node,
            body if body.mode is entry.mode else replace(body, mode=entry.mode),
            freshness=entry.freshness,
            last_resort=entry.last_resort,
            hidden=entry.hidden,
        )
        changes = self._tables.put(entry.view(state), instances)
        for change in changes if told else ():
            for kind, reason, instance in tell(change, gone_because):
                self.tellings.append((kind, reason, instance, None))
        believed = record is not None and entry.source is not Source.SNAPSHOT
        self._shards.put(entry, share_of(record) if record is not None and believed else 0)
        self._expect(entry, believed and state is AgentState.ALIVE and entry.node != self._node)

    def tell_agent(self, kind: Kind, reason: str, entry: Entry) -> None:
        state = entry.state or AgentState.ALIVE
        self.tellings.append((kind, reason, None, entry.view(state)))

    def _expect(self, entry: Entry, alive: bool) -> None:
        if alive:
            self.alive[entry.node] = entry
        else:
            self.alive.pop(entry.node, None)
        self._paths.expect(entry, alive)
        if alive and not (entry.record is not None and entry.record.body.relays):
            self.unrelayed.add(entry.node)
        else:
            self.unrelayed.discard(entry.node)
