"""What relays say: whom a digest renews, whom an exception doubts."""

import sys
from collections.abc import Callable
from dataclasses import replace

import pytest

from beacond.core.effects import Emit
from beacond.core.events import Kind
from beacond.core.messages import Excepted
from beacond.core.model import AgentState
from tests.support.core import INTERVAL_S, TTL_S, Peer, published
from tests.support.core_relays import Told, excepted, member, names_in

SHARD = Told.SHARD
A, B, C, D = Told.NAMES
R, S = "r0", "r6"


def lines_run(call: Callable[[], None]) -> int:
    """How many lines of code it took."""
    lines = 0

    def count(frame: object, event: str, argument: object) -> object:
        nonlocal lines
        lines += event == "line"
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        call()
    finally:
        sys.settrace(before)
    return lines


# ---- a digest that agrees


def test_agreeing_digest_renews_all_of_its_shard_and_nobody_else() -> None:
    me = Told()
    me.run(INTERVAL_S)
    me.hear(me.tell(me.r, me.ours()))
    assert [me.lease_s(name) for name in (A, B, C, D)] == pytest.approx([TTL_S] * 4)
    assert me.lease_s(S) == pytest.approx(TTL_S - INTERVAL_S)


def test_digest_keeps_a_shard_alive_for_ever() -> None:
    me = Told()
    me.relayed(30)
    assert me.answer("web") == sorted([A, B, C, D, R, S])
    assert me.kinds() == []


def test_digest_costs_the_same_whatever_the_size_of_the_shard() -> None:
    costs = []
    for many in (4, 400):
        me = Told(*names_in(SHARD, many))
        # Before, each one's turn comes at which its former lease would have made it suspect.
        me.relayed(1)
        me.run(1.0)
        said = me.tell(me.r, me.ours())
        costs.append(lines_run(lambda me=me, said=said: me.hear(said)))
        assert me.lease_s(names_in(SHARD, many)[-1]) == pytest.approx(TTL_S)
    assert costs[0] == costs[1] > 100


def test_suspect_is_back_at_once_when_a_relay_vouches_for_it() -> None:
    me = Told()
    me.relayed(2, A)
    me.run(2.0)
    me.prove()
    assert me.state(A) is AgentState.SUSPECT
    me.take()
    me.hear(me.tell(me.r, me.ours()))
    assert me.state(A) is AgentState.ALIVE
    assert me.kinds(A) == ["agent.recovered"]
    assert me.lease_s(A) == pytest.approx(TTL_S)


def test_digest_counts_from_when_it_was_sent() -> None:
    me = Told()
    me.flat(INTERVAL_S)
    late = me.tell(me.r, me.ours())
    me.flat(1.8 * INTERVAL_S, silent=(A, B, C, D, R))
    me.hear(late)
    assert me.lease_s(A) == pytest.approx(TTL_S - 1.8 * INTERVAL_S, abs=0.02)


def test_replayed_or_older_digest_changes_nothing() -> None:
    me = Told()
    older = me.tell(me.r, me.ours())
    said = me.tell(me.r, me.ours(A), excepted=(excepted(me.peers[A], 4.9),))
    me.run(2.0)
    me.hear(said)
    leases = [me.lease_s(name) for name in (A, B)]
    me.take()
    me.hear(said, older)
    assert me.dropped() == ["replayed"] * 2
    assert [me.lease_s(name) for name in (A, B)] == leases


def test_digest_that_was_sent_to_us_alone_is_no_word_for_all() -> None:
    me = Told()
    me.run(2.0)
    envelope, said = me.tell(me.r, me.ours())
    me.hear((replace(envelope, to="me"), said))
    assert me.lease_s(A) == pytest.approx(TTL_S - 2.0)


def test_digest_of_a_relay_from_before_its_restart_changes_nothing() -> None:
    me = Told()
    former = me.tell(me.r, me.ours())
    me.r.reboot(me.now)
    me.hear(me.beat(me.r))
    me.run(2.0)
    me.take()
    me.hear(former)
    assert me.dropped() == ["old-incarnation"]
    assert me.lease_s(A) == pytest.approx(TTL_S - 2.0)


def test_relays_own_digest_renews_for_itself_too_once_it_came_back() -> None:
    for echoes, renewed_s in ((True, 0.5), (False, 2.0)):
        me = Told()
        for _ in range(2):
            me.run(INTERVAL_S)
            me.prove()
        me.use(A, B, C, D)
        me.echoes = echoes
        me.run(2.0)
        assert [me.now - at for at, _ in me.words(SHARD)] == [pytest.approx(0.5)]
        assert me.lease_s(A) == pytest.approx(TTL_S - renewed_s)


