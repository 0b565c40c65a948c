"""Several buses at once: sight is per bus, one copy counts, and blind is who sees none of them."""

import pytest

from beacond.core.messages import Opinion, SyncEntry
from beacond.core.model import AgentState, Freshness
from tests.support.core import INTERVAL_S, TTL_S, WALL, Hand, Peer, Said, published

ONE, TWO = "one", "two"


class Bench(Hand):
    """An agent on two buses, and others on one or both of them."""

    def __init__(self, **where: tuple[str, ...]) -> None:
        super().__init__()
        self.echoing = [ONE, TWO]
        self.where = dict(where)
        self.peers = {n: Peer(n, address=f"10.9.0.{at}") for at, n in enumerate(where, 1)}
        self.start().up(bus=ONE).up(bus=TWO)
        for name, peer in self.peers.items():
            self.say(name, peer.announce(published("web")))
        self.pass_time(4 * INTERVAL_S)
        self.take()

    def say(self, name: str, said: Said) -> None:
        for bus in self.where[name]:
            if bus in self.echoing:
                self.hear(said, bus=bus)

    def lose(self, bus: str) -> None:
        """That bus brings nothing any more, and nobody says why."""
        self.echoing.remove(bus)

    def find(self, bus: str) -> None:
        self.echoing.append(bus)

    def pass_time(self, seconds: float, silent: tuple[str, ...] = ()) -> None:
        end = self.now + seconds
        while self.now < end:
            self.run(min(INTERVAL_S, end - self.now))
            for name, peer in self.peers.items():
                if name not in silent:
                    digest = self.node._catalog.digest
                    self.say(name, peer.heartbeat(self.now, digest=digest))

    def freshness(self, node: str) -> Freshness:
        (found,) = [i for i in self.instances("web") if i.node == node]
        return found.freshness

    @property
    def stale_since(self) -> float | None:
        return self.node.view.sight.stale_since


def test_one_bus_of_two_lost_has_no_visible_effect() -> None:
    me = Bench(a=(ONE, TWO), b=(ONE, TWO))
    me.lose(ONE)
    me.pass_time(20 * INTERVAL_S)
    assert me.kinds() == []
    assert me.changed() == []
    assert me.stale_since is None
    assert [me.freshness(n) for n in "ab"] == [Freshness.FRESH] * 2
    assert not me.node.reach(ONE, me.now).in_sight
    assert me.node.reach(TWO, me.now).in_sight
    me.find(ONE)
    me.pass_time(4 * INTERVAL_S)
    assert me.kinds() == []
    assert me.node.reach(ONE, me.now).in_sight


def test_blind_only_once_the_last_bus_is_lost_and_sighted_with_the_first() -> None:
    me = Bench(a=(ONE, TWO))
    me.lose(ONE)
    me.pass_time(4 * INTERVAL_S)
    lost_at = me.now
    me.lose(TWO)
    me.pass_time(10 * TTL_S)
    assert me.kinds() == ["view.blind"]
    assert me.stale_since == pytest.approx(WALL + lost_at - 100.0, abs=INTERVAL_S)
    assert me.answer("web") == ["a"]
    me.find(ONE)
    me.pass_time(2 * INTERVAL_S)
    assert me.kinds() == ["view.blind", "view.sighted"]
    assert me.stale_since is None


def test_one_copy_of_a_heartbeat_counts_and_the_other_is_no_replay() -> None:
    me = Bench(a=(ONE, TWO))
    beat = me.peers["a"].heartbeat(me.now)
    me.take()
    me.hear(beat, bus=ONE)
    entry = me.node._catalog.entries["a"]
    expires_at = entry.expires_at
    me.now += 1
    me.hear(beat, bus=TWO)
    assert me.dropped() == []
    assert entry.expires_at == expires_at
    me.hear(beat, bus=TWO)
    me.hear(beat, bus=ONE)
    assert me.dropped() == ["replayed"] * 2


def test_copies_of_one_bus_alone_keep_only_that_bus_in_sight() -> None:
    me = Bench(a=(ONE, TWO), b=(ONE, TWO))
    me.echoes = False
    me.lose(TWO)
    me.pass_time(4 * INTERVAL_S)
    assert me.node.reach(ONE, me.now).in_sight
    assert not me.node.reach(TWO, me.now).in_sight
    assert me.node.reach(ONE, me.now).mute


def test_node_that_speaks_only_on_the_lost_bus_is_kept_and_said_to_be_stale() -> None:
    me = Bench(a=(ONE,), b=(ONE, TWO))
    me.lose(ONE)
    me.pass_time(20 * TTL_S)
    assert me.answer("web") == ["a", "b"]
    assert me.kinds() == []
    assert (me.freshness("a"), me.freshness("b")) == (Freshness.STALE, Freshness.FRESH)
    assert me.stale_since is None


