"""What the other tests here rely on: a simulation is the same each time, and sees what is wrong."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from beacond.core.effects import Emit
from beacond.core.entry import Entry
from beacond.core.events import Event, Kind
from beacond.core.local import Change
from beacond.core.messages import Envelope, Goodbye
from beacond.core.model import InstanceSpec
from beacond.core.node import Node
from tests.sim.bus import QUEUE_MAX
from tests.sim.trial import drawn, run_seed
from tests.sim.watch import Violation
from tests.sim.world import World

ROOT = Path(__file__).resolve().parents[2]


def settled(count: int = 4, **given: object) -> World:
    world = World(**given)
    names = [f"n{number}" for number in range(count)]
    world.start(*names)
    for name in names:
        world.register(name, "web")
    world.run(6 * world.interval_s)
    return world


def tell(world: World, at: str, kind: Kind, node: str, reason: str) -> None:
    """Let a host tell of what it sees of another's `web`, or of the other itself."""
    core = world.hosts[at].core
    assert core is not None
    agent = instance = None
    if kind.value.startswith("instance."):
        instance = next(i for i in core.view.instances_of("web") if i.node == node)
    else:
        agent = core.view.agents[node]
    event = Event(core.log.last_seq + 1, 0.0, kind, reason, instance, agent)
    core.log.append(event)
    world.hosts[at].perform([Emit(event)])


# ---- the same each time


def digest_of(seed: int, hash_seed: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "tests.sim", "--seed", str(seed)],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=100,
    )  # fmt: skip
    return done.stdout.split()[-1]


def test_same_seed_gives_the_same_history_in_any_process() -> None:
    seen = {digest_of(3, hash_seed) for hash_seed in ("0", "1", "4242")}
    assert seen == {run_seed(3).world.watch.history.digest()}


def test_another_seed_gives_another_history() -> None:
    assert drawn(3) != drawn(4)
    assert run_seed(3).world.history != run_seed(4).world.history


def test_frame_decoded_once_says_the_same_as_decoded_by_each_receiver() -> None:
    histories = []
    for shared in (True, False):
        world = World(7, buses=("one", "two"), signed=True)
        world.share_decoded = shared
        world.start("a", "b", "c", "d")
        large = [InstanceSpec(f"w{n}", "web", 80, meta=(("k", "x" * 500),)) for n in range(300)]
        world.hosts["a"].change(Change("http", tuple(large)))
        world.bus.weather.loss = 0.1
        world.run(60)
        world.kill("d")
        world.run(30)
        histories.append(world.history)
        assert len(world.hosts["b"].core.view.instances_of("web")) == 300
    assert histories[0] == histories[1]


def test_clocks_of_hosts_have_nothing_in_common() -> None:
    world = settled(3)
    assert len({round(host.now) for host in world.hosts.values()}) == 3


# ---- buses


def test_agent_that_does_not_read_loses_the_oldest() -> None:
    world = settled(2)
    world.pause("n1")
    session = world.bus.sessions["n1"]
    world.run(20)
    waiting = len(session.backlog)
    assert 5 < waiting < 20
    while len(session.backlog) < QUEUE_MAX:
        session.backlog.append(session.backlog[-1])
    oldest = session.backlog[0]
    world.run(10)
    assert len(session.backlog) == QUEUE_MAX
    assert session.backlog[0] is not oldest


def test_frozen_broker_delivers_late_what_it_had() -> None:
    world = settled(3)
    world.bus_frozen(noticed=False)
    before = {name: host.received for name, host in world.hosts.items()}
    world.run(60)
    assert {name: host.received for name, host in world.hosts.items()} == before
    world.bus_thawed(late=True)
    world.run(0.1)
    assert all(host.received > before[name] + 20 for name, host in world.hosts.items())


def test_one_way_cut_is_one_way() -> None:
    world = settled(2)
    world.bus.cut(["n0"], ["n1"])
    world.run(10)
    heard = {name: host.heard["sim"] for name, host in world.hosts.items()}
    assert heard["n1"]["n0"] < 30 < heard["n0"]["n1"]


def test_damaged_frames_are_refused_and_change_nothing() -> None:
    world = settled(3, signed=True)
    world.bus.weather.mangling = 1.0
    world.run(5)
    assert all(sum(host.refused.values()) > 0 for host in world.hosts.values())
    world.bus.weather.mangling = 0.0
    world.run(20)
    world.watch.check_agreement()


# ---- every rule can be broken


def test_gap_in_the_events_is_found() -> None:
    world = settled()
    core = world.hosts["n0"].core
    assert core is not None
    event = Event(core.log.last_seq + 2, 0.0, Kind.VIEW_BLIND)
    with pytest.raises(Violation, match="came after"):
        world.hosts["n0"].perform([Emit(event)])


def test_events_that_do_not_tell_the_view_are_found() -> None:
    world = settled()
    tell(world, "n0", Kind.INSTANCE_STOPPED, "n1", "critical")
    with pytest.raises(Violation, match="don't tell its view"):
        world.watch.check_replicas()


def test_live_instance_that_is_given_up_is_found() -> None:
    world = settled()
    with pytest.raises(Violation, match=r"web-80@n1, which runs: heard .* s ago"):
        tell(world, "n0", Kind.INSTANCE_DEREGISTERED, "n1", "agent-expired")


