"""The tables behind the view: indexes, addresses, zones; what is replaced and what stays."""

from dataclasses import replace

import pytest

from beacond.core import tables as tables_module
from beacond.core.model import AgentState, Body, Freshness, Mode
from beacond.core.tables import Tables, instances_of
from beacond.core.view import Selection, select
from tests.support.core import published
from tests.support.views import agent, instance


@pytest.fixture
def tables() -> Tables:
    return Tables(1000)


def put(tables: Tables, node: str, *services: str) -> None:
    tables.put(agent(node, "10.0.0.1"), [instance(name, node=node) for name in services])
    tables.flush()


PLAIN = {"freshness": Freshness.FRESH, "last_resort": False, "hidden": frozenset()}


def test_instance_gets_what_its_node_adds() -> None:
    body = Body("z1", ("10.0.0.1", "fd00::1"), "1", Mode.DRAINING, (published("web"),))
    (made,) = instances_of("a", body, **PLAIN)
    assert (made.node, made.zone, made.addresses) == ("a", "z1", body.addresses)
    assert made.mode is Mode.DRAINING


@pytest.mark.parametrize(
    ("own", "hosts", "effective"),
    [
        (Mode.NORMAL, Mode.NORMAL, Mode.NORMAL),
        (Mode.DRAINING, Mode.NORMAL, Mode.DRAINING),
        (Mode.DRAINING, Mode.MAINTENANCE, Mode.MAINTENANCE),
        (Mode.MAINTENANCE, Mode.DRAINING, Mode.MAINTENANCE),
    ],
)
def test_stricter_of_two_modes_counts(own: Mode, hosts: Mode, effective: Mode) -> None:
    body = Body("", ("10.0.0.1",), "1", hosts, (published("web", mode=own),))
    (made,) = instances_of("a", body, **PLAIN)
    assert made.mode is effective


def test_instance_nobody_could_connect_to_is_not_shown() -> None:
    body = Body(instances=(published("web"), published("db", address="10.0.0.9")))
    shown = instances_of("a", body, **PLAIN)
    assert [i.service for i in shown] == ["db"]


def test_index_grows_only_for_services_that_changed(tables: Tables) -> None:
    put(tables, "a", "web", "db")
    web, db = tables.view.index_of("web"), tables.view.index_of("db")
    put(tables, "a", "web")
    assert tables.view.index_of("web") == web
    assert tables.view.index_of("db") > db
    assert tables.view.index_of("never-was") == 1000


def test_unchanged_service_is_the_very_same_object(tables: Tables) -> None:
    put(tables, "a", "web", "db")
    web = tables.view.services["web"]
    put(tables, "b", "db")
    assert tables.view.services["web"] is web


def test_nothing_changed_is_no_new_index(tables: Tables) -> None:
    put(tables, "a", "web")
    index = tables.view.index
    assert tables.put(agent("a", "10.0.0.1"), [instance("web", node="a")]) == []
    assert tables.flush() == ()
    assert tables.view.index == index


def test_agent_that_changed_moves_the_counter_and_no_service(tables: Tables) -> None:
    put(tables, "a", "web")
    web, index = tables.view.index_of("web"), tables.view.index
    tables.put(agent("a", "10.0.0.1", version="2"), [instance("web", node="a")])
    assert tables.flush() == ()
    assert tables.view.index > index
    assert tables.view.index_of("web") == web


def test_index_of_a_service_that_went_never_shrinks(tables: Tables) -> None:
    put(tables, "a", "web")
    before = tables.view.index_of("web")
    put(tables, "a")
    gone = tables.view.index_of("web")
    put(tables, "a", "web")
    assert before < gone < tables.view.index_of("web")


def test_index_never_shrinks_even_where_the_service_was_forgotten(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables_module, "REMOVED_MAX", 2)
    last = {}
    for name in ("s1", "s2", "s3", "s4"):
        put(tables, "a", name)
        put(tables, "a")
        last[name] = tables.view.index_of(name)
    assert all(tables.view.index_of(name) >= index for name, index in last.items())
    assert len(tables._removed) == 2