def test_it_is_fresh_again_when_its_bus_is_back_and_gone_only_after_a_grace() -> None:
    me = Bench(a=(ONE,), b=(ONE, TWO), c=(ONE,), d=(ONE, TWO), e=(ONE, TWO), f=(TWO,))
    me.lose(ONE)
    me.pass_time(20 * TTL_S)
    me.find(ONE)
    me.pass_time(TTL_S, silent=("c",))
    assert me.freshness("a") is Freshness.FRESH
    assert "c" in me.answer("web")
    me.pass_time(TTL_S + 2 * INTERVAL_S, silent=("c",))
    assert me.answer("web") == ["a", "b", "d", "e", "f"]
    assert me.kinds("c")[-1] == "agent.expired"


def test_node_silent_on_every_bus_that_we_see_is_gone_though_another_is_lost() -> None:
    me = Bench(a=(ONE, TWO), b=(ONE, TWO), c=(ONE, TWO), d=(ONE, TWO))
    me.lose(ONE)
    me.pass_time(4 * INTERVAL_S)
    me.pass_time(TTL_S + INTERVAL_S, silent=("a",))
    assert me.answer("web") == ["b", "c", "d"]


def test_node_that_left_a_bus_long_ago_does_not_depend_on_it() -> None:
    """It moved to the other bus: its lease runs there alone."""
    me = Bench(a=(ONE, TWO), b=(ONE, TWO))
    me.where["a"] = (TWO,)
    me.pass_time(3 * TTL_S)
    assert me.node.reach(ONE, me.now).agents == 1
    assert me.node.reach(TWO, me.now).agents == 2
    me.lose(TWO)
    me.pass_time(20 * TTL_S)
    assert me.answer("web") == ["a", "b"]
    assert me.freshness("a") is Freshness.STALE


def test_sight_of_all_lost_and_of_one_back_keeps_who_speaks_on_the_other() -> None:
    me = Bench(a=(ONE,), b=(TWO,))
    me.lose(ONE)
    me.lose(TWO)
    me.pass_time(4 * TTL_S)
    me.find(TWO)
    me.pass_time(10 * TTL_S)
    assert me.answer("web") == ["a", "b"]
    assert (me.freshness("a"), me.freshness("b")) == (Freshness.STALE, Freshness.FRESH)


def test_bus_removed_releases_its_leases_after_one_grace() -> None:
    me = Bench(a=(ONE,), b=(ONE, TWO), c=(TWO,), d=(TWO,))
    me.lose(ONE)
    me.pass_time(4 * TTL_S)
    me.did(me.node.bus_removed(ONE, me.now))
    assert me.kinds() == ["bus.down"]
    me.pass_time(TTL_S)
    assert me.answer("web") == ["a", "b", "c", "d"]
    me.pass_time(TTL_S + 2 * INTERVAL_S)
    assert me.answer("web") == ["b", "c", "d"]
    assert me.stale_since is None


def test_removing_the_only_bus_is_blindness() -> None:
    me = Bench(a=(ONE, TWO))
    for bus in (ONE, TWO):
        me.did(me.node.bus_removed(bus, me.now))
    assert me.kinds() == ["bus.down", "bus.down", "view.blind"]
    me.pass_time(10 * TTL_S)
    assert me.answer("web") == ["a"]


def test_slow_bus_brings_only_copies_and_is_in_sight_all_the_same() -> None:
    me = Bench(a=(ONE, TWO), b=(ONE, TWO))
    me.echoes = False
    late: list[Said] = []
    for _ in range(12):
        me.run(INTERVAL_S)
        me.hear(*late, bus=TWO)
        late = [peer.heartbeat(me.now) for peer in me.peers.values()]
        me.hear(*late, bus=ONE)
    assert me.node.reach(TWO, me.now).agents == 2
    assert "replayed" not in me.dropped()


def test_restarted_node_belongs_to_the_bus_it_speaks_on_now() -> None:
    me = Bench(a=(ONE, TWO), b=(ONE, TWO))
    me.peers["a"].reboot(me.now)
    me.where["a"] = (TWO,)
    me.say("a", me.peers["a"].announce(published("web")))
    me.pass_time(INTERVAL_S)
    assert me.node.reach(ONE, me.now).agents == 1
    assert me.node.reach(TWO, me.now).agents == 2


def test_lease_parked_when_sight_returns_is_not_given_the_same_time_twice() -> None:
    """All was lost; one bus is back; the other, on which it spoke, comes back later without it."""
    me = Bench(a=(ONE,), b=(TWO,), c=(ONE, TWO), d=(ONE, TWO), e=(ONE, TWO), f=(ONE, TWO))
    for bus in (ONE, TWO):
        me.lose(bus)
    me.pass_time(20 * TTL_S)
    me.find(TWO)
    me.pass_time(10 * TTL_S, silent=("a",))
    me.find(ONE)
    me.pass_time(2 * TTL_S + 3 * INTERVAL_S, silent=("a",))
    assert me.answer("web") == ["b", "c", "d", "e", "f"]


