"""How availability is counted and judged: everything of tests/availability that starts nothing."""

import time
from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from tests.availability import table
from tests.availability.asking import RETRY_S, Outcome, Terms, ask, look_up, wrong
from tests.availability.faults import FAULTS, Scene, but_the_crashing, parts, played, why_not
from tests.availability.run import Column
from tests.availability.tally import Slots, Tally, percent
from tests.peers.base import Answer, LookupFailed
from tests.support.truth import Truth

WINDOW_S = 8.0


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


# ---- slots


@pytest.mark.parametrize(
    ("slot", "after_s", "following"),
    [(0, 0.001, 1), (0, 0.05, 1), (0, 0.051, 2), (0, 1.0, 20), (7, 0.36, 8), (7, 1.21, 25)],
)
def test_lookup_takes_the_slots_that_pass_while_it_lasts(
    slot: int, after_s: float, following: int
) -> None:
    assert Slots(100.0, 5.0, 20.0).following(slot, 100.0 + after_s) == following


def test_slots_end_with_the_fault_however_long_the_last_lookup_takes() -> None:
    slots = Slots(100.0, 5.0, 20.0)
    assert slots.total == 100
    assert slots.following(98, 110.0) == 100
    assert slots.at(99) == pytest.approx(104.95)


# ---- counting


def test_slow_failure_weighs_as_much_as_the_quick_answers_it_keeps_from_being_asked() -> None:
    tally = Tally()
    for _ in range(20):
        tally.lookup(1, answered=True, right=True)
    tally.lookup(20, answered=False, attempts=3)
    assert (tally.asked, tally.answered, tally.right, tally.retried) == (40, 20, 20, 20)
    assert tally.answered_share == 0.5


def test_unanswered_and_wrong_lookups_both_lower_the_share_of_right_ones() -> None:
    tally = Tally()
    tally.lookup(1, answered=True, right=True, took_s=0.1)
    tally.lookup(2, answered=True, right=False, took_s=0.3)
    tally.lookup(1, answered=False, right=True)
    assert (tally.answered_share, tally.right_share) == (0.75, 0.25)
    assert tally.slowest_s == 0.3


def test_share_of_nothing_is_no_share() -> None:
    assert Tally().answered_share is None
    assert Tally().accepted_share is None


def test_kinds_of_failures_are_kept_in_bounds() -> None:
    tally = Tally()
    for number in range(1000):
        tally.note(1, f"failure {number}")
    tally.note(5, "failure 0")
    assert len(tally.why_not) == 12
    assert tally.why_not["failure 0"] == 6


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"),
        (1.0, "100 %"),
        (0.99999, "99.9 %"),
        (0.996, "99.6 %"),
        (0.994, "99 %"),
        (0.5, "50 %"),
        (0.004, "0.4 %"),
        (0.00001, "0.1 %"),
        (0.0, "0 %"),
    ],
)
def test_only_all_is_shown_as_100_and_only_nothing_as_0(value: float | None, shown: str) -> None:
    assert percent(value) == shown


# ---- judging


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def truth(clock: Clock) -> Truth:
    truth = Truth(clock)
    truth.started("web", "alpha", "alpha-web-1")
    truth.started("web", "beta", "beta-web-2")
    clock.now = 200.0
    return truth


def outcome(*ids: str, at: float, took_s: float = 0.0) -> Outcome:
    return Outcome(Answer(frozenset(ids), frozenset(), at, at), 1, took_s)


BOTH = ("alpha-web-1", "beta-web-2")


def test_answer_that_is_true_is_right(truth: Truth) -> None:
    assert not wrong(truth, "web", outcome(*BOTH, at=200.0), WINDOW_S)


def test_change_may_be_unknown_for_the_window_and_no_longer(truth: Truth, clock: Clock) -> None:
    truth.started("web", "gamma", "gamma-web-3")
    assert not wrong(truth, "web", outcome(*BOTH, at=207.9), WINDOW_S)
    assert "lacks gamma-web-3" in wrong(truth, "web", outcome(*BOTH, at=208.1), WINDOW_S)[0]
    clock.now = 300.0
    truth.stopped("web", "gamma", "gamma-web-3")
    everyone = (*BOTH, "gamma-web-3")
    assert not wrong(truth, "web", outcome(*everyone, at=307.9), WINDOW_S)
    assert "has gamma-web-3" in wrong(truth, "web", outcome(*everyone, at=308.1), WINDOW_S)[0]


