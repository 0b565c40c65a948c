"""When one node alone falls silent, a few try its instances by TCP and tell what they found."""

from collections.abc import Iterable

import pytest

from beacond.core.effects import Probe
from beacond.core.messages import Opinion
from beacond.core.model import Status
from beacond.core.opinion import INSTANCES_PER_ROUND, LONGER_S, PROBES_PER_S
from beacond.core.silence import HOLD_S
from tests.support.core import INTERVAL_S, TTL_S, Hand, Peer, published

SUSPECT_S = 2.2 * INTERVAL_S


class Bench(Hand):
    """Some agents of whom the first falls silent; each runs the services given."""

    def __init__(self, others: int = 3, services: Iterable[str] = ("web",)) -> None:
        super().__init__()
        self.start().up()
        names = ["silent", *(f"p{n}" for n in range(1, others + 1))]
        self.peers = [Peer(name, address=f"10.9.0.{n}") for n, name in enumerate(names, 1)]
        self.silent, *self.others = self.peers
        self.offered = [published(s, n) for n, s in enumerate(sorted(services), 80)]
        for peer in self.peers:
            self.hear(peer.announce(*self.offered), peer.heartbeat(self.now))
        self.run(4 * INTERVAL_S, *self.peers)
        self.take()

    def fall_silent(self) -> None:
        """Until it is suspect."""
        self.run(SUSPECT_S, *self.others)
        while "agent.suspect" not in self.kinds("silent"):
            self.run(0.5, *self.others)

    def opinion(
        self, prober: Peer, *, up: Iterable[str] = (), down: Iterable[str] = (), **changes: object
    ) -> None:
        said = {
            "node": "silent",
            "incarnation": self.silent.incarnation,
            "boot_id": self.silent.boot_id,
            "seq": self.silent.seq,
            "reached": tuple(up),
            "unreached": tuple(down),
            "control": True,
        }
        self.hear((prober.envelope(), Opinion(**(said | changes))))

    def probe(self) -> Probe:
        """The latest."""
        return self.probes()[-1]

    def found(self, *reached: str) -> None:
        """Our own probe is answered: these addresses accept."""
        probe = self.probe()
        targets = frozenset(t for t in probe.targets if t[0] in reached)
        self.did(self.node.probed(probe.number, targets, self.now))

    @property
    def served(self) -> bool:
        return "silent" in self.answer("web")


def test_nobody_looks_while_all_speak() -> None:
    me = Bench()
    me.run(60, *me.peers)
    assert me.probes() == []


def test_silent_node_and_a_control_are_tried_at_once() -> None:
    me = Bench(others=2)
    me.fall_silent()
    (probe,) = me.probes()
    assert probe.targets[0] == ("10.9.0.1", 80)
    assert {t[0] for t in probe.targets[1:]} == {"10.9.0.2", "10.9.0.3"}


def test_what_was_found_is_told_to_all() -> None:
    me = Bench(others=2)
    me.fall_silent()
    me.found("10.9.0.2")
    (said,) = me.sent(Opinion)
    assert (said.node, said.seq, said.control) == ("silent", me.silent.seq, True)
    assert (said.reached, said.unreached) == ((), ("web-80",))


def test_two_who_cannot_reach_it_end_it_long_before_its_lease_does() -> None:
    me = Bench(others=2)
    me.fall_silent()
    suspect_at = me.now
    me.found("10.9.0.2")
    assert me.served
    me.opinion(me.others[0], down=["web-80"])
    assert not me.served
    assert me.now - suspect_at < TTL_S - SUSPECT_S
    assert me.kinds("silent")[-2:] == ["instance.stopped", "agent.expired"]


def test_one_who_cannot_reach_it_is_not_enough() -> None:
    me = Bench(others=2)
    me.fall_silent()
    me.found("10.9.0.2")
    for _ in range(3):
        me.opinion(me.others[0], down=["web-80"], control=False)
    assert me.served


def test_who_reached_nobody_else_knows_nothing() -> None:
    me = Bench(others=2)
    me.fall_silent()
    me.found()
    assert not me.sent(Opinion)[0].control
    me.opinion(me.others[0], down=["web-80"])
    me.opinion(me.others[1], down=["web-80"], control=False)
    assert me.served


