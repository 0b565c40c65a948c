"""Shapes and bytes of answers: sorted, stable, and as promised."""

import json

import pytest

from beacond.core.events import Event, Kind
from beacond.core.local import CheckState, LocalInstance, ModeState
from beacond.core.model import Check, CheckType, Freshness, InstanceSpec, Mode, Status
from beacond.http import render
from tests.support.views import HandMadeView, agent, instance

T = 1_700_000_000.25
T_TEXT = "2023-11-14T22:13:20.250Z"


def test_json_is_one_line_of_utf8_in_a_fixed_order() -> None:
    assert render.to_json({"b": "ä\n", "a": [1, None]}) == '{"b":"ä\\n","a":[1,null]}'.encode()
    with pytest.raises(ValueError, match="not JSON compliant"):
        render.to_json(float("nan"))


@pytest.mark.parametrize(
    ("unix_s", "text"),
    [(T, T_TEXT), (0.0, "1970-01-01T00:00:00.000Z"), (1.9996, "1970-01-01T00:00:02.000Z")],
)
def test_times_are_rfc3339_in_utc_to_the_millisecond(unix_s: float, text: str) -> None:
    assert render.rfc3339(unix_s) == text


def test_host_port_brackets_ipv6() -> None:
    assert render.host_port(instance("web", port=80)) == b"10.0.0.1:80\n"
    assert render.host_port(instance("web", addresses=("fd00::1",))) == b"[fd00::1]:8080\n"


def test_instance_has_all_the_fields_of_the_contract() -> None:
    shown = render.instance(
        instance(
            "web", "web-1", addresses=("10.0.0.1", "fd00::1"), ports={"m": 1}, tags=["b", "a"],
            meta={"k": "v"}, weight=3, zone="z", status=Status.WARNING, mode=Mode.DRAINING,
            freshness=Freshness.SUSPECT,
        )
    )  # fmt: skip
    assert shown == {
        "id": "web-1",
        "service": "web",
        "node": "host-a",
        "address": "10.0.0.1",
        "addresses": ["10.0.0.1", "fd00::1"],
        "port": 8080,
        "ports": {"m": 1},
        "tags": ["a", "b"],
        "meta": {"k": "v"},
        "weight": 3,
        "zone": "z",
        "status": "warning",
        "mode": "draining",
        "freshness": "suspect",
    }


def test_lookup_tells_the_total_whatever_the_limit() -> None:
    found = (instance("web", "a"), instance("web", "b"), instance("web", "c"))
    shown = render.lookup("web", 7, T, found, 2)
    assert list(shown) == ["service", "index", "stale_since", "total", "instances"]
    assert (shown["index"], shown["stale_since"], shown["total"]) == (7, T_TEXT, 3)
    assert [each["id"] for each in shown["instances"]] == ["a", "b"]
    assert render.lookup("web", 7, None, (), None)["stale_since"] is None


def test_services_are_sorted_and_counted() -> None:
    made = HandMadeView(
        [
            instance("web", "1", tags=["b"], zone="z2"),
            instance("web", "2", tags=["a", "b"], status=Status.CRITICAL, zone="z1"),
            instance("api", "3", mode=Mode.MAINTENANCE),
        ]
    )
    assert render.services(made.view.services) == {
        "services": [
            {"name": "api", "instances": 1, "passing": 0, "tags": [], "zones": []},
            {
                "name": "web",
                "instances": 2,
                "passing": 1,
                "tags": ["a", "b"],
                "zones": ["z1", "z2"],
            },
        ]
    }


def test_equal_content_is_equal_bytes_whatever_its_history() -> None:
    one, two = instance("api", "1"), instance("web", "2")
    there = HandMadeView([one, two]).view
    back = HandMadeView([two, one]).view
    assert list(there.services) != list(back.services)
    assert render.to_json(render.services(there.services)) == render.to_json(
        render.services(back.services)
    )


def test_agents_are_sorted_by_node_with_when_they_were_heard() -> None:
    shown = render.agents([(agent("host-b", "10.0.0.2"), None), (agent("host-a"), T)])
    assert [(each["node"], each["last_heard"]) for each in shown["agents"]] == [
        ("host-a", T_TEXT),
        ("host-b", None),
    ]
    assert "last_heard" not in render.agent(agent("host-a"))


NORMAL = ModeState()


def local(*checks: CheckState, mode: ModeState = NORMAL) -> LocalInstance:
    return LocalInstance(
        spec=InstanceSpec(id="web-1", service="web", port=8080),
        origin="http",
        addresses=("10.0.0.1",),
        status=Status.PASSING,
        mode=mode,
        checks=checks,
    )


@pytest.mark.parametrize(
    ("check", "own"),
    [
        (Check(CheckType.HTTP, "c", url="http://a/"), {"url": "http://a/"}),
        (Check(CheckType.TCP, "c", port=5), {"port": 5}),
        (Check(CheckType.EXEC, "c", command=("a", "b")), {"command": ["a", "b"]}),
    ],
)
def test_polled_check_shows_how_and_what_it_saw(check: Check, own: dict[str, object]) -> None:
    (shown,) = render.local_instance(local(CheckState(check, Status.PASSING, "ok", T)))["checks"]
    assert shown == {
        "name": "c",
        "type": check.type.value,
        **own,
        "interval": "10s",
        "timeout": "5s",
        "failures": 3,
        "passes": 1,
        "deregister_after": None,
        "status": "passing",
        "output": "ok",
        "checked_at": T_TEXT,
    }


def test_ttl_check_shows_only_what_it_has() -> None:
    check = Check(CheckType.TTL, "ttl", ttl_s=90.0, deregister_after_s=60.0)
    (shown,) = render.local_instance(local(CheckState(check, Status.CRITICAL)))["checks"]
    assert shown == {
        "name": "ttl",
        "type": "ttl",
        "ttl": "1m30s",
        "deregister_after": "1m",
        "status": "critical",
        "output": "",
        "checked_at": None,
    }


def test_mode_shows_until_when() -> None:
    draining = local(mode=ModeState(Mode.DRAINING, T, "deploy"))
    shown = render.local_instance(draining)
    assert (shown["mode"], shown["until"], shown["reason"]) == ("draining", T_TEXT, "deploy")
    assert render.local_instance(local())["until"] is None


def test_event_has_the_part_it_is_about_and_no_other() -> None:
    started = Event(4, T, Kind.INSTANCE_STARTED, "healthy", instance=instance("web"))
    shown = render.event("9.4", started)
    assert list(shown) == ["id", "time", "kind", "reason", "instance"]
    assert (shown["id"], shown["time"], shown["kind"]) == ("9.4", T_TEXT, "instance.started")
    assert list(render.event("9.5", Event(5, T, Kind.AGENT_LEFT, agent=agent("b"))))[-1] == "agent"
    assert render.event("9.6", Event(6, T, Kind.BUS_UP, bus="local://"))["bus"] == "local://"
    assert render.event("9.7", Event(7, T, Kind.VIEW_HELD, nodes=("a", "b")))["nodes"] == ["a", "b"]
    assert "\n" not in json.dumps(shown)
