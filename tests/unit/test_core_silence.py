"""Many silent at once: the bus is doubted, not them; every hold ends by itself."""

import pytest

from beacond.core.effects import Probe
from beacond.core.silence import HOLD_S, PROBE_ROUND_BEATS, PROBED_NODES, TARGETS_MAX
from tests.support.core import INTERVAL_S, Hand, Peer, published

NAMES = ("a", "b", "c", "d", "e", "f")


def peers_of(*names: str) -> list[Peer]:
    return [Peer(name, address=f"10.9.0.{number}") for number, name in enumerate(names, 1)]


def hand(peers: list[Peer], **settings: object) -> Hand:
    made = Hand(**settings).start().up()
    made.hear(*(said for p in peers for said in (p.announce(published("web")),)))
    made.hear(*(p.heartbeat(made.now) for p in peers))
    made.run(20, *peers)
    made.take()
    return made


def looked(me: Hand) -> list[Probe]:
    """The guard's own probes. The second opinion's try somebody else too."""
    return [p for p in me.probes() if len({address for address, _ in p.targets}) == 1]


def test_over_a_third_silent_together_is_held_shown_and_looked_into() -> None:
    peers = peers_of(*NAMES)
    me = hand(peers)
    me.run(16, *peers[3:])
    assert me.node.held == ("a", "b", "c")
    assert me.kinds().count("view.held") == 1
    probes = looked(me)
    assert sorted(probe.targets for probe in probes) == [((f"10.9.0.{n}", 80),) for n in (1, 2, 3)]
    assert len(me.answer("web")) == 6


@pytest.mark.parametrize("silent", [1, 2])
def test_a_third_or_less_is_not_held(silent: int) -> None:
    peers = peers_of(*NAMES)
    me = hand(peers)
    me.run(22, *peers[silent:])
    assert me.node.held == ()
    assert "view.held" not in me.kinds()
    assert len(me.answer("web")) == 6 - silent


def test_one_silent_node_alone_is_a_dead_node() -> None:
    peers = peers_of("a")
    me = hand(peers)
    me.run(26)
    assert me.answer("web") == []


def test_none_reachable_ends_the_hold_and_they_expire_as_usual() -> None:
    peers = peers_of(*NAMES)
    me = hand(peers)
    me.run(16, *peers[3:])
    for probe in me.probes():
        me.did(me.node.probed(probe.number, frozenset(), me.now))
    assert me.node.held == ()
    me.run(1, *peers[3:])
    assert me.answer("web") == ["d", "e", "f"]
    assert me.kinds().count("view.held") == 1


def test_one_reachable_keeps_all_held_and_others_are_tried_in_turn() -> None:
    peers = peers_of(*NAMES)
    me = hand(peers)
    me.run(16, *peers[4:])
    first = looked(me)
    assert len(first) == PROBED_NODES
    for probe, reachable in zip(first, (False, True, False), strict=True):
        reached = frozenset(probe.targets if reachable else ())
        me.did(me.node.probed(probe.number, reached, me.now))
    me.run(PROBE_ROUND_BEATS * INTERVAL_S, *peers[4:])
    assert len(looked(me)) == 2 * PROBED_NODES
    assert len(me.answer("web")) == 6


def test_held_at_the_deadline_become_a_last_resort() -> None:
    peers = peers_of(*NAMES)
    me = hand(peers)
    me.run(16, *peers[3:])
    me.run(HOLD_S, *peers[3:])
    assert me.node.held == ()
    assert me.answer("web") == ["d", "e", "f"]
    assert [i.node for i in me.instances("web") if i.last_resort] == ["a", "b", "c"]
    me.run(60, *peers[3:])
    me.hear(peers[0].heartbeat(me.now))
    assert me.answer("web") == ["a", "d", "e", "f"]
    me.run(24 * 3600.0, *peers[3:4])
    assert "b" not in [i.node for i in me.instances("web")]