# ---- whom only we believe in


def test_the_one_that_only_we_believe_in_is_left_out_and_the_others_renewed() -> None:
    me = Told()
    for _ in range(5):
        me.run(INTERVAL_S)
        me.hear(me.tell(me.r, me.ours(A)), me.beat(me.s))
        assert me.lease_s(B) == pytest.approx(TTL_S)
    assert me.state(A) is AgentState.EXPIRED
    assert me.asked() == []


def test_two_that_only_we_believe_in_keep_all_from_being_renewed() -> None:
    me = Told()
    me.run(INTERVAL_S)
    me.hear(me.tell(me.r, me.ours(A, B)))
    assert me.lease_s(C) == pytest.approx(TTL_S - INTERVAL_S)


def test_two_that_are_named_as_exceptions_keep_nobody_from_being_renewed() -> None:
    me = Told()
    me.run(INTERVAL_S)
    but = tuple(excepted(me.peers[name]) for name in (A, B))
    me.hear(me.tell(me.r, me.ours(A, B), excepted=but))
    assert me.lease_s(C) == pytest.approx(TTL_S)
    assert me.lease_s(A) == pytest.approx(TTL_S - INTERVAL_S)


def test_node_that_the_relay_knows_and_we_do_not_keeps_all_from_being_renewed() -> None:
    me = Told()
    me.run(INTERVAL_S)
    me.hear(me.tell(me.r, [*me.ours(), Peer("stranger")]))
    assert me.lease_s(A) == pytest.approx(TTL_S - INTERVAL_S)


def test_later_boot_that_the_relay_knows_is_a_difference() -> None:
    me = Told()
    me.run(INTERVAL_S)
    me.peers[A].reboot(me.now)
    me.hear(me.tell(me.r, me.ours()))
    assert me.lease_s(B) == pytest.approx(TTL_S - INTERVAL_S)


# ---- exceptions


def test_excepted_node_keeps_its_lease_and_ends_with_it() -> None:
    me = Told()
    died_at = me.now
    me.relayed(2, A)
    assert me.lease_s(A) == pytest.approx(TTL_S - 2 * INTERVAL_S)
    me.relayed(3, A)
    [expired_at] = [
        at
        for at, effect in me.moments
        if isinstance(effect, Emit) and effect.event.kind is Kind.AGENT_EXPIRED
    ]
    assert TTL_S <= expired_at - died_at <= TTL_S + INTERVAL_S


def test_excepted_node_is_suspect_when_the_relay_would_suspect_it() -> None:
    me = Told()
    me.relayed(3)
    me.run(1.0)
    me.hear(me.tell(me.r, me.ours(A), excepted=(excepted(me.peers[A], 9.5),)))
    assert me.suspect_s(A) == pytest.approx(2.2 * INTERVAL_S - 9.5)
    me.run(2.2 * INTERVAL_S - 9.5 - 0.1)
    me.prove()
    assert me.state(A) is AgentState.ALIVE
    me.run(0.2)
    me.prove()
    assert me.state(A) is AgentState.SUSPECT
    assert me.lease_s(A) == pytest.approx(TTL_S - 1.0 - (2.2 * INTERVAL_S - 9.5 + 0.1), abs=0.01)


@pytest.mark.parametrize(
    ("why", "silent_s", "waited_s"),
    [("it never heard it", 0.0, 0.0), ("the word is old", 9.0, 1.1 * INTERVAL_S)],
)
def test_exception_says_nothing_of_silence_where(
    why: str, silent_s: float, waited_s: float
) -> None:
    me = Told()
    me.relayed(3)
    me.node._catalog.settle()
    before = me.entry(A).suspect_at
    said = me.tell(me.r, me.ours(A), excepted=(excepted(me.peers[A], silent_s),))
    me.run(waited_s)
    me.hear(said)
    assert me.entry(A).suspect_at == before


def test_exception_says_nothing_of_silence_where_we_heard_it_later_ourselves() -> None:
    for heard_s, silent_s, believed in ((2.0, 6.0, False), (7.0, 6.0, True)):
        me = Told()
        me.flat(2 * INTERVAL_S)
        me.hear(me.tell(me.r, me.ours()))
        me.run(heard_s)
        me.node._catalog.settle()
        before = me.entry(A).suspect_at
        me.hear(me.tell(me.r, me.ours(A), excepted=(excepted(me.peers[A], silent_s),)))
        assert (me.entry(A).suspect_at < before) is believed


