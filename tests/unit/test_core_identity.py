"""Who speaks under our name, and who under an old incarnation of theirs."""

import pytest

from beacond.core.effects import Publish, SaveIncarnation, Send
from beacond.core.identity import BOOT_ID_MAX
from beacond.core.messages import (
    Announce,
    AnnounceRequest,
    Goodbye,
    Heartbeat,
    Superseded,
    SyncReply,
    SyncRequest,
)
from beacond.core.model import INCARNATION_MAX
from tests.support.core import INTERVAL_S, Hand, Peer, published


@pytest.fixture
def me() -> Hand:
    made = Hand(incarnation=7, boot_id=b"\x80" * 16).start().up()
    made.run(2)
    made.take()
    return made


def superseded(incarnation: int, boot_id: bytes = b"\x01" * 16) -> object:
    return Peer("a").envelope("me"), Superseded(incarnation, boot_id)


def saved(me: Hand) -> list[int]:
    return [e.incarnation for e in me.effects if isinstance(e, SaveIncarnation)]


def publishes(me: Hand) -> list[Publish]:
    return [e for e in me.effects if isinstance(e, Publish)]


# ---- our own name


def test_told_of_a_later_incarnation_we_go_above_it_and_keep_it_on_disk(me: Hand) -> None:
    index = me.node.view.index
    me.hear(superseded(40))
    assert (me.node.incarnation, saved(me)) == (41, [41])
    assert {e.envelope.incarnation for e in publishes(me)} == {41}
    assert me.sent(Heartbeat)[0].seq == 1
    assert me.sent(Announce)[0].record.key == (41, b"\x80" * 16, 1)
    assert me.node.view.index > index
    assert me.node.view.agents["me"].incarnation == 41


@pytest.mark.parametrize(
    ("incarnation", "boot_id"), [(6, BOOT_ID_MAX), (7, b"\x80" * 16), (7, b"\x01" * 16)]
)
def test_what_is_not_above_us_is_no_news(me: Hand, incarnation: int, boot_id: bytes) -> None:
    me.hear(superseded(incarnation, boot_id))
    assert (me.node.incarnation, saved(me)) == (7, [])


def test_the_second_time_we_say_so_and_only_ask(me: Hand) -> None:
    me.hear(superseded(40), superseded(41, BOOT_ID_MAX))
    assert me.node.conflict
    assert me.kinds("me").count("agent.conflict") == 1
    me.take()
    me.hear(superseded(90))
    other = Peer("b")
    me.hear(other.heartbeat(me.now))
    me.hear((other.envelope("me"), SyncRequest(1, "", "", ())))
    me.run(30)
    assert publishes(me) == []
    assert me.sent(SyncReply) == []
    assert me.sent(AnnounceRequest) != []
    assert me.kinds("me") == []


def test_same_notice_from_several_agents_raises_us_once(me: Hand) -> None:
    me.hear(superseded(40), superseded(40), superseded(39))
    assert (me.node.incarnation, me.node.conflict) == (41, False)


def test_incarnation_that_cannot_be_exceeded_is_a_conflict_at_once(me: Hand) -> None:
    me.hear(superseded(INCARNATION_MAX))
    assert me.node.conflict


def test_another_agent_under_our_name_is_never_merged(me: Hand) -> None:
    ghost = Peer("me", incarnation=3)
    me.hear(ghost.announce(published("ghost")), ghost.heartbeat(me.now))
    assert me.answer("ghost") == []
    assert me.node.incarnation == 7
    ghost.incarnation = 9
    me.hear(ghost.announce(published("ghost")), ghost.heartbeat(me.now))
    assert me.answer("ghost") == []
    assert (me.node.incarnation, me.node.conflict) == (10, False)


def test_goodbye_under_our_name_from_a_past_life_does_not_end_us(me: Hand) -> None:
    ghost = Peer("me", incarnation=6)
    me.hear(ghost.goodbye())
    assert me.node.view.agents["me"].state.value == "alive"


