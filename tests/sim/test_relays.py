"""Fleets large enough for relays: that these die, disagree and come back costs no living node its
lease, and keeps no dead one alive. Random faults on small relayed fleets are in `test_faults.py`.
"""

from collections.abc import Iterable

import pytest

from beacond.core.events import Kind
from beacond.core.hashing import rank_in, shard_of
from beacond.core.messages import SHARDS
from tests.sim.world import World

HOSTS = 40
RELAY_FROM = 12
INTERVAL_S, TTL_S = 5.0, 15.0
GONE_S = TTL_S + 2.6 * INTERVAL_S + 1.5
"""After its death a node is gone everywhere: vouched for 1.5 intervals, told once in 1.1 more."""
SETTLED_S = 60.0

pytestmark = pytest.mark.timeout(600)


def fleet(seed: int, hosts: int = HOSTS, *, relay_from: int = RELAY_FROM) -> World:
    """So many that have joined, and use relays if they are enough; TCP tells nothing."""
    world = World(
        seed,
        interval_s=INTERVAL_S,
        ttl_s=TTL_S,
        relay_from=relay_from,
        probing=False,
    )
    names = [f"n{number:02}" for number in range(hosts)]
    world.start(*names, connect_within_s=3.0)
    for name in names:
        world.register(name, "web")
    world.run(SETTLED_S)
    return world


def relaying(world: World) -> int:
    return sum(host.core is not None and host.core._relays.used for host in world.running())


def ranked(world: World, shard: int) -> list[str]:
    """Who relays for it, best first."""
    running = [host.name for host in world.running()]
    return sorted(running, key=lambda name: rank_in(shard, name), reverse=True)


def told(world: World, kind: Kind, since: float) -> list[tuple[float, str, str]]:
    """(seconds after `since`, by whom, of whom)."""
    return [
        (at - since, host.name, event.agent.node if event.agent else "")
        for host in world.running()
        for at, event in host.told_at
        if at >= since and event.kind is kind
    ]


def lost(world: World, living: Iterable[str], since: float) -> list[tuple[float, str, str]]:
    """Leases of the living that ended."""
    names = set(living)
    return [each for each in told(world, Kind.AGENT_EXPIRED, since) if each[2] in names]


@pytest.mark.parametrize("seed", range(1, 4))
def test_a_quiet_fleet_is_heard_by_shard_and_nobody_is_doubted(seed: int) -> None:
    world = fleet(seed)
    assert relaying(world) == HOSTS
    before, since = sum(host.received for host in world.running()), world.now
    world.run(10 * INTERVAL_S)
    heard = sum(host.received for host in world.running()) - before
    # A digest of each shard, and of all heartbeats two copies, by those who relay.
    assert heard <= 10 * HOSTS * (SHARDS / 0.9 + 2 / 0.9)
    for kind in (Kind.AGENT_SUSPECT, Kind.AGENT_EXPIRED, Kind.VIEW_BLIND, Kind.VIEW_HELD):
        assert told(world, kind, since) == []
    assert not any(host.core.view.sight.mute for host in world.running() if host.core)
    world.watch.check_agreement()


def test_what_each_host_hears_does_not_grow_with_the_fleet() -> None:
    heard = {}
    for hosts in (30, 90):
        world = fleet(1, hosts)
        before = sum(host.received for host in world.running())
        world.run(10 * INTERVAL_S)
        heard[hosts] = (sum(host.received for host in world.running()) - before) / hosts
    assert heard[90] < 1.2 * heard[30]


@pytest.mark.parametrize("dead", [1, 2, 3, 6])
@pytest.mark.parametrize("seed", range(1, 4))
def test_relays_that_die_together_cost_no_lease_and_are_gone_in_time(seed: int, dead: int) -> None:
    world = fleet(seed)
    killed = ranked(world, shard_of(f"n{seed:02}"))[:dead]
    since = world.now
    world.kill(*killed)
    world.run(GONE_S)
    living = {host.name for host in world.running()}
    assert lost(world, living, since) == []
    gone = {(by, of) for _, by, of in told(world, Kind.AGENT_EXPIRED, since)}
    assert gone == {(by, of) for by in living for of in killed}
    back_at = world.now
    world.start(*killed)
    world.run(SETTLED_S)
    assert lost(world, [*living, *killed], back_at) == []
    assert relaying(world) == HOSTS
    world.watch.check_agreement()


