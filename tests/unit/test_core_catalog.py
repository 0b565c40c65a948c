"""What is believed of other nodes: merging, leases, goodbyes; stale, repeated and late words."""

import pytest

from beacond.core.catalog import Catalog
from beacond.core.entry import FORGET_S, TTL_MAX_S, TTL_MIN_S
from beacond.core.messages import Announce, Goodbye, Heartbeat, SyncEntry
from beacond.core.model import AgentState, Freshness, Mode, Status
from beacond.core.sight import SightJudge
from beacond.core.tables import Tables
from tests.support.core import Peer, Said, published

ALIVE, SUSPECT = AgentState.ALIVE, AgentState.SUSPECT
LEFT, EXPIRED = AgentState.LEFT, AgentState.EXPIRED


class Bench:
    """One catalog; time passes by hand, and every second of it is proven."""

    def __init__(self) -> None:
        sight = SightJudge(5.0)
        self.clock = sight.clock
        self.tables = Tables(1)
        self.catalog = Catalog("me", self.tables, sight)
        self.now = 0.0
        self.clock.prove(self.now)

    def hear(self, *said: Said, waited_s: float = 0.0) -> str | None:
        reason = None
        for envelope, message in said:
            match message:
                case Heartbeat():
                    at = self.now - waited_s
                    sent_at = self.catalog.heartbeat(envelope, message, "bus", at)
                    reason = sent_at if isinstance(sent_at, str) else None
                case Announce(record):
                    reason = self.catalog.announce(envelope, record, self.now)
                case Goodbye():
                    reason = self.catalog.goodbye(envelope, message, self.now)
        self.tables.flush()
        return reason

    def know(self, *peers: Peer) -> None:
        for peer in peers:
            self.hear(peer.announce(published("web")), peer.heartbeat(self.now))

    def wait(self, seconds: float) -> None:
        for _ in range(round(seconds * 4)):
            self.now += 0.25
            self.clock.prove(self.now)
            self.catalog.end(self.catalog.advance(self.now), self.now)
        self.tables.flush()

    def grace(self, spread_s: float = 5.0) -> None:
        self.catalog.grace(spread_s)

    def state(self, node: str = "a") -> AgentState | None:
        return self.catalog.entries[node].state

    def served(self, service: str = "web") -> list[str]:
        return [i.node for i in self.tables.view.instances_of(service)]

    def kinds(self) -> list[str]:
        kinds = [kind.value for kind, _, _, _ in self.catalog.tellings]
        self.catalog.tellings.clear()
        return kinds


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def peer() -> Peer:
    return Peer("a")


# ---- appearing


def test_node_is_shown_once_both_its_state_and_a_heartbeat_are_there(bench: Bench) -> None:
    first, second = Peer("a"), Peer("b")
    bench.hear(first.announce(published("web")))
    bench.hear(second.heartbeat(0.0))
    assert bench.served() == []
    bench.hear(first.heartbeat(0.0))
    bench.hear(second.announce(published("web")))
    assert bench.served() == ["a", "b"]
    assert bench.kinds().count("agent.joined") == 2


def test_announced_state_alone_is_never_served(bench: Bench, peer: Peer) -> None:
    bench.hear(peer.announce(published("web")))
    bench.wait(100)
    assert bench.served() == []


def test_heartbeat_of_a_node_without_state_is_forgotten_quietly(bench: Bench, peer: Peer) -> None:
    bench.hear(peer.heartbeat(0.0))
    bench.wait(20)
    assert not bench.catalog.entries["a"].leased
    assert bench.kinds() == []


# ---- leases


def test_silent_node_is_suspect_while_served_and_then_expires(bench: Bench, peer: Peer) -> None:
    bench.know(peer)
    bench.wait(11.5)
    assert (bench.state(), bench.served()) == (SUSPECT, ["a"])
    bench.wait(3.75)
    assert (bench.state(), bench.served()) == (EXPIRED, [])
    assert bench.kinds()[-4:] == [
        "agent.suspect",
        "instance.deregistered",
        "instance.stopped",
        "agent.expired",
    ]


def test_every_heartbeat_renews(bench: Bench, peer: Peer) -> None:
    bench.know(peer)
    for _ in range(20):
        bench.wait(5)
        bench.hear(peer.heartbeat(bench.now))
    assert bench.state() is ALIVE
    assert "agent.suspect" not in bench.kinds()


