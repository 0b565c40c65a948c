"""How the health of one check follows from what is reported of it."""

import pytest

from beacond.core.checks import OUTPUT_MAX, CheckRun
from beacond.core.model import Check, CheckType, Status

WALL = 1_800_000_000.0
PASSING, WARNING, CRITICAL = Status.PASSING, Status.WARNING, Status.CRITICAL


def probe(**fields: object) -> CheckRun:
    return CheckRun.begin(Check(CheckType.TCP, "c", **fields), 0.0)


def ttl(**fields: object) -> CheckRun:
    return CheckRun.begin(Check(CheckType.TTL, "c", ttl_s=30.0, **fields), 0.0)


def results(run: CheckRun, *statuses: Status) -> list[bool]:
    return [run.result(status, "", 1.0, WALL) for status in statuses]


def test_check_begins_in_its_first_status() -> None:
    assert probe().status is CRITICAL
    assert probe(initial=PASSING).status is PASSING


def test_critical_only_after_so_many_failures_in_a_row() -> None:
    run = probe(initial=PASSING, failures=3)
    assert results(run, CRITICAL, CRITICAL, CRITICAL) == [False, False, True]
    assert run.status is CRITICAL


@pytest.mark.parametrize("better", [PASSING, WARNING])
def test_one_better_result_makes_failures_count_anew(better: Status) -> None:
    run = probe(initial=PASSING, failures=3)
    results(run, CRITICAL, CRITICAL, better, CRITICAL, CRITICAL)
    assert run.status is better


def test_passing_again_only_after_so_many_passes_in_a_row() -> None:
    run = probe(passes=3)
    assert results(run, PASSING, PASSING, CRITICAL, PASSING, PASSING) == [False] * 5
    assert results(run, PASSING) == [True]


def test_warning_and_passing_alternate_at_once() -> None:
    run = probe(initial=PASSING, passes=5)
    assert results(run, WARNING, PASSING) == [True, True]


def test_ttl_check_without_a_report_becomes_critical_when_its_ttl_ends() -> None:
    run = ttl(initial=PASSING)
    assert run.deadline == 30.0
    assert not run.expire(29.9)
    assert run.expire(30.0)
    assert run.status is CRITICAL
    assert "30 s" in run.output
    assert run.deadline == float("inf"), "or the timer spins"


def test_report_renews_a_ttl_check() -> None:
    run = ttl()
    assert run.report(PASSING, "fine", 10.0, WALL)
    assert not run.report(PASSING, "fine", 20.0, WALL)
    assert run.deadline == 50.0


def test_ttl_check_that_begins_critical_waits_for_a_report() -> None:
    assert ttl().deadline == float("inf")


def test_status_from_before_a_restart_gets_a_whole_ttl() -> None:
    run = CheckRun.begin(Check(CheckType.TTL, "c", ttl_s=30.0), 100.0, PASSING)
    assert (run.status, run.deadline) == (PASSING, 130.0)


def test_critical_for_so_long_deregisters_counted_from_when_it_became_so() -> None:
    run = probe(initial=PASSING, failures=1, deregister_after_s=60.0)
    assert run.deadline == float("inf")
    run.result(CRITICAL, "", 10.0, WALL)
    run.result(CRITICAL, "", 50.0, WALL)
    assert run.deadline == 70.0
    assert not run.must_deregister(69.9)
    assert run.must_deregister(70.0)
    run.result(PASSING, "", 69.0, WALL)
    assert not run.must_deregister(1000.0)


def test_time_in_which_nobody_could_report_is_forgiven() -> None:
    run = ttl(initial=PASSING, deregister_after_s=60.0)
    run.postpone(100.0)
    assert not run.expire(129.9)
    assert run.expire(130.0)
    run.postpone(10.0)
    assert run.deadline == 200.0


def test_output_is_cut_and_time_is_noted() -> None:
    run = probe()
    run.result(PASSING, "x" * (OUTPUT_MAX + 1), 1.0, WALL)
    state = run.state()
    assert (len(state.output), state.checked_at) == (OUTPUT_MAX, WALL)
