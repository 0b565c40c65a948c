"""What `make freshness` prints of what it measured."""

from tests.freshness.changes import Times
from tests.freshness.churn import Tally
from tests.freshness.table import Column, markdown, notes


def column(name: str, *, visible: list[float], wrong: int = 0) -> Column:
    made = Column(name, "1.0", "as it comes", Times(visible=visible))
    made.replaced = Tally(asked=110, failed=10, wrong=wrong, changes=5)
    return made


def lines(*columns: Column) -> dict[str, list[str]]:
    rows = (line.strip("| ").split(" | ") for line in markdown(columns).splitlines())
    return {row[0]: row[1:] for row in rows}


def test_figures_of_others_have_their_ratio_to_beacond() -> None:
    shown = lines(
        column("beacond", visible=[0.010, 0.020, 0.030], wrong=10),
        column("etcd", visible=[0.030, 0.040], wrong=5),
    )
    assert shown["registration → visible elsewhere: median, ms"] == ["20.0", "30.0 (1.50)"]
    assert shown["registration → visible elsewhere: max, ms"] == ["30.0", "40.0 (1.33)"]
    assert shown["wrong answers, instances replaced, %"] == ["10.0", "5.00 (0.50)"]


def test_ninety_ninth_percentile_is_told_from_a_hundred_values_on() -> None:
    few = lines(column("beacond", visible=[0.01] * 99))
    many = lines(column("beacond", visible=[0.01] * 99 + [0.5]))
    assert "registration → visible elsewhere: p99, ms" not in few
    assert many["registration → visible elsewhere: p99, ms"] == ["10.0"]


def test_what_nobody_measured_is_no_row_and_what_one_lacks_is_a_dash() -> None:
    ours, theirs = column("beacond", visible=[0.01]), column("Serf", visible=[])
    ours.times.suspected.append(2.25)
    shown = lines(ours, theirs)
    assert shown["host crash → suspect: median, s"] == ["2.25", "–"]
    assert not any("host crash → gone" in row for row in shown)


def test_without_beacond_there_are_no_ratios() -> None:
    shown = lines(column("Serf", visible=[0.2]), column("etcd", visible=[0.1]))
    assert shown["registration → visible elsewhere: median, ms"] == ["200", "100"]


def test_failed_lookups_are_counted_and_no_wrong_answers() -> None:
    shown = lines(column("beacond", visible=[0.01], wrong=50))
    assert shown["wrong answers, instances replaced, %"] == ["50.0"]
    assert shown["lookups without an answer, instances replaced"] == ["10"]


def test_settings_and_number_of_values_are_told() -> None:
    told = list(notes([column("beacond", visible=[0.01, 0.02])]))
    assert told[0] == "beacond 1.0: as it comes."
    assert "registration → visible elsewhere: 2" in told[-1]


def test_what_ended_early_says_why() -> None:
    ours = column("beacond", visible=[0.01])
    ours.failed = "no answer"
    assert "beacond ended early: no answer." in list(notes([ours]))