def test_one_who_reaches_it_outweighs_all_who_do_not() -> None:
    me = Bench(others=3)
    me.fall_silent()
    me.opinion(me.others[0], up=["web-80"])
    for other in me.others[1:]:
        me.opinion(other, down=["web-80"])
    assert me.served


def test_reachable_node_is_suspect_and_served_past_its_lease_until_a_longer_deadline() -> None:
    me = Bench()
    me.fall_silent()
    suspect_at = me.now
    while me.now < suspect_at + LONGER_S - 2 * INTERVAL_S:
        me.opinion(me.others[0], up=["web-80"])
        me.run(INTERVAL_S, *me.others)
        assert me.served
    assert me.kinds("silent") == ["agent.suspect"]
    for _ in range(4):
        me.opinion(me.others[0], up=["web-80"])
        me.run(INTERVAL_S, *me.others)
    assert not me.served


def test_vouching_that_stops_lets_the_lease_end() -> None:
    me = Bench()
    me.fall_silent()
    me.opinion(me.others[0], up=["web-80"])
    me.run(2 * INTERVAL_S, *me.others)
    assert me.served
    me.run(3 * INTERVAL_S, *me.others)
    assert not me.served
    assert me.kinds("silent")[-1] == "agent.expired"


def test_only_the_instances_that_nobody_reaches_go() -> None:
    me = Bench(services=("api", "web"))
    me.fall_silent()
    for other in me.others[:2]:
        me.opinion(other, up=["api-80"], down=["web-81"])
    assert not me.served
    assert "silent" in me.answer("api")
    assert me.kinds("silent")[-2:] == ["instance.deregistered", "instance.stopped"]
    me.opinion(me.others[0], up=["api-80", "web-81"])
    assert me.served
    assert me.kinds("silent")[-2:] == ["instance.registered", "instance.started"]


def test_all_comes_back_with_its_next_heartbeat() -> None:
    me = Bench(services=("api", "web"))
    me.fall_silent()
    for other in me.others[:2]:
        me.opinion(other, up=["api-80"], down=["web-81"])
    me.hear(me.silent.heartbeat(me.now))
    assert me.served
    assert "silent" in me.answer("api")
    assert me.kinds("silent").count("agent.recovered") == 1
    me.run(TTL_S, *me.peers)
    assert me.served


def test_ended_node_comes_back_with_its_next_heartbeat() -> None:
    me = Bench()
    me.fall_silent()
    for other in me.others:
        me.opinion(other, down=["web-80"])
    assert not me.served
    me.hear(me.silent.heartbeat(me.now))
    assert me.served


def test_opinion_of_an_earlier_silence_counts_for_nothing() -> None:
    me = Bench()
    old = me.silent.seq
    me.hear(me.silent.heartbeat(me.now))
    me.fall_silent()
    for other in me.others:
        me.opinion(other, down=["web-80"], seq=old)
    assert me.served
    assert me.dropped() == ["outdated"] * 3


def test_opinion_that_comes_before_we_suspect_waits_until_we_do() -> None:
    me = Bench()
    me.run(SUSPECT_S - 1, *me.others)
    me.opinion(me.others[0], down=["web-80"])
    me.opinion(me.others[1], down=["web-80"])
    assert me.kinds("silent") == []
    me.fall_silent()
    assert not me.served


@pytest.mark.parametrize("who", ["stranger", "old-boot", "repeated"])
def test_opinion_of_a_stranger_an_old_boot_or_repeated_is_dropped(who: str) -> None:
    me = Bench()
    me.fall_silent()
    me.opinion(me.others[0], down=["web-80"])
    match who:
        case "stranger":
            me.opinion(Peer("nobody"), down=["web-80"])
        case "old-boot":
            me.opinion(Peer("p2", boot_id=b"\x00" * 16), down=["web-80"])
        case "repeated":
            me.others[0].counter -= 1
            me.opinion(me.others[0], down=["web-80"])
    assert len(me.dropped()) == 1
    assert me.served


