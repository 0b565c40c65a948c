"""What the soak calls a leak, and what it does not."""

from dataclasses import replace

import pytest

from tests.soak.samples import Sample, take
from tests.soak.verdict import (
    WARM_EVENTS,
    judge,
    judge_churn,
    judge_memory,
    judge_return,
    rise_percent,
    slope,
    violated,
)

START = Sample(
    "one", 0.0, 60_000, fds=20, threads=5, tasks=30, waiters=0, streams=0, events=WARM_EVENTS
)


def series(kib_per_min: float, minutes: int, *, warm_up_kib: int = 0) -> list[Sample]:
    """One a minute; `warm_up_kib` come on top in steps within the first five."""
    return [
        replace(
            START,
            at_s=60.0 * minute,
            rss_kib=int(60_000 + kib_per_min * minute + warm_up_kib * min(minute, 5) / 5),
        )
        for minute in range(minutes + 1)
    ]


def test_the_slope_is_that_of_the_line_through_points_with_noise():
    assert slope([(0, 1), (1, 3), (2, 5)]) == pytest.approx(2)
    assert slope([(0, 1.5), (1, 2.5), (2, 5.5), (3, 6.5)]) == pytest.approx(1.8)
    assert slope([(1, 1), (1, 9)]) == 0


def test_the_rise_is_a_share_of_the_mean_in_ten_minutes():
    assert rise_percent(series(60, 20)) == pytest.approx(100 * 600 / 60_600)
    assert rise_percent(series(-60, 20)) < 0


@pytest.mark.parametrize(("kib_per_min", "holds"), [(0, True), (50, True), (70, False)])
def test_memory_may_rise_by_less_than_a_hundredth_in_ten_minutes(kib_per_min, holds):
    assert judge_memory(series(kib_per_min, 25)).holds is holds


def test_the_first_five_minutes_of_memory_do_not_count():
    assert judge_memory(series(0, 25, warm_up_kib=30_000)).holds is True
    assert rise_percent(series(0, 25, warm_up_kib=30_000)) > 1


def test_memory_is_not_judged_by_less_than_ten_minutes_after_the_fifth():
    found = judge_memory(series(500, 14))
    assert found.holds is None
    assert "not judged" in found.text
    assert judge_memory(series(500, 15)).holds is False


def test_memory_is_not_judged_while_the_event_log_still_fills():
    filling = [replace(sample, events=100 * number) for number, sample in enumerate(series(90, 25))]
    assert judge_memory(filling).holds is None
    later = [replace(sample, events=1000 * number) for number, sample in enumerate(series(90, 45))]
    assert judge_memory(later).holds is False


@pytest.mark.parametrize("what", ["tasks", "fds", "waiters", "streams"])
def test_what_does_not_come_back_is_a_leak(what):
    end = replace(START, at_s=1800.0, **{what: getattr(START, what) + 1})
    (leak,) = violated(judge_return(START, end))
    assert leak.what == what


def test_less_than_at_first_is_no_leak_and_threads_may_stay():
    end = replace(START, at_s=1800.0, tasks=29, fds=18, threads=9)
    assert violated(judge_return(START, end)) == []


def test_one_failed_lookup_is_a_violation_and_so_is_none_at_all():
    quiet, ends = {"one": series(0, 25)}, {"one": (START, START)}
    assert violated(judge(quiet, ends, asked=10, failures=[])) == []
    (failed,) = violated(judge(quiet, ends, asked=10, failures=["refused"]))
    assert "refused" in failed.text
    (unasked,) = violated(judge(quiet, ends, asked=0, failures=[]))
    assert unasked.what == "lookups"


def test_a_sample_is_read_off_the_process_and_its_metrics():
    import os

    metrics = (
        "# HELP beacond_tasks asyncio tasks\n"
        "beacond_tasks 7.0\nbeacond_http_waiters 2.0\nbeacond_http_event_streams 1.0\n"
        'beacond_bus_up{bus="amqp://beacond@127.0.0.1/"} 1.0\n'
    )
    sample = take("me", os.getpid(), metrics, 0.0)
    assert (sample.tasks, sample.waiters, sample.streams) == (7, 2, 1)
    assert sample.rss_kib > 1000
    assert sample.fds > 2
    assert sample.threads >= 1


def test_a_change_that_a_healthy_agent_refused_is_a_violation():
    assert judge_churn(100, []).holds is True
    assert judge_churn(0, []).holds is False
    found = judge_churn(100, ["PUT at a: status 500"])
    assert (found.holds, "status 500" in found.text) == (False, True)
