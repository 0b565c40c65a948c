"""Being a relay: whom it vouches for, and whom not, by sum and by name."""

import random
from itertools import pairwise

import pytest

from beacond.core import relay as relay_module
from beacond.core.effects import Publish, Send
from beacond.core.messages import Excepted, ShardRequest
from beacond.core.model import AgentState
from tests.support.core import INTERVAL_S, Peer, published
from tests.support.core_relays import (
    HIGHER,
    LOWER,
    OTHERS,
    Fleet,
    Relaying,
    live_of,
    member,
    names_in,
)

SHARD = OTHERS
TWO = "two"
A, B, C, D, E, F = names_in(SHARD, 6)


def vouched(me: Relaying, *names: str) -> bytes:
    return live_of(me.peers[name] for name in names)


def test_it_vouches_for_whom_it_heard_within_one_and_a_half_beats() -> None:
    me = Relaying()
    me.use(A, B)
    me.run(0.4 * INTERVAL_S)
    me.run(0.7 * INTERVAL_S)
    me.use(C)
    me.take()
    me.run(1.5 * INTERVAL_S)
    for at, said in me.words(SHARD):
        late = at - 100.0 > 1.5 * INTERVAL_S
        assert (said.live, said.count) == (
            (vouched(me, C), 1) if late else (vouched(me, A, B, C), 3)
        )
    assert len({said.count for _, said in me.words(SHARD)}) == 2


def test_node_that_beats_rarely_is_vouched_for_longer() -> None:
    me = Relaying()
    me.use(A, next_ms=20_000)
    me.use(B, C)
    for _ in range(5):
        me.run(INTERVAL_S)
        me.use(B, C)
    assert me.words(SHARD)[-1][1].count == 3
    me.run(2 * INTERVAL_S)
    me.use(B, C)
    me.run(INTERVAL_S)
    assert me.words(SHARD)[-1][1].live == vouched(me, B, C)


def test_those_it_heard_broadcast_count_too() -> None:
    me = Relaying()
    me.use(A)
    me.hear(me.beat(me.peers[B]), me.beat(me.peers[C]))
    me.run(INTERVAL_S)
    assert me.words(SHARD)[0][1].live == vouched(me, A, B, C)


def test_word_or_list_of_another_relay_is_no_ground_to_vouch() -> None:
    me = Relaying().worked()
    three = [me.peers[name] for name in (A, B, C)]
    for _ in range(4):
        me.use(A, B)
        me.hear(me.tell(me.peers[LOWER], three, shard=SHARD))
        me.hear(me.name(me.peers[LOWER], three, shard=SHARD))
        me.run(INTERVAL_S)
    assert me.state(C) is AgentState.ALIVE
    assert me.words(SHARD)[-1][1].live == vouched(me, A, B)


@pytest.mark.parametrize("seed", range(6))
def test_two_relays_that_hear_each_other_never_keep_a_dead_third_alive(seed: int) -> None:
    """Living nodes are heard by the one or the other, now and then; each hears the other's words
    and lists of names."""
    rng, names = random.Random(seed), [A, B, C, D]
    pair = [Fleet(names, name=name, seed=seed, relay_from=1000) for name in ("x", "y")]
    people = pair[0].peers
    for me in pair:
        me.use(*names)
    died_at, words = pair[0].now, []
    for _ in range(250):
        step_s = rng.uniform(0.05, 0.3) * INTERVAL_S
        for me, other in (pair, pair[::-1]):
            me.run(step_s)
            for name in rng.sample([B, C, D], rng.randrange(3)):
                me.hear(me.beat(people[name], to=me.me.name))
            if rng.random() < 0.1:
                me.hear((people[B].envelope(me.me.name), ShardRequest(SHARD)))
            words += me.words(SHARD)
            said = [e for e in me.take() if isinstance(e, Publish | Send)]
            other.hear(*((each.envelope, each.message) for each in said))
    with_dead = {live_of([people[A], *some]) for some in subsets([people[n] for n in (B, C, D)])}
    spoken = [at for at, said in words if said.live in with_dead]
    named = [at for at, said in words if A in [each.node for each in said.members]]
    assert len(words) > 40
    assert sum(said.members != () for _, said in words) > 10
    assert max([*spoken, *named]) - died_at <= 1.5 * INTERVAL_S
    assert [me.state(A) for me in pair] == [AgentState.EXPIRED] * 2
    assert all(me.state(name) is AgentState.ALIVE for me in pair for name in (B, C, D))