def test_opinions_about_ourselves_and_about_unknown_nodes_are_dropped() -> None:
    me = Bench()
    me.opinion(me.others[0], node="me")
    me.opinion(me.others[0], node="nobody")
    assert me.dropped() == ["unknown-node"] * 2


def test_few_look_however_many_there_are() -> None:
    lookers = 0
    for n in range(40):
        me = Bench(others=8)
        me.node._out.node = f"me{n}"
        me.fall_silent()
        lookers += bool(me.probes())
    # Three of nine, and rendezvous hashing is not exact.
    assert 0 < lookers < 40 * 3 / 9 * 1.7


def test_many_instances_are_tried_in_turn_and_not_faster_than_allowed() -> None:
    me = Bench(others=2, services=[f"s{n:02}" for n in range(20)])
    me.fall_silent()
    began_at = me.now
    tried: set[int] = set()
    while len(tried) < 20:
        tried |= {t[1] for t in me.probe().targets if t[0] == "10.9.0.1"}
        me.found("10.9.0.1")
        me.run(INTERVAL_S, *me.others)
    silent = [t for probe in me.probes() for t in probe.targets]
    assert max(len(probe.targets) for probe in me.probes()) <= INSTANCES_PER_ROUND + 2
    assert len(silent) <= PROBES_PER_S * (me.now - began_at + 1)


def test_critical_instances_and_our_own_addresses_are_not_tried() -> None:
    me = Bench(others=2)
    me.silent.version += 1
    ours = published("ours", 99, address="10.0.0.1")
    critical = published("critical", 98, status=Status.CRITICAL)
    me.hear(me.silent.announce(critical, ours, published("web")))
    me.fall_silent()
    assert {t[1] for t in me.probe().targets if t[0] != "10.9.0.2"} == {80}


def test_blind_agent_does_not_look_and_believes_no_answer() -> None:
    me = Bench(others=2)
    me.fall_silent()
    me.down()
    me.found("10.9.0.2")
    assert me.sent(Opinion) == []
    before = len(me.probes())
    me.run(20 * INTERVAL_S)
    assert len(me.probes()) == before
    assert me.served


def test_what_was_found_before_blindness_still_holds_after_it() -> None:
    me = Bench(others=3)
    me.fall_silent()
    me.opinion(me.others[0], up=["web-80"])
    me.down()
    me.run(2 * LONGER_S)
    me.up()
    me.run(INTERVAL_S, *me.others)
    assert me.served


def test_goodbye_with_a_hold_asks_for_no_opinion() -> None:
    me = Bench(others=2)
    me.hear(me.silent.goodbye(hold_s=60))
    me.run(30, *me.others)
    assert me.probes() == []
    assert me.served


def test_opinions_end_nobody_while_we_are_blind() -> None:
    me = Bench(others=3)
    me.fall_silent()
    me.down()
    for other in me.others[:2]:
        me.opinion(other, down=["web-80"])
    assert me.served


def test_findings_of_two_silences_are_not_added_up() -> None:
    """One prober before our blindness, another long after, of a silence in between we know
    nothing: the heartbeats that we did not hear parted them."""
    me = Bench(others=3)
    me.fall_silent()
    me.opinion(me.others[0], down=["web-80"])
    me.down()
    me.run(3600)
    me.up()
    me.silent.seq += 700
    me.opinion(me.others[1], down=["web-80"])
    assert me.served


def test_opinion_heard_while_blind_holds_no_longer_than_others() -> None:
    me = Bench(others=3)
    me.fall_silent()
    me.down()
    me.run(3600)
    me.opinion(me.others[0], up=["web-80"])
    me.up()
    me.run(INTERVAL_S, *me.others)
    findings = me.node._catalog.entries["silent"].findings.values()
    assert all(at <= me.now for finding in findings for _, at in finding.tries.values())


def test_vouched_node_that_says_goodbye_with_a_hold_goes_when_that_ends() -> None:
    me = Bench(others=3)
    me.fall_silent()
    me.opinion(me.others[0], up=["web-80"])
    me.hear(me.silent.goodbye(hold_s=30))
    me.run(60 + TTL_S, *me.others)
    assert not me.served


