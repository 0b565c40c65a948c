"""Fleets of real cores under a virtual clock: what users are promised, one fault at a time."""

import pytest

from beacond.core.model import AgentState, Freshness, Mode
from beacond.core.view import Selection, select
from tests.sim.host import WALL
from tests.sim.world import World
from tests.support.core import Peer, published

INTERVAL_S, TTL_S = 5.0, 15.0


def names(count: int) -> list[str]:
    return [f"n{number:03}" for number in range(count)]


def fleet_of(count: int, seed: int = 1) -> World:
    """A settled fleet in which every host offers one `web`."""
    fleet = World(seed)
    fleet.start(*names(count))
    for name in names(count):
        fleet.register(name, "web")
    fleet.run(30)
    return fleet


def wait_for_heartbeat(fleet: World, name: str) -> None:
    before = fleet.hosts[name].sent
    while fleet.hosts[name].sent == before:
        fleet.run(0.1)


def freshness(fleet: World, at: str, node: str) -> Freshness | None:
    instances = fleet.hosts[at].core.view.instances_of("web")
    return next((i.freshness for i in instances if i.node == node), None)


def state(fleet: World, at: str, node: str) -> AgentState:
    return fleet.hosts[at].core.view.agents[node].state


def partition(fleet: World, group: set[str]) -> None:
    fleet.bus.partition(group, fleet.hosts.keys() - group)


def heal(fleet: World) -> None:
    fleet.bus.heal()


# ---- starting and stopping


def test_registration_is_seen_everywhere_within_a_moment() -> None:
    fleet = fleet_of(3)
    fleet.register("n000", "db")
    fleet.run(0.1)
    assert [fleet.answer(at, "db") for at in names(3)] == [["n000"]] * 3


def test_crashed_host_is_suspect_while_served_and_then_gone() -> None:
    fleet = fleet_of(4)
    wait_for_heartbeat(fleet, "n003")
    fleet.kill("n003")
    seen = []
    for _ in range(int(TTL_S + 4) * 200):
        fleet.run(0.005)
        seen.append((freshness(fleet, "n000", "n003"), "n003" in fleet.answer("n000", "web")))
    assert list(dict.fromkeys(seen)) == [
        (Freshness.FRESH, True),
        (Freshness.SUSPECT, True),
        (None, False),
    ]
    assert fleet.kinds("n000", "n003")[-4:] == [
        "agent.suspect",
        "instance.deregistered",
        "instance.stopped",
        "agent.expired",
    ]


def test_host_that_leaves_is_gone_at_once_everywhere() -> None:
    fleet = fleet_of(4)
    fleet.leave("n003")
    fleet.run(0.05)
    assert all("n003" not in fleet.answer(at, "web") for at in names(3))
    assert state(fleet, "n000", "n003") is AgentState.LEFT


def test_heartbeat_that_arrives_after_the_goodbye_does_not_resurrect() -> None:
    fleet = fleet_of(4)
    fleet.bus.weather.delay_s = (3.0, 3.0)
    wait_for_heartbeat(fleet, "n003")
    fleet.bus.weather.delay_s = (0.001, 0.01)
    fleet.leave("n003")
    fleet.run(60)
    assert fleet.hosts["n000"].dropped["after-goodbye"] > 1
    assert fleet.kinds("n000", "n003").count("agent.joined") == 1
    assert "n003" not in fleet.answer("n000", "web")


def test_goodbye_with_hold_keeps_instances_suspect_and_served_until_it_ends() -> None:
    fleet = fleet_of(4)
    fleet.leave("n003", hold_s=60)
    fleet.run(55)
    assert freshness(fleet, "n000", "n003") is Freshness.SUSPECT
    assert all("n003" in fleet.answer(at, "web") for at in names(3))
    fleet.run(15)
    assert all("n003" not in fleet.answer(at, "web") for at in names(3))
    assert state(fleet, "n000", "n003") is AgentState.LEFT


def test_restart_within_the_hold_is_no_outage() -> None:
    fleet = fleet_of(4)
    fleet.leave("n003", hold_s=60)
    fleet.run(20)
    fleet.start("n003")
    fleet.run(60)
    assert freshness(fleet, "n000", "n003") is Freshness.FRESH
    assert "instance.stopped" not in fleet.kinds("n000", "n003")
    assert "agent.recovered" in fleet.kinds("n000", "n003")


