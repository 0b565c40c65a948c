"""Anti-entropy: who is asked, what is told, and what never is."""

from dataclasses import replace

import pytest

from beacond.core import sync as sync_module
from beacond.core.messages import (
    Announce,
    AnnounceRequest,
    SyncEntry,
    SyncReply,
    SyncRequest,
    Tombstone,
)
from beacond.core.model import AgentState
from tests.support.core import INTERVAL_S, Hand, Peer, published


def hand() -> Hand:
    return Hand().start().up()


def greet(hand: Hand, *peers: Peer) -> None:
    for peer in peers:
        hand.hear(peer.announce(published("web")), peer.heartbeat(hand.now))


def ask(hand: Hand, peer: Peer, **changes: object) -> SyncReply | None:
    """What this node answers to a peer that knows nothing."""
    hand.take()
    request = replace(SyncRequest(1, "", "", ()), **changes)
    hand.hear((peer.envelope(to="me"), request))
    replies = hand.sent(SyncReply)
    return replies[0] if replies else None


def reply(request: SyncRequest, *entries: SyncEntry, **changes: object) -> SyncReply:
    return replace(SyncReply(request.request, entries, (), ""), **changes)


def entry(peer: Peer, heard_ms: int = 0) -> SyncEntry:
    return SyncEntry(peer.record(published("web")), heard_ms, 15_000)


def asked_of(hand: Hand, request: SyncRequest) -> str:
    """The node that this question went to."""
    return next(e.envelope.to for e in hand.effects if getattr(e, "message", None) is request)


# ---- asking


def test_newcomer_asks_two_nodes_that_it_heard_one_after_the_other() -> None:
    me, peers = hand(), [Peer(name) for name in ("a", "b", "c")]
    greet(me, *peers)
    (first,) = me.sent(SyncRequest)
    asked = [asked_of(me, first)]
    me.take()
    me.hear((next(p for p in peers if p.name == asked[0]).envelope("me"), reply(first)))
    (second,) = me.sent(SyncRequest)
    asked.append(asked_of(me, second))
    me.take()
    me.hear((next(p for p in peers if p.name == asked[1]).envelope("me"), reply(second)))
    me.run(1)
    assert me.sent(SyncRequest) == []
    assert len(set(asked)) == 2


def test_answer_of_somebody_else_or_to_another_question_is_dropped() -> None:
    me, a, b = hand(), Peer("a"), Peer("b")
    greet(me, a)
    (request,) = me.sent(SyncRequest)
    told = reply(request, entry(Peer("x")))
    me.take()
    me.hear((b.envelope("me"), told), (a.envelope("me"), replace(told, request=99)))
    assert me.dropped() == ["unasked", "unasked"]
    me.hear((a.envelope("me"), told))
    assert me.answer("web") == ["a", "x"]
    me.hear((a.envelope("me"), told))
    assert me.dropped() == ["unasked"] * 3


def test_who_does_not_answer_is_given_up_and_another_asked() -> None:
    me, peers = hand(), [Peer(name) for name in "abcdefgh"]
    greet(me, *peers)
    me.run(60, *peers)
    asked = [e.envelope.to for e in me.effects if isinstance(getattr(e, "message", 0), SyncRequest)]
    assert len(asked) >= sync_module.TRIES
    assert len(set(asked[:4])) == 4


def test_large_catalog_is_asked_for_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync_module, "KNOWN_MAX", 3)
    node, peers = hand(), [Peer(f"p{number}") for number in range(8)]
    greet(node, *peers)
    pages = []
    while requests := node.sent(SyncRequest):
        request = requests[-1]
        pages.append(request)
        to = asked_of(node, request)
        node.take()
        node.hear((next(p for p in peers if p.name == to).envelope("me"), reply(request)))
        if len(pages) == 4:
            break
    assert [len(page.known) for page in pages[1:4]] == [3, 3, 3]
    assert [page.after for page in pages[2:4]] == [page.upto for page in pages[1:3]]


def test_sync_never_writes_our_own_entry_nor_ends_us() -> None:
    me, a = hand(), Peer("a")
    greet(me, a)
    (request,) = me.sent(SyncRequest)
    ghost = Peer("me", incarnation=99)
    told = reply(request, entry(ghost), tombstones=(Tombstone("me", 98),))
    me.hear((a.envelope("me"), told))
    assert me.node.view.agents["me"].incarnation == 7
    assert me.answer("web") == ["a"]