def test_repeated_heartbeat_renews_nothing(bench: Bench, peer: Peer) -> None:
    bench.know(peer)
    last = peer.heartbeat(bench.now)
    bench.hear(last)
    entry = bench.catalog.entries["a"]
    ends = (entry.suspect_at, entry.expires_at)
    for _ in range(3):
        bench.wait(3)
        assert bench.hear(last) == "replayed"
        assert (entry.suspect_at, entry.expires_at) == ends
    bench.wait(7)
    assert bench.state() is EXPIRED


def test_heartbeats_out_of_order_renew_only_forward(bench: Bench, peer: Peer) -> None:
    bench.know(peer)
    earlier, later = peer.heartbeat(1.0), peer.heartbeat(2.0)
    bench.wait(2)
    assert bench.hear(later) is None
    expires_at = bench.catalog.entries["a"].expires_at
    assert bench.hear(earlier) == "replayed"
    assert bench.catalog.entries["a"].expires_at == expires_at


def test_heartbeat_that_waited_counts_from_when_it_was_sent(bench: Bench, peer: Peer) -> None:
    bench.know(peer)
    late = peer.heartbeat(5.0)
    bench.wait(12)
    assert bench.hear(late) is None
    assert bench.catalog.entries["a"].expires_at == pytest.approx(20.0, abs=0.1)


def test_heartbeat_that_waited_longer_than_its_lease_is_no_sign_of_life(
    bench: Bench, peer: Peer
) -> None:
    bench.know(peer)
    late = peer.heartbeat(1.0)
    bench.wait(30)
    assert bench.hear(late) == "too-old"
    assert bench.state() is EXPIRED


def test_heartbeat_that_waited_shortens_no_lease(bench: Bench, peer: Peer) -> None:
    bench.know(peer)
    bench.wait(4)
    late, prompt = peer.heartbeat(1.0), peer.heartbeat(4.0)
    bench.hear(prompt)
    before = bench.catalog.entries["a"].expires_at
    peer.seq += 1
    bench.hear((late[0], Heartbeat(**{**_fields(late[1]), "seq": 9})))
    assert bench.catalog.entries["a"].expires_at == before


def test_new_stamp_series_after_a_suspension_is_not_taken_for_old(bench: Bench, peer: Peer) -> None:
    bench.know(peer)
    bench.wait(5)
    assert bench.hear(peer.heartbeat(0.5, series=2, stamp_ms=600)) is None
    assert bench.catalog.entries["a"].expires_at == pytest.approx(20.0)
    assert bench.hear(peer.heartbeat(5.0, series=1)) == "replayed"


def test_announced_ttl_and_pace_are_clamped(bench: Bench, peer: Peer) -> None:
    bench.know(peer)
    bench.hear(peer.heartbeat(0.0, ttl_ms=10**12))
    assert bench.catalog.entries["a"].ttl_s == TTL_MAX_S
    other = Peer("b")
    bench.hear(other.announce(published("web")), other.heartbeat(0.0, ttl_ms=0, next_ms=0))
    assert bench.catalog.entries["b"].ttl_s == TTL_MIN_S
    bench.wait(0.75)
    assert bench.state("b") is ALIVE, "not suspect at the very next moment"


def test_expired_node_is_back_with_any_later_heartbeat_of_the_same_boot(
    bench: Bench, peer: Peer
) -> None:
    bench.know(peer)
    bench.wait(20)
    assert bench.hear(peer.heartbeat(bench.now)) is None
    assert (bench.state(), bench.served()) == (ALIVE, ["a"])
    assert bench.kinds()[-3:] == ["agent.joined", "instance.registered", "instance.started"]


def test_suspect_that_speaks_again_recovers_without_an_outage(bench: Bench, peer: Peer) -> None:
    bench.know(peer)
    bench.wait(12)
    bench.kinds()
    bench.hear(peer.heartbeat(bench.now))
    assert bench.kinds() == ["agent.recovered"]


def test_nothing_expires_in_time_that_is_not_proven(bench: Bench, peer: Peer) -> None:
    bench.know(peer)
    bench.now += 10_000
    bench.catalog.end(bench.catalog.advance(bench.now), bench.now)
    assert bench.state() is ALIVE