def test_all_agents_restarting_with_hold_is_no_mass_silence() -> None:
    fleet = fleet_of(6)
    for name in names(6)[1:]:
        fleet.leave(name, hold_s=60)
    fleet.run(30)
    assert "view.held" not in fleet.kinds("n000")
    assert len(fleet.answer("n000", "web")) == 6


def test_bus_that_flaps_during_shutdown_does_not_make_the_timer_spin() -> None:
    fleet = fleet_of(2)
    fleet.do("n001", lambda node, now: node.goodbye(0.0, now))
    fleet.bus_down()
    fleet.bus_up()
    fleet.do("n001", lambda node, now: node.suspended(now))
    fleet.run(5)
    assert fleet.hosts["n001"].core.goodbye_said
    assert fleet.hosts["n001"].core.next_deadline() > fleet.now


# ---- the bus away


def test_bus_down_for_ten_minutes_removes_nothing_and_says_since_when() -> None:
    fleet = fleet_of(4)
    fleet.bus_down()
    fleet.kill("n003")
    fleet.run(600)
    view = fleet.hosts["n000"].core.view
    assert fleet.answer("n000", "web") == names(4)
    assert view.sight.stale_since == pytest.approx(1_800_000_030, abs=INTERVAL_S)
    assert "view.blind" in fleet.kinds("n000")


def test_when_the_bus_is_back_only_the_really_gone_go_after_the_grace() -> None:
    fleet = fleet_of(4)
    fleet.bus_down()
    fleet.kill("n003")
    fleet.run(600)
    fleet.bus_up()
    fleet.run(TTL_S)
    assert fleet.answer("n000", "web") == names(4)
    fleet.run(3 * INTERVAL_S)
    assert fleet.answer("n000", "web") == names(3)
    assert fleet.hosts["n000"].core.view.sight.stale_since is None


def test_flapping_bus_keeps_no_corpse() -> None:
    fleet = fleet_of(4)
    fleet.kill("n003")
    for _ in range(12):
        fleet.bus_down()
        fleet.run(8)
        fleet.bus_up()
        fleet.run(8)
    assert fleet.answer("n000", "web") == names(3)


def test_brokers_alarm_that_stops_all_publishers_freezes_the_view() -> None:
    fleet = fleet_of(4)
    fleet.bus_blocked()
    fleet.run(300)
    assert fleet.answer("n000", "web") == names(4)
    assert fleet.hosts["n000"].core.view.sight.stale_since is not None
    assert not {"agent.suspect", "agent.expired"} & set(fleet.kinds("n000"))
    fleet.bus_up()
    fleet.run(60)
    assert not {"agent.suspect", "agent.expired"} & set(fleet.kinds("n000"))


def test_one_bus_of_two_being_down_blinds_nobody() -> None:
    fleet = World(buses=("first", "second"))
    fleet.start(*names(2))
    fleet.run(20)
    for change in (fleet.bus_down, fleet.bus_up, fleet.bus_down, fleet.bus_up):
        change("second")
        fleet.run(20)
    assert {"view.sighted", "bus.down"} <= set(fleet.kinds("n000"))
    assert "view.blind" not in fleet.kinds("n000")
    assert fleet.hosts["n000"].core.view.sight.stale_since is None


def test_mute_agent_says_so_and_is_not_blind() -> None:
    fleet = fleet_of(4)
    fleet.bus.block("n000")
    fleet.run(10)
    sight = fleet.hosts["n000"].core.view.sight
    assert (sight.mute, sight.stale_since) == (True, None)


# ---- our own process stopped


def test_node_paused_for_a_minute_expires_nobody_and_is_found_again() -> None:
    fleet = fleet_of(20)
    fleet.pause("n007")
    fleet.cut_tcp(["n007"], fleet.hosts.keys() - {"n007"})
    fleet.run(60)
    assert "n007" not in fleet.answer("n000", "web")
    fleet.resume("n007")
    fleet.run(10)
    assert fleet.answer("n007", "web") == names(20)
    assert fleet.answer("n000", "web") == names(20)
    fleet.run(60)
    assert not {"agent.suspect", "agent.expired", "view.held"} & set(fleet.kinds("n007"))


def test_receivers_backlog_does_not_renew_the_dead() -> None:
    fleet = fleet_of(5)
    fleet.pause("n000")
    fleet.run(20)
    fleet.kill("n004")
    fleet.run(60)
    fleet.resume("n000")
    fleet.run(TTL_S + 1)
    assert fleet.answer("n000", "web") == names(4)
    assert fleet.hosts["n000"].dropped["too-old"] > 1


# ---- identity


