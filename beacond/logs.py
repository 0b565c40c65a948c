"""How log lines look: an event and its facts, as text or JSON, on standard error.

    2026-11-22T10:00:00.123Z INFO dns listening address=127.0.0.1:8653

Code logs a short lower-case event as the message and the facts in `extra`. Nothing may flood the
log: of the same event in the same place a few lines pass, then one tells how many were left out.
"""

import json
import logging
import re
import sys
import time
from collections import OrderedDict
from datetime import UTC, datetime
from typing import Any, TextIO

from pythonjsonlogger.json import JsonFormatter

STORM_BURST = 20
"""Lines of one event that pass in each window."""
STORM_WINDOW_S = 10.0
STORM_KEYS_MAX = 512
"""Different events remembered at a time."""

_ROOT = "beacond"
_RESERVED = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_PLAIN_VALUE = re.compile(r"[^\s\"=\x00-\x1f\x7f-\x9f]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def set_up(level: str, form: str, stream: TextIO | None = None) -> None:
    """Send this process's logs to `stream` (standard error) from `level` on; may be called again.

    `form`: `text` or `json`. Libraries are heard from WARNING on.
    """
    handler = CalmHandler(stream or sys.stderr)
    handler.setFormatter(ObjectFormatter() if form == "json" else TextFormatter())
    root = logging.getLogger()
    for old in [each for each in root.handlers if isinstance(each, CalmHandler)]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger(_ROOT).setLevel(level.upper())
    logging.captureWarnings(True)


class TextFormatter(logging.Formatter):
    """`TIME LEVEL ROOM EVENT key=value …`, always one line but for a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        words = [
            _time(record),
            record.levelname,
            _room(record.name),
            _CONTROL.sub(_escape, record.getMessage().rstrip()),
        ]
        words += [f"{key}={_value(value)}" for key, value in _facts(record).items()]
        line = " ".join(words)
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class ObjectFormatter(JsonFormatter):
    """One JSON object a line: `time`, `level`, `logger`, `event`, then the facts."""

    def __init__(self) -> None:
        super().__init__(json_ensure_ascii=False)

    def add_fields(
        self,
        log_data: dict[str, Any],
        record: logging.LogRecord,
        message_dict: dict[str, Any],
    ) -> None:
        log_data.update(time=_time(record), level=record.levelname, logger=record.name)
        log_data["event"] = record.getMessage().rstrip()
        log_data.update(_facts(record))
        if "exc_info" in message_dict:
            log_data["traceback"] = message_dict["exc_info"]


class CalmHandler(logging.StreamHandler[TextIO]):
    """A stream handler that a storm of equal events can't flood. DEBUG lines all pass."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._storm = StormGate()

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno <= logging.DEBUG:
            super().emit(record)
            return
        for each in self._storm.admit(record, time.monotonic()):
            super().emit(each)

    def close(self) -> None:
        for each in self._storm.close():
            super().emit(each)
        super().close()


class StormGate:
    """Which records to write. Time comes as an argument, in seconds of any monotonic clock."""

    def __init__(self, burst: int = STORM_BURST, window_s: float = STORM_WINDOW_S) -> None:
        self._burst = burst
        self._window_s = window_s
        self._windows: OrderedDict[tuple[str, str, int], _Window] = OrderedDict()
        """By (logger, message, level), the oldest window first."""

    def admit(self, record: logging.LogRecord, now: float) -> list[logging.LogRecord]:
        """The records to write now: summaries that are due, then this one if it passes."""
        due = self._end_windows(now)
        key = (record.name, str(record.msg), record.levelno)
        window = self._windows.get(key)
        if window is None:
            window = self._windows[key] = _Window(now + self._window_s)
        window.seen += 1
        if window.seen <= self._burst:
            return [*due, record]
        window.last = record
        return due

    def close(self) -> list[logging.LogRecord]:
        """The summaries still owed."""
        return self._end_windows(float("inf"))

    def _end_windows(self, now: float) -> list[logging.LogRecord]:
        due = []
        while self._windows:
            window = next(iter(self._windows.values()))
            if now < window.ends_at and len(self._windows) < STORM_KEYS_MAX:
                break
            self._windows.popitem(last=False)
            if window.last is not None:
                due.append(_summary(window.last, window.seen - self._burst))
        return due


class _Window:
    __slots__ = ("ends_at", "last", "seen")

    def __init__(self, ends_at: float) -> None:
        self.ends_at = ends_at
        self.seen = 0
        self.last: logging.LogRecord | None = None
        """The newest record that was left out."""


def _summary(record: logging.LogRecord, repeated: int) -> logging.LogRecord:
    """The last record left out, saying for how many it stands."""
    record.__dict__["repeated"] = repeated
    record.exc_info = record.exc_text = None
    return record


def _facts(record: logging.LogRecord) -> dict[str, Any]:
    return {key: value for key, value in vars(record).items() if key not in _RESERVED}


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _room(logger: str) -> str:
    return logger.removeprefix(_ROOT + ".")


def _value(value: object) -> str:
    match value:
        case str():
            word = value
        case bool() | None:
            word = json.dumps(value)
        case list() | tuple() | set() | frozenset():
            word = ",".join(map(str, value))
        case float():
            word = f"{value:.6g}"
        case _:
            word = str(value)
    return (
        word
        if _PLAIN_VALUE.fullmatch(word)
        else _CONTROL.sub(_escape, json.dumps(word, ensure_ascii=False))
    )


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"