def test_hidden_instances_are_shown_for_the_hold() -> None:
    me = Bench(services=("api", "web"))
    me.fall_silent()
    for other in me.others[:2]:
        me.opinion(other, up=["api-80"], down=["web-81"])
    assert not me.served
    me.hear(me.silent.goodbye(hold_s=30))
    assert me.served


def test_vouched_node_held_with_many_is_forgotten_like_them() -> None:
    me = Bench(others=4)
    me.fall_silent()
    me.opinion(me.others[2], up=["web-80"])
    end = me.now + 3 * HOLD_S
    while me.now < end:
        me.run(INTERVAL_S, *me.others[2:])
        for probe in me.probes():
            me.did(me.node.probed(probe.number, frozenset(probe.targets[:1]), me.now))
        me.take()
    entries = me.node._catalog.entries
    assert entries["p1"].last_resort
    assert entries["silent"].last_resort
    assert not entries["silent"].vouched
    assert entries["silent"].node in me.node._catalog.due._queued


def test_one_of_many_instances_speaks_for_its_node_until_it_is_tried_again() -> None:
    """40 instances are five rounds of eight; a finding holds for three."""
    me = Bench(others=3, services=[f"s{n:02}" for n in range(40)])
    me.fall_silent()
    ids = [f"s{n:02}-{80 + n}" for n in range(40)]
    kinds: list[str] = []
    for turn in range(12):
        tried = [ids[(8 * turn + n) % 40] for n in range(8)]
        for other in me.others[:2]:
            me.opinion(
                other, up=[i for i in tried if i == ids[0]], down=[i for i in tried if i != ids[0]]
            )
        assert "silent" in me.answer("s00"), f"gone in round {turn}"
        me.run(INTERVAL_S, *me.others)
    kinds = me.kinds("silent")
    assert kinds.count("instance.registered") == 0  # what nobody reaches does not come and go


def test_restarted_prober_is_believed() -> None:
    me = Bench(others=3)
    me.fall_silent()
    prober = me.others[0]
    prober.counter = 5000
    me.opinion(prober, up=["web-80"])
    prober.reboot(me.now)
    me.hear(prober.announce(published("web")), prober.heartbeat(me.now))
    me.take()
    me.opinion(prober, up=["web-80"])
    assert me.dropped() == []


def test_vouching_ends_in_time_however_busy_the_probing_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight instances and two controls are a second's probes; a round is a second here."""
    monkeypatch.setattr("beacond.core.opinion.VALID_ROUNDS", 7)
    me = Bench(others=7, services=[f"s{n}" for n in range(8)])
    me.fall_silent()
    looker = me.node._opinion
    looker._round_s = 1.0  # as with an interval of 1 s
    looker._is_ours = lambda node: True
    entry = me.node._catalog.entries["silent"]
    first = me.node._catalog.entries["p1"]  # named before it, silent too, and reached for ever
    me.opinion(me.others[1], up=["s0-80"])
    for _ in range(6):
        me.run(INTERVAL_S, *me.others[1:])
        me.opinion(me.others[1], node="p1", boot_id=first.boot_id, seq=first.seq, up=["s0-80"])
    assert not me.node.held
    assert first.vouched
    assert not entry.vouched


def test_probe_begun_before_we_were_stopped_is_not_believed_after() -> None:
    me = Bench(others=2)
    me.fall_silent()
    me.sleep(600)
    me.found("10.9.0.2")
    assert me.sent(Opinion) == []


def test_probers_of_long_ago_do_not_lock_out_who_reaches_it_now() -> None:
    me = Bench(others=12)
    me.fall_silent()
    for other in me.others[:10]:
        me.opinion(other, up=["web-80"])
        me.run(INTERVAL_S, *me.others)
    assert me.dropped() == []


def test_turns_of_nodes_that_are_gone_are_forgotten() -> None:
    me = Bench(others=2, services=[f"s{n:02}" for n in range(20)])
    me.fall_silent()
    me.run(5 * TTL_S, *me.others)
    assert "silent" not in me.node._catalog.suspects
    assert not me.node._opinion._turns
