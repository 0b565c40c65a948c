"""To whom our heartbeats go: to all, or to the few that relay for our shard."""

from beacond.core.effects import Publish, Send
from beacond.core.messages import Heartbeat
from tests.support.core import INTERVAL_S, Peer, published
from tests.support.core_relays import ALL, Fleet, best, excepted, names_in

ONE, TWO = "one", "two"
NAMES = [f"n{number}" for number in range(9)]
SHARD = 14
"""Of the agent that is tested."""
FIVE = best(SHARD, NAMES, 5)
FIRST = FIVE[:2]


def relaying(*, relay_from: int = 10, **given: object) -> Fleet:
    """It has sent to relays for some time, and one vouched for it just now."""
    me = Fleet(NAMES, relay_from=relay_from, **given)
    me.flat(4 * INTERVAL_S)
    vouch(me)
    me.take()
    return me


def vouch(me: Fleet, relay: str = NAMES[0], **said: object) -> None:
    """A relay tells that all of our shard are there."""
    believed = [p for p in (me.me, *me.peers.values()) if p.name in members(me)]
    me.hear(me.tell(me.peers[relay], believed, **said))


def members(me: Fleet) -> set[str]:
    return {entry.node for entry in me.our_shard.members.values()}


def better(me: Fleet, number: int = 0) -> str:
    """A name that ranks before all that are there."""
    top = best(me.shard, me.peers, 1)[0]
    names = (f"late{n}" for n in range(10_000))
    return [n for n in names if best(me.shard, [n, top], 1) == [n]][number]


def ways(me: Fleet, bus: str | None = None) -> list[list[str]]:
    """To whom each heartbeat went."""
    return [whom for _, whom in me.beats(bus)]


# ---- whether relays are used


def test_small_fleet_sends_to_all() -> None:
    me = Fleet(NAMES[:3], relay_from=5)
    me.flat(10 * INTERVAL_S)
    assert {tuple(whom) for whom in ways(me)} == {(ALL,)}


def test_fleet_is_large_with_us_in_it() -> None:
    me = Fleet(NAMES[:4], relay_from=5)
    me.flat(10 * INTERVAL_S)
    assert sorted(ways(me)[-1]) != [ALL]


def test_in_the_first_two_and_a_half_intervals_all_hear_us() -> None:
    me = Fleet(NAMES)
    started_at = me.now
    me.flat(5 * INTERVAL_S)
    flat = [at - started_at for at, whom in me.beats() if whom == [ALL]]
    relayed = [at - started_at for at, whom in me.beats() if ALL not in whom]
    assert 1.3 * INTERVAL_S < max(flat) < 2.5 * INTERVAL_S <= min(relayed)


def test_heartbeats_go_to_the_two_that_rank_first_in_our_shard() -> None:
    me = relaying()
    me.flat(INTERVAL_S)
    assert ways(me) == [FIRST]


def test_heartbeat_to_several_is_one_with_a_counter_each() -> None:
    me = relaying()
    me.flat(INTERVAL_S)
    sent = [e for e in me.effects if isinstance(e, Send) and isinstance(e.message, Heartbeat)]
    assert len({effect.message.seq for effect in sent}) == 1
    assert len({effect.envelope.counter for effect in sent}) == 2


def test_one_agent_that_must_hear_all_keeps_all_flat_until_it_learns() -> None:
    me = Fleet(NAMES)
    (old,) = me.join("old")
    old.relays, old.version = False, 2
    me.hear(old.announce(published("web")))
    me.flat(6 * INTERVAL_S)
    assert {tuple(whom) for whom in ways(me)} == {(ALL,)}
    old.relays, old.version = True, 3
    me.hear(old.announce(published("web")))
    me.take()
    me.flat(INTERVAL_S * 1.2)
    assert ALL not in ways(me)[0]