def test_one_that_is_given_up_while_blind_is_found() -> None:
    world = settled()
    world.bus_down()
    world.run(10)
    world.kill("n1")
    world.run(100)
    with pytest.raises(Violation, match="nothing has reached it for 1"):
        tell(world, "n0", Kind.INSTANCE_DEREGISTERED, "n1", "agent-expired")


def test_one_that_is_given_up_as_soon_as_sight_is_back_is_found() -> None:
    world = settled()
    world.bus_down()
    world.run(100)
    world.bus.cut(["n1"], ["n0"])
    world.bus_up()
    world.run(8)
    with pytest.raises(Violation, match="which runs: "):
        tell(world, "n0", Kind.INSTANCE_DEREGISTERED, "n1", "agent-expired")


def test_instance_lost_that_is_registered_is_found() -> None:
    world = settled()
    with pytest.raises(Violation, match="which is registered"):
        tell(world, "n0", Kind.INSTANCE_DEREGISTERED, "n1", "deregistered")


def test_instance_that_comes_back_after_it_was_deregistered_is_found() -> None:
    world = settled()
    seen = world.hosts["n0"].core.view.instances_of("web")
    world.deregister("n1", "web-80")
    world.run(1)
    gone = next(i for i in seen if i.node == "n1")
    event = Event(world.hosts["n0"].core.log.last_seq + 1, 0.0, Kind.INSTANCE_REGISTERED, "", gone)
    with pytest.raises(Violation, match="it was deregistered"):
        world.hosts["n0"].perform([Emit(event)])


def test_agent_that_is_back_after_its_goodbye_is_found() -> None:
    world = settled()
    world.leave("n1")
    world.run(10)
    with pytest.raises(Violation, match="is back at n0 after its goodbye"):
        tell(world, "n0", Kind.AGENT_JOINED, "n1", "heard")


def test_goodbye_that_was_never_said_is_found() -> None:
    world = settled()
    with pytest.raises(Violation, match="never said goodbye"):
        tell(world, "n0", Kind.AGENT_LEFT, "n1", "goodbye")


def test_blindness_of_one_that_lacks_nothing_is_found() -> None:
    world = settled()
    core = world.hosts["n0"].core
    assert core is not None
    event = Event(core.log.last_seq + 1, 0.0, Kind.VIEW_BLIND)
    with pytest.raises(Violation, match="n0 is blind, and has been well on sim for"):
        world.hosts["n0"].perform([Emit(event)])


def test_one_that_is_kept_too_long_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    world = settled()
    monkeypatch.setattr(Entry, "due", property(lambda entry: entry.expires_at + 30.0))
    world.kill("n1")
    with pytest.raises(Violation, match="keeps n1, which is off: nothing new for 3"):
        world.run(60)


def test_loss_of_one_that_every_agent_reaches_is_found() -> None:
    world = settled(5)
    world.kill_agent("n1")
    world.run(60)
    with pytest.raises(Violation, match="web-80@n1, which runs: its agent died 60"):
        tell(world, "n0", Kind.INSTANCE_DEREGISTERED, "n1", "agent-expired")


def test_where_nothing_can_be_probed_leases_decide() -> None:
    world = settled(5, probing=False)
    world.kill_agent("n1")
    world.run(25)
    assert world.answer("n0", "web") == ["n0", "n2", "n3", "n4"]


def say(world: World, times: int) -> None:
    for _ in range(times):
        world.watch.said(world.hosts["n0"], Envelope("n0", 1, bytes(16), 1), Goodbye(1, 1))


def test_too_many_messages_are_found() -> None:
    world = settled(3)
    say(world, 4)
    with pytest.raises(Violation, match="messages of 3 agents within one interval"):
        say(world, 5)


def test_views_that_differ_are_found_and_the_text_says_how_to_repeat_it() -> None:
    world = settled()
    world.watch.replay = "python -m tests.sim --seed 1"
    world.kill("n1")
    with pytest.raises(Violation) as found:
        world.watch.check_agreement()
    text = str(found.value)
    assert "believes otherwise" in text
    assert "again: python -m tests.sim --seed 1" in text
    assert "n1       ** killed" in text


def test_nothing_is_left_undone_where_a_heartbeat_is_taken_quickly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`Node.receive` leaves early where nothing can be due. Doing all of it then changes nothing
    but when our next heartbeat may be hurried."""
    decide, quick = Node._is_anything_due, []

    def checked(node: Node, envelope: Envelope, bus: str, now: float) -> bool:
        if decide(node, envelope, bus, now):
            return True
        taken, deadline = node._out.take(), node.next_deadline()
        assert node._leave(now) == []
        assert node.next_deadline() in (deadline, node._hurry.deadline) or (
            node.next_deadline() > deadline
        )
        node._out._effects += taken
        quick.append(now)
        return False

    monkeypatch.setattr(Node, "_is_anything_due", checked)
    monkeypatch.setattr("beacond.core.node.QUICK_FROM", 0)
    for seed in range(200, 230):
        run_seed(seed)
    assert len(quick) > 1000