def test_grace_is_given_once_between_two_heartbeats(bench: Bench, peer: Peer) -> None:
    bench.know(peer)
    bench.wait(10)
    bench.grace()
    assert bench.catalog.entries["a"].expires_at == 30.0
    bench.wait(10)
    bench.grace()
    assert bench.catalog.entries["a"].expires_at == 30.0
    bench.hear(peer.heartbeat(bench.now))
    bench.grace()
    assert bench.catalog.entries["a"].expires_at == 40.0


# ---- merging


def test_greatest_version_is_kept_whatever_the_order(bench: Bench, peer: Peer) -> None:
    bench.know(peer)
    old = peer.announce(published("old"))
    peer.version = 3
    new = peer.announce(published("new"))
    assert bench.hear(new) is None
    assert bench.hear(old) == bench.hear(new) == "old-version"
    assert (bench.served("new"), bench.served("old"), bench.served()) == (["a"], [], [])


def test_later_boot_wins_over_any_version_and_the_earlier_is_told(bench: Bench, peer: Peer) -> None:
    peer.version = 900
    bench.know(peer)
    old_beat, old_state = peer.heartbeat(1.0), peer.announce(published("old"))
    peer.reboot()
    bench.hear(peer.heartbeat(0.0), peer.announce(published("new")))
    assert bench.served("new") == ["a"]
    assert bench.hear(old_beat) == bench.hear(old_state) == "old-incarnation"
    assert bench.served("new") == ["a"]
    assert bench.kinds().count("agent.joined") == 2


def test_of_two_boots_of_one_incarnation_the_greater_boot_id_wins(bench: Bench) -> None:
    low, high = Peer("a", boot_id=b"\x01" * 16), Peer("a", boot_id=b"\x02" * 16)
    bench.know(low, high)
    assert bench.hear(low.heartbeat(1.0)) == "old-incarnation"
    bench.know(high)
    assert bench.catalog.entries["a"].boot_id == high.boot_id


def test_heartbeat_of_a_new_boot_renews_what_the_old_one_published(
    bench: Bench, peer: Peer
) -> None:
    peer.version = 50
    bench.know(peer)
    bench.wait(12)
    peer.reboot()
    bench.hear(peer.heartbeat(bench.now, mode=Mode.DRAINING))
    assert bench.served() == ["a"]
    assert bench.catalog.entries["a"].behind
    assert bench.tables.view.instances_of("web")[0].mode is Mode.DRAINING


def test_mode_of_a_heartbeat_takes_effect_before_its_state_arrives(
    bench: Bench, peer: Peer
) -> None:
    bench.know(peer)
    peer.version = 2
    bench.hear(peer.heartbeat(1.0, mode=Mode.DRAINING))
    assert bench.tables.view.instances_of("web")[0].mode is Mode.DRAINING
    bench.hear(peer.announce(published("web"), mode=Mode.DRAINING))
    assert bench.tables.view.instances_of("web")[0].mode is Mode.DRAINING
    assert bench.kinds().count("instance.mode") == 1


def test_instances_status_is_the_owners_word(bench: Bench, peer: Peer) -> None:
    bench.know(peer)
    peer.version = 2
    bench.hear(peer.announce(published("web", status=Status.CRITICAL)))
    assert bench.tables.view.instances_of("web")[0].status is Status.CRITICAL
    assert bench.kinds()[-2:] == ["instance.health", "instance.stopped"]


# ---- goodbyes


def test_goodbye_ends_at_once_and_for_this_incarnation(bench: Bench, peer: Peer) -> None:
    bench.know(peer)
    delayed = peer.heartbeat(1.0)
    peer.seq -= 1
    assert bench.hear(peer.goodbye()) is None
    assert (bench.state(), bench.served()) == (LEFT, [])
    for said in (delayed, peer.announce(published("web")), peer.goodbye()):
        assert bench.hear(said) == "after-goodbye"
    assert (bench.state(), bench.served()) == (LEFT, [])


def test_goodbye_yields_to_a_greater_incarnation_only(bench: Bench, peer: Peer) -> None:
    bench.know(peer)
    bench.hear(peer.goodbye())
    same = Peer("a", boot_id=b"\xff" * 16)
    assert bench.hear(same.heartbeat(0.0)) == "after-goodbye"
    peer.reboot()
    bench.know(peer)
    assert bench.served() == ["a"]


