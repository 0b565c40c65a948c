"""State is merged: any order, any repeats, by any way, and two catalogs end with the same."""

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from beacond.core.catalog import Catalog
from beacond.core.messages import Announce, Goodbye, Heartbeat, SyncEntry
from beacond.core.model import AgentState, Key, Record
from beacond.core.sight import SightJudge
from beacond.core.tables import Tables
from tests.support.core import Peer, Said, published

NAMES = ("a", "b", "c")


@dataclass(frozen=True)
class Boot:
    """What one boot of one node says in its life."""

    changes: int
    beats: int
    says_goodbye: bool


boots = st.builds(Boot, st.integers(0, 3), st.integers(1, 3), st.booleans())
histories = st.fixed_dictionaries({name: st.lists(boots, min_size=1, max_size=3) for name in NAMES})


def words(history: dict[str, list[Boot]]) -> tuple[list[Said], list[Said]]:
    """All that was ever said, and what everybody alive says in the end."""
    said: list[Said] = []
    last: list[Said] = []
    for name, lives in history.items():
        peer = Peer(name, incarnation=0)
        for life in lives:
            peer.reboot()
            said.append(peer.announce(published("web"), published(f"s{peer.incarnation}")))
            for _ in range(life.changes):
                peer.version += 1
                said.append(peer.announce(published("web"), published(f"v{peer.version}")))
            said += [peer.heartbeat(0.0) for _ in range(life.beats)]
            if life.says_goodbye:
                said.append(peer.goodbye())
        if not lives[-1].says_goodbye:
            last.append(peer.heartbeat(0.0))
    return said, last


def _key(record: Record | None) -> Key | None:
    return None if record is None else record.key


class Believer:
    def __init__(self) -> None:
        self.tables = Tables(1)
        sight = SightJudge(5.0)
        sight.clock.prove(0.0)
        self.catalog = Catalog("me", self.tables, sight)

    def hear(self, said: list[Said]) -> "Believer":
        for envelope, message in said:
            match message:
                case Heartbeat():
                    self.catalog.heartbeat(envelope, message, "bus", 0.0)
                case Announce(record):
                    self.catalog.announce(envelope, record, 0.0)
                case Goodbye():
                    self.catalog.goodbye(envelope, message, 0.0)
        self.tables.flush()
        return self

    def told_by(self, other: "Believer") -> "Believer":
        for entry in list(other.catalog.entries.values()):
            if entry.state is AgentState.LEFT:
                self.catalog.tombstone(entry.node, entry.left_incarnation, 0.0)
            elif entry.record is not None:
                self.catalog.synced(SyncEntry(entry.record, 0, 15_000), 5.0, 0.0)
        self.tables.flush()
        return self

    def state(self) -> dict[str, object]:
        """What is held of each node: its latest state, or that it left."""
        return {
            entry.node: "left" if entry.state is AgentState.LEFT else _key(entry.record)
            for entry in self.catalog.entries.values()
        }

    def view(self) -> dict[str, tuple[object, ...]]:
        services = self.tables.view.services
        return {name: services[name].instances for name in sorted(services)}


@settings(deadline=None, max_examples=300)
@given(histories, st.randoms(use_true_random=False))
def test_order_and_repeats_do_not_matter(history: dict[str, list[Boot]], rng: object) -> None:
    said, last = words(history)
    shuffled = [*said, *said]
    rng.shuffle(shuffled)
    in_order, out_of_order = Believer().hear(said), Believer().hear(shuffled)
    for believer in (in_order, out_of_order):
        believer.hear(last)
    assert in_order.state() == out_of_order.state()
    assert in_order.view() == out_of_order.view()
    assert in_order.catalog.digest == out_of_order.catalog.digest


@settings(deadline=None, max_examples=200)
@given(histories, st.randoms(use_true_random=False))
def test_hearing_it_all_again_changes_nothing(history: dict[str, list[Boot]], rng: object) -> None:
    said, last = words(history)
    believer = Believer().hear(said).hear(last)
    before = (believer.state(), believer.view(), believer.catalog.digest)
    believer.catalog.tellings.clear()
    again = [*said, *last]
    rng.shuffle(again)
    believer.hear(again)
    assert (believer.state(), believer.view(), believer.catalog.digest) == before
    assert believer.catalog.tellings == []


@settings(deadline=None, max_examples=200)
@given(histories, st.data())
def test_what_is_missing_may_come_by_others(
    history: dict[str, list[Boot]], data: st.DataObject
) -> None:
    """Who heard a part of it, and is told the rest by others in any order, believes the same."""
    said, last = words(history)
    parts = [
        Believer().hear(data.draw(st.lists(st.sampled_from(said), max_size=len(said))))
        for _ in range(2)
    ]
    whole = Believer().hear(said)
    one = Believer().told_by(parts[0]).told_by(parts[1]).told_by(whole)
    other = Believer().told_by(whole).told_by(parts[1]).told_by(parts[0])
    for believer in (one, other, whole):
        believer.hear(last)
    assert one.state() == other.state() == whole.state()
    assert one.view() == other.view() == whole.view()