def test_sight_that_returns_asks_the_only_other_node_again() -> None:
    me, a = hand(), Peer("a")
    greet(me, a)
    (request,) = me.sent(SyncRequest)
    me.hear((a.envelope("me"), reply(request)))
    me.down()
    me.take()
    me.up()
    me.run(INTERVAL_S)
    assert len(me.sent(SyncRequest)) >= 1


def test_who_believes_otherwise_than_most_twice_asks() -> None:
    me, peers = hand(), [Peer(name) for name in "abc"]
    greet(me, *peers)
    me.run(30, *peers)
    me.take()
    for _ in range(4):
        agreed = me.node._catalog.digest
        me.now += INTERVAL_S
        me.hear(*(peer.heartbeat(me.now, digest=agreed) for peer in peers))
        me.run(0.01)
    assert me.sent(SyncRequest) == []
    for _ in range(3):
        me.now += INTERVAL_S
        me.hear(*(peer.heartbeat(me.now, digest=b"otherwis") for peer in peers))
        me.run(0.01)
    assert me.sent(SyncRequest) != []


def test_digests_are_compared_when_heard_so_that_steady_change_is_no_difference() -> None:
    me, peers = hand(), [Peer(name) for name in "abcd"]
    greet(me, *peers)
    me.run(60, *peers)
    me.take()
    for number in range(40):
        me.run(INTERVAL_S / 4)
        changing = Peer(f"x{number}")
        peer = peers[number % 4]
        me.hear(peer.heartbeat(me.now, digest=me.node._catalog.digest))
        me.hear(changing.announce(published("web")), changing.heartbeat(me.now))
        me.hear(changing.goodbye())
    assert me.sent(SyncRequest) == []


# ---- answering


def test_hearsay_is_not_passed_on_even_of_nodes_that_we_heard_once() -> None:
    me, a, old = hand(), Peer("a"), Peer("old")
    greet(me, old)
    me.run(60)
    greet(me, a)
    request = me.sent(SyncRequest)[-1]
    old.reboot()
    me.hear((a.envelope("me"), reply(request, entry(old), entry(Peer("hearsay")))))
    assert me.answer("web") == ["a", "hearsay", "old"]
    told = ask(me, Peer("newcomer"))
    assert [e.record.node for e in told.entries] == ["a", "me"]


def test_who_is_silent_is_not_passed_on() -> None:
    me, peers, silent = hand(), [Peer("a"), Peer("b")], Peer("silent")
    greet(me, *peers, silent)
    for _ in range(3):
        me.run(4)
        me.hear(*(peer.heartbeat(me.now) for peer in peers))
    assert me.node.view.agents["silent"].state is AgentState.SUSPECT
    told = ask(me, Peer("newcomer"))
    assert [e.record.node for e in told.entries] == ["a", "b", "me"]


def test_each_is_told_with_the_time_since_it_was_heard() -> None:
    me, a = hand(), Peer("a")
    greet(me, a)
    me.run(3)
    told = {e.record.node: e for e in ask(me, Peer("newcomer")).entries}
    assert told["a"].heard_ms == pytest.approx(3000, abs=5)
    assert (told["me"].heard_ms, told["a"].ttl_ms) == (0, 15_000)


def test_what_the_asker_has_is_not_told_again() -> None:
    me, a, b = hand(), Peer("a"), Peer("b", version=3)
    greet(me, a, b)
    known = tuple(
        sync_module.Known(p.name, p.incarnation, p.boot_id, v) for p, v in ((a, 1), (b, 2))
    )
    told = ask(me, Peer("newcomer"), known=known)
    assert [e.record.node for e in told.entries] == ["b", "me"]


def test_snapshot_is_never_passed_on() -> None:
    me = Hand().start(records=(Peer("old").record(published("web")),), saved_at=1.0).up()
    assert me.answer("web") == ["old"]
    assert [e.record.node for e in ask(me, Peer("newcomer")).entries] == ["me"]


