"""Knowing that one is blind, by what arrives."""

from beacond.core.sight import SightJudge

INTERVAL_S = 5.0


class OneBus(SightJudge):
    """All that reaches us comes over one bus."""

    def __init__(self, interval_s: float = INTERVAL_S) -> None:
        super().__init__(interval_s)
        self.only = self.bus("bus")
        self.only.up = self.only.can_publish = True

    def echo(self, sent_at: float) -> None:
        self.echoed("bus", sent_at)

    def hear(self, node: str, moment: float, expected: int) -> None:
        self.heard("bus", node, moment, expected)

    def is_blind(self, now: float) -> bool:
        self.look(now)
        return not self.visible


def judge() -> OneBus:
    return OneBus()


def test_connection_alone_is_no_sight() -> None:
    assert judge().is_blind(0.0)


def test_own_broadcast_that_comes_back_is_sight_until_the_next_is_overdue() -> None:
    sight = judge()
    sight.echo(100.0)
    assert not sight.is_blind(105.5)
    assert sight.is_blind(107.5)


def test_echo_of_the_same_broadcast_proves_nothing_new() -> None:
    sight = judge()
    sight.echo(100.0)
    sight.echo(100.0)
    assert sight.is_blind(107.5)


def test_half_of_the_expected_nodes_is_sight_and_fewer_are_not() -> None:
    sight = judge()
    sight.hear("a", 100.0, 4)
    assert sight.is_blind(100.0)
    sight.hear("b", 101.0, 4)
    assert not sight.is_blind(101.0)


def test_one_node_heard_often_is_one_node() -> None:
    sight = judge()
    for n in range(20):
        sight.hear("a", 100.0 + n, 4)
    assert sight.is_blind(120.0)


def test_nodes_when_none_is_expected_prove_nothing() -> None:
    sight = judge()
    sight.hear("stranger", 100.0, 0)
    assert sight.is_blind(100.0)


def test_bus_that_is_down_is_blindness_at_once() -> None:
    sight = judge()
    sight.echo(100.0)
    sight.only.up = False
    assert sight.is_blind(100.1)
    assert sight.blind_at == float("inf")


def test_at_the_moment_the_timer_asks_for_we_are_blind() -> None:
    sight = OneBus(0.7)
    for n in range(1, 200):
        sight.echo(0.1 * n)
        assert sight.is_blind(sight.blind_at), "or the timer spins"


def test_hearing_others_without_coming_back_ourselves_is_mute() -> None:
    sight = judge()
    sight.echo(100.0)
    sight.hear("a", 108.0, 1)
    assert (sight.is_blind(108.0), sight.is_mute(108.0)) == (False, True)
    sight.echo(108.5)
    assert not sight.is_mute(108.5)


def test_who_may_not_publish_is_mute_at_once_and_blind_only_when_deaf_too() -> None:
    sight = judge()
    sight.echo(100.0)
    sight.only.can_publish = False
    assert (sight.is_blind(101.0), sight.is_mute(101.0)) == (False, True)
    assert (sight.is_blind(110.0), sight.is_mute(110.0)) == (True, False)


def test_time_in_which_the_process_stood_still_makes_nobody_blind() -> None:
    sight = judge()
    sight.echo(100.0)
    sight.forgive(60.0)
    assert not sight.is_blind(161.0)
    assert not sight.is_mute(161.0)