@pytest.mark.parametrize("ahead", [0, 3], ids=["same incarnation", "later incarnation"])
def test_of_two_agents_with_one_name_exactly_one_goes_quiet_and_keeps_answering(ahead: int) -> None:
    fleet = fleet_of(4)
    original = fleet.hosts["n003"]
    clone = fleet.add_clone("n003", "n003-clone", ahead=ahead)
    fleet.run(60)
    cores = [original.core, clone.core]
    assert sorted(core.conflict for core in cores) == [False, True]
    quiet = next(host for host in (original, clone) if host.core.conflict)
    assert [e.kind.value for e in quiet.events].count("agent.conflict") == 1
    before = quiet.sent
    fleet.run(60)
    assert quiet.sent == before
    assert quiet.core.view.sight.stale_since is None
    assert len(select(quiet.core.view.instances_of("web"), Selection())) == 4
    winner = next(core for core in cores if not core.conflict)
    assert fleet.hosts["n000"].core.view.agents["n003"].incarnation == winner.incarnation
    assert "n003" in fleet.answer("n000", "web")


def test_lost_disk_heals_in_about_an_interval() -> None:
    fleet = fleet_of(8)
    fleet.kill("n003")
    fleet.start("n003", incarnation=3)
    fleet.register("n003", "new")
    fleet.run(INTERVAL_S * 1.2)
    assert all(fleet.answer(at, "new") == ["n003"] for at in names(8))
    fleet.run(30)
    assert not fleet.hosts["n003"].core.conflict
    assert fleet.hosts["n003"].core.incarnation > WALL


def test_disk_lost_after_a_goodbye_heals_too() -> None:
    fleet = fleet_of(8)
    fleet.leave("n003")
    fleet.run(30)
    fleet.start_without_disk("n003", incarnation=3)
    fleet.register("n003", "new")
    fleet.run(INTERVAL_S * 1.2)
    assert all(fleet.answer(at, "new") == ["n003"] for at in names(8))


def test_renamed_node_says_goodbye_for_its_old_name() -> None:
    fleet = fleet_of(4)
    fleet.kill("n003")
    fleet.start("renamed", former=("n003", fleet.hosts["n003"].disk.incarnation))
    fleet.register("renamed", "web")
    fleet.run(1.5)
    assert fleet.answer("n000", "web") == ["n000", "n001", "n002", "renamed"]
    assert "n003" not in fleet.answer("renamed", "web")


# ---- many silent at once


def test_half_of_the_fleet_cut_off_but_reachable_is_held() -> None:
    for seed in range(1, 6):
        fleet = fleet_of(20, seed)
        partition(fleet, set(names(20)[10:]))
        fleet.run(120)
        for at in names(20):
            assert fleet.answer(at, "web") == names(20), (seed, at)
            assert "view.held" in fleet.kinds(at), (seed, at)
        heal(fleet)
        fleet.run(30)
        assert all(freshness(fleet, "n000", node) is Freshness.FRESH for node in names(20)), seed
        assert not any(fleet.hosts[at].core.held for at in names(20)), seed


def test_two_fifths_cut_off_but_reachable_lose_nobody_before_the_hold() -> None:
    for seed in range(1, 6):
        fleet = fleet_of(20, seed)
        partition(fleet, set(names(20)[12:]))
        fleet.run(60)
        for at in names(12):
            assert fleet.answer(at, "web") == names(20), (seed, at)


def test_half_of_the_fleet_really_dead_expires_normally() -> None:
    fleet = fleet_of(20)
    fleet.kill(*names(20)[10:])
    fleet.run(TTL_S + 2)
    assert all(fleet.answer(at, "web") == names(10) for at in names(10))


def test_hold_ends_by_itself_as_last_resort() -> None:
    fleet = fleet_of(9)
    partition(fleet, set(names(9)[4:]))
    fleet.run(620)
    assert fleet.answer("n000", "web") == names(4), "what is fresh is preferred"
    held = [i for i in fleet.hosts["n000"].core.view.instances_of("web") if i.last_resort]
    assert [i.node for i in held] == names(9)[4:]
    assert not fleet.hosts["n000"].core.held
    fleet.kill(*names(4)[1:])
    fleet.do("n000", lambda node, now: node.set_mode(None, Mode.MAINTENANCE, None, "", now))
    fleet.run(TTL_S + 5)
    assert fleet.answer("n000", "web") == names(9)[4:], "nothing fresher remains"