def test_agent_that_must_hear_all_is_no_hindrance_once_it_is_gone() -> None:
    me = Fleet(NAMES)
    old = Peer("old")
    me.hear(old.announce(published("web")), me.beat(old))
    me.flat(4 * INTERVAL_S)
    me.hear(old.goodbye())
    me.take()
    me.flat(INTERVAL_S * 1.2)
    assert ALL not in ways(me)[0]


def test_fleet_that_shrinks_a_little_keeps_its_relays_until_it_is_below_four_fifths() -> None:
    me = relaying()

    def way_with(others: int) -> bool:
        """Whether a relay is used while there are so many others."""
        now = [name for name in me.peers if me.state(name) == "alive"]
        for name in now[others:]:
            me.hear(me.peers.pop(name).goodbye())
        for number in range(others - len(now)):
            me.join(f"late-{me.now}-{number}")
        vouch(me, next(iter(me.peers)))
        me.take()
        me.flat(INTERVAL_S * 1.2)
        return ALL not in ways(me)[0]

    assert [way_with(others) for others in (9, 7, 6, 8, 9)] == [True, True, False, False, True]


def test_fleet_that_grows_back_begins_with_two_whatever_was_before() -> None:
    me = relaying()
    me.flat(4 * INTERVAL_S)
    assert ways(me)[-1] == [*FIVE, ALL]
    me.peers["old"] = Peer("old", started_at=me.now)
    me.hear(me.peers["old"].announce(published("web")), me.beat(me.peers["old"]))
    me.flat(2 * INTERVAL_S)
    me.hear(me.peers.pop("old").goodbye())
    me.take()
    me.flat(1.2 * INTERVAL_S)
    assert ways(me)[0] == FIRST


# ---- who vouches for us, and who does not


def test_who_is_vouched_for_goes_on_sending_to_two() -> None:
    me = relaying()
    for _ in range(20):
        me.flat(INTERVAL_S)
        vouch(me)
    assert {tuple(whom) for whom in ways(me)} == {tuple(FIRST)}


def test_who_is_not_vouched_for_sends_to_five_at_once_and_then_to_all() -> None:
    me = relaying()
    began = me.now
    me.flat(4 * INTERVAL_S)
    more = [at - began for at, whom in me.beats() if whom == FIVE]
    to_all = [at - began for at, whom in me.beats() if whom == [*FIVE, ALL]]
    assert 1.65 * INTERVAL_S <= more[0] <= 1.8 * INTERVAL_S
    assert 2.3 * INTERVAL_S <= to_all[0] <= 2.45 * INTERVAL_S
    assert [whom for _, whom in me.beats() if whom not in (FIRST, FIVE)] == [[*FIVE, ALL]] * len(
        to_all
    )


def test_agents_in_doubt_do_not_all_speak_in_the_same_moment() -> None:
    moments = set()
    for seed in range(8):
        me = relaying(seed=seed)
        began = me.now
        me.flat(2 * INTERVAL_S)
        moments.add(next(at - began for at, whom in me.beats() if whom == FIVE))
    assert max(moments) - min(moments) > 0.05 * INTERVAL_S


def test_who_is_vouched_for_again_sends_to_two_again() -> None:
    me = relaying()
    me.flat(4 * INTERVAL_S)
    assert ways(me)[-1] == [*FIVE, ALL]
    vouch(me)
    me.take()
    me.flat(INTERVAL_S)
    assert {tuple(whom) for whom in ways(me)} == {tuple(FIRST)}


def test_word_that_waited_counts_from_when_it_was_said() -> None:
    me = relaying()
    said_at = me.now
    late = me.tell(me.peers[NAMES[0]], [me.me, *(me.peers[n] for n in members(me) - {"me"})])
    me.flat(INTERVAL_S, silent=NAMES[:1])
    me.take()
    me.hear(late)
    me.flat(INTERVAL_S, silent=NAMES[:1])
    assert next(at for at, whom in me.beats() if whom == FIVE) - said_at >= 1.65 * INTERVAL_S
    assert next(at for at, whom in me.beats() if whom == FIVE) - said_at <= 1.8 * INTERVAL_S


