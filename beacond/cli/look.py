"""`services`, `instances`, `agents`, `status`: what the agent knows."""

from collections.abc import Sequence
from typing import Any

import click

from beacond.cli.client import Answer, Client, host_port, segment
from beacond.cli.options import agent_option, json_option

SERVICES = ("name", "instances", "passing", "tags", "zones")
INSTANCES = ("id", "node", "address", "status", "mode", "freshness", "zone", "weight", "tags")
AGENTS = ("node", "state", "addresses", "zone", "instances", "version", "last_heard")


@click.command()
@json_option
@agent_option
def services(client: Client, as_json: bool) -> None:
    """List the services of the fleet."""
    answer = client.get("/v1/services")
    _show(answer, as_json, SERVICES, lambda found: service_rows(found))


@click.command()
@click.argument("name")
@click.option("--passing", is_flag=True, help="Only what is answered to those who look it up.")
@json_option
@agent_option
def instances(client: Client, name: str, passing: bool, as_json: bool) -> None:
    """List the instances of service NAME."""
    health = "passing" if passing else "any"
    answer = client.get(f"/v1/services/{segment(name)}", {"health": health})
    _show(answer, as_json, INSTANCES, lambda found: instance_rows(found))


@click.command()
@json_option
@agent_option
def agents(client: Client, as_json: bool) -> None:
    """List the agents of the fleet."""
    answer = client.get("/v1/agents")
    _show(answer, as_json, AGENTS, lambda found: [_row(each, AGENTS) for each in found["agents"]])


@click.command()
@json_option
@agent_option
def status(client: Client, as_json: bool) -> None:
    """Tell how the agent itself is doing."""
    answer = client.get("/v1/status")
    _show(answer, as_json, (), _status_rows)


def service_rows(found: Any) -> list[Sequence[Any]]:
    return [_row(each, SERVICES) for each in found["services"]]


def instance_rows(found: Any) -> list[Sequence[Any]]:
    return [
        _row({**each, "address": host_port(each["address"], each["port"])}, INSTANCES)
        for each in found["instances"]
    ]


def _status_rows(found: Any) -> list[Sequence[Any]]:
    from beacond.spec.durations import format_duration

    rows: list[Sequence[Any]] = []
    for key, value in {**found, "uptime": format_duration(found["uptime"])}.items():
        several = isinstance(value, list) and value and isinstance(value[0], dict)
        rows += [(key, each) for each in value] if several else [(key, value)]
    return rows


def _row(each: dict[str, Any], columns: Sequence[str]) -> Sequence[Any]:
    return [each.get(column) for column in columns]


def _show(answer: Answer, as_json: bool, columns: Sequence[str], rows: Any) -> None:
    stale = answer.headers.get("X-Beacond-Stale")
    if stale is not None:
        click.echo(f"beacond: the bus is not heard; this is {stale} s old", err=True)
    if as_json:
        click.echo(answer.text.rstrip("\n"))
        return
    from beacond.cli import tables

    found = rows(answer.json())
    if found:
        tables.show(columns, found)
    else:
        click.echo("none", err=True)
