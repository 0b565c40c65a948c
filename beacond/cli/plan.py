"""`plan`: what a fleet will cost, before there is one."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from beacond.cli import unit_costs
from beacond.cli.fleet_plan import BROKER_CORES, FULL, HOSTS_MAX, Fleet, Plan, reckon
from beacond.spec.durations import format_duration

ALARM = 0.4
"""RabbitMQ stops all publishers at this part of its machine's memory, unless told otherwise."""


class _Duration(click.ParamType[float]):
    """Seconds, of a duration with a unit, within the limits of the setting it stands for."""

    name = "duration"

    def __init__(self, key: str) -> None:
        self._key = key

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if isinstance(value, float):
            return value
        from beacond.config import SETTINGS

        (setting,) = (each for each in SETTINGS if each.key == self._key)
        try:
            seconds = setting.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        assert isinstance(seconds, float)
        return seconds


@click.command()
@click.option(
    "--hosts", type=click.IntRange(1, HOSTS_MAX), required=True, metavar="N", help="With an agent."
)
@click.option(
    "--instances",
    type=click.IntRange(0, 2048),
    default=10,
    show_default=True,
    metavar="M",
    help="On each host.",
)
@click.option(
    "--interval",
    "interval_s",
    type=_Duration("heartbeat"),
    default="5s",
    show_default=True,
    metavar="DURATION",
    help="Between two heartbeats of a host.",
)
@click.option(
    "--ttl",
    "ttl_s",
    type=_Duration("ttl"),
    metavar="DURATION",
    help="How long a silent host is kept [15s, or 3 × the interval where that is more].",
)
@click.option(
    "--bus", type=click.Choice(["amqp"]), default="amqp", show_default=True, help="The kind of bus."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every figure's origin.")
def plan(
    hosts: int, instances: int, interval_s: float, ttl_s: float | None, bus: str, as_json: bool
) -> None:
    """Tell what a fleet costs its broker and its hosts.

    Reckoned from unit costs that were measured: an order of magnitude, to be measured again on the
    broker you have. No agent is asked.
    """
    reckoned = reckon(Fleet(hosts, instances, interval_s, _ttl_s(ttl_s, interval_s)))
    if as_json:
        click.echo(_json(reckoned, bus))
    else:
        _show(reckoned)


def _ttl_s(given: float | None, interval_s: float) -> float:
    from beacond.config.loader import TTL_DEFAULT_S, TTL_PER_HEARTBEAT
    from beacond.config.settings import TTL_MAX_S

    least = min(TTL_PER_HEARTBEAT * interval_s, TTL_MAX_S)
    if given is not None and given < least:
        raise click.BadParameter(
            f"must be at least {TTL_PER_HEARTBEAT} × the interval, so {format_duration(least)}",
            param_hint="'--ttl'",
        )
    return max(TTL_DEFAULT_S, least) if given is None else given


def _json(plan: Plan, bus: str) -> str:
    found = {
        "bus": bus,
        **asdict(plan),
        "broker_cores": BROKER_CORES,
        "fits": plan.fits,
        "verdict": verdict(plan),
        "unit_costs": {name: asdict(cost) for name, cost in unit_costs.named().items()},
    }
    if math.isinf(plan.interval_min_s):
        found["interval_min_s"] = None  # JSON knows no infinity
    return json.dumps(found, indent=2)


def _show(plan: Plan) -> None:
    from beacond.cli import tables

    fleet = plan.fleet
    interval, ttl = format_duration(fleet.interval_s), format_duration(fleet.ttl_s)
    click.echo(
        f"{fleet.hosts:,} hosts of {fleet.instances:,} instances, one RabbitMQ, "
        f"heartbeats every {interval}, ttl {ttl}\n"
    )
    tables.show(("a second", "broker", "each agent"), _loads(plan))
    click.echo()
    tables.show(("when", "then"), _happenings(plan))
    click.echo(f"\n{verdict(plan)}")


def _loads(plan: Plan) -> list[Sequence[str]]:
    broker, agent = plan.broker, plan.agent
    return [
        ("messages in", _number(broker.messages_in), _number(agent.messages_in)),
        ("messages out", _number(broker.messages_out), _number(agent.messages_out)),
        ("bytes in", _bytes(broker.bytes_in), _bytes(agent.bytes_in)),
        ("bytes out", _bytes(broker.bytes_out), _bytes(agent.bytes_out)),
        ("CPU, of one core", _share(broker.cpu_cores), _share(agent.cpu_cores)),
        ("memory", _bytes(broker.memory_bytes), _bytes(agent.memory_bytes)),
    ]


def _happenings(plan: Plan) -> list[Sequence[str]]:
    change, found = plan.change, plan.detection
    return [
        ("a host changes", f"{change.messages:,} deliveries of {_bytes(change.bytes)}"),
        ("a host says goodbye", "gone at once"),
        ("a host dies: suspect, still answered", f"after {_after(found.suspect_s)}"),
        ("… gone: two others cannot reach it", f"after {_after(found.gone_s)}"),
        ("… gone: nobody can look", f"after {_after(found.unseen_s)}"),
        ("a restarted broker: all are back", f"within {_after(plan.reconnect_s)}"),
    ]


def verdict(plan: Plan) -> str:
    """Whether one broker carries it, and what would; a line each."""
    found, most = "Fits" if plan.fits else "TOO MUCH", _rounded(plan.hosts_max)
    lines = [
        f"{found}: one broker of {BROKER_CORES} cores is full ({100 * FULL:g} % of them) at about "
        f"{most:,} hosts at this interval.",
        f"With the memory alarm at {100 * ALARM:g} %, as by default, the broker needs a machine "
        f"with {_bytes(plan.broker.memory_bytes / ALARM)} of memory.",
    ]
    return "\n".join(lines if plan.fits else (lines[0], _way_out(plan), lines[1]))


def _way_out(plan: Plan) -> str:
    from beacond.config.settings import HEARTBEAT_MAX_S

    cores = math.ceil(plan.broker.cpu_cores / FULL)
    ways = [f"a broker of {_number(cores)} cores"]
    if plan.interval_min_s <= HEARTBEAT_MAX_S:
        ways.append(f"an interval of {format_duration(plan.interval_min_s)}")
    return f"{plan.fleet.hosts:,} hosts take {' or '.join(ways)}."


def _rounded(hosts: int) -> int:
    """Down to two digits: no more of it is known."""
    digits = max(len(str(hosts)) - 2, 0)
    return hosts - hosts % int(10**digits)


def _number(value: float) -> str:
    """Three digits."""
    if value >= 1000:
        step = 10 ** (len(str(round(value))) - 3)
        return f"{round(value / step) * step:,}"
    return f"{value:.3g}"


def _bytes(value: float) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= size:
            return f"{_number(value / size)} {unit}"
    return f"{_number(value)} B"


def _share(cores: float) -> str:
    return f"{_number(100 * cores)} %"


def _after(seconds: float) -> str:
    return format_duration(round(seconds)) if seconds >= 60 else f"{round(seconds, 1):g}s"
