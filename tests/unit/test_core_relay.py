"""Being a relay: when it speaks, and when it had better not."""

from itertools import pairwise

import pytest

from beacond.core.effects import Publish
from beacond.core.messages import Heartbeat, ShardDigest, ShardRequest
from beacond.core.model import AgentState
from tests.support.core import INTERVAL_S, Peer
from tests.support.core_relays import HIGHER, LOWER, OTHERS, Relaying, live_of, names_in

SHARD = OTHERS
TWO = "two"
A, B, C, D, E = names_in(SHARD, 5)


def moments(me: Relaying, since: float = 0.0) -> list[float]:
    return [at - since for at, _ in me.words(SHARD)]


def test_who_is_sent_a_heartbeat_speaks_after_listening_a_little_where_no_relay_does() -> None:
    me = Relaying()
    me.use(A, B, C)
    assert me.duties == ((SHARD, "b"),)
    began = me.now
    me.run(INTERVAL_S)
    assert moments(me, began) == [pytest.approx(0.3 * INTERVAL_S)]


def test_it_listens_longer_where_another_relay_spoke_lately() -> None:
    for ago_s, expected in ((1.4 * INTERVAL_S, 1.1), (1.6 * INTERVAL_S, 0.3)):
        me = Relaying()
        me.hear(me.tell(me.peers[LOWER], [], shard=SHARD))
        me.flat(ago_s)
        me.use(A, B, C)
        began = me.now
        me.relayed(2 * INTERVAL_S, A, B, C)
        assert moments(me, began)[0] == pytest.approx(expected * INTERVAL_S)


def test_heartbeat_to_all_makes_nobody_a_relay() -> None:
    me = Relaying()
    me.flat(4 * INTERVAL_S)
    assert me.duties == ()
    assert me.words() == []


def test_it_speaks_once_a_period_or_a_little_sooner() -> None:
    me = Relaying().worked()
    me.relayed(20 * INTERVAL_S, A, B, C)
    gaps = [b - a for a, b in pairwise(moments(me))]
    assert all(0.9 * INTERVAL_S <= gap <= INTERVAL_S + 1e-6 for gap in gaps)
    assert max(gaps) - min(gaps) > 0.03 * INTERVAL_S
    assert len(gaps) >= 19


def test_period_is_the_shortest_interval_of_those_it_speaks_for() -> None:
    me = Relaying()
    for _ in range(20):
        me.use(A, B, next_ms=int(INTERVAL_S * 1000))
        me.use(C, next_ms=2000)
        me.run(2.0)
    gaps = [b - a for a, b in pairwise(moments(me))]
    assert all(1.8 <= gap <= 2.0 + 1e-6 for gap in gaps)


def test_its_word_is_a_heartbeat_of_its_own() -> None:
    me = Relaying().worked()
    me.relayed(2 * INTERVAL_S, A, B, C)
    spoken = [e.message for e in me.effects if isinstance(e, Publish)]
    beats = [m if isinstance(m, Heartbeat) else m.beat for m in spoken
             if isinstance(m, Heartbeat | ShardDigest)]  # fmt: skip
    assert [b.seq - a.seq for a, b in pairwise(beats)] == [1] * (len(beats) - 1)
    assert {beat.digest for beat in beats} == {me.node._catalog.digest}


def test_it_is_no_relay_any_more_once_nobody_sent_to_it_for_two_and_a_half_beats() -> None:
    me = Relaying()
    me.use(A, B, C)
    began = me.now
    me.run(2.4 * INTERVAL_S)
    assert me.duties == ((SHARD, "b"),)
    me.run(4 * INTERVAL_S)
    assert me.duties == ()
    assert max(moments(me, began)) < 2.5 * INTERVAL_S


def test_goodbye_ends_it() -> None:
    me = Relaying().worked()
    me.did(me.node.goodbye(0.0, me.now))
    me.relayed(3 * INTERVAL_S, A, B, C)
    assert (me.words(), me.duties) == ([], ())


def test_agent_that_was_outdone_says_nothing() -> None:
    me = Relaying().worked()
    for incarnation in (50, 99):
        me.hear(Peer("me", incarnation=incarnation).heartbeat(me.now))
    me.take()
    me.use(A, B, C)
    me.hear((me.peers[A].envelope("me"), ShardRequest(SHARD)))
    me.relayed(3 * INTERVAL_S, A, B, C)
    assert me.node.conflict
    assert me.words() == []


# ---- when it had better be silent


def test_it_is_silent_where_it_hears_less_than_half_of_its_members() -> None:
    me = Relaying(A, B, C, D, E)
    me.run(5 * INTERVAL_S, *(me.peers[name] for name in (A, B, C, D, E)))
    me.run(2.2 * INTERVAL_S)
    me.take()
    heard_at = me.now - 2.2 * INTERVAL_S
    for _ in range(6):
        me.use(A, B)
        me.hear(me.tell(me.peers[LOWER], [me.peers[n] for n in (A, B, C, D, E)], shard=SHARD))
        me.run(INTERVAL_S)
    assert moments(me)
    assert max(moments(me, heard_at)) <= 4 * INTERVAL_S
    assert me.duties == ((SHARD, "b"),)


