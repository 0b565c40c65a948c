"""`drain`, `maintenance` and `leave`: out of the answers, for a while or for good."""

import click

from beacond.cli.client import Client, segment
from beacond.cli.options import agent_option

_FOR = click.option("--for", "lasts", metavar="DURATION", help="How long, at most 24h.")


@click.command(short_help="Answer this host only where nothing else is.")
@click.argument("instance_id", metavar="[ID]", required=False)
@_FOR
@agent_option
def drain(client: Client, instance_id: str | None, lasts: str | None) -> None:
    """Answer instance ID, or all of this host, only where nothing else matches.

    For 10m unless told otherwise; `beacond maintenance off` ends it.
    """
    _set_mode(client, instance_id, {"mode": "draining", "for": lasts})


@click.command(short_help="Never answer this host, for a while.")
@click.argument("switch", type=click.Choice(["on", "off"]), metavar="on|off")
@click.argument("instance_id", metavar="[ID]", required=False)
@_FOR
@click.option("--reason", metavar="TEXT", help="Shown to whoever looks.")
@agent_option
def maintenance(
    client: Client, switch: str, instance_id: str | None, lasts: str | None, reason: str | None
) -> None:
    """Never answer instance ID, or any of this host; `off` ends draining too.

    For 1h unless told otherwise.
    """
    if switch == "off" and (lasts or reason):
        raise click.UsageError("--for and --reason go with on")
    mode = "maintenance" if switch == "on" else "normal"
    _set_mode(client, instance_id, {"mode": mode, "for": lasts, "reason": reason})


@click.command(short_help="Say goodbye for good, and stop the agent.")
@agent_option
def leave(client: Client) -> None:
    """Say goodbye for good: the agent stops, and others forget this host at once."""
    client.call("POST", "/v1/leave")
    click.echo("leaving")


def _set_mode(client: Client, instance_id: str | None, wanted: dict[str, str | None]) -> None:
    path = "/v1/mode" if instance_id is None else f"/v1/instances/{segment(instance_id)}/mode"
    body = {key: value for key, value in wanted.items() if value is not None}
    client.call("PUT", path, body=body)
    click.echo(f"{instance_id or 'this host'}: {wanted['mode']}")