def test_change_may_be_known_at_once(truth: Truth) -> None:
    truth.started("web", "gamma", "gamma-web-3")
    assert not wrong(truth, "web", outcome(*BOTH, "gamma-web-3", at=200.001), WINDOW_S)


def test_window_begins_when_the_lookup_was_asked_for(truth: Truth) -> None:
    truth.started("web", "gamma", "gamma-web-3")
    assert not wrong(truth, "web", outcome(*BOTH, at=209.0, took_s=1.1), WINDOW_S)


def test_crashed_host_is_to_be_gone_after_the_window(truth: Truth) -> None:
    truth.stopped_node("beta")
    assert not wrong(truth, "web", outcome(*BOTH, at=207.9), WINDOW_S)
    assert wrong(truth, "web", outcome(*BOTH, at=208.1), WINDOW_S)
    assert not wrong(truth, "web", outcome("alpha-web-1", at=208.1), WINDOW_S)


def test_instance_of_another_service_or_of_nobody_is_wrong(truth: Truth) -> None:
    truth.started("pay", "alpha", "alpha-pay-4")
    assert wrong(truth, "web", outcome(*BOTH, "alpha-pay-4", at=200.0), WINDOW_S)
    assert wrong(truth, "web", outcome(*BOTH, "stranger", at=200.0), WINDOW_S)


# ---- asking


class Script:
    """A host whose lookups come out as written."""

    def __init__(self, outcomes: Iterable[frozenset[str] | None]) -> None:
        self._outcomes = iter(outcomes)
        self.asked: list[str] = []

    async def lookup(self, service: str, _timeout_s: float) -> Answer:
        self.asked.append(service)
        ids = next(self._outcomes)
        if ids is None:
            raise LookupFailed("refused")
        now = time.monotonic()
        return Answer(ids, frozenset(), now, now)


async def test_lookup_is_tried_again_within_its_budget() -> None:
    host: Any = Script([None, None, frozenset(BOTH)])
    found = await look_up(host, "web", 30.0)
    assert found.answer is not None
    assert (found.answer.ids, found.attempts) == (frozenset(BOTH), 3)
    assert found.took_s >= 2 * RETRY_S * 0.9


async def test_lookup_fails_when_its_budget_is_spent() -> None:
    host: Any = Script([None] * 1000)
    found = await look_up(host, "web", 0.2)
    assert found.answer is None
    assert found.why_not == "refused"
    assert 1 <= found.attempts <= 5


async def test_answer_that_comes_after_the_budget_is_none() -> None:
    class Late(Script):
        async def lookup(self, service: str, timeout_s: float) -> Answer:
            answer = await super().lookup(service, timeout_s)
            return Answer(answer.ids, frozenset(), answer.asked_at, answer.answered_at + 60.0)

    host: Any = Late([frozenset(BOTH)] * 1000)
    found = await look_up(host, "web", 0.1)
    assert found.answer is None
    assert "answered after 6" in found.why_not


async def test_every_slot_is_counted_once_and_every_service_asked_for() -> None:
    truth, tally = Truth(), Tally()
    truth.started("web", "alpha", "alpha-web-1")
    host: Any = Script([frozenset({"alpha-web-1"}), frozenset()] * 1000)
    slots = Slots(time.monotonic(), 0.5, 40.0)
    terms = Terms(per_s=40.0, budget_s=5.0, window_s=WINDOW_S)
    await ask(host, ("web", "pay"), slots, terms, truth, tally)
    assert tally.asked == tally.answered == tally.right == 20
    assert host.asked[:4] == ["web", "pay", "web", "pay"]


# ---- faults


class Piece:
    """A part of a site that nobody starts."""

    def __init__(self, name: str) -> None:
        self.name = name


def site(*infrastructure: Piece, agents: Sequence[Piece] = ()) -> Any:
    locals_ = agents or infrastructure
    hosts = [SimpleNamespace(name=piece.name, local=piece) for piece in locals_]
    return SimpleNamespace(infrastructure=infrastructure, hosts=hosts)


