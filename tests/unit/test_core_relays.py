"""What the words of relays are worth to who syncs, to sight, and on several buses."""

import random

import pytest

from beacond.core.entry import Source
from beacond.core.messages import SyncEntry, SyncReply, SyncRequest
from beacond.core.model import AgentState, Freshness
from tests.support.core import INTERVAL_S, TTL_S, Peer, published
from tests.support.core_relays import OTHERS, Fleet, Told, best, excepted, names_in

A, B, C, D = Told.NAMES
R, S = "r0", "r6"


# ---- synced nodes


def test_newcomer_passes_on_whom_a_relay_vouches_for_and_nobody_else() -> None:
    me = Fleet([R])
    relay = me.peers[R]
    (request,) = me.sent(SyncRequest)
    stranger = names_in(OTHERS, 1)[0]
    people = {name: Peer(name, relays=True) for name in (A, B, stranger)}
    told = tuple(SyncEntry(p.record(published("web")), 4000, 15_000) for p in people.values())
    me.hear((relay.envelope("me"), SyncReply(request.request, told, (), "")))
    assert passed_on(me) == {"me": 0, R: 0}
    me.run(1.0)
    me.hear(me.tell(relay, [me.me, people[A], people[B]]))
    assert me.entry(A).source is Source.HEARD
    assert list(me.entry(A).paths) == ["b"]
    assert me.node._catalog.paths.expected("b") == 4
    me.run(2.0)
    assert passed_on(me) == pytest.approx({"me": 0, R: 2000, A: 2000, B: 2000}, abs=2)


def test_node_synced_after_the_first_digest_is_passed_on_too() -> None:
    me = Fleet([R])
    relay, late = me.peers[R], Peer(A, relays=True)
    me.hear(me.tell(relay, [me.me]))
    (request,) = me.sent(SyncRequest)
    told = SyncEntry(late.record(published("web")), 4000, 15_000)
    me.hear((relay.envelope("me"), SyncReply(request.request, (told,), (), "")))
    me.run(1.0)
    me.hear(me.tell(relay, [me.me, late]))
    assert passed_on(me) == {"me": 0, R: 0, A: 0}


def test_node_named_after_the_first_digest_is_passed_on_too() -> None:
    me = Told()
    late = Peer(names_in(Told.SHARD, 5)[4], relays=True, started_at=me.now)
    me.peers[late.name] = late
    me.hear(me.name(me.r, [*me.ours(), late]), late.announce(published("web")))
    me.run(INTERVAL_S)
    me.hear(me.tell(me.r, me.ours()))
    me.run(1.0)
    assert passed_on(me)[late.name] == pytest.approx(1000, abs=2)


def passed_on(me: Told) -> dict[str, int]:
    """Whom we tell a newcomer of, and how many ms ago we say that it was heard."""
    me.take()
    me.hear((Peer("newcomer").envelope("me"), SyncRequest(1, "", "", ())))
    [reply] = me.sent(SyncReply)
    return {told.record.node: told.heard_ms for told in reply.entries}


# ---- sight


def sees(me: Told) -> bool:
    return me.node.reach("b", me.now).in_sight


def test_relays_that_vouch_for_half_of_the_fleet_are_sight_and_fewer_are_not() -> None:
    for count, seen in ((2, False), (3, True)):
        me = Told()
        me.echoes = False
        for _ in range(4):
            me.run(INTERVAL_S)
            me.hear(me.tell(me.r, [], shard=3, count=1))
            me.hear(me.tell(me.r, [], shard=5, count=count - 1))
        assert sees(me) is seen


def test_counts_of_shards_of_longer_ago_do_not_add_up() -> None:
    me = Told()
    me.echoes = False
    for number in range(4):
        me.run(1.5 * INTERVAL_S)
        me.hear(me.tell(me.r, [], shard=number, count=2))
    assert not sees(me)


def test_relay_that_vouches_for_us_is_as_good_as_our_own_word_coming_back() -> None:
    me = Told()
    me.echoes = False
    for _ in range(6):
        me.run(INTERVAL_S)
        me.hear(me.tell(me.r, me.ours(), count=0))
    assert sees(me)
    assert not me.node.reach("b", me.now).mute


def test_relay_that_leaves_us_out_or_differs_proves_nothing_by_that() -> None:
    me = Told()
    me.echoes = False
    for _ in range(4):
        me.run(INTERVAL_S)
        me.hear(me.tell(me.r, me.ours("me"), count=0, excepted=(excepted(me.me),)))
        me.hear(me.tell(me.r, [Peer("a"), Peer("b")], count=0))
    assert not sees(me)


