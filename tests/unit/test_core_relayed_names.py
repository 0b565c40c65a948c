"""Where a relay's digests go on differing, one asks it for names; and what the names mend."""

from dataclasses import replace
from itertools import pairwise

import pytest

from beacond.core.effects import Send
from beacond.core.entry import Source
from beacond.core.messages import AnnounceRequest, ShardRequest
from beacond.core.model import AgentState
from tests.support.core import INTERVAL_S, TTL_S, Peer, published
from tests.support.core_relays import Fleet, Told, excepted, member, names_in

SHARD = Told.SHARD
A, B, C, D = Told.NAMES
E, F = names_in(SHARD, 6)[4:]
R, S = "r0", "r6"
RESTS = (1.5, 3.0, 6.0, 12.0, 12.0)
"""Intervals between one question and the next."""


def stranger(name: str = E) -> Peer:
    """A node that relays know and we do not."""
    return Peer(name, relays=True, started_at=100.0)


def differing(me: Told, intervals: float, *strangers: Peer, every_s: float = INTERVAL_S) -> None:
    """Time in which the digests of a relay differ from what we believe."""
    end = me.now + intervals * INTERVAL_S
    while me.now < end:
        me.run(min(every_s, end - me.now))
        me.hear(me.tell(me.r, [*me.ours(), *strangers]), me.beat(me.s))


# ---- asking


def test_who_differs_asks_that_relay_after_a_random_while_and_once() -> None:
    moments = []
    for seed in range(10):
        me = Told(seed=seed)
        began = me.now
        me.run(INTERVAL_S)
        me.hear(me.tell(me.r, [*me.ours(), stranger()]))
        me.run(0.25 * INTERVAL_S)
        [(at, whom, shard)] = me.asked()
        assert (whom, shard) == (R, SHARD)
        moments.append(at - began)
    assert INTERVAL_S <= min(moments) < 1.1 * INTERVAL_S
    assert 1.15 * INTERVAL_S < max(moments) <= 1.25 * INTERVAL_S


def test_nobody_is_asked_while_another_digest_agreed_lately() -> None:
    me = Told()
    for _ in range(8):
        me.run(INTERVAL_S / 2)
        me.hear(me.tell(me.r, [*me.ours(), stranger()]))
        me.run(INTERVAL_S / 4)
        me.hear(me.tell(me.s, me.ours()))
    assert me.asked() == []


def test_nobody_is_asked_where_a_digest_agrees_before_the_question() -> None:
    me = Told()
    me.run(INTERVAL_S)
    me.hear(me.tell(me.r, [*me.ours(), stranger()]), me.tell(me.s, me.ours()))
    me.run(INTERVAL_S)
    assert me.asked() == []


def test_nobody_is_asked_where_names_come_before_the_question() -> None:
    me = Told()
    me.run(INTERVAL_S)
    me.hear(me.tell(me.r, [*me.ours(), stranger()]), me.name(me.s, me.ours()))
    me.run(INTERVAL_S)
    assert me.asked() == []


def test_first_relay_that_differed_is_asked_over_the_bus_that_brought_it() -> None:
    me = Told()
    me.echoing.append("two")
    me.up(bus="two")
    me.run(INTERVAL_S)
    for relay in (me.s, me.r):
        me.hear(me.tell(relay, [*me.ours(), stranger()]), bus="two")
    me.run(INTERVAL_S)
    sent = [e for e in me.effects if isinstance(e, Send) and isinstance(e.message, ShardRequest)]
    assert [(effect.envelope.to, effect.bus) for effect in sent] == [(S, "two")]


def test_agent_that_was_outdone_asks_all_the_same_so_as_to_go_on_answering() -> None:
    me = Told()
    for incarnation in (50, 99):
        me.hear(Peer("me", incarnation=incarnation).heartbeat(me.now))
    assert me.node.conflict
    differing(me, 2, stranger())
    assert [whom for _, whom, _ in me.asked()] == [R]


def test_who_goes_on_differing_asks_again_ever_more_seldom() -> None:
    me = Told()
    differing(me, 45, stranger(), every_s=INTERVAL_S / 4)
    gaps = [(b - a) / INTERVAL_S for a, b in pairwise(at for at, _, _ in me.asked())]
    assert [
        rest for rest, gap in zip(RESTS, gaps, strict=False) if not 0 <= gap - rest <= 0.51
    ] == []
    assert len(gaps) >= 5