def test_the_first_relay_of_every_shard_dies_at_once() -> None:
    world = fleet(1, 80)
    killed = {ranked(world, shard)[0] for shard in range(SHARDS)}
    # Fewer than a third: more is held, for then the bus is doubted.
    assert 8 <= len(killed) < 80 / 3
    since = world.now
    world.kill(*killed)
    world.run(GONE_S)
    assert lost(world, (host.name for host in world.running()), since) == []
    world.run(SETTLED_S)
    world.watch.check_agreement()


@pytest.mark.parametrize("seed", range(1, 4))
def test_a_node_that_dies_is_gone_everywhere_though_nobody_can_reach_it(seed: int) -> None:
    world = fleet(seed)
    shard = shard_of(f"n{seed:02}")
    victim = ranked(world, shard)[-1]
    since = world.now
    world.kill(victim)
    world.run(GONE_S)
    gone = told(world, Kind.AGENT_EXPIRED, since)
    assert {by for _, by, of in gone if of == victim} == {h.name for h in world.running()}
    assert all(of == victim for _, _, of in gone)
    # Suspicion comes before: relays say who is silent.
    suspected = told(world, Kind.AGENT_SUSPECT, since)
    assert max(after for after, _, of in suspected if of == victim) <= 3.7 * INTERVAL_S


@pytest.mark.parametrize("seed", range(1, 4))
def test_those_who_believe_a_relay_dead_and_those_who_do_not_lose_nobody(seed: int) -> None:
    """A third of the fleet can send nothing to the first relay of a shard, nor hear it."""
    world = fleet(seed)
    shard = shard_of(f"n{seed:02}")
    first, *others = ranked(world, shard)
    apart = others[::3]
    since = world.now
    world.bus.cut([first], apart)
    world.bus.cut(apart, [first])
    world.run(SETTLED_S)
    assert [each for each in lost(world, world.hosts, since) if first not in each[1:]] == []
    world.bus.heal()
    since = world.now
    world.run(SETTLED_S)
    assert lost(world, world.hosts, since) == []
    world.watch.check_agreement()


@pytest.mark.parametrize("seed", range(1, 3))
def test_a_fleet_that_falls_apart_finds_together_again(seed: int) -> None:
    world = fleet(seed)
    names = sorted(world.hosts)
    one, other = names[: HOSTS // 2], names[HOSTS // 2 :]
    since = world.now
    world.bus.cut(one, other)
    world.bus.cut(other, one)
    world.run(4 * SETTLED_S)
    across = {(by in one) == (of in one) for _, by, of in lost(world, names, since)}
    assert True not in across, "somebody was lost on the same side"
    world.bus.heal()
    world.run(2 * SETTLED_S)
    assert relaying(world) == HOSTS
    world.watch.check_agreement()


def test_an_outage_of_the_bus_costs_no_lease() -> None:
    world = fleet(1)
    since = world.now
    world.bus_down()
    world.run(4 * TTL_S)
    world.bus_up()
    world.run(SETTLED_S)
    assert lost(world, world.hosts, since) == []
    assert relaying(world) == HOSTS
    world.watch.check_agreement()


def test_a_relay_that_is_frozen_is_replaced_and_returns() -> None:
    world = fleet(1)
    first = ranked(world, shard_of("n01"))[0]
    since = world.now
    world.pause(first)
    world.run(3 * TTL_S)
    assert {of for _, _, of in lost(world, world.hosts, since)} == {first}
    back_at = world.now
    world.resume(first)
    world.run(SETTLED_S)
    assert lost(world, world.hosts, back_at) == []
    world.watch.check_agreement()


def test_a_fleet_may_grow_and_shrink_over_the_threshold() -> None:
    world = fleet(1, RELAY_FROM - 2)
    assert relaying(world) == 0
    since = world.now
    more = [f"m{number}" for number in range(6)]
    world.start(*more)
    world.run(SETTLED_S)
    assert relaying(world) == RELAY_FROM + 4
    for name in more:
        world.leave(name)
        world.run(INTERVAL_S)
        world.hosts[name].machine_up = False
    world.run(SETTLED_S)
    # Some are still used to relays: only well below the threshold nobody is.
    left = RELAY_FROM - 2
    assert relaying(world) == left
    world.leave("n00")
    world.hosts["n00"].machine_up = False
    world.run(SETTLED_S)
    assert relaying(world) == 0
    assert lost(world, world.hosts, since) == []
    world.watch.check_agreement()