def test_it_is_silent_while_a_better_one_speaks_for_as_many() -> None:
    me = Relaying().worked()
    three = [me.peers[name] for name in (A, B, C)]
    for _ in range(6):
        me.hear(me.tell(me.peers[HIGHER], three, shard=SHARD))
        me.relayed(INTERVAL_S, A, B, C)
    assert me.words() == []
    spoke_at = me.now - INTERVAL_S
    me.relayed(2 * INTERVAL_S, A, B, C)
    assert 1.5 * INTERVAL_S <= moments(me, spoke_at)[0] < 1.5 * INTERVAL_S + 0.01


def test_it_speaks_where_a_better_one_speaks_for_fewer() -> None:
    me = Relaying().worked()
    for _ in range(6):
        me.hear(me.tell(me.peers[HIGHER], [me.peers[A], me.peers[B]], shard=SHARD))
        me.relayed(INTERVAL_S, A, B, C)
    assert len(me.words()) >= 6


def test_it_speaks_though_one_that_ranks_after_it_does() -> None:
    me = Relaying().worked()
    three = [me.peers[name] for name in (A, B, C)]
    for _ in range(6):
        me.hear(me.tell(me.peers[LOWER], three, shard=SHARD))
        me.relayed(INTERVAL_S, A, B, C)
    assert len(me.words()) >= 6


def test_word_that_did_not_come_back_is_followed_by_four_periods_of_silence() -> None:
    me = Relaying().worked()
    me.echoes = False
    flat = [me.peers[HIGHER], me.peers[LOWER]]
    for _ in range(16):
        me.use(A, B, C)
        me.hear(*(me.beat(peer) for peer in flat))
        me.run(INTERVAL_S / 2)
    gaps = [b - a for a, b in pairwise(moments(me))]
    assert gaps
    # It notices when its turn comes, and is silent from then on.
    assert all(4.9 * INTERVAL_S <= gap <= 5.0 * INTERVAL_S + 1e-6 for gap in gaps)


# ---- lag, and the bus


def test_after_it_was_stopped_it_listens_before_it_speaks() -> None:
    for stopped_s, expected in ((0.4 * INTERVAL_S, 0.3), (3 * INTERVAL_S, 1.1)):
        me = Relaying().worked()
        me.run(me.words()[-1][0] + 0.95 * INTERVAL_S - me.now if me.words() else 0.0)
        me.sleep(stopped_s)
        back_at = me.now
        me.take()
        me.relayed(2 * INTERVAL_S, A, B, C)
        assert moments(me, back_at)[0] >= expected * INTERVAL_S
        assert moments(me, back_at)[0] <= (expected + 1) * INTERVAL_S


def test_after_the_bus_was_away_it_listens_before_it_speaks() -> None:
    me = Relaying().worked()
    me.up(can_publish=False)
    me.relayed(1.5 * INTERVAL_S, A, B, C)
    assert me.words() == []
    me.up()
    back_at = me.now
    me.relayed(2 * INTERVAL_S, A, B, C)
    assert moments(me, back_at)[0] >= 1.1 * INTERVAL_S


def test_each_bus_is_spoken_for_apart_by_what_came_over_it() -> None:
    me = Relaying()
    me.echoing.append(TWO)
    me.up(bus=TWO)
    me.take()
    me.use(A, B, C)
    for _ in range(4):
        me.use(A, B)
        me.use(B, C, bus=TWO)
        me.run(INTERVAL_S)
    assert me.duties == ((SHARD, "b"), (SHARD, TWO))
    last = {
        effect.bus: effect.message.live
        for effect in me.effects
        if isinstance(effect, Publish) and isinstance(effect.message, ShardDigest)
    }
    a, b, c = (me.peers[name] for name in (A, B, C))
    assert last == {"b": live_of([a, b]), TWO: live_of([b, c])}


def test_word_that_was_lost_with_the_bus_is_no_sign_that_it_is_deaf() -> None:
    me = Relaying().worked()
    me.echoes = False
    while not me.words(SHARD):
        me.relayed(INTERVAL_S / 4, A, B, C)
    me.down()
    me.run(1.0)
    me.take()
    me.echoes = True
    me.up()
    back_at = me.now
    me.relayed(3 * INTERVAL_S, A, B, C)
    assert moments(me, back_at)[0] <= 2 * INTERVAL_S


def test_nobody_is_told_names_over_a_bus_that_takes_nothing() -> None:
    me = Relaying().worked()
    me.up(can_publish=False)
    me.use(A, B, C)
    me.hear((me.peers[HIGHER].envelope("me"), ShardRequest(SHARD)))
    me.up()
    me.run(0.5)
    assert me.words() == []


def test_members_that_it_holds_for_silent_do_not_count_to_the_half_it_must_hear() -> None:
    me = Relaying(A, B, C, D, E).worked()
    for _ in range(8):
        me.use(A, B)
        others = [me.peers[name] for name in (A, B)]
        me.hear(me.tell(me.peers[LOWER], others, shard=SHARD, excepted=()))
        me.run(INTERVAL_S)
    assert all(me.state(name) is not AgentState.ALIVE for name in (C, D, E))
    assert me.now - moments(me)[-1] <= INTERVAL_S