def test_exception_never_lets_a_node_be_suspect_later() -> None:
    me = Told()
    me.run(INTERVAL_S)
    me.prove()
    me.run(INTERVAL_S / 2)
    before = me.entry(A).suspect_at
    me.hear(me.tell(me.r, me.ours(A), excepted=(excepted(me.peers[A], 1.0),)))
    assert me.entry(A).suspect_at == before


def test_exception_says_nothing_of_silence_during_a_grace() -> None:
    me = Told()
    me.down()
    me.run(4 * INTERVAL_S)
    me.up()
    me.prove()
    assert me.entry(A).graced
    before = me.entry(A).suspect_at
    me.hear(me.tell(me.r, me.ours(A), excepted=(excepted(me.peers[A], 12.0),)))
    assert me.entry(A).suspect_at == before


def test_exception_of_another_boot_says_nothing_of_this_one() -> None:
    me = Told()
    me.relayed(3)
    me.node._catalog.settle()
    before = me.entry(A).suspect_at
    for incarnation, boot_id in ((2, b"\x01" * 16), (1, b"\x02" * 16)):
        other = Excepted(A, incarnation, boot_id, 50, 9000)
        me.hear(me.tell(me.r, me.ours(A), excepted=(other,)))
    assert (me.entry(A).suspect_at, me.entry(A).seq_told) == (before, 0)


def test_seq_of_an_exception_is_known_and_that_heartbeat_still_counts() -> None:
    me = Told()
    beat = me.beat(me.peers[A])
    me.run(2.0)
    me.hear(me.tell(me.r, me.ours(A), excepted=(excepted(me.peers[A], 2.0),)))
    assert me.entry(A).seq_known == beat[1].seq > me.entry(A).seq
    me.hear(beat)
    assert me.dropped() == []


def test_relay_that_excepts_us_does_not_make_us_suspect_ourselves() -> None:
    me = Told()
    for _ in range(6):
        me.run(INTERVAL_S)
        me.hear(me.tell(me.r, me.ours("me"), excepted=(excepted(me.me, 9.0),)))
    assert me.state("me") is AgentState.ALIVE
    assert "agent.suspect" not in me.kinds("me")


# ---- leases


def test_older_word_of_a_relay_does_not_shorten_what_a_heartbeat_gave() -> None:
    me = Told()
    said = me.tell(me.r, me.ours())
    listed = me.name(me.s, me.ours())
    me.run(3.0)
    me.hear(me.beat(me.peers[A]))
    me.hear(said, listed)
    assert me.lease_s(A) == pytest.approx(TTL_S)
    assert me.suspect_s(A) >= 2.2 * INTERVAL_S


def test_heartbeat_does_not_shorten_what_a_relays_word_gave() -> None:
    me = Told()
    me.hear(me.tell(me.r, me.ours()))
    me.hear(me.beat(me.peers[A]))
    me.node._catalog.settle()
    assert me.suspect_s(A) == pytest.approx(0.9 * TTL_S)


def test_silence_of_relays_is_noticed_later_than_that_of_one_node() -> None:
    me = Told()
    me.relayed(1)
    began = me.now
    for _ in range(6):
        me.run(INTERVAL_S / 2)
        me.hear(me.beat(me.r))
        me.prove()
        assert (me.state(A) is AgentState.SUSPECT) == (me.now - began > 0.9 * TTL_S)


def test_lease_of_a_suspect_is_not_shortened_by_what_a_relay_heard_before() -> None:
    me = Told()
    me.relayed(2)
    me.run(1.0)
    me.hear(me.tell(me.r, me.ours(A), excepted=(excepted(me.peers[A], 9.5),)))
    me.run(2.0)
    me.prove()
    assert me.state(A) is AgentState.SUSPECT
    me.hear(me.tell(me.s, [], members=(member(me.peers[A], 6.0),)))
    assert (me.state(A), me.lease_s(A)) == (AgentState.ALIVE, pytest.approx(TTL_S - 3.0))


def test_restarted_node_keeps_the_lease_that_relays_gave_the_boot_before_and_nothing_else() -> None:
    me = Told()
    me.hear(me.tell(me.r, me.ours(A), excepted=(Excepted(A, 1, me.peers[A].boot_id, 70, 0),)))
    for _ in range(3):
        me.run(1.0)
        me.hear(me.tell(me.r, me.ours()))
    me.run(2.0)
    me.peers[A].reboot(me.now)
    me.hear(me.peers[A].announce(published("web")))
    assert me.lease_s(A) == pytest.approx(TTL_S - 2.0)
    assert (me.entry(A).seq_known, me.node.last_heard_at(A)) == (0, None)