def test_who_sends_to_relays_is_mute_three_and_a_half_intervals_after_their_last_word() -> None:
    me = Told()
    me.hear(me.tell(me.r, me.ours()))
    spoke_at, me.echoes = me.now, False
    me.run(0.1)
    for _ in range(8):
        me.run(INTERVAL_S / 2)
        me.hear(*(me.beat(peer) for peer in me.peers.values()))
        assert me.node.view.sight.mute is (me.node.reach("b", me.now).mute)
        assert me.node.reach("b", me.now).mute is (me.now - spoke_at > 3.5 * INTERVAL_S)
    assert me.node.reach("b", me.now).mute


def test_heartbeats_sent_to_us_alone_are_no_sight() -> None:
    me = Told()
    me.echoes = False
    for _ in range(4):
        me.run(INTERVAL_S)
        me.use(*me.peers)
    assert not sees(me)


# ---- who ranks first, however many came and went


@pytest.mark.parametrize("seed", range(4))
def test_those_that_rank_first_are_found_whoever_came_and_went(seed: int) -> None:
    rng = random.Random(seed)
    me = Fleet([f"n{number}" for number in range(12)], relay_from=3)
    me.flat(3 * INTERVAL_S)
    for number in range(60):
        for each in range(rng.choice((0, 1, 3, 40))):
            me.join(f"late-{number}-{each}")
        many = min(rng.choice((0, 1, 3, 40)), len(me.peers) - 9)
        leaving = rng.sample(sorted(me.peers), max(many, 0))
        if number % 3 == 0:
            leaving += best(me.shard, me.peers, 2)
        for name in set(leaving):
            me.hear(me.peers.pop(name).goodbye())
        me.join(f"last-{number}")
        me.take()
        me.flat(1.2 * INTERVAL_S)
        assert me.node._relays._route._ways["b"].ranked == best(me.shard, me.peers, 5)


# ---- several buses

ONE, TWO = "b", "two"


class Between(Told):
    """On two buses, each with a relay; the others are heard on one or both of them."""

    def __init__(self, **where: tuple[str, ...]) -> None:
        super().__init__()
        self.echoing.append(TWO)
        self.up(bus=TWO)
        self.where = {name: where.get(name, (ONE, TWO)) for name in self.peers}
        self.lost: set[str] = set()
        self.passes(4)
        self.take()

    def passes(self, intervals: int) -> None:
        """On each bus a relay vouches for whom it hears there, and excepts the others."""
        for _ in range(intervals):
            self.run(INTERVAL_S)
            for bus, relay in ((ONE, self.r), (TWO, self.s)):
                if bus not in self.lost:
                    away = [n for n in self.NAMES if bus not in self.where[n]]
                    gone = tuple(excepted(self.peers[name]) for name in away)
                    said = self.tell(relay, self.ours(*away), excepted=gone)
                    self.hear(said, self.beat(self.r), self.beat(self.s), bus=bus)

    def lose(self, bus: str) -> None:
        self.lost.add(bus)
        self.echoing.remove(bus)

    def freshness(self, node: str) -> Freshness:
        [found] = [i for i in self.instances("web") if i.node == node]
        return found.freshness


def test_who_is_vouched_for_on_one_bus_belongs_to_that_bus_alone() -> None:
    me = Between(**{A: (ONE,), B: (TWO,)})
    me.node._catalog.settle()
    assert [sorted(me.entry(name).paths) for name in (A, B, C)] == [[ONE], [TWO], [ONE, TWO]]


def test_who_is_vouched_for_only_on_a_lost_bus_is_kept_and_stale() -> None:
    me = Between(**{A: (ONE,)})
    me.lose(ONE)
    me.passes(20)
    assert me.freshness(A) is Freshness.STALE
    assert me.freshness(B) is Freshness.FRESH
    assert me.kinds() == []


def test_who_is_vouched_for_on_both_buses_does_not_notice_the_loss_of_one() -> None:
    me = Between()
    me.lose(ONE)
    me.passes(20)
    assert [me.freshness(name) for name in (A, B, C, D)] == [Freshness.FRESH] * 4
    assert (me.kinds(), me.changed()) == ([], [])


def test_who_is_silent_on_the_bus_that_is_left_ends_there() -> None:
    me = Between()
    me.lose(ONE)
    me.passes(4)
    me.where[A] = ()
    me.passes(6)
    assert me.state(A) is AgentState.EXPIRED


def test_stale_lease_runs_on_once_a_relay_names_the_node_on_a_bus_in_sight() -> None:
    me = Between(**{A: (ONE,)})
    me.lose(ONE)
    me.passes(8)
    me.hear(me.name(me.s, me.ours()), bus=TWO)
    assert me.freshness(A) is Freshness.FRESH
    assert me.lease_s(A) == pytest.approx(TTL_S)


