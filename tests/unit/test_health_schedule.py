"""When checks run: with jitter, spread, and never two runs of one."""

import random
from dataclasses import replace

import pytest

from beacond.core.local import CheckState, LocalInstance, ModeState
from beacond.core.model import Check, CheckType, InstanceSpec, Status
from beacond.health.schedule import Schedule, Task, tasks_of

NOW = 5000.0


def task(name: str = "check", interval_s: float = 10.0, **changes: object) -> Task:
    check = Check(CheckType.TCP, name, interval_s=interval_s, **changes)  # type: ignore[arg-type]
    return Task("web-80", check, "127.0.0.1", 80)


@pytest.fixture
def schedule() -> Schedule:
    return Schedule(random.Random(7))


def first_run(schedule: Schedule, wanted: Task) -> float:
    """Let a task start for the first time; returns when."""
    schedule.reconcile([wanted], NOW)
    at = schedule.next_at()
    assert at is not None
    assert schedule.pop_due(at) is wanted
    return at


def test_nothing_to_do_is_never_due(schedule: Schedule) -> None:
    assert schedule.next_at() is None
    assert schedule.pop_due(1e12) is None


def test_a_new_check_runs_within_a_second(schedule: Schedule) -> None:
    assert NOW <= first_run(schedule, task(interval_s=3600)) <= NOW + 1


def test_a_check_is_not_due_before_its_time(schedule: Schedule) -> None:
    schedule.reconcile([task()], NOW)
    at = schedule.next_at()
    assert at is not None
    assert schedule.pop_due(at - 0.001) is None
    assert schedule.pop_due(at) == task()


def test_runs_are_an_interval_apart_from_start_to_start_give_or_take_a_tenth(
    schedule: Schedule,
) -> None:
    wanted = task()
    at = first_run(schedule, wanted)
    gaps = []
    for _ in range(200):
        schedule.finished(wanted, at, at + 2)
        following = schedule.next_at()
        assert following is not None
        gaps.append(following - at)
        at = following
        assert schedule.pop_due(at) is wanted
    assert 9 <= min(gaps) < 9.2
    assert 10.8 < max(gaps) <= 11


def test_a_run_longer_than_the_interval_is_followed_at_once(schedule: Schedule) -> None:
    wanted = task()
    at = first_run(schedule, wanted)
    schedule.finished(wanted, at, at + 60)
    assert schedule.next_at() == at + 60


def test_a_running_check_is_not_due(schedule: Schedule) -> None:
    wanted = task()
    first_run(schedule, wanted)
    schedule.reconcile([wanted], NOW + 100)
    assert schedule.next_at() is None


def test_what_stays_keeps_its_next_run(schedule: Schedule) -> None:
    schedule.reconcile([task()], NOW)
    at = schedule.next_at()
    assert schedule.reconcile([task()], NOW + 0.5) == set()
    assert schedule.next_at() == at


def test_what_is_removed_does_not_run_again(schedule: Schedule) -> None:
    wanted = task()
    schedule.reconcile([wanted], NOW)
    assert schedule.reconcile([], NOW) == {wanted.key}
    assert schedule.next_at() is None
    at = first_run(schedule, wanted)
    schedule.reconcile([], at)
    schedule.finished(wanted, at, at + 1)
    assert schedule.next_at() is None
    assert len(schedule) == 0


def test_a_changed_check_starts_anew_with_its_new_settings(schedule: Schedule) -> None:
    old, new = task(interval_s=3600), task(interval_s=5)
    at = first_run(schedule, old)
    schedule.finished(old, at, at)
    assert schedule.reconcile([new], at + 2) == {old.key}
    next_at = schedule.next_at()
    assert next_at is not None
    assert next_at <= at + 3
    assert schedule.pop_due(next_at) is new


def test_another_address_of_the_instance_is_another_check(schedule: Schedule) -> None:
    schedule.reconcile([task()], NOW)
    moved = replace(task(), address="10.0.0.1")
    assert schedule.reconcile([moved], NOW) == {moved.key}
    assert schedule.pop_due(NOW + 1) is moved


def test_a_changed_check_waits_for_the_end_of_the_run_being_cancelled(schedule: Schedule) -> None:
    old, new = task(interval_s=3600), task(interval_s=5)
    at = first_run(schedule, old)
    schedule.reconcile([new], at)
    assert schedule.pop_due(at + 100) is None
    schedule.finished(old, at, at + 100)
    assert schedule.pop_due(at + 100) is new


def test_the_same_check_registered_again_waits_for_the_run_being_cancelled_too(
    schedule: Schedule,
) -> None:
    first, again = task(), task()
    at = first_run(schedule, first)
    schedule.reconcile([], at)
    schedule.reconcile([again], at)
    assert schedule.pop_due(at + 100) is None
    schedule.finished(first, at, at + 1)
    assert schedule.pop_due(at + 1) is again


def test_a_thousand_new_checks_are_spread(schedule: Schedule) -> None:
    schedule.reconcile([task(f"c-{n}") for n in range(1000)], NOW)
    per_second = [0] * 6
    at = NOW
    while (due := schedule.next_at()) is not None:
        at = due
        assert schedule.pop_due(at) is not None
        per_second[int(at - NOW)] += 1
    assert at <= NOW + 5
    assert all(150 < count < 250 for count in per_second[:5])


def test_a_short_interval_is_not_missed_at_the_first_run(schedule: Schedule) -> None:
    schedule.reconcile([task(f"c-{n}", interval_s=1) for n in range(1000)], NOW)
    while (at := schedule.next_at()) is not None:
        assert at <= NOW + 1
        schedule.pop_due(at)


def test_checks_that_come_and_go_do_not_fill_the_memory(schedule: Schedule) -> None:
    for number in range(5000):
        schedule.reconcile([task(interval_s=10 + number)], NOW)
    assert len(schedule._heap) < 50
    assert len(schedule._waiting) == 1


def test_equal_calls_give_equal_times() -> None:
    first, second = Schedule(random.Random(1)), Schedule(random.Random(1))
    for schedule in (first, second):
        schedule.reconcile([task(f"c-{n}") for n in range(50)], NOW)
    for _ in range(50):
        assert first.next_at() == second.next_at()
        assert first.pop_due(NOW + 9) == second.pop_due(NOW + 9)


def test_all_but_ttl_checks_are_run() -> None:
    checks = tuple(Check(kind, kind.value) for kind in CheckType)
    instance = LocalInstance(
        spec=InstanceSpec("web-80", "web", 80, checks=checks),
        origin="http",
        addresses=("10.0.0.1", "2001:db8::1"),
        status=Status.PASSING,
        mode=ModeState(),
        checks=tuple(CheckState(check, Status.CRITICAL) for check in checks),
    )
    tasks = list(tasks_of([instance]))
    assert [t.key for t in tasks] == [("web-80", "http"), ("web-80", "tcp"), ("web-80", "exec")]
    assert {(t.address, t.port) for t in tasks} == {("10.0.0.1", 80)}
