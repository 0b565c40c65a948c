"""What a fleet costs, reckoned."""

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beacond import agent
from beacond.bus.amqp_session import Timing
from beacond.cli import fleet_plan, unit_costs
from beacond.cli.fleet_plan import BROKER_CORES, FULL, HOSTS_MAX, Fleet, Load, hosts_max, reckon
from beacond.config.settings import HEARTBEAT_MAX_S, HEARTBEAT_MIN_S
from beacond.core import catalog, node
from beacond.core.entry import Entry
from beacond.core.messages import Heartbeat
from beacond.core.model import Mode

hosts = st.integers(1, HOSTS_MAX)
instances = st.integers(0, 2048)
intervals_s = st.floats(HEARTBEAT_MIN_S, HEARTBEAT_MAX_S)


def plan(hosts: int, *, instances: int = 10, interval_s: float = 5.0) -> fleet_plan.Plan:
    return reckon(Fleet(hosts, instances, interval_s, 3 * interval_s))


def figures(load: Load) -> list[float]:
    return [getattr(load, each.name) for each in fields(load)]


@given(hosts.filter(lambda n: n < HOSTS_MAX), instances, intervals_s)
def test_a_host_more_costs_the_broker_more_of_everything(hosts, instances, interval_s):
    less = plan(hosts, instances=instances, interval_s=interval_s).broker
    more = plan(hosts + 1, instances=instances, interval_s=interval_s).broker
    assert all(a < b for a, b in zip(figures(less), figures(more), strict=True))


@given(hosts.filter(lambda n: n < HOSTS_MAX), intervals_s)
def test_a_host_more_costs_each_agent_more_to_hear_and_to_remember(hosts, interval_s):
    less, more = (plan(n, interval_s=interval_s).agent for n in (hosts, hosts + 1))
    assert less.messages_in < more.messages_in
    assert less.bytes_in < more.bytes_in
    assert less.memory_bytes < more.memory_bytes
    assert less.messages_out == pytest.approx(more.messages_out)


@given(st.integers(1, 5_000).map(lambda n: n / 2))
def test_more_messages_never_cost_an_agent_less(per_s):
    cost, more = (rate * fleet_plan.heard_cpu_s(rate) for rate in (per_s, per_s + 0.5))
    assert cost < more


@pytest.mark.parametrize(("per_s", "cost"), unit_costs.HEARD_CPU)
def test_the_cost_of_a_message_is_the_measured_one_where_it_was_measured(per_s, cost):
    assert fleet_plan.heard_cpu_s(per_s) == pytest.approx(cost.value)


def test_the_cost_of_a_message_lies_between_the_measured_ones_and_beside_them_stays():
    rates = [rate for rate, _ in unit_costs.HEARD_CPU]
    costs = [fleet_plan.heard_cpu_s(rate) for rate in (1, *rates, 30 * rates[-1])]
    assert costs == sorted(costs, reverse=True)
    assert (costs[0], costs[-1]) == (costs[1], costs[-2])
    assert costs[1] > fleet_plan.heard_cpu_s((rates[0] + rates[1]) / 2) > costs[2]


@given(hosts, intervals_s)
def test_every_host_hears_every_host_and_itself_each_interval(hosts, interval_s):
    found = plan(hosts, interval_s=interval_s)
    pings = hosts / fleet_plan.PING_S
    assert found.broker.messages_out - pings == pytest.approx(hosts * hosts / interval_s)
    assert found.broker.messages_in - pings == pytest.approx(hosts / interval_s)


@given(hosts, intervals_s)
def test_what_the_broker_sends_is_what_the_agents_hear(hosts, interval_s):
    found = plan(hosts, interval_s=interval_s)
    assert hosts * found.agent.messages_in == pytest.approx(found.broker.messages_out)
    assert hosts * found.agent.bytes_in == pytest.approx(found.broker.bytes_out)
    assert hosts * found.agent.messages_out == pytest.approx(found.broker.messages_in)
    assert hosts * found.agent.bytes_out == pytest.approx(found.broker.bytes_in)