def test_stale_lease_runs_on_once_a_relay_vouches_for_the_node_on_a_bus_in_sight() -> None:
    me = Between(**{A: (ONE,)})
    me.lose(ONE)
    me.passes(8)
    assert me.freshness(A) is Freshness.STALE
    me.where[A] = (TWO,)
    me.passes(4)
    assert me.freshness(A) is Freshness.FRESH


def test_stale_lease_runs_on_at_the_next_digest_after_its_bus_was_lost() -> None:
    me = Between(**{A: (ONE,)})
    me.lose(ONE)
    for _ in range(2):
        me.run(INTERVAL_S)
        me.hear(me.tell(me.s, [], shard=OTHERS, count=len(me.peers)), bus=TWO)
    assert me.freshness(A) is Freshness.STALE
    me.where[A] = (TWO,)
    me.passes(1)
    assert me.freshness(A) is Freshness.FRESH


def test_lease_is_parked_with_what_relays_gave_it_before_the_bus_was_lost() -> None:
    me = Between(**{A: (ONE,)})
    me.hear(me.tell(me.s, me.ours(A)), bus=TWO)
    me.run(1.0)
    me.hear(me.tell(me.r, me.ours()), bus=ONE)
    me.lose(ONE)
    for _ in range(3):
        me.run(INTERVAL_S)
        me.hear(me.tell(me.s, me.ours(A)), me.beat(me.r), bus=TWO)
    entry = me.entry(A)
    assert entry.expires_at - entry.parked_reading == pytest.approx(TTL_S)


def test_bus_removed_releases_after_a_grace_who_was_vouched_for_there_alone() -> None:
    me = Between(**{A: (ONE,)})
    me.lose(ONE)
    me.passes(8)
    me.did(me.node.bus_removed(ONE, me.now))
    me.passes(2)
    assert A in me.answer("web")
    me.passes(5)
    assert me.state(A) is AgentState.EXPIRED
    assert [me.state(name) for name in (B, C, D)] == [AgentState.ALIVE] * 3


def test_digest_on_a_bus_that_was_lost_and_is_back_renews_and_places_everybody() -> None:
    me = Between(**{A: (ONE,)})
    me.lose(ONE)
    me.passes(8)
    me.lost.clear()
    me.echoing.append(ONE)
    me.passes(2)
    me.node._catalog.settle()
    assert me.freshness(A) is Freshness.FRESH
    assert [sorted(me.entry(name).paths) for name in (A, B)] == [[ONE], [ONE, TWO]]


def test_same_word_over_another_bus_is_a_word_of_that_bus_too() -> None:
    me = Between()
    me.run(1.0)
    said = me.tell(me.r, me.ours())
    me.hear(said, bus=ONE)
    me.hear(said, bus=TWO)
    assert me.dropped() == []
    assert [me.our_shard.words[bus].at for bus in (ONE, TWO)] == pytest.approx([me.now] * 2)


def test_stale_lease_runs_on_though_a_straggler_of_the_lost_bus_came_between() -> None:
    me = Between(**{A: (ONE,)})
    me.lose(ONE)
    me.passes(4)
    me.hear(me.tell(me.r, me.ours("me"), count=0, excepted=(excepted(me.me),)), bus=ONE)
    assert me.freshness(A) is Freshness.STALE
    me.where[A] = (TWO,)
    me.passes(4)
    assert me.freshness(A) is Freshness.FRESH


def test_stale_lease_runs_on_at_the_first_digest_that_a_bus_in_sight_brings() -> None:
    """It came over from a bus that was lost later to one that was lost first and is back."""
    me = Between(**{A: (TWO,)})
    for bus in (ONE, TWO):
        me.lose(bus)
        me.passes(4)
    me.lost.remove(ONE)
    me.echoing.append(ONE)
    me.prove()
    assert me.freshness(A) is Freshness.STALE
    me.where[A] = (ONE,)
    me.passes(1)
    assert me.freshness(A) is Freshness.FRESH


def test_parked_lease_takes_what_stragglers_of_the_lost_bus_bring() -> None:
    me = Between(**{A: (ONE,)})
    me.lose(ONE)
    me.passes(4)
    for _ in range(2):
        me.passes(1)
        straggler = me.tell(me.r, me.ours("me"), count=0, excepted=(excepted(me.me),))
        me.hear(straggler, bus=ONE)
    me.node._catalog.settle()
    entry = me.entry(A)
    assert not me.node.reach(ONE, me.now).in_sight
    assert entry.parked_reading == pytest.approx(me.node._sight.clock.at(me.now))
    assert entry.expires_at - entry.parked_reading == pytest.approx(TTL_S)
