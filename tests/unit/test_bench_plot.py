"""The plot of what operations cost, and the figures behind it."""

import re
from itertools import pairwise
from pathlib import Path
from random import Random
from xml.etree import ElementTree

import pytest

from tests.bench import plot, scale
from tests.bench.plot import Line, Scale, apart, chart, whole_decades

SVG = "{http://www.w3.org/2000/svg}"
XS = (100, 1_000, 10_000)
DRAWN = Path(__file__).resolve().parents[2] / "docs" / "scaling-costs.svg"


def drawn(*lines: Line) -> ElementTree.Element:
    return ElementTree.fromstring(chart("Title", "hosts", "µs", XS, lines))


def points(root: ElementTree.Element) -> list[list[tuple[float, float]]]:
    found = []
    for line in root.iter(f"{SVG}polyline"):
        pairs = line.attrib["points"].split()
        found.append([(float(x), float(y)) for x, y in (pair.split(",") for pair in pairs)])
    return found


def names(root: ElementTree.Element) -> dict[str, float]:
    found = root.iterfind(f".//{SVG}text[@class='name']")
    return {str(text.text): float(text.attrib["y"]) for text in found}


def test_ten_times_as_much_is_equally_far_wherever_it_is() -> None:
    axis = Scale(1, 1_000, 400, 100)
    assert [axis.at(value) for value in (1, 10, 100, 1_000)] == pytest.approx([400, 300, 200, 100])
    assert axis.decades() == [1, 10, 100, 1_000]


def test_flat_line_is_level_and_what_grows_with_the_fleet_climbs_steadily() -> None:
    flat, grows = points(drawn(Line("flat", (7, 7, 7)), Line("grows", (10, 100, 1_000))))
    assert len({y for _, y in flat}) == 1
    steps = [(x2 - x1, y1 - y2) for (x1, y1), (x2, y2) in pairwise(grows)]
    assert steps[0] == pytest.approx(steps[1], abs=0.2)
    assert steps[0][1] > 0, "greater values are higher up"
    assert [x for x, _ in flat] == [x for x, _ in grows]


def test_all_points_lie_within_the_frame() -> None:
    for line in points(drawn(Line("one", (0.52, 3, 99_000)), Line("other", (1, 1, 0.5)))):
        for x, y in line:
            assert plot.LEFT < x < plot.RIGHT
            assert plot.TOP <= y <= plot.BOTTOM


def test_axis_reaches_whole_powers_of_ten_around_all_values() -> None:
    assert whole_decades(iter([0.52, 31, 99_000])) == (0.1, 100_000)
    assert whole_decades(iter([10, 10])) == (10, 100)
    with pytest.raises(ValueError, match=r"math domain|expected a positive"):
        whole_decades(iter([5, 0]))


def test_names_of_lines_that_end_together_do_not_cover_each_other() -> None:
    lines = [Line(f"line {number}", (1, 2, 3 + number / 100)) for number in range(8)]
    at = names(drawn(*lines, Line("far", (1, 1, 900))))
    assert len(at) == 9
    places = sorted(at.values())
    assert all(low + plot.LABEL_GAP <= high + 0.2 for low, high in pairwise(places))
    assert plot.TOP <= places[0] < places[-1] <= plot.BOTTOM + 4.1
    assert min(at, key=lambda name: at[name]) == "far", "the highest line's name is the highest"


@pytest.mark.parametrize("seed", range(20))
def test_places_are_kept_apart_and_in_order(seed: int) -> None:
    rng = Random(seed)
    wanted = [rng.uniform(0, 100) for _ in range(rng.randint(1, 10))]
    placed = apart(wanted, 10, 0, 100)
    order = sorted(range(len(wanted)), key=lambda n: wanted[n])
    assert [n for n, _ in sorted(enumerate(placed), key=lambda pair: pair[1])] == order
    assert all(b - a >= 10 - 1e-9 for a, b in pairwise(sorted(placed)))
    assert all(-1e-9 <= place <= 100 + 1e-9 for place in placed)


def test_places_far_from_each_other_stay_where_they_are() -> None:
    assert apart([80, 10, 40], 10, 0, 100) == [80, 10, 40]


def test_words_cannot_break_the_document() -> None:
    assert "a < b & c" in names(drawn(Line("a < b & c", (1, 1, 1))))


def test_every_colour_has_one_for_dark_pages() -> None:
    light, dark = chart("", "", "", XS, [Line("one", (1, 1, 1))]).split("@media")
    assert "(prefers-color-scheme: dark)" in dark
    ruled = [set(re.findall(r"\.s(\d) { color: #[0-9a-f]{6}; }", part)) for part in (light, dark)]
    assert ruled[0] == ruled[1] == {str(number) for number in range(plot.COLOURS)}


@pytest.mark.parametrize(
    "lines",
    [[], [Line("short", (1, 1))], [Line(f"line {n}", (1, 1, 1)) for n in range(plot.COLOURS + 1)]],
)
def test_lines_that_cannot_be_drawn_are_refused(lines: list[Line]) -> None:
    with pytest.raises(ValueError, match=r"lines|line needs"):
        chart("", "", "", XS, lines)


def costs() -> scale.Costs:
    """Two rounds at two sizes; the second round of everything took twice as long."""
    found = scale.Costs((100, 10_000))
    for turn in (1, 2):
        for hosts in found.hosts:
            each = dict.fromkeys(scale.OPERATIONS, 10.0 * turn)
            found.note(hosts, {**each, "death": hosts * turn / 10})
    return found


def test_section_compares_the_largest_fleet_with_the_smallest_round_by_round() -> None:
    section = costs().section()
    rows = {row.what: row for row in section.rows}
    death = rows[scale.OPERATIONS["death"]]
    assert (death.value, death.other, death.beside) == (1500, 15, "100 hosts")
    assert (death.ratio, death.ratio_low, death.ratio_high) == (100, 100, 100)
    assert rows[scale.OPERATIONS[scale.HEARTBEAT]].ratio == 1
    assert f"{scale.OPERATIONS['death']}: 15.0, 1,500 µs" in "; ".join(section.notes)


def test_plot_in_the_docs_has_all_operations_at_all_sizes() -> None:
    root = ElementTree.fromstring(DRAWN.read_text())
    assert set(names(root)) == {scale.OPERATIONS[name] for name in scale.PLOTTED}
    assert {len(line) for line in points(root)} == {len(scale.HOSTS)}
