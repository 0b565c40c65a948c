"""Durations as people write them: `10s`, `1m30s`, `500ms`, `2h`."""

import re

DURATION_MAX_S = 365 * 24 * 3600.0
TEXT_MAX = 40
"""Characters of a duration; spares the pattern from hostile lengths."""

RULE = (
    "a number and a unit of ms, s, m or h, or several from large to small: "
    "500ms, 10s, 1m30s, 1.5h; at most 8760h"
)

_UNITS_S = (("h", 3600.0), ("m", 60.0), ("s", 1.0), ("ms", 0.001))
_NUMBER = r"([0-9]+(?:\.[0-9]+)?)"
_DURATION = re.compile("".join(f"(?:{_NUMBER}{unit})?" for unit, _ in _UNITS_S))


def parse_duration(text: str) -> float:
    """Seconds, 0 up to `DURATION_MAX_S`, to the millisecond.

    Raises ValueError, whose message says what is allowed.
    """
    match = _DURATION.fullmatch(text) if 0 < len(text) <= TEXT_MAX else None
    if match is None:
        raise ValueError(f"is not a duration; write {RULE}")
    seconds = sum(
        float(number) * unit_s
        for number, (_, unit_s) in zip(match.groups(), _UNITS_S, strict=True)
        if number is not None
    )
    if seconds > DURATION_MAX_S:
        raise ValueError(f"is too long; write {RULE}")
    return round(seconds, 3)


def format_duration(seconds: float) -> str:
    """The shortest text that `parse_duration` reads as these seconds, rounded to milliseconds.

    Raises ValueError where they are negative or not finite.
    """
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"{seconds} is not a duration")
    whole_s, ms = divmod(round(seconds * 1000), 1000)
    minutes, s = divmod(whole_s, 60)
    h, m = divmod(minutes, 60)
    parts = ((h, "h"), (m, "m"), (s, "s"), (ms, "ms"))
    return "".join(f"{number}{unit}" for number, unit in parts if number) or "0s"
