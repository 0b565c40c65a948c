"""Leases of a whole shard renewed together, and written down when somebody looks."""

from functools import reduce

from beacond.core.entry import RELAYS_SILENT_TTL, Entry
from beacond.core.hashing import live_share_of, shard_of
from beacond.core.messages import SHARDS
from beacond.core.model import AgentState
from beacond.core.paths import Paths
from beacond.core.shards import GONE_MAX, Shards
from beacond.core.sight import SightJudge
from tests.support.core import INTERVAL_S, TTL_S
from tests.support.core_relays import names_in

SHARD = 5
BUS, OTHER = "bus", "other"


class Parts(Shards):
    """Shards of a catalog in which only leases are kept."""

    def __init__(self) -> None:
        sight = SightJudge(INTERVAL_S)
        for bus in (BUS, OTHER):
            sight.bus(bus).up = True
            sight.echoed(bus, 0.0)
        sight.look(0.0)
        self.paths = Paths(sight)
        super().__init__("me", self.paths)
        self.shard = self.all[SHARD]

    def add(self, node: str, boot: bytes = b"\x01" * 16) -> Entry:
        """Alive, and heard as of reading 0."""
        entry = Entry(node, 0.0, state=AgentState.ALIVE, leased=True)
        entry.incarnation, entry.boot_id = 1, boot
        entry.ttl_s, entry.suspect_s = TTL_S, 2.2 * INTERVAL_S
        entry.renew(0.0)
        self.put(entry, 1)
        return entry

    def renewed(self, reading: float, *out: Entry, bus: str = BUS, at: float | None = None):
        """By a digest; those for whom something is to be done now."""
        return self.renew(
            self.shard,
            self.shard.word(bus),
            at=reading if at is None else at,
            reading=reading,
            out={entry.node: entry for entry in out},
        )


def live(*entries: Entry) -> int:
    shares = [live_share_of(e.node, e.incarnation, e.boot_id) for e in entries]
    return reduce(int.__xor__, shares, 0)


def parts(many: int = 3) -> tuple[Parts, list[Entry]]:
    """A shard whose relays have spoken before."""
    shards = Parts()
    entries = [shards.add(name) for name in names_in(SHARD, many)]
    for entry in shards.renewed(1.0):
        shards.settle(entry)
    return shards, entries


# ---- who is in it


def test_each_node_counts_in_the_shard_of_its_name() -> None:
    shards = Parts()
    entries = [shards.add(f"host-{number}") for number in range(100)]
    for number in range(SHARDS):
        members = [e for e in entries if shard_of(e.node) == number]
        assert list(shards.all[number].members.values()) == members
        assert shards.all[number].live == live(*members)


def test_who_is_not_believed_in_any_more_leaves_what_the_shard_adds_up_to() -> None:
    shards, (a, b, c) = parts()
    shards.put(b, 0)
    assert (shards.shard.live, list(shards.shard.gone)) == (live(a, c), [b.node])
    shards.put(b, 1)
    assert (shards.shard.live, list(shards.shard.gone)) == (live(a, b, c), [])


def test_digest_is_over_all_shares_and_the_shards_over_boots_alone() -> None:
    shards = Parts()
    a, b = (shards.add(name) for name in names_in(SHARD, 2))
    before = shards.shard.live
    shards.put(a, 0b0110)
    shards.put(b, 0b1010)
    assert (shards.digest, shards.shard.live) == (0b1100, before)


def test_later_boot_takes_the_place_of_the_one_before() -> None:
    shards, (a, b, c) = parts()
    a.incarnation = 2
    shards.put(a, 1)
    assert shards.shard.live == live(a, b, c)
    assert list(shards.shard.members.values()) == [b, c, a]
    assert shards.shard.gone == {}


def test_only_so_many_of_the_gone_are_remembered_and_the_first_are_forgotten() -> None:
    shards = Parts()
    entries = [shards.add(name) for name in names_in(SHARD, GONE_MAX + 2)]
    for entry in entries:
        shards.put(entry, 0)
    assert list(shards.shard.gone.values()) == entries[2:]


# ---- renewing together


def test_renewal_touches_no_entry_and_is_written_down_when_somebody_looks() -> None:
    shards, (a, b, _) = parts()
    assert shards.renewed(4.0) == []
    assert [a.expires_at, a.renewals] == [1.0 + TTL_S, 1]
    shards.settle(a)
    assert [a.expires_at, a.suspect_at] == [4.0 + TTL_S, 4.0 + RELAYS_SILENT_TTL * TTL_S]
    assert (a.relayed_at, a.paths[BUS].reading) == (4.0, 4.0)
    assert b.relayed_at == 1.0


def test_of_many_renewals_the_latest_is_written_down() -> None:
    shards, (a, _, _) = parts()
    for reading in (2.0, 3.0, 9.0):
        shards.renewed(reading)
    shards.settle(a)
    assert a.expires_at == 9.0 + TTL_S


