import io
import json
import logging
import re
import warnings
from collections.abc import Iterator

import pytest

from beacond import logs
from beacond.logs import STORM_BURST, CalmHandler, StormGate

log = logging.getLogger("beacond.dns")


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    root, ours = logging.getLogger(), logging.getLogger("beacond")
    before = root.level, ours.level
    stream = io.StringIO()
    logs.set_up("info", "text", stream)
    yield stream
    for handler in [each for each in root.handlers if isinstance(each, CalmHandler)]:
        root.removeHandler(handler)
    root.setLevel(before[0])
    ours.setLevel(before[1])
    logging.captureWarnings(False)


def without_time(line: str) -> str:
    stamp, _, rest = line.partition(" ")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", stamp)
    return rest


def test_a_line_has_time_level_room_event_and_facts(out):
    log.info("listening", extra={"address": "127.0.0.1:8653", "port": 8653})
    assert without_time(out.getvalue()) == "INFO dns listening address=127.0.0.1:8653 port=8653\n"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("two words", '"two words"'),
        ('a"b', r'"a\"b"'),
        ("a=b", '"a=b"'),
        ("", '""'),
        ("a\nb\x1b[31m\u2028", r'"a\nb\u001b[31m\u2028"'),
        (1.23456789, "1.23457"),
        (True, "true"),
        (None, "null"),
        (("a", "b"), "a,b"),
        ("süß", "süß"),
    ],
)
def test_a_value_is_quoted_where_it_must_be(value, shown, out):
    log.info("event", extra={"fact": value})
    assert without_time(out.getvalue()) == f"INFO dns event fact={shown}\n"


def test_nothing_from_outside_can_begin_a_new_line(out):
    log.info("event\nforged line")
    assert without_time(out.getvalue()) == r"INFO dns event\u000aforged line" + "\n"


def test_a_traceback_follows_its_line(out):
    try:
        raise OSError("gone")
    except OSError:
        log.exception("failed", extra={"what": "bus"})
    first, *others = out.getvalue().splitlines()
    assert without_time(first) == "ERROR dns failed what=bus"
    assert others[-1] == "OSError: gone"


def test_json_lines_have_the_same_facts(out):
    logs.set_up("info", "json", out)
    try:
        raise OSError("gone")
    except OSError:
        log.exception("failed", extra={"port": 8653, "names": ["a", "b"], "text": "a\nb ü"})
    (line,) = out.getvalue().splitlines()
    found = json.loads(line)
    assert found.pop("time").endswith("Z")
    assert found.pop("traceback").endswith("OSError: gone")
    assert found == {
        "level": "ERROR",
        "logger": "beacond.dns",
        "event": "failed",
        "port": 8653,
        "names": ["a", "b"],
        "text": "a\nb ü",
    }


def test_libraries_are_heard_from_warning_on_and_we_from_our_level(out):
    logs.set_up("debug", "text", out)
    logging.getLogger("some.library").info("chatter")
    logging.getLogger("some.library").warning("trouble %s", 1)
    log.debug("packet")
    logs.set_up("error", "text", out)
    log.warning("hidden")
    lines = [without_time(line) for line in out.getvalue().splitlines()]
    assert lines == ["WARNING some.library trouble 1", "DEBUG dns packet"]


def test_pythons_own_warnings_are_logged(out):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    assert "WARNING py.warnings" in out.getvalue()
    assert out.getvalue().count("\n") == 1


def test_setting_up_again_replaces_and_does_not_double(out):
    logs.set_up("info", "text", out)
    log.info("once")
    assert out.getvalue().count("once") == 1


def test_a_storm_is_one_summary_and_debug_is_never_cut(out):
    logs.set_up("debug", "text", out)
    for number in range(STORM_BURST + 5):
        log.warning("bus down", extra={"number": number})
        log.debug("packet")
    assert out.getvalue().count("bus down") == STORM_BURST
    assert out.getvalue().count("packet") == STORM_BURST + 5
    logs.set_up("info", "text", out)  # what is owed comes at the latest when the handler closes
    last = out.getvalue().splitlines()[-1]
    assert without_time(last) == f"WARNING dns bus down number={STORM_BURST + 4} repeated=5"


# ---- the gate, with its own clock


def record(message: str, logger: str = "beacond.x", level: int = logging.INFO) -> logging.LogRecord:
    return logging.makeLogRecord({"name": logger, "msg": message, "levelno": level})


def shown(records: list[logging.LogRecord]) -> list[tuple[str, int]]:
    return [(str(each.msg), each.__dict__.get("repeated", 0)) for each in records]


def test_the_first_lines_of_an_event_pass_and_the_rest_are_counted():
    gate = StormGate(burst=2, window_s=10.0)
    passed = [shown(gate.admit(record("a"), now)) for now in (0.0, 1.0, 2.0, 9.9)]
    assert passed == [[("a", 0)], [("a", 0)], [], []]
    assert shown(gate.admit(record("a"), 10.0)) == [("a", 2), ("a", 0)]


def test_any_line_brings_a_summary_that_is_due():
    gate = StormGate(burst=1, window_s=10.0)
    gate.admit(record("a"), 0.0)
    gate.admit(record("a"), 1.0)
    assert shown(gate.admit(record("b"), 9.9)) == [("b", 0)]
    assert shown(gate.admit(record("c"), 10.0)) == [("a", 1), ("c", 0)]
    assert gate.close() == []


def test_events_are_told_apart_by_logger_message_and_level():
    gate = StormGate(burst=1, window_s=10.0)
    different = [record("a"), record("b"), record("a", "beacond.y"), record("a", level=40)]
    assert all(gate.admit(each, 0.0) == [each] for each in different)


def test_memory_is_bounded_and_an_early_end_of_a_window_loses_no_count(monkeypatch):
    monkeypatch.setattr(logs, "STORM_KEYS_MAX", 3)
    gate = StormGate(burst=1, window_s=10.0)
    gate.admit(record("a"), 0.0)
    gate.admit(record("a"), 0.0)
    for name in "bcd":
        last = gate.admit(record(name), 0.0)
    assert ("a", 1) in shown(last)
    assert len(gate._windows) <= 3