def test_goodbye_from_before_a_heartbeat_is_not_believed(bench: Bench, peer: Peer) -> None:
    bench.know(peer)
    early = peer.goodbye()
    bench.hear(peer.heartbeat(1.0))
    assert bench.hear(early) == "replayed"
    assert bench.served() == ["a"]


def test_goodbye_of_an_earlier_boot_does_not_end_a_later_one(bench: Bench, peer: Peer) -> None:
    bench.know(peer)
    bye = peer.goodbye()
    peer.reboot()
    bench.know(peer)
    assert bench.hear(bye) == "old-incarnation"
    assert bench.served() == ["a"]


def test_goodbye_of_an_unknown_node_is_remembered(bench: Bench, peer: Peer) -> None:
    delayed = [peer.announce(published("web")), peer.heartbeat(0.0)]
    bench.hear(peer.goodbye())
    assert bench.hear(*delayed) == "after-goodbye"
    assert bench.served() == []
    assert bench.kinds() == []


def test_hold_keeps_serving_until_it_ends_and_is_not_prolonged(bench: Bench, peer: Peer) -> None:
    bench.know(peer)
    bench.hear(peer.goodbye(hold_s=60))
    bench.wait(30)
    assert bench.hear(peer.goodbye(hold_s=60)) is None
    bench.wait(29)
    assert (bench.state(), bench.served()) == (SUSPECT, ["a"])
    bench.grace()
    bench.wait(1.5)
    assert (bench.state(), bench.served()) == (LEFT, [])


def test_held_suspect_that_says_goodbye_with_hold_ends_with_its_hold(
    bench: Bench, peer: Peer
) -> None:
    bench.know(peer)
    bench.wait(12)
    bench.catalog.entries["a"].held = True
    bench.hear(peer.goodbye(hold_s=20))
    assert bench.catalog.suspects == {}
    bench.wait(21)
    assert bench.state() is LEFT


def test_late_heartbeat_during_the_hold_changes_nothing(bench: Bench, peer: Peer) -> None:
    bench.know(peer)
    late = peer.heartbeat(1.0)
    bench.hear(peer.goodbye(hold_s=60))
    assert bench.hear(late) == "after-goodbye"
    assert bench.state() is SUSPECT


def test_goodbye_of_an_expired_node_shows_it_as_left(bench: Bench, peer: Peer) -> None:
    bench.know(peer)
    bench.wait(20)
    bench.hear(peer.goodbye())
    assert bench.tables.view.agents["a"].state is LEFT


# ---- told by others


def told(peer: Peer, heard_s: float = 0.0) -> SyncEntry:
    return SyncEntry(peer.record(published("web")), int(heard_s * 1000), 15_000)


def test_node_told_of_gets_the_rest_of_its_lease_but_an_interval_at_least(
    bench: Bench, peer: Peer
) -> None:
    bench.catalog.synced(told(peer, heard_s=4.0), 5.0, bench.now)
    assert bench.catalog.entries["a"].expires_at == 11.0
    bench.catalog.synced(told(Peer("b"), heard_s=14.0), 5.0, bench.now)
    assert bench.catalog.entries["b"].expires_at == 5.0
    bench.wait(12)
    assert bench.served() == []


def test_being_told_again_renews_nothing_and_revives_nobody(bench: Bench, peer: Peer) -> None:
    bench.know(peer)
    bench.wait(12)
    bench.catalog.synced(told(peer), 5.0, bench.now)
    assert bench.state() is SUSPECT
    bench.wait(4)
    bench.catalog.synced(told(peer), 5.0, bench.now)
    assert bench.state() is EXPIRED


def test_later_state_told_by_another_is_taken(bench: Bench, peer: Peer) -> None:
    bench.know(peer)
    peer.version = 5
    newer = SyncEntry(peer.record(published("new")), 0, 15_000)
    bench.catalog.synced(newer, 5.0, bench.now)
    bench.tables.flush()
    assert bench.served("new") == ["a"]
    assert not bench.catalog.entries["a"].behind


def test_later_boot_told_by_another_is_taken_and_an_earlier_one_not(
    bench: Bench, peer: Peer
) -> None:
    before = told(peer)
    peer.reboot()
    later = told(peer)
    bench.catalog.synced(later, 5.0, bench.now)
    bench.catalog.synced(before, 5.0, bench.now)
    assert bench.catalog.entries["a"].speaker == (peer.incarnation, peer.boot_id)


