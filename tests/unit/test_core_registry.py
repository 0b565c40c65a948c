"""What this host runs: registrations, their health and modes."""

import pytest

from beacond.core.local import (
    Change,
    LimitReached,
    ModeState,
    NoSuchCheck,
    OwnedElsewhere,
    Registration,
    UnknownInstance,
)
from beacond.core.model import Check, CheckType, InstanceSpec, Mode, Status
from beacond.core.registry import INSTANCES_MAX, Registry
from tests.support.core import spec

WALL = 1_800_000_000.0
ADDRESSES = ("10.0.0.1", "fd00::1")
TTL = Check(CheckType.TTL, "alive", ttl_s=10.0)


def registry(*specs: InstanceSpec, origin: str = "http", now: float = 0.0) -> Registry:
    own = Registry(ADDRESSES)
    own.apply(Change(origin, specs), now)
    return own


def test_instance_is_reached_at_its_own_address_else_at_the_agents() -> None:
    own = registry(spec("web"), spec("db", address="10.0.0.9"))
    assert own.instance("web-80").addresses == ADDRESSES
    assert own.instance("db-80").addresses == ("10.0.0.9",)


def test_lists_are_sorted_by_id() -> None:
    own = registry(spec("web"), spec("db"), spec("api"))
    assert [p.id for p in own.published()] == ["api-80", "db-80", "web-80"]
    assert [i.spec.id for i in own.instances()] == ["api-80", "db-80", "web-80"]


def test_registering_the_same_again_keeps_health_and_mode() -> None:
    checked = spec("web", checks=(TTL,))
    own = registry(checked)
    own.set_health("web-80", Status.PASSING, "ok", None, now=1.0, wall=WALL)
    own.set_mode("web-80", Mode.DRAINING, None, "", now=1.0, wall=WALL)
    before = own.instance("web-80")
    own.apply(Change("http", (checked,)), 2.0)
    assert own.instance("web-80") == before


def test_replacing_keeps_the_health_of_checks_that_stayed_the_same() -> None:
    other = Check(CheckType.TCP, "port")
    own = registry(spec("web", checks=(TTL,)))
    own.set_health("web-80", Status.PASSING, "ok", None, now=1.0, wall=WALL)
    own.apply(Change("http", (spec("web", tags=("new",), checks=(TTL, other)),)), 2.0)
    states = {c.check.name: c.status for c in own.instance("web-80").checks}
    assert states == {"alive": Status.PASSING, "port": Status.CRITICAL}


def test_status_is_the_worst_of_the_checks_and_passing_without() -> None:
    own = registry(spec("web", checks=(TTL, Check(CheckType.TTL, "other", ttl_s=5.0))), spec("db"))
    own.set_health("web-80", Status.PASSING, "", "alive", now=1.0, wall=WALL)
    assert own.instance("web-80").status is Status.CRITICAL
    assert own.set_health("web-80", Status.WARNING, "", "other", now=1.0, wall=WALL)
    assert own.instance("web-80").status is Status.WARNING
    assert own.instance("db-80").status is Status.PASSING


def test_health_is_refused_where_no_ttl_check_takes_it() -> None:
    own = registry(spec("web", checks=(Check(CheckType.TCP, "port"),)))
    for check in (None, "port", "unknown"):
        with pytest.raises(NoSuchCheck):
            own.set_health("web-80", Status.PASSING, "", check, now=1.0, wall=WALL)
    with pytest.raises(UnknownInstance):
        own.set_health("nobody", Status.PASSING, "", None, now=1.0, wall=WALL)


def test_result_for_what_is_gone_meanwhile_is_ignored() -> None:
    own = registry(spec("web"))
    for instance_id, check in (("web-80", "c"), ("gone", "c")):
        assert not own.check_result(instance_id, check, Status.CRITICAL, "", now=1.0, wall=WALL)


def test_id_of_another_origin_is_refused() -> None:
    own = registry(spec("web"), origin="file:a.toml")
    for change in (Change("http", (spec("web"),)), Change("http", drop=("web-80",))):
        with pytest.raises(OwnedElsewhere, match=r"a\.toml"):
            own.check(change)
    own.check(Change("file:a.toml", (spec("web", port=80),), ()))
    with pytest.raises(UnknownInstance):
        own.check(Change("http", drop=("nobody",)))


