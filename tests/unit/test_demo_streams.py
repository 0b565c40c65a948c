"""What the demo says of event streams can turn out untrue."""

from types import SimpleNamespace
from typing import Any

import pytest

from tests.demo.streams import Replayed, part_of_story, same_story

WEB = ("alpha", "web-80")


def instance(key: tuple[str, str] = WEB, **more: Any) -> dict[str, Any]:
    fields = {"node": key[0], "id": key[1], "service": "web", "status": "passing"}
    return fields | {"freshness": "fresh"} | more


def happened(kind: str, reason: str = "", **more: Any) -> dict[str, Any]:
    return {"kind": kind, "reason": reason, **more}


def started(key: tuple[str, str] = WEB) -> dict[str, Any]:
    return happened("instance.started", "registered", instance=instance(key))


def stopped(reason: str = "critical") -> dict[str, Any]:
    return happened("instance.stopped", reason, instance=instance())


def reset(*instances: dict[str, Any]) -> dict[str, Any]:
    agents = [{"node": "alpha", "state": "alive"}]
    services = [{"service": "web", "instances": list(instances)}]
    return happened("reset", agents=agents, services=services)


def stream(*stretches: list[dict[str, Any]]) -> Any:
    """A follower, as far as it is read."""
    every = [event for stretch in stretches for event in stretch]
    return SimpleNamespace(stretches=list(stretches), told=every)


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ([started(), stopped()], True),
        ([started(("beta", "x")), stopped()], False),
        ([stopped(), started()], False),
        ([started(), stopped("agent-expired")], False),
        ([started()], False),
        ([started(), stopped(), started()], False),
    ],
)
def test_stories_are_the_same_or_not(other: list[dict[str, Any]], same: bool) -> None:
    assert (same_story(stream([started(), stopped()]), stream(other)) == "") is same


@pytest.mark.parametrize(
    ("stretches", "fits"),
    [
        ([[started()], [stopped(), started()]], True),
        ([[started()], []], True),
        ([[stopped(), started()]], True),
        ([[started(), stopped()]], False),
        ([[stopped(), stopped()], []], False),
        ([[started(("beta", "x"))], []], False),
    ],
)
def test_stretches_are_part_of_a_story_or_not(
    stretches: list[list[dict[str, Any]]], fits: bool
) -> None:
    whole = stream([started(), stopped(), started()])
    assert (part_of_story(stream(*stretches), whole) == "") is fits


def test_replaying_follows_instances_and_their_agents() -> None:
    other = instance(("alpha", "web-81"))
    critical = instance(status="critical")
    events = [
        happened("instance.registered", instance=other),
        happened("instance.health", instance=critical),
        happened("instance.stopped", instance=critical),
        happened("agent.suspect", agent={"node": "alpha", "state": "suspect"}),
    ]
    replayed = Replayed([reset(instance()), *events])
    assert replayed.services() == {
        "web": [critical | {"freshness": "suspect"}, other | {"freshness": "suspect"}]
    }
    assert replayed.agents == {"alpha": "suspect"}
    gone = [
        happened("agent.recovered", agent={"node": "alpha", "state": "alive"}),
        happened("instance.deregistered", instance=other),
        happened("instance.stopped", instance=other),
    ]
    replayed = Replayed([reset(instance()), *events, *gone])
    assert replayed.services() == {"web": [critical]}
    assert replayed.agents == {"alpha": "alive"}
