"""What one message, agent or instance costs, as measured: all that `beacond plan` reckons with.

Change a figure only with its origin. The sizes are those that the wire and the AMQP library make,
as a test checks; times and memory are measured by `python -m tests.costs`.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Origin:
    command: str
    date: str
    machine: str


@dataclass(frozen=True, slots=True)
class UnitCost:
    value: float
    unit: str
    meaning: str
    origin: Origin


_QUIET = "virtual machine of two cores (AMD EPYC), Python 3.11, RabbitMQ 3.10"
_MACHINE = f"{_QUIET}, others at work on it"
_SIZES = Origin("pytest tests/unit/test_plan_sizes.py", "2026-11-22", "any")
_BROKER = Origin("python -m tests.costs broker", "2026-11-22", _MACHINE)
_AGENT = Origin("python -m tests.costs agent", "2026-11-22", _MACHINE)

# Sizes on the wire, of a fleet "default" with keys, nodes named like "node-0042".

HEARTBEAT = UnitCost(126, "bytes", "a heartbeat", _SIZES)
ANNOUNCE = UnitCost(187, "bytes", "the state of a host without instances", _SIZES)
INSTANCE = UnitCost(
    86.8, "bytes", "an instance in it, with two tags and two pairs of metadata", _SIZES
)
PING = UnitCost(16, "bytes", "what an agent sends itself", _SIZES)
PUBLISHED = UnitCost(64, "bytes", "AMQP around a broadcast on its way to the broker", _SIZES)
DELIVERED = UnitCost(109, "bytes", "AMQP around it on its way to an agent", _SIZES)
PING_EXTRA = UnitCost(14, "bytes", "AMQP around a ping, over that around a broadcast", _SIZES)

# The broker: the middle of eight figures, two each with 50, 100, 200 and 300 agents.

DELIVERY_CPU = UnitCost(
    50e-6,
    "s",
    "CPU for a delivery of a heartbeat, with its share of publishing (41 to 64 µs)",
    _BROKER,
)
PING_CPU = UnitCost(
    550e-6, "s", "CPU for a ping, published, confirmed, delivered (350 to 860 µs)", _BROKER
)
AGENT_CPU_AT_BROKER = UnitCost(50e-6, "s/s", "CPU for an agent that says nothing", _BROKER)
BROKER_MEMORY = UnitCost(
    190_000, "KiB", "resident memory under load, before there are agents", _BROKER
)
AGENT_MEMORY_AT_BROKER = UnitCost(150, "KiB", "memory for an agent's two connections", _BROKER)
PAIR_MEMORY_AT_BROKER = UnitCost(
    1.2, "KiB", "memory for each agent that each agent has ever sent anything to", _BROKER
)

# An agent.

AGENT_CPU = UnitCost(
    0.0007,
    "cores",
    "CPU of an agent that is alone",
    Origin("make bench", "2026-11-22", _QUIET),
)
HEARD_CPU = (
    (20.0, UnitCost(550e-6, "s", "CPU for a message, 20 of which come in a second", _AGENT)),
    (
        200.0,
        UnitCost(450e-6, "s", "CPU for one where 200 come in a second (410 to 470 µs)", _AGENT),
    ),
    (1000.0, UnitCost(210e-6, "s", "CPU for one where 1,000 come in a second", _AGENT)),
)
"""Messages a second, rising, and the CPU for each."""
AGENT_MEMORY = UnitCost(61_200, "KiB", "resident memory of an agent that is alone", _AGENT)
HOST_MEMORY = UnitCost(3.9, "KiB", "memory for a host followed", _AGENT)
INSTANCE_MEMORY = UnitCost(1.56, "KiB", "memory for an instance followed", _AGENT)


def named() -> dict[str, UnitCost]:
    """All of them."""
    single = {name.lower(): each for name, each in globals().items() if isinstance(each, UnitCost)}
    return single | {f"heard_cpu_{rate:g}_per_s": each for rate, each in HEARD_CPU}
