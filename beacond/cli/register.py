"""`register` and `deregister`: what this host offers."""

from typing import Any

import click

from beacond.cli.client import Client, segment
from beacond.cli.options import agent_option, offer, offer_options


@click.command()
@click.argument("name")
@offer_options
@agent_option
def register(client: Client, name: str, **described: Any) -> None:
    """Offer an instance of service NAME on this host.

    It stays until deregistered, over restarts too. The same id again replaces it.
    """
    instance_id, body = offer(name, **described)
    answer = client.call("PUT", f"/v1/instances/{segment(instance_id)}", body=body)
    click.echo(f"{'registered' if answer.status == 201 else 'replaced'} {instance_id}")


@click.command()
@click.argument("instance_id", metavar="ID")
@agent_option
def deregister(client: Client, instance_id: str) -> None:
    """No longer offer the instance ID of this host."""
    client.call("DELETE", f"/v1/instances/{segment(instance_id)}")
    click.echo(f"deregistered {instance_id}")