def test_who_had_an_answer_asks_again_soon() -> None:
    me = Told()
    differing(me, 6, stranger(), every_s=INTERVAL_S / 4)
    me.hear(me.name(me.r, me.ours()))
    me.take()
    differing(me, 6, stranger(), every_s=INTERVAL_S / 4)
    first, second, *_ = (at for at, _, _ in me.asked())
    assert 1.5 <= (second - first) / INTERVAL_S <= 2.01


def test_newcomer_does_not_ask_in_its_first_interval() -> None:
    me = Fleet([R])
    for within, asked in ((0.9, []), (1.1, [R])):
        me.run(100.0 + within * INTERVAL_S - me.now)
        me.hear(me.tell(me.peers[R], [Peer(A), Peer(B)]))
        me.run(0.3 * INTERVAL_S)
        assert [whom for _, whom, _ in me.asked()] == asked


# ---- names


def test_names_renew_one_by_one_from_when_the_relay_heard_each() -> None:
    me = Told()
    me.run(INTERVAL_S)
    heard = {A: 1.0, B: 4.5}
    members = tuple(member(me.peers[name], ago) for name, ago in heard.items())
    me.hear(me.tell(me.r, [], members=members))
    assert {n: me.lease_s(n) for n in heard} == pytest.approx({A: TTL_S - 1.0, B: TTL_S - 4.5})
    assert me.lease_s(C) == pytest.approx(TTL_S - INTERVAL_S)
    assert me.entry(A).relayed_at == pytest.approx(me.now - 1.0)


def test_names_that_waited_tell_of_when_the_relay_heard_each_all_the_same() -> None:
    me = Told()
    me.run(2.0)
    said_at, said = me.now, me.name(me.r, me.ours())
    me.run(3.0)
    me.hear(said)
    assert me.lease_s(A) == pytest.approx(TTL_S - 3.0, abs=0.02)
    assert me.node.last_heard_at(A) == pytest.approx(said_at, abs=0.02)


def test_named_suspect_is_back() -> None:
    me = Told()
    me.relayed(2, A)
    me.run(2.0)
    me.prove()
    assert me.state(A) is AgentState.SUSPECT
    me.hear(me.name(me.r, me.ours()))
    assert me.state(A) is AgentState.ALIVE


def test_terms_and_seq_of_the_named_are_taken() -> None:
    me = Told()
    me.peers[A].seq = 70
    told = replace(member(me.peers[A]), ttl_ms=40_000, next_ms=9000)
    me.hear(me.tell(me.r, [], members=(told,)))
    assert (me.entry(A).ttl_s, me.entry(A).beat_s, me.entry(A).seq_known) == (40.0, 9.0, 70)
    assert me.lease_s(A) == pytest.approx(40.0)


def test_heartbeat_that_a_list_told_of_may_still_come_and_counts() -> None:
    me = Told()
    me.run(1.0)
    beat = me.beat(me.peers[A])
    me.hear(me.name(me.r, me.ours()), beat)
    assert me.dropped() == []
    assert me.entry(A).last_heard_at == pytest.approx(me.now, abs=0.01)


def test_unknown_node_that_is_named_is_asked_for_its_state_and_then_served() -> None:
    me = Told()
    late = stranger()
    me.hear(me.name(me.r, [*me.ours(), late]))
    assert me.answer("web") == sorted([*Told.NAMES, R, S])
    me.run(INTERVAL_S / 2)
    assert [m.version for m in me.sent(AnnounceRequest)] == [1]
    me.hear(late.announce(published("web")))
    assert E in me.answer("web")
    assert me.entry(E).source is Source.HEARD
    assert me.lease_s(E) == pytest.approx(TTL_S - INTERVAL_S / 2)


def test_not_all_who_miss_a_named_nodes_state_ask_for_it_in_the_same_moment() -> None:
    moments = []
    for seed in range(8):
        me = Told(seed=seed)
        me.run(1.0)
        said_at = me.now
        me.hear(me.tell(me.r, [], members=(member(stranger(), 5.0),)))
        me.run(0.6 * INTERVAL_S)
        asked = [(at, e) for at, e in me.moments if isinstance(e, Send)]
        moments += [at - said_at for at, e in asked if isinstance(e.message, AnnounceRequest)]
    assert len(moments) == 8
    assert max(moments) - min(moments) > 0.2 * INTERVAL_S