def test_node_gets_its_grace_on_a_bus_that_comes_back_as_its_other_one_goes() -> None:
    me = Bench(a=(ONE, TWO), b=(ONE, TWO), c=(ONE, TWO), d=(ONE, TWO))
    me.lose(TWO)
    me.pass_time(4 * TTL_S)
    me.find(TWO)
    me.pass_time(INTERVAL_S, silent=("a",))
    me.lose(ONE)
    me.pass_time(TTL_S - INTERVAL_S, silent=("a",))
    assert "a" in me.answer("web")
    me.pass_time(2 * TTL_S, silent=("a",))
    assert me.answer("web") == ["b", "c", "d"]


def test_bus_removed_while_blind_leaves_the_view_as_it_is() -> None:
    me = Bench(a=(ONE,), b=(TWO,))
    me.lose(ONE)
    me.pass_time(4 * INTERVAL_S)
    me.lose(TWO)
    me.pass_time(4 * INTERVAL_S)
    me.did(me.node.bus_removed(ONE, me.now))
    me.pass_time(10 * TTL_S)
    assert me.answer("web") == ["a", "b"]


def test_straggler_from_a_lost_bus_does_not_start_a_lease_that_only_another_bus_counts() -> None:
    me = Bench(a=(ONE,), b=(ONE, TWO), c=(ONE, TWO), d=(ONE, TWO))
    me.lose(ONE)
    me.pass_time(4 * INTERVAL_S)
    assert me.freshness("a") is Freshness.STALE
    me.hear(me.peers["a"].heartbeat(me.now), bus=ONE)
    assert not me.node.reach(ONE, me.now).in_sight
    me.pass_time(10 * TTL_S)
    assert "a" in me.answer("web")


def test_node_first_heard_on_a_bus_out_of_sight_does_not_expire_meanwhile() -> None:
    me = Bench(a=(ONE, TWO), b=(ONE, TWO), c=(ONE, TWO), d=(ONE, TWO))
    me.lose(ONE)
    me.pass_time(4 * INTERVAL_S)
    late = Peer("late", address="10.9.0.9", started_at=me.now)
    me.hear(late.announce(published("web")), late.heartbeat(me.now), bus=ONE)
    me.pass_time(10 * TTL_S)
    assert "late" in me.answer("web")


def test_node_that_only_a_lost_bus_still_brings_is_parked_once_it_left_the_other() -> None:
    me = Bench(a=(ONE, TWO), b=(ONE, TWO), c=(ONE, TWO), d=(ONE, TWO))
    me.lose(ONE)
    me.pass_time(4 * INTERVAL_S)
    me.where["a"] = (ONE,)
    for _ in range(6):  # a trickle: less than half of those expected there
        me.pass_time(INTERVAL_S)
        me.hear(me.peers["a"].heartbeat(me.now), bus=ONE)
    assert list(me.node._catalog.entries["a"].paths) == [ONE]
    me.pass_time(10 * TTL_S)
    assert "a" in me.answer("web")


def test_lease_parked_after_a_trickle_runs_on_from_the_last_heartbeat() -> None:
    me = Bench(a=(ONE,), b=(ONE, TWO), c=(ONE, TWO), d=(ONE, TWO), e=(ONE, TWO))
    me.lose(ONE)
    for _ in range(100):  # 500 s: `a` alone gets through, which is no proof of ONE
        me.pass_time(INTERVAL_S)
        me.hear(me.peers["a"].heartbeat(me.now), bus=ONE)
    me.lose(TWO)  # any change of what is in sight parks it, since ONE's last proof 500 s ago
    me.pass_time(4 * INTERVAL_S)
    me.find(TWO)
    me.pass_time(4 * INTERVAL_S)
    me.find(ONE)
    me.pass_time(6 * TTL_S, silent=("a",))
    assert "a" not in me.answer("web")


def test_node_without_a_record_is_not_shown_when_its_bus_goes() -> None:
    me = Bench(a=(ONE, TWO), b=(ONE, TWO))
    me.hear(Peer("x").heartbeat(me.now), bus=ONE)  # its announce was lost
    me.lose(ONE)
    me.pass_time(10 * TTL_S)
    assert me.kinds("x") == []
    assert "x" not in me.node.view.agents