def test_older_word_takes_nothing_back_from_a_newer_one() -> None:
    me = relaying()
    older = me.tell(me.peers[NAMES[1]], [me.me, *(me.peers[n] for n in members(me) - {"me"})])
    me.flat(INTERVAL_S, silent=NAMES[1:2])
    vouch(me)
    said_at = me.now
    me.hear(older)
    me.flat(2 * INTERVAL_S)
    assert next(at for at, whom in me.beats() if whom == FIVE) - said_at >= 1.65 * INTERVAL_S


def test_word_that_leaves_us_out_or_is_of_another_shard_or_disagrees_is_no_word_for_us() -> None:
    me = relaying()
    relay, others = me.peers[NAMES[0]], [me.peers[n] for n in members(me) - {"me"}]
    for _ in range(4):
        me.flat(INTERVAL_S)
        me.hear(me.tell(relay, others, excepted=(excepted(me.me),)))
        me.hear(me.tell(relay, others))
        me.hear(
            me.tell(relay, [p for p in me.peers.values() if p.name in names_in(3, 40)], shard=3)
        )
        me.hear(me.tell(relay, [me.me, *others, Peer("nobody"), Peer("none")]))
    assert ways(me)[-1] == [*FIVE, ALL]


def test_who_is_named_is_vouched_for_unless_another_boot_of_that_name_is_meant() -> None:
    for boot_id, expected in ((b"\x80" * 16, FIRST), (b"\x81" * 16, [*FIVE, ALL])):
        me = relaying()
        me.flat(4 * INTERVAL_S)
        other = Peer("me", me.me.incarnation, boot_id)
        me.hear(me.name(me.peers[NAMES[0]], [other]))
        me.take()
        me.flat(INTERVAL_S * 1.2)
        assert ways(me)[-1] == expected


def test_our_own_word_as_a_relay_confirms_us_once_it_comes_back() -> None:
    for echoes in (True, False):
        me = relaying()
        neighbour = next(n for n in names_in(SHARD, 20) if n not in NAMES)
        me.join(neighbour)
        me.flat(INTERVAL_S)
        for _ in range(6):
            me.echoes = False
            me.hear(me.beat(me.peers[neighbour], to="me"))
            me.echoes = echoes
            me.flat(INTERVAL_S, silent=(neighbour,))
        assert me.words(), "it is a relay"
        assert (ways(me)[-1] == FIRST) is echoes


def test_all_who_are_lost_together_broadcast_no_more_than_a_fleet_without_relays() -> None:
    me = relaying(relay_from=3)
    me.flat(4 * INTERVAL_S)
    me.take()
    me.flat(600 * INTERVAL_S)
    to_all = sum(ALL in whom for whom in ways(me))
    assert abs(to_all / len(ways(me)) - 3 / 10) < 0.08


def test_parts_of_the_fleet_that_relays_speak_for_are_not_lost() -> None:
    me = relaying(relay_from=3)
    me.flat(4 * INTERVAL_S)
    me.take()
    for _ in range(30):
        me.flat(INTERVAL_S)
        for shard in range(16):
            if shard != SHARD:
                me.hear(me.tell(me.peers[NAMES[0]], [], shard=shard))
    assert len(members(me)) <= 3
    assert all(ALL in whom for whom in ways(me))


# ---- others rank first


def test_those_who_ranked_first_before_are_sent_to_as_well_for_two_intervals() -> None:
    me = relaying()
    new = better(me)
    me.join(new)
    began = me.now
    for _ in range(5):
        vouch(me)
        me.flat(INTERVAL_S)
    both, alone = [new, *FIRST], [new, FIRST[0]]
    changed = next(at for at, whom in me.beats() if whom == both)
    for at, whom in me.beats():
        assert whom == (both if at < changed + 2.2 * INTERVAL_S else alone)
    assert changed < began + 1.1 * INTERVAL_S
    assert ways(me)[-1] == alone