def test_instances_are_sorted_by_node_and_id(tables: Tables) -> None:
    tables.put(agent("b", "10.0.0.1"), [instance("web", node="b", port=p) for p in (90, 80)])
    put(tables, "a", "web")
    found = tables.view.instances_of("web")
    assert [(i.node, i.port) for i in found] == [("a", 8080), ("b", 80), ("b", 90)]


def test_instance_that_moves_to_another_service_leaves_the_first(tables: Tables) -> None:
    tables.put(agent("a", "10.0.0.1"), [instance("web", "x", node="a")])
    tables.flush()
    tables.put(agent("a", "10.0.0.1"), [instance("db", "x", node="a")])
    assert tables.flush() == ("db", "web")
    assert "web" not in tables.view.services


def test_addresses_are_known_while_somebody_there_may_answer(tables: Tables) -> None:
    there = agent("a", "10.0.0.1", zone="z")
    tables.put(there, [instance("web", node="a"), instance("web", "2", node="a", port=81)])
    assert tables.view.addresses == {"10.0.0.1": {("node", "a"): 1, ("service", "web"): 2}}
    assert (tables.view.zones, tables.agents_present) == ({"z": 1}, 1)
    tables.put(replace(there, state=AgentState.EXPIRED), [])
    assert (tables.view.addresses, tables.view.zones, tables.agents_present) == ({}, {}, 0)
    tables.put(there, [])
    assert tables.agents_present == 1


def test_forgotten_agent_leaves_nothing_behind(tables: Tables) -> None:
    tables.put(agent("a", "10.0.0.1", state=AgentState.LEFT), [])
    tables.flush()
    tables.forget("a")
    tables.forget("unknown")
    tables.flush()
    assert (dict(tables.view.agents), dict(tables.view.addresses)) == ({}, {})


def test_turning_blind_changes_every_index_once_and_mute_none(tables: Tables) -> None:
    put(tables, "a", "web")
    before = tables.view.index_of("web")
    assert tables.set_sight(stale_since=5.0, mute=False)
    blind = tables.view.index_of("web")
    assert blind > before
    assert not tables.set_sight(stale_since=5.0, mute=False)
    assert not tables.set_sight(stale_since=5.0, mute=True)
    assert tables.view.index_of("web") == blind
    assert tables.set_sight(stale_since=None, mute=False)
    assert tables.view.index_of("web") == tables.view.index_of("unknown") > blind


# ---- selecting


NORMAL = instance("web", "normal")
DRAINING = instance("web", "draining", mode=Mode.DRAINING)
MAINTENANCE = instance("web", "maintenance", mode=Mode.MAINTENANCE)
HELD = instance("web", "held", last_resort=True)


@pytest.mark.parametrize(
    ("there", "answered"),
    [
        ([NORMAL, DRAINING, MAINTENANCE, HELD], [NORMAL]),
        ([DRAINING, MAINTENANCE, HELD], [HELD]),
        ([DRAINING, MAINTENANCE], [DRAINING]),
        ([MAINTENANCE], []),
    ],
)
def test_the_best_that_there_is_is_answered(there: list[object], answered: list[object]) -> None:
    assert select(there, Selection()) == tuple(answered)
    assert select(there, Selection(any_health=True)) == tuple(there)


def test_all_conditions_of_a_question_must_hold() -> None:
    both = instance("web", "1", tags=("a", "b"), zone="z", meta={"k": "v"})
    wanted = Selection(tags=("a", "b"), zone="z", meta=(("k", "v"),))
    assert select([both], wanted) == (both,)
    for other in (
        replace(both, tags=("a",)),
        replace(both, zone=""),
        replace(both, meta=(("k", "w"),)),
    ):
        assert select([other], wanted) == ()