def test_newer_version_that_is_named_is_asked_for() -> None:
    me = Told()
    me.hear(me.tell(me.r, [], members=(member(me.peers[A], version=5),)))
    me.run(INTERVAL_S / 2)
    assert [m.version for m in me.sent(AnnounceRequest)] == [5]


def test_new_boot_that_is_named_is_taken_and_its_state_asked_for() -> None:
    me = Told()
    a = me.peers[A]
    old = me.beat(a)
    a.reboot(me.now)
    me.hear(me.name(me.r, me.ours()))
    assert me.entry(A).speaker == (2, a.boot_id)
    me.run(INTERVAL_S / 2)
    assert len(me.sent(AnnounceRequest)) == 1
    me.hear(old)
    assert me.dropped() == ["old-incarnation"]


def test_older_boot_that_is_named_changes_nothing() -> None:
    me = Told()
    former = Peer(A, incarnation=1)
    me.peers[A].reboot(me.now)
    me.hear(me.peers[A].announce(published("web")), me.beat(me.peers[A]))
    me.run(3.0)
    me.hear(me.name(me.r, [former]))
    assert me.entry(A).incarnation == 2
    assert me.lease_s(A) == pytest.approx(TTL_S - 3.0)


def test_node_that_said_goodbye_is_not_revived_by_names_but_a_later_start_is() -> None:
    me = Told()
    me.hear(me.peers[A].goodbye())
    me.peers[A].seq += 1
    me.hear(me.name(me.r, [me.me, me.peers[A]]))
    me.run(INTERVAL_S / 2)
    assert me.state(A) is AgentState.LEFT
    assert [told.node for told in me.node.tombstones()] == [A]
    assert me.sent(AnnounceRequest) == []
    me.peers[A].reboot(me.now)
    me.hear(me.name(me.r, [me.me, me.peers[A]]), me.peers[A].announce(published("web")))
    assert me.state(A) is AgentState.ALIVE


def test_node_that_is_gone_is_not_revived_by_what_was_known_of_it_already() -> None:
    """A relay that just started takes a replay for news."""
    me = Told()
    while me.state(A) is not AgentState.EXPIRED:
        me.relayed(1, A)
    me.hear(me.name(me.r, [me.me, me.peers[A]]))
    assert me.state(A) is AgentState.EXPIRED
    me.peers[A].seq += 1
    me.hear(me.name(me.r, [me.me, me.peers[A]]))
    assert me.state(A) is AgentState.ALIVE


def test_leaving_node_keeps_what_its_goodbye_gave_whoever_names_it() -> None:
    me = Told()
    me.hear(me.peers[A].goodbye(hold_s=40.0))
    me.run(2.0)
    me.hear(me.name(me.r, me.ours()), me.tell(me.s, me.ours()))
    assert me.state(A) is AgentState.SUSPECT
    assert me.lease_s(A) == pytest.approx(38.0, abs=0.01)


def test_names_never_write_our_own_entry() -> None:
    me = Told()
    own = me.entry("me")
    before = (own.speaker, own.expires_at, own.state)
    ghost = Peer("me", incarnation=99)
    me.hear(me.name(me.r, [ghost]), me.name(me.r, [Peer("me", 7, b"\x81" * 16)]))
    assert (own.speaker, own.expires_at, own.state) == before


def test_list_as_an_answer_to_no_question_of_ours_counts_all_the_same() -> None:
    me = Told()
    me.run(INTERVAL_S)
    me.hear(me.name(me.r, me.ours()))
    assert me.asked() == []
    assert me.lease_s(A) == pytest.approx(TTL_S)


def test_replayed_names_change_nothing() -> None:
    me = Told()
    said = me.name(me.r, me.ours())
    me.hear(said)
    me.run(3.0)
    me.hear(said)
    assert me.dropped() == ["replayed"]
    assert me.lease_s(A) == pytest.approx(TTL_S - 3.0)


# ---- what a list is good for afterwards