@given(hosts, st.floats(HEARTBEAT_MIN_S, HEARTBEAT_MAX_S / 2))
def test_twice_the_interval_is_half_the_heartbeats(hosts, interval_s):
    once, twice = (plan(hosts, interval_s=t).broker for t in (interval_s, 2 * interval_s))
    pings = hosts / fleet_plan.PING_S
    assert once.messages_out - pings == pytest.approx(2 * (twice.messages_out - pings))
    assert once.memory_bytes == twice.memory_bytes


def test_instances_cost_memory_and_changes_but_no_heartbeats():
    few, many = plan(100, instances=1), plan(100, instances=50)
    assert few.broker == many.broker
    assert few.agent.messages_in == many.agent.messages_in
    assert few.agent.bytes_in == many.agent.bytes_in
    assert few.agent.memory_bytes < many.agent.memory_bytes
    assert few.change.bytes < many.change.bytes


@given(intervals_s)
def test_one_broker_is_full_at_the_hosts_told_and_not_before(interval_s):
    most = hosts_max(interval_s)
    assert plan(most, interval_s=interval_s).broker.cpu_cores <= BROKER_CORES * FULL
    if most < HOSTS_MAX:
        over = plan(most + 1, interval_s=interval_s)
        assert over.broker.cpu_cores > BROKER_CORES * FULL
        assert not over.fits
    assert plan(most, interval_s=interval_s).fits


@given(st.integers(1, 2_000))
def test_at_the_interval_told_the_hosts_fit_and_at_a_second_less_they_do_not(hosts):
    least_s = plan(hosts).interval_min_s
    assert plan(hosts, interval_s=least_s).fits
    if least_s > 1:
        assert not plan(hosts, interval_s=least_s - 1).fits


def test_where_the_pings_alone_are_too_many_no_interval_helps():
    assert plan(HOSTS_MAX).interval_min_s == float("inf")


def test_the_known_ends_are_met():
    """The orders of magnitude that docs/rabbitmq.md and docs/performance.md tell."""
    assert 250 < hosts_max(5.0) < 400
    assert plan(1000).agent.cpu_cores == pytest.approx(0.0953, rel=0.15)
    assert plan(1000).broker.memory_bytes > 1e9


# ---- the rules are the core's


@pytest.mark.parametrize("interval_s", [0.2, 1.0, 5.0, 60.0])
def test_a_host_is_suspect_and_gone_when_the_core_says_so(interval_s):
    found = plan(10, interval_s=interval_s).detection
    beat = Heartbeat(
        seq=1,
        version=1,
        digest=bytes(8),
        series=1,
        stamp_ms=0,
        next_ms=round(interval_s * 1000),
        ttl_ms=round(3 * interval_s * 1000),
        mode=Mode.NORMAL,
    )
    silent = Entry(node="a", since_at=0.0)
    silent.take_terms(beat.next_ms, beat.ttl_ms)
    assert found.suspect_s == pytest.approx(silent.suspect_s)
    assert found.unseen_s == pytest.approx(silent.ttl_s + interval_s)
    assert found.suspect_s < found.gone_s == pytest.approx(found.suspect_s, abs=1.5)


@pytest.mark.parametrize("hosts", [1, 500, 3000])
def test_agents_come_back_as_spread_as_the_core_spreads_them(hosts):
    per_s = node.SESSION_LOAD * node.SESSIONS_PER_S
    assert plan(hosts).reconnect_s == pytest.approx(max(5.0, hosts / per_s))


def test_what_is_known_of_the_agent_is_as_the_agent_has_it():
    assert Timing().ping_s == fleet_plan.PING_S
    assert catalog.NODES_MAX == HOSTS_MAX
    assert 0 < fleet_plan.OPINION_S - agent.PROBE_TIMEOUT_S < 0.2


def test_every_unit_cost_tells_where_it_comes_from():
    named = unit_costs.named()
    assert len(named) > 15
    for name, cost in named.items():
        assert cost.value > 0, name
        assert all((cost.unit, cost.meaning, cost.origin.command, cost.origin.machine)), name
        assert cost.origin.date.startswith("20"), name