def test_relay_that_falls_silent_is_not_sent_to_any_more_and_is_as_a_former_one() -> None:
    me = relaying()
    for _ in range(7):
        me.flat(INTERVAL_S, silent=FIRST[:1])
        vouch(me, FIVE[4])
    assert FIVE[0] not in ways(me)[-1]
    assert ways(me)[-1] == FIVE[1:3]
    assert [*FIVE[1:3], FIVE[0]] in ways(me)


# ---- several buses


def two_buses() -> Fleet:
    me = Fleet()
    me.down()
    me.echoing = [ONE, TWO]
    me.up(bus=ONE).up(bus=TWO)
    me.join(*NAMES[:5], bus=ONE)
    me.join(*NAMES[5:], bus=TWO)
    pass_time(me, 4 * INTERVAL_S)
    vouch_on(me, ONE, NAMES[0])
    vouch_on(me, TWO, NAMES[5])
    me.take()
    return me


def pass_time(me: Fleet, seconds: float) -> None:
    end = me.now + seconds
    while me.now < end:
        me.run(min(INTERVAL_S, end - me.now))
        me.hear(*(me.beat(me.peers[name]) for name in NAMES[:5]), bus=ONE)
        me.hear(*(me.beat(me.peers[name]) for name in NAMES[5:]), bus=TWO)


def vouch_on(me: Fleet, bus: str, relay: str) -> None:
    believed = [p for p in (me.me, *me.peers.values()) if p.name in members(me)]
    me.hear(me.tell(me.peers[relay], believed), bus=bus)


def test_each_bus_has_its_own_relays_and_its_own_doubt() -> None:
    me = two_buses()
    one, two = best(SHARD, NAMES[:5], 5), best(SHARD, NAMES[5:], 5)
    pass_time(me, INTERVAL_S)
    assert (ways(me, ONE)[0], ways(me, TWO)[0]) == (one[:2], two[:2])
    for _ in range(4):
        vouch_on(me, TWO, NAMES[5])
        pass_time(me, INTERVAL_S)
    assert ways(me, ONE)[-1] in (one, [*one, ALL])
    assert {tuple(whom) for whom in ways(me, TWO)} == {tuple(two[:2])}


def test_nothing_is_sent_on_a_bus_that_takes_nothing() -> None:
    me = two_buses()
    me.up(bus=TWO, can_publish=False)
    me.take()
    pass_time(me, 4 * INTERVAL_S)
    assert ways(me, ONE)
    assert not any(ways(me, TWO))


def test_bus_on_which_nobody_is_heard_is_told_all() -> None:
    me = relaying()
    me.echoing.append(TWO)
    me.up(bus=TWO)
    me.flat(INTERVAL_S)
    assert ways(me, TWO)[-1] == [ALL]
    assert ways(me, "b")[-1] == FIRST


def test_bus_that_takes_messages_again_has_an_interval_before_we_are_missed() -> None:
    me = relaying()
    me.up(can_publish=False)
    me.flat(4 * INTERVAL_S)
    me.take()
    me.up()
    back_at = me.now
    me.flat(4 * INTERVAL_S)
    more = next(at - back_at for at, whom in me.beats() if whom == FIVE)
    assert 2.65 * INTERVAL_S <= more <= 2.8 * INTERVAL_S
    assert ways(me)[0] == FIRST


# ---- who must not speak


def test_agent_that_was_outdone_sends_nothing_to_anybody() -> None:
    me = relaying()
    for incarnation in (50, 99):
        ghost = Peer("me", incarnation=incarnation)
        me.hear(ghost.heartbeat(me.now))
    assert me.node.conflict
    me.take()
    me.flat(6 * INTERVAL_S)
    assert [e for e in me.effects if isinstance(e, Publish | Send)] == []


def test_agent_that_said_goodbye_sends_no_heartbeat_and_its_timer_rests() -> None:
    me = relaying()
    me.did(me.node.goodbye(0.0, me.now))
    me.flat(4 * INTERVAL_S)
    assert ways(me) == []
