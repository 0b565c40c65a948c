"""How the benchmarks take turns, and what they show."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.bench import process
from tests.bench.report import Section, quantile, ratios, table
from tests.bench.rounds import Load, Side, Tally, alternate, report


def test_sides_take_turns_each_as_often_first() -> None:
    asked: list[tuple[str, int]] = []

    def side(name: str) -> Side:
        def load(number: int) -> Load:
            asked.append((name, number))
            return Load(100, 1, 2.0, 0.5, 1.0)

        return Side(name, load)

    tallies = alternate([side("one"), side("other")], 3)
    assert asked == [
        ("one", 0), ("other", 0), ("other", 1), ("one", 1), ("one", 2), ("other", 2),
    ]  # fmt: skip
    assert tallies == [
        Tally(name, [50.0] * 3, [200.0] * 3, [0.5] * 3, 3) for name in ("one", "other")
    ]


def test_what_is_so_during_a_load_begins_before_it_and_ends_after_it() -> None:
    seen: list[str] = []

    @contextmanager
    def during() -> Iterator[None]:
        seen.append("begins")
        yield
        seen.append("ends")

    def load(_: int) -> Load:
        seen.append("asked")
        return Load(1, 0, 1.0, 1.0, 1.0)

    alternate([Side("one", load, during)], 1)
    assert seen == ["begins", "asked", "ends"]


def test_side_that_answers_nothing_ends_the_run() -> None:
    with pytest.raises(RuntimeError, match="one answered nothing"):
        alternate([Side("one", lambda _: Load(0, 5, 1.0, 0.1, 0.1))], 1)


def test_ratio_is_the_median_of_the_rounds_ratios() -> None:
    section = Section("A title")
    section.add_rounds("A", "ms", [2, 4, 90], beside="peer", others=[1, 4, 10], aim="at most 3")
    (row,) = section.rows
    assert (row.value, row.low, row.high, row.other) == (4, 2, 90, 4)
    assert (row.ratio, row.ratio_low, row.ratio_high) == (2, 1, 9)
    *_, line = ratios([section]).splitlines()
    shown = " ".join(line.split())
    assert shown == "A, ms, beside peer 2.00 1.00 to 9.00 at most 3"


def test_table_shows_each_peer_its_value_and_what_failed() -> None:
    section = Section("A title", skipped=["third not installed"])
    ours = Tally("ours", [100.0], [1000.0], [0.5])
    others = [Tally("one", [90.0], [2000.0], [0.5]), Tally("two", [80.0], [500.0], [0.25], 7)]
    report(section, "GET", [ours, *others], ["at least 1.0", ""])
    shown = table(section)
    assert [line.split()[-4:] for line in shown.splitlines()[2:4]] == [
        ["1,000", "one", "2,000", "0.50"],
        ["1,000", "two", "500", "2.00"],
    ]
    assert "0 of ours, 0 of one, 7 of two" in shown
    assert "not measured: third not installed" in shown


def test_without_a_peer_there_is_a_figure_and_no_ratio() -> None:
    section = Section("A title")
    report(section, "GET", [Tally("ours", [100.0], [1000.0], [0.5])], [])
    assert [row.value for row in section.rows] == [1000.0, 100.0]
    assert "A title" not in ratios([section])


def test_quantile_is_a_value_that_was_measured() -> None:
    values = [float(number) for number in range(1, 101)]
    assert (quantile(values, 0.5), quantile(values, 0.99), quantile([3.0], 0.99)) == (50, 99, 3)


def test_processor_time_is_counted_for_a_server_and_what_it_started() -> None:
    sleeps = "import time; time.sleep(60)"
    starts = (
        f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {sleeps!r}]); "
        "print(p.pid, flush=True); sys.stdin.read(); p.kill(); p.wait()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", starts], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        child = int(process.next_line(parent))
        try:
            assert process.family(parent.pid) == (parent.pid, child)
            assert parent.pid in process.family(os.getpid())
        finally:
            parent.communicate()


def test_program_that_is_not_there_is_named() -> None:
    assert process.missing("sh") == ""
    assert "no-such-program" in process.missing("sh", "no-such-program")