def test_who_said_goodbye_is_not_believed_alive_by_hearsay(bench: Bench, peer: Peer) -> None:
    bench.know(peer)
    bench.hear(peer.goodbye())
    bench.catalog.synced(told(peer), 5.0, bench.now)
    bench.tables.flush()
    assert bench.served() == []


def test_goodbye_heard_by_another_ends_the_node_unless_it_is_back(bench: Bench, peer: Peer) -> None:
    bench.know(peer)
    bench.catalog.tombstone("a", peer.incarnation, bench.now)
    assert bench.state() is LEFT
    peer.reboot()
    bench.know(peer)
    bench.catalog.tombstone("a", peer.incarnation - 1, bench.now)
    assert bench.state() is ALIVE


# ---- the past


def test_restored_node_is_served_stale_and_expires_after_sight_and_grace(
    bench: Bench, peer: Peer
) -> None:
    bench.catalog.restore(peer.record(published("web")), 15.0, bench.now)
    bench.tables.flush()
    assert bench.tables.view.instances_of("web")[0].freshness is Freshness.STALE
    bench.wait(100)
    assert bench.served() == ["a"], "no lease before the first sight"
    bench.grace()
    bench.wait(19)
    assert bench.served() == ["a"]
    bench.wait(2)
    assert bench.served() == []


def test_restored_node_that_is_heard_is_fresh(bench: Bench, peer: Peer) -> None:
    bench.catalog.restore(peer.record(published("web")), 15.0, bench.now)
    bench.hear(peer.heartbeat(0.0))
    assert bench.tables.view.instances_of("web")[0].freshness is Freshness.FRESH


def test_restored_tombstone_stops_resurrection(bench: Bench, peer: Peer) -> None:
    bench.catalog.restore_tombstone("a", peer.incarnation, bench.now)
    assert bench.hear(peer.announce(published("web")), peer.heartbeat(0.0)) == "after-goodbye"


# ---- limits


def test_more_nodes_than_the_most_are_refused_and_known_ones_still_heard(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("beacond.core.catalog.NODES_MAX", 3)
    peers = [Peer(name) for name in ("a", "b", "c", "d")]
    reasons = [bench.hear(peer.heartbeat(0.0)) for peer in peers]
    assert reasons == [None, None, None, "too-many-nodes"]
    assert bench.hear(peers[3].announce(published("web"))) == "too-many-nodes"
    assert bench.hear(peers[3].goodbye()) == "too-many-nodes"
    assert bench.hear(peers[0].heartbeat(1.0)) is None
    bench.catalog.synced(told(peers[3]), 5.0, bench.now)
    bench.catalog.tombstone("e", 1, bench.now)
    bench.catalog.restore(Peer("f").record(), 15.0, bench.now)
    bench.catalog.restore_tombstone("g", 1, bench.now)
    assert sorted(bench.catalog.entries) == ["a", "b", "c"]


def test_gone_nodes_are_forgotten_after_a_day(bench: Bench, peer: Peer) -> None:
    bench.know(peer, Peer("b"))
    bench.hear(peer.goodbye())
    bench.wait(20)
    bench.catalog.sweep(bench.now + FORGET_S - 30)
    assert len(bench.catalog.entries) == 2
    bench.catalog.sweep(bench.now + FORGET_S + 1)
    assert bench.catalog.entries == {}
    assert bench.tables.view.agents == {}
    assert bench.catalog.digest == bytes(8)


def test_gone_nodes_do_not_keep_new_ones_out(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("beacond.core.entry.GONE_MAX", 2)
    for number in range(5):
        peer = Peer(f"a{number}")
        bench.know(peer)
        bench.hear(peer.goodbye())
        bench.wait(1)
    bench.know(Peer("b"))
    bench.catalog.sweep(bench.now)
    assert sorted(bench.catalog.entries) == ["a3", "a4", "b"]


def test_digest_says_what_is_believed_and_forgets_who_is_gone(bench: Bench, peer: Peer) -> None:
    empty = bench.catalog.digest
    bench.know(peer)
    one = bench.catalog.digest
    bench.know(Peer("b"))
    bench.hear(Peer("b", seq=1).goodbye())
    assert bench.catalog.digest == one != empty
    bench.wait(20)
    assert bench.catalog.digest == empty


def _fields(beat: Heartbeat) -> dict[str, object]:
    return {name: getattr(beat, name) for name in Heartbeat.__slots__}