def test_after_names_the_digests_of_that_relay_agree_though_we_believe_otherwise() -> None:
    """It knows two that we don't know yet, and not two that we do."""
    me = Told()
    theirs = [*me.ours(A, B), stranger(E), stranger(F)]
    me.run(INTERVAL_S)
    me.hear(me.tell(me.r, theirs))
    assert me.lease_s(C) == pytest.approx(TTL_S - INTERVAL_S)
    me.hear(me.name(me.r, theirs))
    me.run(INTERVAL_S)
    me.hear(me.tell(me.r, theirs))
    assert me.lease_s(C) == pytest.approx(TTL_S)
    assert me.lease_s(A) == pytest.approx(TTL_S - 2 * INTERVAL_S)
    assert me.asked() == []


def test_node_that_the_list_left_out_and_the_relay_vouches_for_now_is_renewed() -> None:
    me = Told()
    me.hear(me.name(me.r, me.ours(A, B)))
    me.run(INTERVAL_S)
    me.hear(me.tell(me.r, me.ours(A)))
    assert me.lease_s(B) == pytest.approx(TTL_S)
    assert me.lease_s(A) == pytest.approx(TTL_S - INTERVAL_S)
    me.run(1.0)
    me.hear(me.tell(me.r, me.ours()))
    assert [me.lease_s(name) for name in (A, B)] == pytest.approx([TTL_S] * 2)


def test_node_that_the_list_named_and_the_relay_lost_since_does_not_hinder() -> None:
    me = Told()
    me.hear(me.name(me.r, [*me.ours(), stranger(E), stranger(F)]))
    for vouched in ((stranger(E),), ()):
        me.run(INTERVAL_S)
        me.hear(me.tell(me.r, [*me.ours(), *vouched]))
        assert me.lease_s(A) == pytest.approx(TTL_S)


def test_node_that_was_unknown_counts_as_ours_once_its_state_is_there() -> None:
    me = Told()
    late = stranger()
    everybody = [*me.ours(), late]
    me.hear(me.name(me.r, everybody), late.announce(published("web")))
    me.run(INTERVAL_S)
    me.hear(me.tell(me.r, everybody))
    assert [me.lease_s(name) for name in (A, E)] == pytest.approx([TTL_S] * 2)


def test_list_that_leaves_us_out_keeps_us_out_of_what_agrees() -> None:
    me = Told()
    me.flat(INTERVAL_S)
    me.hear(me.name(me.r, me.ours("me", A)))
    me.take()
    for _ in range(4):
        me.run(INTERVAL_S)
        me.hear(me.tell(me.r, me.ours("me", A)), me.beat(me.s))
    assert me.lease_s(B) == pytest.approx(TTL_S)
    assert max(len(whom) for _, whom in me.beats()) >= 5, "it looks for others to vouch for it"


def test_next_list_forgets_wherein_the_last_one_differed() -> None:
    me = Told()
    me.hear(me.name(me.r, [*me.ours(A, B), stranger(E), stranger(F)]))
    me.hear(me.name(me.r, me.ours()))
    me.run(INTERVAL_S)
    me.hear(me.tell(me.r, me.ours()))
    assert [me.lease_s(name) for name in Told.NAMES] == pytest.approx([TTL_S] * 4)


def test_exceptions_and_a_list_may_name_the_same_node() -> None:
    me = Told()
    me.hear(me.name(me.r, me.ours(A, B), excepted=(excepted(me.peers[A], 2.0),)))
    me.run(INTERVAL_S)
    me.hear(me.tell(me.r, me.ours(A, B), excepted=(excepted(me.peers[A], 7.0),)))
    assert me.lease_s(C) == pytest.approx(TTL_S)
    assert me.lease_s(B) == pytest.approx(TTL_S - INTERVAL_S)


def test_later_boots_of_nodes_that_the_list_left_out_are_not_left_out() -> None:
    me = Told()
    me.hear(me.name(me.r, me.ours(A, B)))
    for name in (A, B):
        me.peers[name].reboot(me.now)
        me.hear(me.peers[name].announce(published("web")), me.beat(me.peers[name]))
    me.run(INTERVAL_S)
    me.hear(me.tell(me.r, me.ours()))
    assert [me.lease_s(name) for name in Told.NAMES] == pytest.approx([TTL_S] * 4)