def test_copy_of_the_running_process_is_noticed(me: Hand) -> None:
    copy = Peer("me", incarnation=7, boot_id=b"\x80" * 16, seq=50)
    me.hear(copy.heartbeat(me.now))
    assert me.node.incarnation == 8
    copy.incarnation, copy.seq = 9, 0
    me.hear(copy.heartbeat(me.now))
    assert me.node.conflict


def test_our_own_words_from_before_raising_ourselves_are_no_other_agent(me: Hand) -> None:
    me.run(30)
    before = publishes(me)[-1]
    me.hear(superseded(40))
    me.hear((before.envelope, before.message))
    assert (me.node.incarnation, me.node.conflict) == (41, False)


def test_nobody_is_outdone_after_its_goodbye(me: Hand) -> None:
    me.did(me.node.goodbye(0.0, me.now))
    me.hear(superseded(40))
    assert (me.node.incarnation, saved(me)) == (7, [])
    me.run(5)
    assert {type(e.message) for e in publishes(me)} == {Goodbye}


def test_former_name_gets_its_goodbye_once_when_a_bus_is_there() -> None:
    me = Hand(former=("old", 4)).start()
    assert publishes(me) == []
    old = Peer("old", incarnation=4)
    me.hear(old.announce(published("web")), old.heartbeat(me.now))
    me.up()
    byes = [e for e in publishes(me) if isinstance(e.message, Goodbye)]
    assert [(e.envelope.sender, e.envelope.incarnation) for e in byes] == [("old", 4)] * 2
    assert me.answer("web") == []
    me.down()
    me.take()
    me.up()
    assert me.sent(Goodbye) == []


# ---- others' old incarnations


def test_who_speaks_under_an_old_incarnation_is_told_the_one_we_hold(me: Hand) -> None:
    old, new = Peer("a", incarnation=3), Peer("a", incarnation=9)
    me.hear(new.announce(published("web")), new.heartbeat(me.now))
    me.hear(old.heartbeat(me.now))
    told = [e for e in me.effects if isinstance(e, Send) and isinstance(e.message, Superseded)]
    assert [(e.envelope.to, e.message) for e in told] == [("a", Superseded(9, new.boot_id))]
    assert me.dropped() == ["old-incarnation"]


def test_who_speaks_after_its_goodbye_is_told_to_go_above_it(me: Hand) -> None:
    peer = Peer("a", incarnation=3)
    me.hear(peer.announce(published("web")), peer.heartbeat(me.now), peer.goodbye())
    me.hear(peer.heartbeat(me.now))
    assert me.sent(Superseded) == [Superseded(3, BOOT_ID_MAX)]


def test_repeated_goodbye_corrects_nobody(me: Hand) -> None:
    peer = Peer("a", incarnation=3)
    bye = peer.goodbye()
    me.hear(bye, bye)
    assert me.sent(Superseded) == []


def test_only_a_few_of_all_who_hear_an_old_incarnation_tell(me: Hand) -> None:
    for number in range(300):
        other = Peer(f"b{number}")
        me.hear(other.announce(), other.heartbeat(me.now))
    for number in range(1000):
        old, new = Peer(f"a{number}", incarnation=3), Peer(f"a{number}", incarnation=9)
        me.hear(new.heartbeat(me.now), old.heartbeat(me.now))
    assert 1 <= len(me.sent(Superseded)) <= 30, "about 3 of every 301"


def test_a_node_that_goes_on_under_its_old_incarnation_is_told_once_an_interval(me: Hand) -> None:
    old, new = Peer("a", incarnation=3), Peer("a", incarnation=9)
    me.hear(new.heartbeat(me.now))
    for _ in range(10):
        me.hear(old.announce(), old.heartbeat(me.now))
    assert len(me.sent(Superseded)) == 1
    me.now += INTERVAL_S
    me.hear(old.heartbeat(me.now))
    assert len(me.sent(Superseded)) == 2
