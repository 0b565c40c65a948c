"""The clock that leases run on, ages of messages, and queues by due time."""

import pytest

from beacond.core.leases import DueHeap, Heard, LeaseClock, SendStamps


def test_clock_stands_still_without_proof() -> None:
    clock = LeaseClock(6.0)
    assert (clock.proven, clock.last_proof_at) == (0.0, None)
    clock.prove(100.0)
    assert clock.proven == 0.0
    assert clock.at(500.0) == 6.0
    assert clock.proven == 0.0


def test_clock_moves_with_proofs_and_a_long_gap_counts_as_a_usual_one() -> None:
    clock = LeaseClock(6.0)
    for moment in (100.0, 105.0, 700.0):
        clock.prove(moment)
    assert clock.proven == 11.0


def test_older_proof_changes_nothing() -> None:
    clock = LeaseClock(6.0)
    clock.prove(100.0)
    clock.prove(104.0)
    clock.prove(101.0)
    assert (clock.proven, clock.last_proof_at) == (4.0, 104.0)
    assert clock.at(50.0) == 4.0


def test_time_in_which_the_process_stood_still_is_left_out() -> None:
    clock = LeaseClock(6.0)
    clock.prove(100.0)
    clock.forgive(60.0)
    clock.prove(161.0)
    assert clock.proven == 1.0


def test_forgiving_before_the_first_proof_is_harmless() -> None:
    clock = LeaseClock(6.0)
    clock.forgive(60.0)
    assert clock.last_proof_at is None


def test_nodes_heard_within_the_window_count_once_each() -> None:
    heard = Heard(6.0)
    assert [heard.note(node, 1.0) for node in ("a", "b", "a")] == [1, 2, 2]
    assert heard.note("b", 6.5) == 2
    assert heard.note("c", 7.5) == 2, "a was heard too long ago"
    assert len(heard._moments) == 2


def test_waiting_message_has_an_age_whatever_the_senders_clock_shows() -> None:
    stamps = SendStamps.first(1, 5000.0, 20.0)
    assert stamps.age(5005.0, 25.0) == pytest.approx(0.0, abs=0.01)
    assert stamps.age(5010.0, 42.0) == pytest.approx(12.0, abs=0.03)
    assert stamps.age(5025.0, 45.0) == pytest.approx(0.0, abs=5.0)


def test_first_message_may_have_waited_and_the_next_corrects_it() -> None:
    stamps = SendStamps.first(1, 0.0, 30.0)
    assert stamps.age(29.0, 30.1) == 0.0
    assert stamps.age(1.0, 31.0) == pytest.approx(28.9, abs=0.01)


def test_drifting_clocks_do_not_look_like_waiting() -> None:
    drift = 0.0005
    stamps = SendStamps.first(1, 0.0, 0.0)
    ages = [stamps.age(t * (1 - drift), float(t)) for t in range(5, 100_000, 5)]
    assert max(ages) < 0.01


def test_equal_heaps_pop_in_equal_order() -> None:
    heap = DueHeap()
    for name in ("b", "a", "c"):
        heap.push(name, 5.0)
    assert [heap.pop(5.0) for _ in range(4)] == ["a", "b", "c", None]


def test_earlier_due_time_wins_and_a_later_one_costs_nothing() -> None:
    heap = DueHeap()
    heap.push("a", 5.0)
    for due in range(6, 1000):
        heap.push("a", float(due))
    assert len(heap._heap) == 1
    heap.push("a", 3.0)
    assert heap.next_due == 3.0
    assert heap.pop(4.0) == "a"
    assert heap.pop(1e9) is None, "popped once only"


def test_discarded_name_is_not_popped() -> None:
    heap = DueHeap()
    heap.push("a", 1.0)
    heap.discard("a")
    assert heap.pop(2.0) is None
    assert heap.next_due == float("inf")
