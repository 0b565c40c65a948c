"""The event log: bounded, resumable, honest about gaps."""

import pytest

from beacond.core.events import Event, EventLog, Kind


def log_of(count: int, capacity: int = 5) -> EventLog:
    log = EventLog(42, capacity)
    for seq in range(1, count + 1):
        log.append(Event(seq, 0.0, Kind.AGENT_JOINED))
    return log


def seqs(log: EventLog, event_id: str) -> list[int] | None:
    found = log.since(event_id)
    return None if found is None else [event.seq for event in found]


def test_reader_gets_what_it_has_not_seen() -> None:
    log = log_of(4)
    assert seqs(log, "42.2") == [3, 4]
    assert seqs(log, "42.0") == [1, 2, 3, 4]


def test_reader_who_has_seen_all_gets_nothing() -> None:
    assert seqs(log_of(4), "42.4") == []
    assert seqs(log_of(0), "42.0") == []


def test_ids_lead_back_to_where_they_came_from() -> None:
    log = log_of(4)
    event = log.since("42.1")[0]
    assert log.id_of(event) == "42.2"
    assert log.last_id == "42.4"


def test_only_so_many_are_kept_and_a_gap_is_said() -> None:
    log = log_of(12)
    assert seqs(log, "42.7") == [8, 9, 10, 11, 12]
    assert seqs(log, "42.6") is None
    assert len(log.retained()) == 5


@pytest.mark.parametrize(
    "event_id",
    ["41.2", "43.2", "42.5", "042.2", "42", "42.", "42.-1", "42.2.3", "42.x", "", ".", "42.٣",
     "42.+1", "42. 1", "42." + "9" * 5000],
)  # fmt: skip
def test_foreign_future_or_unreadable_id_means_starting_again(event_id: str) -> None:
    assert log_of(4).since(event_id) is None