def subsets(peers: list[Peer]) -> list[list[Peer]]:
    found: list[list[Peer]] = [[]]
    for peer in peers:
        found += [[*some, peer] for some in found]
    return found


def test_heartbeat_of_an_older_boot_is_no_ground_to_vouch_for_the_later() -> None:
    me = Relaying().worked()
    me.use(A, B, C)
    a = me.peers[A]
    a.reboot(me.now)
    me.hear(a.announce(published("web")))
    me.take()
    me.relayed(2 * INTERVAL_S, B, C)
    assert {said.live for _, said in me.words(SHARD)} == {vouched(me, B, C)}
    assert me.words(SHARD)[0][1].excepted == (Excepted(A, 2, a.boot_id, 0, 0),)


def test_node_that_said_goodbye_is_not_vouched_for_though_it_is_still_served() -> None:
    me = Relaying().worked()
    me.use(A, B, C)
    me.hear(me.peers[A].goodbye(hold_s=60.0))
    me.relayed(2 * INTERVAL_S, B, C)
    assert me.words(SHARD)[-1][1].live == vouched(me, B, C)
    assert A in me.answer("web")


def test_it_vouches_for_itself_in_its_own_shard() -> None:
    me = Fleet(relay_from=1000)
    neighbours = names_in(me.shard, 2)
    me.join(*neighbours)
    me.relayed(2 * INTERVAL_S, *neighbours)
    said = me.words(me.shard)[-1][1]
    assert (said.live, said.count) == (live_of([me.me, *me.peers.values()]), 3)


def test_it_does_not_speak_for_itself_alone() -> None:
    me = Fleet(relay_from=1000)
    (neighbour,) = names_in(me.shard, 1)
    me.join(neighbour)
    me.use(neighbour, next_ms=60_000)
    me.hear(me.peers[neighbour].goodbye())
    me.run(20 * INTERVAL_S)
    me.hear((me.peers[neighbour].envelope("me"), ShardRequest(me.shard)))
    assert me.duties == ((me.shard, "b"),)
    assert me.words() == []


# ---- exceptions


def test_silent_member_is_excepted_with_the_time_since_it_was_heard() -> None:
    me = Relaying().worked()
    me.use(A, B, C)
    began, seq = me.now, me.peers[A].seq
    me.relayed(8 * INTERVAL_S, B, C)
    for at, said in me.words(SHARD):
        silent_s = at - began
        if silent_s <= 1.5 * INTERVAL_S:
            assert said.excepted == ()
            continue
        [each] = said.excepted
        assert (each.node, each.incarnation, each.seq) == (A, 1, seq)
        told_s = silent_s if silent_s <= 4 * INTERVAL_S else 0
        assert each.silent_ms == pytest.approx(told_s * 1000, abs=2)
    assert {len(said.excepted) for _, said in me.words(SHARD)} == {0, 1}


def test_who_was_never_heard_is_excepted_without_a_time() -> None:
    me = Relaying().worked()
    late = Peer(names_in(SHARD, 7)[6], seq=1)
    me.hear(late.announce(published("web")))
    me.hear(me.name(me.peers[LOWER], [late], shard=SHARD))
    me.relayed(2 * INTERVAL_S, A, B, C)
    assert me.state(late.name) is AgentState.ALIVE
    assert me.words(SHARD)[-1][1].excepted[0] == Excepted(late.name, 1, late.boot_id, 1, 0)


def test_who_went_is_excepted_for_six_intervals_more() -> None:
    me = Relaying().worked()
    me.use(A, B, C)
    me.hear(me.peers[A].goodbye())
    gone_at = me.now
    me.relayed(8 * INTERVAL_S, B, C)
    named = [at - gone_at for at, said in me.words(SHARD) if said.excepted]
    unnamed = [at - gone_at for at, said in me.words(SHARD) if not said.excepted]
    assert max(named) <= 6 * INTERVAL_S < min(unnamed)
    assert len(named) >= 6


