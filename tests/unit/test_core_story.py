"""Which events tell that an instance changed."""

from dataclasses import replace

import pytest

from beacond.core.model import Freshness, Mode, Status
from beacond.core.story import tell
from beacond.core.view import InstanceView
from tests.support.views import instance

WEB = instance("web")
SICK = replace(WEB, status=Status.CRITICAL)
DRAINING = replace(WEB, mode=Mode.DRAINING)
MOVED = replace(WEB, port=9)


def story(old: InstanceView | None, new: InstanceView | None) -> list[tuple[str, str]]:
    return [(k.value.removeprefix("instance."), r) for k, r, _ in tell((old, new), "agent-left")]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (None, WEB, [("registered", "registered"), ("started", "registered")]),
        (None, SICK, [("registered", "registered")]),
        (WEB, None, [("deregistered", "agent-left"), ("stopped", "agent-left")]),
        (SICK, None, [("deregistered", "agent-left")]),
        (WEB, SICK, [("health", "critical"), ("stopped", "critical")]),
        (SICK, WEB, [("health", "passing"), ("started", "healthy")]),
        (WEB, replace(WEB, status=Status.WARNING), [("health", "warning")]),
        (WEB, DRAINING, [("mode", "draining"), ("stopped", "draining")]),
        (DRAINING, WEB, [("mode", "normal"), ("started", "healthy")]),
        (DRAINING, replace(WEB, mode=Mode.MAINTENANCE), [("mode", "maintenance")]),
        (WEB, replace(WEB, tags=("new",)), [("changed", "")]),
        (WEB, MOVED, [("changed", "replaced"), ("stopped", "replaced"), ("started", "registered")]),
        (SICK, replace(MOVED, status=Status.CRITICAL), [("changed", "replaced")]),
        (WEB, replace(WEB, freshness=Freshness.SUSPECT), []),
        (
            WEB,
            replace(WEB, service="db"),
            [
                ("deregistered", "replaced"),
                ("stopped", "replaced"),
                ("registered", "registered"),
                ("started", "registered"),
            ],
        ),
    ],
)
def test_story(
    old: InstanceView | None, new: InstanceView | None, told: list[tuple[str, str]]
) -> None:
    assert story(old, new) == told


def test_what_stopped_is_told_as_it_was_where_it_is_elsewhere_now() -> None:
    assert [i.port for k, _, i in tell((WEB, MOVED), "") if k.value == "instance.stopped"] == [
        WEB.port
    ]