AGENTS = tuple(Piece(name) for name in ("alpha", "beta", "gamma"))
BROKER = Piece("broker")
BY_KEY = {fault.key: fault for fault in FAULTS}


def test_faults_have_keys_and_titles_of_their_own() -> None:
    assert len(BY_KEY) == len({fault.title for fault in FAULTS}) == len(FAULTS)


def test_losing_one_or_two_of_one_server_is_losing_all() -> None:
    with_broker, ensemble = site(BROKER, agents=AGENTS), site(*AGENTS)
    kills = [BY_KEY[key] for key in ("one-killed", "two-killed", "all-killed")]
    assert {played(fault, with_broker) for fault in kills} == {"all-killed"}
    assert [played(fault, ensemble) for fault in kills] == [fault.key for fault in kills]
    assert played(BY_KEY["nothing"], with_broker) == "nothing"


def test_what_a_system_does_not_have_is_not_taken_from_it() -> None:
    leader, killed = BY_KEY["leader-killed"], BY_KEY["all-killed"]
    assert why_not(leader, site(BROKER, agents=AGENTS), leads=False) == "no leader"
    assert not why_not(leader, site(*AGENTS), leads=True)
    assert why_not(killed, site(agents=AGENTS), leads=False)
    assert not why_not(killed, site(BROKER, agents=AGENTS), leads=False)
    assert not why_not(BY_KEY["host-crashed"], site(agents=AGENTS), leads=False)


@pytest.mark.parametrize("leader", AGENTS, ids=lambda piece: piece.name)
def test_leader_is_lost_last_and_its_host_does_not_crash(leader: Any) -> None:
    scene = Scene(site(*AGENTS), Truth(), leader, 5.0)
    assert scene.victims[-1] is leader
    assert scene.crashing.local is not leader
    assert scene.crashing not in but_the_crashing(scene)
    assert len(but_the_crashing(scene)) == 2


def test_parts_of_an_ensemble_and_of_a_broker_with_agents_are_each_there_once() -> None:
    assert parts(site(*AGENTS)) == list(AGENTS)
    assert parts(site(BROKER, agents=AGENTS)) == [BROKER, *AGENTS]


# ---- the tables


def test_tables_show_shares_and_say_why_a_cell_is_empty() -> None:
    tally = Tally()
    tally.lookup(3, answered=True, right=True)
    tally.lookup(1, answered=False)
    tally.registration(accepted=True)
    cells: dict[str, Tally | str] = {fault.key: tally for fault in FAULTS}
    cells |= {"leader-killed": "no leader", "one-killed": Tally()}
    column = Column("Some", "1.2", "defaults", cells)
    shown = table.lookups(FAULTS, [column]).splitlines()
    assert len(shown) == len(FAULTS) + 2
    assert "| nothing | 75 %, 75 % |" in shown
    assert "| the leader killed | – |" in shown
    assert "| nothing | 100 % |" in table.registrations(FAULTS, [column])
    assert list(table.notes(FAULTS, [column])) == [
        "Some 1.2: defaults.",
        "Some has no leader: – with the leader killed.",
    ]


def test_one_measurement_of_several_rows_is_said_to_be_one() -> None:
    once = dict.fromkeys(BY_KEY, Tally())
    each = {key: Tally() for key in BY_KEY}
    assert any("once" in note for note in table.notes(FAULTS, [Column("Some", "", "", once)]))
    assert not any("once" in note for note in table.notes(FAULTS, [Column("Some", "", "", each)]))


def test_figures_for_programs_have_counts_and_shares() -> None:
    tally = Tally()
    tally.lookup(4, answered=True, right=True)
    tally.note(1, "refused")
    (nothing,) = [fault for fault in FAULTS if fault.key == "nothing"]
    (told,) = table.figures([nothing], [Column("Some", "1.2", "defaults", {"nothing": tally})])
    assert told["faults"]["nothing"]["asked"] == 4
    assert told["faults"]["nothing"]["right_share"] == 1.0
    assert told["faults"]["nothing"]["why_not"] == {"refused": 1}