def test_of_too_many_to_except_those_heard_lately_are_named_and_the_gone_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(relay_module, "EXCEPTED_MAX", 2)
    me = Relaying(A, B, C, D, E, F).worked()
    me.hear(me.peers[A].goodbye())
    me.use(B)
    me.run(0.5)
    me.use(C)
    me.relayed(3 * INTERVAL_S, D, E, F)
    assert [each.node for each in me.words(SHARD)[-1][1].excepted] == [C, B]


# ---- names


def ask(me: Relaying, whose: str = HIGHER, *, bus: str = "b") -> None:
    me.hear((me.peers[whose].envelope("me"), ShardRequest(SHARD)), bus=bus)


def test_all_whom_it_vouches_for_are_named_at_once_to_who_asks() -> None:
    me = Relaying().worked()
    me.peers[A].version = 4
    me.use(A, B)
    me.run(1.0)
    me.use(C)
    me.take()
    ask(me)
    [(_, said)] = me.words(SHARD)
    assert [(m.node, m.seq, m.version) for m in said.members] == [
        (n, me.peers[n].seq, me.peers[n].version) for n in (A, B, C)
    ]
    assert [m.heard_ms for m in said.members] == pytest.approx([1000, 1000, 0], abs=1)
    assert said.members[2] == member(me.peers[C])
    assert (said.count, said.live) == (3, vouched(me, A, B, C))


def test_names_are_told_once_a_period_to_however_many_ask() -> None:
    me = Relaying().worked()
    for _ in range(10):
        me.use(A, B, C)
        for whose in (HIGHER, LOWER, A, B):
            ask(me, whose)
        me.run(INTERVAL_S / 2)
    lists = [at for at, said in me.words(SHARD) if said.members]
    assert 5 <= len(lists) <= 6
    assert set(me.dropped()) == {"too-many-requests"}


def test_long_list_is_told_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "NAMES_PER_BEAT", 1)
    me = Relaying().worked()
    for _ in range(12):
        me.use(A, B, C)
        ask(me)
        me.run(INTERVAL_S / 2)
    lists = [at for at, said in me.words(SHARD) if said.members]
    assert [b - a for a, b in pairwise(lists)] == [3 * INTERVAL_S]


def test_list_that_no_message_holds_is_a_digest_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "NAMES_MAX", 2)
    me = Relaying().worked()
    me.use(A, B, C)
    ask(me)
    assert [(said.members, said.count) for _, said in me.words(SHARD)] == [((), 3)]


def test_who_is_no_relay_for_that_shard_or_bus_has_no_names() -> None:
    me = Relaying()
    me.echoing.append(TWO)
    me.up(bus=TWO)
    ask(me)
    me.use(A, B, C)
    ask(me, LOWER, bus=TWO)
    assert me.dropped() == ["no-relay"] * 2
    assert me.words() == []


def test_request_that_two_buses_brought_or_that_is_replayed_counts_once() -> None:
    me = Relaying().worked()
    request = (me.peers[HIGHER].envelope("me"), ShardRequest(SHARD))
    me.hear(request, request)
    assert me.dropped() == ["replayed"]


def test_seq_that_another_relay_knows_of_is_passed_on() -> None:
    """Opinions on a silence are about the latest heartbeat that anybody heard."""
    me = Relaying().worked()
    me.use(A, B, C)
    told = Excepted(A, 1, me.peers[A].boot_id, 50, 2000)
    me.hear(me.tell(me.peers[LOWER], [], shard=SHARD, excepted=(told,)))
    me.hear((me.peers[HIGHER].envelope("me"), ShardRequest(SHARD)))
    assert me.words(SHARD)[-1][1].members[0].seq == 50
    me.relayed(3 * INTERVAL_S, B, C)
    assert me.words(SHARD)[-1][1].excepted[0].seq == 50
