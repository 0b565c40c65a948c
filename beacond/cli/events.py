"""`events`: what started and stopped, so far or from now on."""

import json
from typing import Any

import click

from beacond.cli.client import Client, clean, host_port
from beacond.cli.options import agent_option, json_option


@click.command(short_help="Print the events so far, or follow them.")
@click.option("--follow", "-f", is_flag=True, help="Stay, and print what happens.")
@click.option("--since", metavar="ID", help="Only what came after the event ID.")
@click.option("--service", metavar="S", help="Only what is about service S.")
@json_option
@agent_option
def events(
    client: Client, follow: bool, since: str | None, service: str | None, as_json: bool
) -> None:
    """Print the event log, or follow it; a lost connection is resumed where it broke off."""
    if follow:
        _follow(client, since, service, as_json)
        return
    answer = client.get("/v1/events", {"since": since, "service": service})
    if as_json:
        click.echo(answer.text.rstrip("\n"))
        return
    found = answer.json()
    if found.get("gap"):
        click.echo("beacond: older events are no longer kept", err=True)
    for event in found["events"]:
        click.echo(line(event))


def _follow(client: Client, since: str | None, service: str | None, as_json: bool) -> None:
    from beacond.cli import sse

    def lost(why: str) -> None:
        click.echo(f"beacond: {why}; trying again", err=True)

    for message in sse.follow(client, {"service": service}, since, lost):
        if as_json:
            click.echo(message.data)
        elif message.event == "reset":
            click.echo(_reset_line(json.loads(message.data)))
        else:
            click.echo(line(json.loads(message.data)))


def line(event: dict[str, Any]) -> str:
    """An event for people: time, kind, what it is about, why."""
    words = [event["time"], event["kind"]]
    instance, agent = event.get("instance"), event.get("agent")
    if instance is not None:
        where = ",".join(host_port(each, instance["port"]) for each in instance["addresses"])
        words += [instance["service"], f"{instance['id']}@{instance['node']}"]
        words += [where, instance["status"], instance["mode"]]
    elif agent is not None:
        words += [agent["node"], agent["state"]]
    words += event.get("nodes", [])
    words += [event["bus"]] if event.get("bus") else []
    words += [f"({event['reason']})"] if event.get("reason") else []
    return clean(" ".join(words))


def _reset_line(state: dict[str, Any]) -> str:
    counts = (f"{len(value)} {key}" for key, value in state.items() if isinstance(value, list))
    return clean(f"reset: the whole state anew: {', '.join(counts)}")