def test_who_is_heard_again_is_held_no_longer() -> None:
    peers = peers_of(*NAMES)
    me = hand(peers)
    me.run(16, *peers[3:])
    me.hear(peers[0].heartbeat(me.now))
    assert me.node.held == ("b", "c")


def test_who_falls_silent_during_a_hold_joins_it() -> None:
    peers = peers_of(*NAMES)
    me = hand(peers)
    me.run(16, *peers[3:])
    me.run(16, *peers[4:])
    assert me.node.held == ("a", "b", "c", "d")


def test_probe_that_answers_late_or_unasked_changes_nothing() -> None:
    peers = peers_of(*NAMES)
    me = hand(peers)
    me.did(me.node.probed(1, frozenset(), me.now))
    me.run(16, *peers[3:])
    me.did(me.node.probed(99, frozenset(), me.now))
    assert me.node.held == ("a", "b", "c")


def test_blind_agent_neither_probes_nor_believes_a_probe() -> None:
    peers = peers_of(*NAMES)
    me = hand(peers)
    me.run(16, *peers[3:])
    asked = me.probes()
    me.down()
    me.take()
    for probe in asked:
        me.did(me.node.probed(probe.number, frozenset(), me.now))
    me.run(2 * HOLD_S)
    assert me.probes() == []
    assert len(me.answer("web")) == 6
    me.up()
    me.run(1)
    assert not any(i.last_resort for i in me.instances("web"))


def test_hold_does_not_run_out_while_our_process_stands_still() -> None:
    peers = peers_of(*NAMES)
    me = hand(peers)
    me.run(16, *peers[3:])
    me.sleep(2 * HOLD_S)
    me.run(1)
    assert me.node.held == ("a", "b", "c")
    assert not any(i.last_resort for i in me.instances("web"))


def test_our_own_addresses_and_loopback_are_not_probed() -> None:
    peers = [
        Peer("a", address="10.0.0.1"),
        Peer("b", address="127.0.0.1"),
        Peer("c", address="10.9.0.3"),
    ]
    me = hand(peers)
    me.run(16)
    assert {t[0] for probe in me.probes() for t in probe.targets} == {"10.9.0.3"}


def test_fleet_on_one_machine_is_probed_on_loopback() -> None:
    peers = [Peer(name, address="127.0.0.1") for name in ("a", "b")]
    for peer in peers:
        peer.address = "127.0.0.2"
    me = hand(peers, addresses=("127.0.0.1",))
    me.run(16)
    assert {t[0] for probe in me.probes() for t in probe.targets} == {"127.0.0.2"}


def test_silent_nodes_that_offer_nothing_expire_as_usual() -> None:
    peers = peers_of("a", "b", "c")
    me = Hand().start().up()
    me.hear(*(p.announce() for p in peers), *(p.heartbeat(me.now) for p in peers))
    me.run(30)
    assert me.node.held == ()
    assert [a.state.value for n, a in me.node.view.agents.items() if n != "me"] == ["expired"] * 3


def test_a_few_targets_of_a_node_are_enough() -> None:
    me, peers = Hand().start().up(), peers_of("a", "b")
    many = [published("web", port) for port in range(1, 30)]
    me.hear(*(p.announce(*many) for p in peers), *(p.heartbeat(me.now) for p in peers))
    me.run(16)
    assert [len(probe.targets) for probe in me.probes()[:2]] == [TARGETS_MAX, TARGETS_MAX]


def test_one_that_is_left_of_a_mass_silence_is_held_no_longer_but_looked_into_first() -> None:
    peers = peers_of("a", "b", "c")
    me = hand(peers)
    me.run(16, peers[2])
    assert me.node.held == ("a", "b")
    me.run(2 * INTERVAL_S, peers[2])
    before = len(me.probes())
    me.hear(peers[0].heartbeat(me.now))
    me.run(1, peers[0], peers[2])
    assert me.node.held == ()
    assert me.answer("web") == ["a", "b", "c"]
    assert len(me.probes()) == before + 1
    me.run(3 * INTERVAL_S, peers[0], peers[2])
    assert me.answer("web") == ["a", "c"]