def test_more_instances_than_the_most_are_refused_and_replacing_one_is_not() -> None:
    own = registry(*(spec("web", port) for port in range(1, INSTANCES_MAX + 1)))
    own.check(Change("http", (spec("web", 1, tags=("new",)),)))
    own.check(Change("http", (spec("web", 9999),), drop=("web-1",)))
    with pytest.raises(LimitReached):
        own.check(Change("http", (spec("web", 9999),)))


def test_plan_tells_what_would_be_and_changes_nothing() -> None:
    own = registry(spec("web"), spec("db"))
    planned = own.plan(Change("http", (spec("api"),), drop=("db-80",)))
    assert [r.spec.id for r in planned] == ["api-80", "web-80"]
    assert [r.spec.id for r in own.registrations()] == ["db-80", "web-80"]
    after = own.published_after(Change("http", (spec("api"),), drop=("db-80",)))
    assert [p.id for p in after] == ["api-80", "web-80"]


def test_mode_ends_by_itself_and_the_timer_does_not_spin() -> None:
    own = registry(spec("web"))
    state = own.set_mode("web-80", Mode.DRAINING, None, "x", now=10.0, wall=WALL)
    assert state == ModeState(Mode.DRAINING, WALL + 600.0, "x")
    assert own.deadline == pytest.approx(610.0)
    assert own.advance(own.deadline)
    assert own.instance("web-80").mode == ModeState()
    assert own.deadline == float("inf")


def test_mode_of_the_host_has_its_own_end_and_at_most_a_day() -> None:
    own = registry()
    state = own.set_mode(None, Mode.MAINTENANCE, 10 * 86400.0, "", now=0.0, wall=WALL)
    assert state.until == WALL + 86400.0
    assert not own.advance(86399.0)
    assert own.advance(86400.0)
    assert own.host_mode == ModeState()


def test_planned_mode_is_the_mode_that_is_set() -> None:
    own = registry(spec("web"))
    planned, host = own.plan_mode("web-80", Mode.DRAINING, 60.0, "r", WALL)
    assert (own.instance("web-80").mode, host) == (ModeState(), ModeState())
    own.set_mode("web-80", Mode.DRAINING, 60.0, "r", now=0.0, wall=WALL)
    assert own.registrations() == planned
    with pytest.raises(UnknownInstance):
        own.plan_mode("nobody", Mode.DRAINING, None, "", WALL)


def test_ttl_that_ran_out_changes_health_and_nothing_that_is_on_disk() -> None:
    own = registry(spec("web", checks=(TTL,)))
    own.set_health("web-80", Status.PASSING, "", None, now=0.0, wall=WALL)
    assert not own.advance(10.0)
    assert own.instance("web-80").status is Status.CRITICAL


def test_critical_for_too_long_is_deregistered() -> None:
    dying = Check(CheckType.TTL, "alive", ttl_s=10.0, deregister_after_s=30.0)
    own = registry(spec("web", checks=(dying,)), spec("db"))
    assert own.deadline == 30.0
    assert own.advance(30.0)
    assert [i.spec.id for i in own.instances()] == ["db-80"]
    assert own.deadline == float("inf")


def test_restart_keeps_modes_and_health_but_a_reboot_trusts_no_check() -> None:
    registered = Registration(spec("web", checks=(TTL,)), "http", ModeState(
        Mode.DRAINING, WALL + 50.0, "deploy"
    ))  # fmt: skip
    known = {"web-80": {"alive": Status.PASSING}}
    for rebooted, expected in ((False, Status.PASSING), (True, Status.CRITICAL)):
        own = Registry(ADDRESSES)
        own.restore([registered], ModeState(), known, rebooted=rebooted, now=5.0, wall=WALL)
        assert own.instance("web-80").status is expected
        assert own.instance("web-80").mode.mode is Mode.DRAINING
        assert own.advance(55.0)
        assert own.instance("web-80").mode.mode is Mode.NORMAL


def test_mode_that_ended_while_we_were_away_is_not_taken_up() -> None:
    own = Registry(ADDRESSES)
    own.restore(
        [], ModeState(Mode.MAINTENANCE, WALL - 1.0, ""), {}, rebooted=False, now=0.0, wall=WALL
    )
    assert own.host_mode == ModeState()
