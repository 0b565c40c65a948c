"""When a node speaks, and what it says."""

import random
from itertools import pairwise

import pytest

from beacond.core.events import EventLog
from beacond.core.messages import Announce, Goodbye, Heartbeat
from beacond.core.model import Body, Published
from beacond.core.outbox import Outbox
from beacond.core.settings import Settings
from beacond.core.voice import BURST, Voice

NOW = 1000.3


class Mouth:
    def __init__(self) -> None:
        settings = Settings("me", 7, b"\x80" * 16, ("10.0.0.1",))
        self.out = Outbox("me", 7, settings.boot_id, EventLog(7, 10))
        carry = lambda beat, now: self.out.publish(beat)  # noqa: E731
        self.voice = Voice(settings, self.out, carry, random.Random(1), NOW)

    def at(self, now: float, *, can_publish: bool = True) -> list[object]:
        self.voice.advance(now, b"\0" * 8, can_publish)
        return [effect.message for effect in self.out.take()]

    def until(self, end: float, *, can_publish: bool = True) -> list[tuple[float, object]]:
        said = []
        while self.voice.deadline <= end:
            now = self.voice.deadline
            said += [(now, message) for message in self.at(now, can_publish=can_publish)]
            assert self.voice.deadline > now, "it spins"
        return said


@pytest.fixture
def mouth() -> Mouth:
    return Mouth()


def body(*ids: str) -> Body:
    return Body(instances=tuple(Published(i, "web", 80) for i in ids))


def test_heartbeats_come_every_interval_more_or_less(mouth: Mouth) -> None:
    beats = mouth.until(NOW + 100)
    gaps = [b - a for (a, _), (b, _) in pairwise(beats)]
    assert 4.5 <= min(gaps) < max(gaps) <= 5.5
    assert [beat.seq for _, beat in beats] == list(range(1, len(beats) + 1))


def test_heartbeat_says_when_the_next_is_due_and_how_long_to_keep_us(mouth: Mouth) -> None:
    (first_at, first), (second_at, second), *_ = mouth.until(NOW + 20)
    assert second_at - first_at == pytest.approx(first.next_ms / 1000, abs=0.001)
    assert second.stamp_ms - first.stamp_ms == pytest.approx(first.next_ms, abs=1)
    assert first.ttl_ms == 15_000


def test_heartbeat_that_cannot_be_said_is_not_kept_for_later(mouth: Mouth) -> None:
    assert mouth.until(NOW + 60, can_publish=False) == []
    (beat,) = mouth.at(mouth.voice.deadline)
    assert isinstance(beat, Heartbeat)
    assert beat.seq == 1


def changed_every(mouth: Mouth, gap_s: float, times: int) -> list[tuple[float, int]]:
    """When which version was announced."""
    said: list[tuple[float, int]] = []
    for number in range(times):
        now = NOW + 1 + number * gap_s
        mouth.voice.set_body(body(str(number)), now)
        heard = [*((now, m) for m in mouth.at(now)), *mouth.until(now + gap_s * 0.99)]
        said += [(at - NOW - 1, m.record.version) for at, m in heard if isinstance(m, Announce)]
    return said


def test_a_change_is_announced_at_once_and_the_next_hardly_later(mouth: Mouth) -> None:
    assert changed_every(mouth, 0.05, 3) == [
        (0.0, 2),
        (pytest.approx(0.1), 4),
    ]


def test_changes_that_go_on_are_announced_once_a_second_all_of_them_together(mouth: Mouth) -> None:
    said = changed_every(mouth, 0.1, 200)
    burst = [at for at, _ in said if at < 1.5]
    assert BURST <= len(burst) <= BURST + 2
    later = [at for at, _ in said if at >= 5]
    assert all(b - a >= 0.99 for a, b in pairwise(later))
    mouth.until(NOW + 60)
    for tenth in (0.0, 0.1, 0.2):
        mouth.voice.set_body(body(f"later {tenth}"), NOW + 60 + tenth)
        assert Announce in map(type, mouth.at(NOW + 60 + tenth))


def test_same_body_is_no_new_version(mouth: Mouth) -> None:
    assert mouth.voice.set_body(body("1"), NOW)
    assert not mouth.voice.set_body(body("1"), NOW)
    assert mouth.voice.record.version == 2


def test_being_asked_often_is_answered_once_a_second(mouth: Mouth) -> None:
    said = []
    for tenth in range(50):
        mouth.voice.announce_again(NOW + tenth / 10)
        said += mouth.at(NOW + tenth / 10)
    assert 4 <= len([m for m in said if isinstance(m, Announce)]) <= 6


def test_announcement_waits_for_a_bus_without_making_the_timer_spin(mouth: Mouth) -> None:
    mouth.voice.set_body(body("1"), NOW)
    assert mouth.until(NOW + 20, can_publish=False) == []
    kinds = {type(m) for m in mouth.at(NOW + 20.5)}
    assert Announce in kinds


def test_goodbye_is_said_twice_and_nothing_after_it(mouth: Mouth) -> None:
    mouth.at(NOW)
    mouth.voice.say_goodbye(60.0, NOW + 1)
    assert [e.message for e in mouth.out.take()] == [Goodbye(1, 60_000)]
    assert (mouth.voice.silenced, mouth.voice.goodbye_said) == (True, False)
    mouth.voice.set_body(body("1"), NOW + 1)
    mouth.voice.speak_up(NOW + 1)
    mouth.voice.announce_again(NOW + 1)
    assert mouth.until(NOW + 100) == [(NOW + 1.1, Goodbye(1, 60_000))]
    assert mouth.voice.goodbye_said
    assert mouth.voice.deadline == float("inf")


def test_raised_incarnation_begins_its_counts_anew_and_speaks_at_once(mouth: Mouth) -> None:
    mouth.until(NOW + 30)
    mouth.voice.set_body(body("1"), NOW + 30)
    mouth.voice.raise_incarnation(9, NOW + 31)
    said = mouth.at(NOW + 31)
    assert [m.seq for m in said if isinstance(m, Heartbeat)] == [1]
    assert [m.record.key[0::2] for m in said if isinstance(m, Announce)] == [(9, 1)]


def test_our_own_heartbeat_is_never_from_the_future(mouth: Mouth) -> None:
    for at, beat in mouth.until(NOW + 500):
        sent_at = mouth.voice.sent_at(beat)
        assert at - 0.0011 <= sent_at <= at + 1e-9


def test_heartbeat_from_before_a_suspension_proves_nothing(mouth: Mouth) -> None:
    (beat,) = mouth.at(NOW)
    mouth.voice.new_series()
    assert mouth.voice.sent_at(beat) is None
    mouth.voice.speak_up(NOW + 1)
    (later,) = mouth.at(NOW + 1)
    assert later.series == beat.series + 1


def test_version_that_waits_for_its_announcement_is_not_told_by_a_heartbeat(mouth: Mouth) -> None:
    mouth.voice.set_body(body("a"), NOW)
    announced, _ = mouth.at(NOW)
    mouth.voice.set_body(body("a", "b"), NOW + 0.05)
    mouth.voice.speak_up(NOW + 0.06)
    (beat,) = mouth.at(NOW + 0.06)
    assert (announced.record.version, beat.version) == (2, 2)
    mouth.voice.speak_up(NOW + 0.1)
    announced, beat = mouth.at(NOW + 0.1)
    assert (announced.record.version, beat.version) == (3, 3)