def test_goodbyes_are_told_by_who_heard_them_only() -> None:
    me = Hand().start(tombstones=(Tombstone("restored", 3),)).up()
    gone, a = Peer("gone"), Peer("a")
    greet(me, gone, a)
    me.hear(gone.goodbye())
    (request,) = me.sent(SyncRequest)[:1]
    told = reply(request, tombstones=(Tombstone("hearsay", 5),))
    me.hear((a.envelope("me"), told), (gone.envelope("me"), told))
    assert ask(me, Peer("newcomer")).tombstones == (Tombstone("gone", 1),)
    kept = {t.node for t in me.node.tombstones()}
    assert {"gone", "restored"} <= kept


def test_reply_is_limited_and_says_how_far_it_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync_module, "PAGE_ENTRIES_MAX", 4)
    me, newcomer = hand(), Peer("newcomer")
    greet(me, *(Peer(f"p{number}") for number in range(9)))
    names, after = [], ""
    for _ in range(3):
        page = ask(me, newcomer, after=after)
        names += [e.record.node for e in page.entries]
        after = page.covered
    assert names == ["me", *(f"p{number}" for number in range(9))]
    assert after == ""


def test_range_asked_for_is_kept_to() -> None:
    me = hand()
    greet(me, *(Peer(name) for name in "abcd"))
    told = ask(me, Peer("newcomer"), after="a", upto="c")
    assert [e.record.node for e in told.entries] == ["b", "c"]


def test_too_many_questions_are_dropped_and_old_ones_not_answered_twice() -> None:
    me, a = hand(), Peer("a")
    greet(me, a)
    me.take()
    question = (a.envelope("me"), SyncRequest(1, "", "", ()))
    me.hear(question, question)
    assert me.dropped() == ["replayed"]
    for number in range(40):
        me.hear((Peer(f"q{number}").envelope("me"), SyncRequest(1, "", "", ())))
    assert len(me.sent(SyncReply)) == sync_module.REPLY_BURST
    assert "too-many-syncs" in me.dropped()


# ---- asking owners for their state


def test_owner_is_asked_for_missing_state_within_half_an_interval_and_again() -> None:
    me, a = hand(), Peer("a")
    me.hear(a.heartbeat(me.now))
    assert me.sent(AnnounceRequest) == []
    me.run(INTERVAL_S / 2)
    assert len(me.sent(AnnounceRequest)) == 1
    me.run(INTERVAL_S)
    assert len(me.sent(AnnounceRequest)) == 2
    me.hear(a.announce(published("web")))
    me.run(INTERVAL_S * 2, a)
    assert len(me.sent(AnnounceRequest)) == 2


def test_nobody_is_asked_where_the_state_was_heard_meanwhile() -> None:
    me, a = hand(), Peer("a")
    me.hear(a.heartbeat(me.now), a.announce(published("web")))
    me.run(INTERVAL_S)
    assert me.sent(AnnounceRequest) == []
    a.version = 2
    me.hear(a.heartbeat(me.now))
    me.hear(a.announce(published("web")))
    me.run(INTERVAL_S)
    assert me.sent(AnnounceRequest) == []


def test_owner_that_went_is_not_asked_any_more() -> None:
    me, a = hand(), Peer("a")
    me.hear(a.heartbeat(me.now), a.goodbye())
    me.run(30)
    assert me.sent(AnnounceRequest) == []


def test_owner_answers_a_request_by_broadcast_once_a_second() -> None:
    me = hand()
    me.run(2)
    me.take()
    for name in "abcdef":
        me.hear((Peer(name).envelope("me"), AnnounceRequest(1)))
    assert len(me.sent(Announce)) == 1
    me.run(1.1)
    assert len(me.sent(Announce)) == 2


def test_question_that_two_buses_bring_is_answered_once_whatever_boot_asks() -> None:
    me, a = hand(), Peer("a", incarnation=5)
    greet(me, a)
    me.up(bus="second")
    for asker in (a, Peer("a", incarnation=4, boot_id=b"\x05" * 16)):
        me.take()
        asked = (asker.envelope("me"), SyncRequest(1, "", "", ()))
        me.hear(asked, bus="b")
        me.hear(asked, bus="second")
        assert len(me.sent(SyncReply)) == 1
        assert me.dropped() == ["replayed"]