def test_who_is_left_out_keeps_what_the_renewals_before_gave() -> None:
    shards, (a, b, _) = parts()
    shards.renewed(4.0)
    shards.renewed(8.0, a)
    shards.renewed(9.0, a)
    for entry in (a, b):
        shards.settle(entry)
    assert [a.expires_at, b.expires_at] == [4.0 + TTL_S, 9.0 + TTL_S]
    assert a.relayed_at == 4.0


def test_who_was_left_out_is_renewed_by_the_next_that_does_not() -> None:
    shards, (a, _, _) = parts()
    shards.renewed(4.0, a)
    shards.renewed(8.0)
    shards.settle(a)
    assert a.expires_at == 8.0 + TTL_S


def test_digest_that_a_later_one_overtook_renews_nobody() -> None:
    """Else it would give who the later one left out what that gave the others."""
    shards, (a, b, _) = parts()
    shards.renewed(8.0, a)
    assert shards.renewed(4.0) == []
    for entry in (a, b):
        shards.settle(entry)
    assert (a.expires_at, a.relayed_at) == (1.0 + TTL_S, 1.0)
    assert (b.expires_at, b.relayed_at) == (8.0 + TTL_S, 8.0)


def test_newcomer_has_nothing_from_renewals_before_it_came() -> None:
    shards, _ = parts()
    shards.renewed(4.0)
    late = shards.add(names_in(SHARD, 1, "late")[0])
    shards.settle(late)
    assert (late.expires_at, late.relayed_at) == (TTL_S, None)


def test_later_boot_has_nothing_from_renewals_of_the_one_before() -> None:
    shards, (a, _, _) = parts()
    shards.renewed(4.0)
    a.incarnation, a.relayed_at = 2, None
    shards.put(a, 1)
    shards.settle(a)
    assert a.relayed_at is None


def test_later_boot_of_who_was_left_out_is_not_left_out() -> None:
    shards, (a, _, _) = parts()
    shards.renewed(4.0, a)
    a.incarnation = 2
    shards.put(a, 1)
    assert shards.shard.words[BUS].out == {}


def test_leaving_node_and_our_own_are_renewed_by_nobody() -> None:
    shards, (a, _, _) = parts()
    a.leaving = True
    own = shards.add("me")
    at_first = (a.expires_at, own.expires_at)
    own_shard = shards.of(own)
    assert shards.renewed(4.0) == []
    assert shards.renew(own_shard, own_shard.word(BUS), at=4.0, reading=4.0, out={}) == []
    for entry in (a, own):
        shards.settle(entry)
    assert (a.expires_at, own.expires_at) == at_first


def test_suspects_are_returned_at_once_but_not_those_left_out() -> None:
    shards, (a, b, _) = parts()
    for entry in (a, b):
        entry.state = AgentState.SUSPECT
        shards.put(entry, 1)
    assert shards.renewed(4.0, b) == [a]
    a.state = AgentState.ALIVE
    shards.put(a, 1)
    assert shards.renewed(5.0, b) == []


def test_all_are_returned_where_a_bus_brings_digests_for_the_first_time() -> None:
    shards, entries = parts()
    assert shards.renewed(4.0, bus=OTHER) == entries
    assert shards.renewed(5.0, bus=OTHER) == []


def test_all_are_looked_at_again_after_the_bus_was_lost() -> None:
    shards, entries = parts()
    assert shards.renewed(4.0) == []
    shards.bus_lost(BUS)
    assert shards.renewed(5.0) == entries


def test_nothing_said_over_a_bus_before_it_was_lost_is_written_down_after() -> None:
    shards, (a, _, _) = parts()
    shards.renewed(4.0)
    shards.bus_lost(BUS)
    shards.settle(a)
    assert a.relayed_at == 1.0


# ---- several buses


def test_renewals_over_two_buses_give_the_later_and_tell_where_it_is_heard() -> None:
    shards, (a, _, _) = parts()
    shards.renewed(6.0, bus=OTHER)
    shards.renewed(5.0)
    shards.settle(a)
    assert a.expires_at == 6.0 + TTL_S
    assert {bus: path.reading for bus, path in a.paths.items()} == {BUS: 5.0, OTHER: 6.0}


def test_who_is_left_out_over_one_bus_is_renewed_over_the_other() -> None:
    shards, (a, _, _) = parts()
    shards.renewed(4.0, a)
    shards.renewed(6.0, a, bus=OTHER)
    shards.renewed(7.0, bus=BUS)
    shards.settle(a)
    assert a.expires_at == 7.0 + TTL_S
    assert list(a.paths) == [BUS]


def test_shard_is_unspoken_until_a_relay_says_anything_over_any_bus() -> None:
    shards, _ = parts()
    shards.shard.word(OTHER).spoken_at = 8.0
    assert shards.shard not in list(shards.unspoken(8.0))
    assert len(list(shards.unspoken(8.0))) == SHARDS - 1
    assert shards.shard in list(shards.unspoken(8.1))
