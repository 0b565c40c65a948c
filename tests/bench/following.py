"""What following a fleet costs an agent and the broker: with relays, and without."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from heapq import nlargest
from itertools import count
from pathlib import Path

from beacond.bus.amqp_session import Timing
from beacond.core.hashing import rank_in
from beacond.core.messages import SHARDS
from tests.bench import process
from tests.bench.fleet import Fleet, fleet
from tests.bench.followers import JOIN_WITHIN_S, Follower, alone, follower
from tests.bench.population import Population, node_name, population
from tests.bench.report import Section
from tests.support.agent_process import until
from tests.support.rabbitmq import RabbitMQ

BROKER_MEMORY = "2GiB"
"""Before it stops whoever publishes: the sessions of a thousand agents take a quarter of that."""
DEATHS = 10
DEATHS_WATCHED_BEATS = 8
SAFE_RANKS = 4
"""Who ranks below so many hosts in every shard is no relay, whoever dies."""


@dataclass(frozen=True, slots=True)
class Extent:
    relayed: int
    """Hosts of the fleet that relays, ten instances each."""
    flat: int
    """… of one without relays: so many that the broker can stand it."""
    interval_s: float
    settle_s: float
    """Until joining, and the snapshots after it, are over."""
    window_s: float
    deaths: bool
    """Let relays die, too."""


@dataclass(frozen=True, slots=True)
class Window:
    """What was used and done, a second."""

    cores: list[float]
    """By process id, as given."""
    broker_cores: float
    broker_mib: float
    deliveries: float
    """By the broker, to all queues of the fleet."""
    taken: list[float]
    """By agent: messages from the bus, pings left out."""
    sent: list[Counter[str]]
    """By agent: what it sent to whom, in all of the time."""


_Figure = tuple[str, str, Callable[[Window], float]]
"""What, its unit, and where it is found."""


def measure(broker: RabbitMQ, folder: Path, extent: Extent) -> Section:
    """An agent that joins a running fleet, beside one that is alone in its own and one that follows
    a fleet without relays."""
    asyncio.run(broker.rabbitmqctl("set_vm_memory_high_watermark", "absolute", BROKER_MEMORY))
    bench = Following(broker, folder, extent)
    # The least first: a broker keeps what memory it once had.
    flat = bench.flat(extent.flat, "flat")
    relayed = bench.relayed()
    heard = bench.flat(extent.relayed, "heard")
    agents: list[_Figure] = [
        ("CPU of one core", "%", lambda used: 100 * used.cores[0]),
        ("messages from the bus", "1/s", lambda used: used.taken[0]),
    ]
    brokers: list[_Figure] = [
        ("the broker's deliveries", "1/s", lambda used: used.deliveries),
        ("the broker's CPU of one core", "%", lambda used: 100 * used.broker_cores),
        ("the broker's resident memory", "MiB", lambda used: used.broker_mib),
    ]
    section = bench.section
    for hosts, other, figures in ((extent.relayed, heard, agents), (extent.flat, flat, brokers)):
        for what, unit, of in figures:
            section.add(what, unit, of(relayed), beside=f"flat {hosts:,}", other=of(other))
    section.notes += [
        f"flat {extent.relayed:,}: so many hosts without relays, the agent's queue the only one",
        f"flat {extent.flat:,}: a session for each; its deliveries grow by the square of the hosts",
        "deliveries: to all queues of the fleet, with the hosts' pings to themselves",
        f"the process that speaks for the hosts took {100 * relayed.cores[2]:.0f} % of a core",
    ]
    return section


class Following:
    def __init__(self, broker: RabbitMQ, folder: Path, extent: Extent) -> None:
        self._broker = broker
        self._folder = folder
        self._extent = extent
        self._relayed = population(extent.relayed)
        self.section = Section(
            f"Following {extent.relayed:,} hosts with {self._relayed.instances:,} instances over "
            f"RabbitMQ, heartbeats every {extent.interval_s:g} s"
        )

    # ---- a fleet that relays

    def relayed(self) -> Window:
        with ExitStack() as open_:
            hosts = open_.enter_context(self._fleet(self._relayed, "relayed"))
            lonely = alone(self._broker, self._folder / "alone", self._extent.interval_s)
            pids = [open_.enter_context(lonely)]
            names = ranked("follower", 0, self._relayed), ranked("relay", 1, self._relayed)
            agents = [open_.enter_context(self._follower(name, self._relayed)) for name in names]
            until(lambda: all(_relays(hosts, name) for name in names), JOIN_WITHIN_S)
            used = self._window(hosts, agents, pids)
            _check_relaying(used, self._extent.window_s / self._extent.interval_s)
            self._add_agents(used, agents, pids[0])
            self.section.notes += [self._sent(used)]
            if self._extent.deaths:
                self.section.notes += [self._deaths(hosts, agents)]
        return used

    def _add_agents(self, used: Window, agents: list[Follower], lonely: int) -> None:
        share, share_relay, _, share_alone = [100 * each for each in used.cores]
        for who, cores in (("CPU of one core", share), ("… of a host that relays", share_relay)):
            self.section.add(who, "%", cores, beside="alone", other=share_alone)
        memory, memory_alone = map(process.rss_mib, (agents[0].pid, lonely))
        kib = 1024 * (memory - memory_alone) / self._relayed.instances
        self.section.add("resident memory", "MiB", memory, beside="alone", other=memory_alone)
        self.section.add("memory an instance", "KiB", kib)
        self.section.add("start to a whole view, by sync", "s", agents[0].joined_s)

    def _sent(self, used: Window) -> str:
        sent = [
            ", ".join(f"{number} {what}" for what, number in sorted(each.items()))
            for each in used.sent
        ]
        return f"in {self._extent.window_s:g} s it sent {sent[0]}; the relay {sent[1]}"

    def _deaths(self, hosts: Fleet, agents: list[Follower]) -> str:
        """Of hosts that speak for their shards. Nobody else may be lost, or suspect, for it."""
        for agent in agents:
            agent.mark()
        dead = set(hosts.silence(DEATHS))
        time.sleep(DEATHS_WATCHED_BEATS * self._extent.interval_s)
        left = self._relayed.instances - len(dead) * self._relayed.per_node
        for agent in agents:
            happened = [(each["agent"]["node"], each["kind"]) for each in agent.happened()]
            assert {node for node, _ in happened} == dead, happened
            assert {node for node, kind in happened if kind == "agent.expired"} == dead, happened
            assert agent.instances() == left, agent.instances()
        return f"{len(dead)} relays that spoke died together: nobody else was suspect for it"

    # ---- fleets that don't

    def flat(self, hosts: int, kind: str) -> Window:
        followed = population(hosts)
        with (
            self._fleet(followed, kind) as speaking,
            self._follower(f"of-{kind}", followed) as agent,
        ):
            return self._window(speaking, [agent], [])

    # ---- any

    def _follower(self, name: str, followed: Population) -> AbstractContextManager[Follower]:
        place = self._folder / name
        return follower(self._broker, place, name, followed, self._extent.interval_s)

    def _fleet(self, followed: Population, kind: str) -> AbstractContextManager[Fleet]:
        return fleet(self._broker, followed, self._extent.interval_s, kind)

    def _window(self, hosts: Fleet, agents: Sequence[Follower], more: list[int]) -> Window:
        """These agents, then the fleet, then other processes. Nobody may be lost meanwhile."""
        time.sleep(self._extent.settle_s)
        until(lambda: all(agent.is_whole() for agent in agents), JOIN_WITHIN_S)
        for agent in agents:
            agent.mark()
        used = _used(self._broker, hosts, agents, [hosts.pid, *more], self._extent.window_s)
        for agent in agents:
            agent.check_whole()
        return used


def _used(
    broker: RabbitMQ, hosts: Fleet, agents: Sequence[Follower], more: list[int], seconds: float
) -> Window:
    server = broker._server
    assert server is not None
    pids = [server.pid, *(agent.pid for agent in agents), *more]
    taken, told = [agent.taken() for agent in agents], hosts.told()
    before, from_at = list(map(process.cpu_s, pids)), time.perf_counter()
    time.sleep(seconds)
    passed_s = time.perf_counter() - from_at
    used_s = map(process.cpu_s, pids)
    cores = [(now - then) / passed_s for now, then in zip(used_s, before, strict=True)]
    told_now = hosts.told()
    rates = [(agent.taken() - n) / passed_s for agent, n in zip(agents, taken, strict=True)]
    to_hosts = (told_now["deliveries"] - told["deliveries"]) / passed_s
    names = [agent.name for agent in agents]
    return Window(
        cores=cores[1:],
        broker_cores=cores[0],
        broker_mib=process.rss_mib(server.pid),
        deliveries=to_hosts + sum(rates) + len(agents) / Timing().ping_s,
        taken=rates,
        sent=[
            Counter(told_now["agents"].get(name)) - Counter(told["agents"].get(name))
            for name in names
        ],
    )


def _relays(hosts: Fleet, agent: str) -> bool:
    """Does it send its heartbeats to relays yet? Who is new sends the first few to all."""
    return "Heartbeat to relay" in hosts.told()["agents"].get(agent, ())


def _check_relaying(used: Window, beats: float) -> None:
    """What is measured is what was to be measured."""
    follows, relays = used.sent
    least = 0.8 * beats - 1
    for sent in used.sent:
        assert sent["Heartbeat to relay"] >= 2 * least, sent
        assert not sent["Heartbeat to all"], sent
        assert not sent["Heartbeat to other"], sent
    assert not follows["ShardDigest to all"], follows
    assert relays["ShardDigest to all"] >= least, relays


def ranked(kind: str, shards: int, followed: Population) -> str:
    """A name that ranks first in so many shards, and nowhere near in the others."""
    hosts = [node_name(number) for number in range(followed.nodes)]
    best = [
        nlargest(SAFE_RANKS, (rank_in(shard, node) for node in hosts)) for shard in range(SHARDS)
    ]
    for number in count():
        name = f"{kind}-{number}"
        ranks = [rank_in(shard, name) for shard in range(SHARDS)]
        first = sum(rank > best[shard][0] for shard, rank in enumerate(ranks))
        near = sum(rank > best[shard][-1] for shard, rank in enumerate(ranks))
        if first == near == shards:
            break
    return name
