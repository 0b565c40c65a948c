"""What `make freshness` calls a wrong answer."""

from tests.freshness.churn import Change, wrong
from tests.peers.base import Answer
from tests.support.truth import Key

HISTORY = [
    Change(10.0, Key("alpha", "alpha-1"), "web", runs=True),
    Change(10.0, Key("beta", "beta-1"), "web", runs=True),
    Change(20.0, Key("alpha", "alpha-1"), "web", runs=False),
    Change(20.5, Key("alpha", "alpha-2"), "web", runs=True),
]


def answer(at: float, *ids: str, took: float = 0.001) -> tuple[str, Answer]:
    return "web", Answer(frozenset(ids), frozenset(), at, at + took)


def test_answer_that_was_the_truth_when_it_was_given_is_right() -> None:
    before = answer(15.0, "alpha-1", "beta-1")
    between = answer(20.2, "beta-1")
    after = answer(21.0, "alpha-2", "beta-1")
    assert wrong(HISTORY, [before, between, after]) == 0


def test_answer_that_is_late_by_a_little_is_wrong() -> None:
    assert wrong(HISTORY, [answer(20.01, "alpha-1", "beta-1")]) == 1
    assert wrong(HISTORY, [answer(20.51, "beta-1")]) == 1


def test_answer_may_be_the_truth_of_any_moment_while_it_was_on_its_way() -> None:
    assert wrong(HISTORY, [answer(19.9, "alpha-1", "beta-1", took=0.3)]) == 0
    assert wrong(HISTORY, [answer(19.9, "beta-1", took=0.3)]) == 0


def test_what_never_ran_and_what_is_missing_all_along_is_wrong() -> None:
    stranger = answer(15.0, "alpha-1", "beta-1", "gamma-1")
    assert wrong(HISTORY, [stranger, answer(15.0, "alpha-1"), answer(15.0)]) == 3


def test_order_in_which_changes_were_noted_does_not_matter() -> None:
    assert wrong(reversed(HISTORY), [answer(20.2, "beta-1")]) == 0