@pytest.mark.parametrize("waited_s", [0.0, 2 * TTL_S])
def test_straggler_of_a_removed_bus_does_no_harm(waited_s: float) -> None:
    """0 s: parked for ever, as nobody removes that bus again. 30 s: ValueError in `park`."""
    me = Bench(a=(ONE,), b=(ONE, TWO), c=(TWO,), d=(TWO,), e=(TWO,))
    me.lose(ONE)
    me.did(me.node.bus_removed(ONE, me.now))
    beat = me.peers["a"].heartbeat(me.now - waited_s)
    me.hear(beat, bus=ONE)
    me.lose(TWO)
    me.pass_time(4 * INTERVAL_S)
    me.find(TWO)
    me.pass_time(5 * TTL_S)
    assert me.answer("web") == ["b", "c", "d", "e"]


def test_restarted_node_is_fresh_with_its_first_heartbeat_elsewhere() -> None:
    me = Bench(a=(ONE,), b=(ONE, TWO))
    me.lose(ONE)
    me.pass_time(4 * INTERVAL_S)
    me.peers["a"].reboot(me.now)
    me.hear(me.peers["a"].heartbeat(me.now), bus=TWO)
    assert me.freshness("a") is Freshness.FRESH


def test_bus_that_dies_unnoticed_costs_no_lease_however_short() -> None:
    """With one bus nothing expires however late blindness is noticed; with two it does."""
    me = Bench(a=(ONE, TWO), b=(ONE, TWO), c=(ONE, TWO))
    quick = Peer("quick", address="10.9.0.9", started_at=me.now)
    me.hear(quick.announce(published("web")), bus=ONE)
    for _ in range(12):
        me.hear(quick.heartbeat(me.now, next_ms=1000, ttl_ms=3000), bus=ONE)
        me.pass_time(1.0)
    me.lose(ONE)
    me.pass_time(10 * TTL_S)
    assert "quick" in me.answer("web")


def test_silence_on_a_bus_that_just_died_is_not_judged_by_the_echo_of_another() -> None:
    """All figures are the default ones. ONE is known to be lost 7.5 s after its last proof; who was
    heard there 5 s before that is suspect by then, and what is suspect may be ended."""
    me = Bench(a=(ONE,), b=(ONE, TWO), c=(ONE, TWO), d=(ONE, TWO))
    me.pass_time(INTERVAL_S, silent=("a",))
    me.lose(ONE)
    suspected = 0.0
    while me.node.reach(ONE, me.now).in_sight:
        me.pass_time(0.5)
        if "agent.suspect" in me.kinds("a") and not suspected:
            suspected = me.now
            peer = me.peers["a"]
            for prober in "bc":
                said = Opinion("a", peer.incarnation, peer.boot_id, peer.seq, (), ("web-80",), True)
                me.hear((me.peers[prober].envelope(), said), bus=TWO)
    assert "a" in me.answer("web")
    assert not suspected


def test_hold_ends_in_time_though_its_bus_is_out_of_sight_for_a_while() -> None:
    me = Bench(a=(ONE,), b=(ONE, TWO), c=(ONE, TWO), d=(ONE, TWO))
    me.lose(ONE)
    me.pass_time(600)
    me.hear(me.peers["a"].goodbye(hold_s=30), bus=ONE)
    me.find(ONE)
    me.pass_time(90, silent=("a",))
    assert "a" not in me.answer("web")


def test_new_boot_told_of_by_a_sync_ends_what_was_vouched_of_the_old_one() -> None:
    me = Bench(x=(ONE,), b=(ONE, TWO), c=(ONE, TWO), d=(ONE, TWO))
    x = me.peers["x"]
    me.pass_time(2.5 * INTERVAL_S, silent=("x",))
    entry = me.node._catalog.entries["x"]
    assert entry.state is AgentState.SUSPECT
    said = Opinion("x", x.incarnation, x.boot_id, x.seq, ("web-80",), (), True)
    me.hear((me.peers["b"].envelope(), said), bus=TWO)
    assert entry.vouched
    me.lose(ONE)
    me.pass_time(2 * INTERVAL_S)
    assert entry.parked_reading is not None
    x.reboot(me.now)
    me.node._catalog.synced(SyncEntry(x.record(published("web")), 0, 15000), INTERVAL_S, me.now)
    me.pass_time(4 * TTL_S)
    assert not entry.vouched
    assert "x" not in me.answer("web")


def test_parked_nodes_are_not_counted_on_to_look() -> None:
    """Twelve are heard on a lost bus alone: three of them ahead of us, and nobody looks."""
    lookers = 0
    for n in range(20):
        me = Bench(**{f"p{i}": (ONE,) for i in range(12)}, x=(TWO,), y=(TWO,))
        me.node._out.node = f"me{n}"
        me.lose(ONE)
        me.pass_time(3 * INTERVAL_S)
        me.pass_time(4 * INTERVAL_S, silent=("x",))
        lookers += any(("10.9.0.13", 80) in probe.targets for probe in me.probes())
    assert lookers == 20  # of us, y and nobody else: both look
