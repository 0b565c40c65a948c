"""A large fleet: how quickly it is simulated, and what it says when all come at once."""

import time

from tests.sim.world import World


def started(agents: int, *, within_s: float = 1.0) -> World:
    """So many, which all join at once."""
    world = World(1)
    names = [f"n{number:03}" for number in range(agents)]
    world.start(*names, connect_within_s=within_s)
    for name in names:
        world.register(name, "web")
    return world


def crowd(agents: int, minutes: float) -> str:
    """Simulate it; the figures."""
    began = time.process_time()
    world = started(agents)
    world.run(minutes * 60)
    world.watch.check_agreement()
    world.watch.check_replicas()
    took_s = time.process_time() - began
    received = sum(host.received for host in world.hosts.values())
    return (
        f"{agents} agents, {minutes:g} virtual minutes: {took_s:.1f} s of CPU, {received} messages"
        f" received, {took_s / received * 1e6:.1f} us each"
    )
