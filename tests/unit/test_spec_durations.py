"""Durations are read as written, refused where unclear, and written so that they are read again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beacond.spec.durations import DURATION_MAX_S, format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10s", 10),
        ("1m30s", 90),
        ("500ms", 0.5),
        ("2h", 7200),
        ("1.5h", 5400),
        ("1h2m3s4ms", 3723.004),
        ("0s", 0),
        ("90m", 5400),
        ("8760h", DURATION_MAX_S),
        ("0.4ms", 0),
    ],
)
def test_duration_means_so_many_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10",
        "s",
        "-1s",
        "+1s",
        "1s1m",
        "1s1s",
        "1 s",
        "1e3s",
        "1d",
        "10s\n",
        "１s",
        ".5s",
        "1.s",
    ],
)
def test_what_is_no_duration_is_refused_with_the_rule(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a duration; write .* 1m30s"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["8760h1ms", "9" * 39 + "h"])
def test_duration_over_a_year_is_refused_as_too_long(text: str) -> None:
    with pytest.raises(ValueError, match=r"too long; write .* at most 8760h"):
        parse_duration(text)


def test_endless_text_is_refused_before_it_is_matched() -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration("0" * 10_000_000 + "s")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (90, "1m30s"),
        (0.5, "500ms"),
        (86400, "24h"),
        (59.9996, "1m"),
        (3723.004, "1h2m3s4ms"),
    ],
)
def test_seconds_are_written_short(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
def test_what_no_duration_can_say_is_not_written(seconds: float) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        format_duration(seconds)


@given(st.integers(0, int(DURATION_MAX_S * 1000)))
def test_every_millisecond_is_written_and_read_again(ms: int) -> None:
    assert parse_duration(format_duration(ms / 1000)) == ms / 1000


@given(st.text(max_size=50))
def test_any_text_is_a_duration_or_a_value_error(text: str) -> None:
    try:
        seconds = parse_duration(text)
    except ValueError:
        return
    assert 0 <= seconds <= DURATION_MAX_S