def test_held_nodes_outlast_a_blindness_that_follows() -> None:
    fleet = fleet_of(10)
    partition(fleet, set(names(10)[5:]))
    fleet.run(30)
    assert fleet.hosts["n000"].core.held
    fleet.bus_down()
    fleet.cut_tcp(names(10)[:5], names(10)[5:])
    fleet.run(900)
    assert fleet.answer("n000", "web") == names(10)
    fleet.heal_tcp()
    heal(fleet)
    fleet.bus_up()
    fleet.run(60)
    assert fleet.answer("n000", "web") == names(10)
    assert "agent.expired" not in fleet.kinds("n000")


# ---- syncs


def test_newcomer_learns_three_hundred_nodes_by_two_syncs() -> None:
    fleet = fleet_of(2)
    peers = [Peer(f"peer{number}", started_at=fleet.now) for number in range(298)]
    for peer in peers:
        for envelope, message in (peer.announce(published("web")), peer.heartbeat(fleet.now)):
            for at in names(2):
                fleet.hear(at, envelope, message)
    fleet.start("newcomer")
    fleet.run(INTERVAL_S * 1.2)
    assert len(fleet.answer("newcomer", "web")) == 300
    assert fleet.hosts["newcomer"].core.not_ready(fleet.now) == ""
    assert fleet.hosts["newcomer"].sent < 12


def test_two_agents_never_keep_a_dead_third_alive_by_syncing() -> None:
    fleet = fleet_of(3)
    fleet.watch.rules = False  # they would not sync that often by themselves
    fleet.kill("n002")
    for _ in range(30):
        for at in ("n000", "n001"):
            fleet.hosts[at].core._asker.want(1, 0.0)
        fleet.run(1)
    assert fleet.answer("n000", "web") == fleet.answer("n001", "web") == names(2)


def test_goodbye_that_was_missed_is_learnt_by_a_sync_when_sight_returns() -> None:
    fleet = fleet_of(2)
    fleet.start("n002")
    fleet.register("n002", "web")
    fleet.run(20)
    cut_off = fleet.hosts["n000"]
    cut_off.listening.clear()
    fleet.bus.lose(cut_off, "reset")
    fleet.leave("n002")
    fleet.run(10)
    assert "n002" in fleet.answer("n000", "web")
    fleet.attach(cut_off, fleet.bus.key)
    fleet.run(2 * INTERVAL_S + 1)
    assert "n002" not in fleet.answer("n000", "web")


def test_tombstones_are_told_only_by_who_heard_the_goodbye() -> None:
    fleet = fleet_of(3)
    fleet.leave("n002")
    fleet.run(1)
    fleet.start("late")
    fleet.run(20)
    fleet.kill("n000", "n001")
    fleet.start("later")
    fleet.run(60)
    assert "n002" in [t.node for t in fleet.hosts["late"].core.tombstones()]
    assert fleet.hosts["later"].core.tombstones() == ()


# ---- modes and indexes


def test_draining_host_answers_only_where_nothing_else_passes_and_maintenance_never() -> None:
    fleet = fleet_of(2)
    fleet.do("n000", lambda node, now: node.set_mode(None, Mode.DRAINING, None, "", now))
    fleet.run(2)
    assert fleet.answer("n001", "web") == ["n001"]
    fleet.kill("n001")
    fleet.start("n002")
    fleet.run(40)
    assert fleet.answer("n002", "web") == ["n000"]
    fleet.do("n000", lambda node, now: node.set_mode(None, Mode.MAINTENANCE, None, "", now))
    fleet.run(2)
    assert fleet.answer("n002", "web") == []


def test_index_of_a_service_grows_only_with_its_own_answer_and_over_restarts() -> None:
    fleet = fleet_of(2)
    view = fleet.hosts["n000"].core.view
    before = view.index_of("web")
    fleet.register("n001", "other")
    fleet.run(10)
    assert view.index_of("web") == before
    assert view.index_of("other") > before
    fleet.register("n001", "web", port=81)
    fleet.run(1)
    assert view.index_of("web") > before
    last = view.index
    fleet.restart("n000")
    fleet.run(1)
    restarted = fleet.hosts["n000"].core.view
    assert min(restarted.index_of("web"), restarted.index_of("never-was")) > last


def test_fleet_at_rest_sends_one_heartbeat_each_and_nothing_more() -> None:
    fleet = fleet_of(10)
    before = {name: fleet.hosts[name].sent for name in names(10)}
    fleet.run(100)
    assert all(18 <= fleet.hosts[n].sent - before[n] <= 23 for n in names(10))
