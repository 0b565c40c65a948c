"""The pure parts of the HTTP shell: picking, keeping, guarding, choosing a stream's format."""

from collections import Counter
from random import Random

import pytest

from beacond.core.events import Event, Kind
from beacond.http.events import Wanted
from beacond.http.guard import is_own_origin
from beacond.http.replies import Kept
from beacond.http.services import pick_one
from beacond.http.streams import NDJSON, SSE, Format, format_of
from tests.support.views import agent, instance

OWN = frozenset({"localhost", "host-a", "host-a.node.beacon.internal"})


def picks(*found: object, zone: str = "", times: int = 2000) -> Counter[str]:
    random = Random(1)
    return Counter(pick_one(found, zone, random).id for _ in range(times))  # type: ignore[arg-type]


def test_pick_goes_by_weight() -> None:
    counted = picks(instance("web", "light", weight=1), instance("web", "heavy", weight=3))
    assert 2.5 < counted["heavy"] / counted["light"] < 3.5


def test_weight_zero_is_never_picked_beside_others_and_evenly_where_all_have_it() -> None:
    assert set(picks(instance("web", "a", weight=0), instance("web", "b", weight=1))) == {"b"}
    counted = picks(instance("web", "a", weight=0), instance("web", "b", weight=0))
    assert min(counted["a"], counted["b"]) > 800


def test_own_zone_goes_first_even_with_little_weight() -> None:
    near, far = instance("web", "near", zone="z1"), instance("web", "far", zone="z2", weight=99)
    assert set(picks(near, far, zone="z1")) == {"near"}
    assert set(picks(near, far, zone="z3")) == {"near", "far"}


def test_no_zone_is_no_zone_in_common() -> None:
    assert set(picks(instance("web", "a"), instance("web", "b", zone="z"), zone="")) == {"a", "b"}


def test_kept_answer_is_rendered_once_for_a_stamp() -> None:
    kept, rendered = Kept(), iter([b"one", b"two"])
    assert kept.get("q", 1, lambda: next(rendered)) == b"one"
    assert kept.get("q", 1, lambda: next(rendered)) == b"one"
    assert kept.get("q", 2, lambda: next(rendered)) == b"two"


def rendered_anew(kept: Kept, question: str) -> bool:
    anew = []
    kept.get(question, 1, lambda: anew.append(1) or b"0123456789")  # type: ignore[func-returns-value]
    return bool(anew)


def test_kept_answers_are_bounded_in_number_and_the_oldest_goes() -> None:
    kept = Kept(most=2)
    assert all(rendered_anew(kept, question) for question in "abc")
    assert not rendered_anew(kept, "c")
    assert not rendered_anew(kept, "b")
    assert rendered_anew(kept, "a")


def test_kept_answers_are_bounded_in_bytes() -> None:
    kept = Kept(bytes_max=25)
    assert all(rendered_anew(kept, question) for question in "abc")
    assert not rendered_anew(kept, "c")
    assert rendered_anew(kept, "a")
    small = Kept(bytes_max=5)
    assert rendered_anew(small, "a")
    assert rendered_anew(small, "a")


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://127.0.0.1:8650", "127.0.0.1:8650"),
        ("http://[::1]:8650", "[::1]:8650"),
        ("http://localhost:9000", "localhost:9000"),
        ("http://Host-A:8650", "host-a:8650"),
        ("https://192.0.2.1", "192.0.2.1"),
    ],
)
def test_page_served_by_this_agent_is_its_own(origin: str, host: str) -> None:
    assert is_own_origin(origin, host, OWN)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("null", "127.0.0.1:8650"),
        ("", "127.0.0.1:8650"),
        ("http://evil.example", "127.0.0.1:8650"),
        ("http://127.0.0.1:3000", "127.0.0.1:8650"),
        # A name that was made to point here: the page and the host agree, and are not ours.
        ("http://evil.example:8650", "evil.example:8650"),
        ("http://host-a.evil.example:8650", "host-a.evil.example:8650"),
        ("file://127.0.0.1:8650", "127.0.0.1:8650"),
        ("http://x@127.0.0.1:8650", "127.0.0.1:8650"),
        ("http://[::1", "[::1"),
    ],
)
def test_other_pages_are_foreign(origin: str, host: str) -> None:
    assert not is_own_origin(origin, host, OWN)


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", None),
        ("*/*", None),
        ("application/json", None),
        ("text/event-stream", SSE),
        ("Text/Event-Stream; q=0.9, */*", SSE),
        ("application/x-ndjson", NDJSON),
        ("application/json, application/x-ndjson", NDJSON),
    ],
)
def test_accept_chooses_the_form_of_events(accept: str, form: Format | None) -> None:
    assert format_of(accept) is form


STARTED = Event(1, 0.0, Kind.INSTANCE_STARTED, instance=instance("web"))
JOINED = Event(2, 0.0, Kind.AGENT_JOINED, agent=agent("b"))


@pytest.mark.parametrize(
    ("wanted", "started", "joined"),
    [
        (Wanted(), True, True),
        (Wanted(services=frozenset({"web"})), True, False),
        (Wanted(services=frozenset({"api"})), False, False),
        (Wanted(kinds=frozenset({"agent.joined"})), False, True),
        (Wanted(frozenset({"web"}), frozenset({"instance.started"})), True, False),
    ],
)
def test_events_are_filtered_and_the_reset_with_them(
    wanted: Wanted, started: bool, joined: bool
) -> None:
    assert (wanted.matches(STARTED), wanted.matches(JOINED)) == (started, joined)
    assert wanted.tells_of("agent.") is joined
