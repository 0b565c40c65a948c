"""What a fleet costs in which everybody hears everybody, reckoned from `unit_costs` without I/O."""

import math
from dataclasses import dataclass

from beacond.cli import unit_costs as unit

BROKER_CORES = 2
FULL = 0.6
"""A broker that uses this part of its cores is full: what is left is for sessions that come back,
for changes, and for what agents ask each other after an outage."""
PING_S = 3.0
SUSPECT_BEATS = 2.2
BEAT_MIN_S = 0.5
"""Who beats quicker than this is not suspected sooner."""
TTL_MIN_S = 3.0
"""Nobody is given up before."""
OPINION_S = 1.3
"""A connection that nobody takes is given up after 1.2 s, and the word of it takes a hop."""
SESSIONS_PER_S = 0.7 * 150
"""So many agents come back to a broker in a second, by their own spreading."""
HOSTS_MAX = 20_000
"""An agent knows no more nodes than this."""


@dataclass(frozen=True, slots=True)
class Fleet:
    hosts: int
    instances: int
    """Of each host."""
    interval_s: float
    ttl_s: float


@dataclass(frozen=True, slots=True)
class Load:
    """Of the broker or of one agent, in a second."""

    messages_in: float
    messages_out: float
    bytes_in: float
    """As AMQP has them: TCP, IP and TLS come on top."""
    bytes_out: float
    cpu_cores: float
    memory_bytes: float


@dataclass(frozen=True, slots=True)
class Change:
    """What it takes to tell all of one host that changed."""

    messages: int
    bytes: float
    """Of each, as AMQP has them."""


@dataclass(frozen=True, slots=True)
class Detection:
    """Of a host that dies, in seconds after its last heartbeat."""

    suspect_s: float
    """Doubted, and still answered."""
    gone_s: float
    """Two others could not reach it."""
    unseen_s: float
    """Gone where nobody can look."""


@dataclass(frozen=True, slots=True)
class Plan:
    fleet: Fleet
    broker: Load
    agent: Load
    change: Change
    detection: Detection
    reconnect_s: float
    """Over how long all agents come back to a broker that was restarted."""
    hosts_max: int
    """That one broker of `BROKER_CORES` carries at this interval."""
    interval_min_s: float
    """At which such a broker carries these hosts, in whole seconds; infinite: at none."""

    @property
    def fits(self) -> bool:
        return self.fleet.hosts <= self.hosts_max


def reckon(fleet: Fleet) -> Plan:
    broker = _broker(fleet.hosts, fleet.interval_s)
    return Plan(
        fleet=fleet,
        broker=broker,
        agent=_agent(fleet, broker),
        change=_change(fleet),
        detection=_detection(fleet),
        reconnect_s=max(fleet.interval_s, fleet.hosts / SESSIONS_PER_S),
        hosts_max=hosts_max(fleet.interval_s),
        interval_min_s=_interval_min_s(fleet.hosts),
    )


def hosts_max(interval_s: float) -> int:
    """How many hosts fill one broker."""
    fits, too_many = 0, HOSTS_MAX + 1
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        if _broker_cpu(middle, interval_s) <= BROKER_CORES * FULL:
            fits = middle
        else:
            too_many = middle
    return fits


def _broker(hosts: int, interval_s: float) -> Load:
    beats, pings = hosts / interval_s, hosts / PING_S
    beat, ping = unit.HEARTBEAT.value, unit.PING.value + unit.PING_EXTRA.value
    memory_kib = (
        unit.BROKER_MEMORY.value
        + hosts * unit.AGENT_MEMORY_AT_BROKER.value
        + hosts * hosts * unit.PAIR_MEMORY_AT_BROKER.value
    )
    return Load(
        messages_in=beats + pings,
        messages_out=hosts * beats + pings,
        bytes_in=_with(unit.PUBLISHED, (beats, beat), (pings, ping)),
        bytes_out=_with(unit.DELIVERED, (hosts * beats, beat), (pings, ping)),
        cpu_cores=_broker_cpu(hosts, interval_s),
        memory_bytes=1024 * memory_kib,
    )


def _with(around: unit.UnitCost, *messages: tuple[float, float]) -> float:
    """Bytes of so many messages of such sizes."""
    return sum(number * (size + around.value) for number, size in messages)


def _broker_cpu(hosts: int, interval_s: float) -> float:
    deliveries = hosts * hosts / interval_s
    each = unit.PING_CPU.value / PING_S + unit.AGENT_CPU_AT_BROKER.value
    return deliveries * unit.DELIVERY_CPU.value + hosts * each


def _interval_min_s(hosts: int) -> float:
    least = _broker_cpu(hosts, math.inf)
    left = BROKER_CORES * FULL - least
    if left <= 0:
        return math.inf
    return math.ceil((_broker_cpu(hosts, 1.0) - least) / left)


def _agent(fleet: Fleet, broker: Load) -> Load:
    hosts = fleet.hosts
    heard = hosts / fleet.interval_s
    memory_kib = unit.AGENT_MEMORY.value + hosts * (
        unit.HOST_MEMORY.value + fleet.instances * unit.INSTANCE_MEMORY.value
    )
    return Load(
        messages_in=broker.messages_out / hosts,
        messages_out=broker.messages_in / hosts,
        bytes_in=broker.bytes_out / hosts,
        bytes_out=broker.bytes_in / hosts,
        cpu_cores=unit.AGENT_CPU.value + heard * heard_cpu_s(heard),
        memory_bytes=1024 * memory_kib,
    )


def heard_cpu_s(per_s: float) -> float:
    """CPU of an agent for one message where so many come in a second: the more there are, the more
    of them one waking takes. Straight over the logarithm between what was measured."""
    (rate, cost), *others = unit.HEARD_CPU
    for next_rate, next_cost in others:
        if per_s < next_rate:
            part = math.log(max(per_s, rate) / rate) / math.log(next_rate / rate)
            return cost.value + part * (next_cost.value - cost.value)
        rate, cost = next_rate, next_cost
    return cost.value


def _change(fleet: Fleet) -> Change:
    announce = unit.ANNOUNCE.value + fleet.instances * unit.INSTANCE.value
    return Change(messages=fleet.hosts, bytes=announce + unit.DELIVERED.value)


def _detection(fleet: Fleet) -> Detection:
    suspect_s = SUSPECT_BEATS * max(fleet.interval_s, BEAT_MIN_S)
    # A lease ends when it is known that nothing came since: an interval later at the latest.
    lease_s = max(fleet.ttl_s, TTL_MIN_S) + fleet.interval_s
    return Detection(suspect_s, suspect_s + OPINION_S, lease_s)
