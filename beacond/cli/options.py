"""Options that several commands share."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from beacond.cli.checkspec import RULE, parse_check
from beacond.cli.client import DEFAULT_URL, Client

Command = TypeVar("Command", bound=Callable[..., Any])


def agent_option(command: Command) -> Command:
    """`--agent URL`, handed over as `client`."""
    return click.option(
        "--agent",
        "client",
        envvar="BEACOND_AGENT",
        default=DEFAULT_URL,
        show_default=True,
        metavar="URL",
        callback=lambda ctx, param, url: Client(url),
        help="The agent to talk to (env BEACOND_AGENT).",
    )(command)


def json_option(command: Command) -> Command:
    return click.option(
        "--json", "as_json", is_flag=True, help="Print the API's JSON instead of a table."
    )(command)


class _Pair(click.ParamType[tuple[str, str]]):
    """`KEY=VALUE`."""

    name = "pair"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        key, equals, rest = str(value).partition("=")
        if not (key and equals):
            self.fail(f"{value!r} is not KEY=VALUE", param, ctx)
        return key, rest


class _NamedPort(click.ParamType[tuple[str, int]]):
    """`NAME=PORT`."""

    name = "port"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        key, _, rest = str(value).partition("=")
        if not (key and rest.isascii() and rest.isdecimal() and len(rest) <= 5):
            self.fail(f"{value!r} is not NAME=PORT", param, ctx)
        return key, int(rest)


class _Check(click.ParamType[dict[str, Any]]):
    name = "check"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> dict[str, Any]:
        if isinstance(value, dict):
            return value
        try:
            return parse_check(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


_OFFER = (
    click.option(
        "--port", type=click.IntRange(1, 65535), required=True, help="Where it is reached."
    ),
    click.option("--id", "instance_id", metavar="ID", help="Unique on this host [NAME-PORT]."),
    click.option("--address", metavar="IP", help="Where it is reached [the agent's addresses]."),
    click.option(
        "--ports", type=_NamedPort(), multiple=True, metavar="NAME=PORT", help="A further port."
    ),
    click.option("--tag", "tags", multiple=True, metavar="TAG", help="A tag."),
    click.option(
        "--meta", type=_Pair(), multiple=True, metavar="KEY=VALUE", help="A word about it."
    ),
    click.option("--weight", type=click.IntRange(0, 65535), help="Share of the picks [1]."),
    click.option(
        "--check", "checks", type=_Check(), multiple=True, metavar="SPEC", help=f"{RULE}."
    ),
)


def offer_options(command: Command) -> Command:
    """What describes an instance; `offer` makes the API's body of it."""
    for option in reversed(_OFFER):
        command = option(command)
    return command


def offer(
    service: str,
    *,
    port: int,
    instance_id: str | None,
    address: str | None,
    ports: tuple[tuple[str, int], ...],
    tags: tuple[str, ...],
    meta: tuple[tuple[str, str], ...],
    weight: int | None,
    checks: tuple[dict[str, Any], ...],
) -> tuple[str, dict[str, Any]]:
    """An instance's id and the body of its registration."""
    body = {
        "service": service,
        "port": port,
        "ports": dict(ports),
        "address": address,
        "tags": list(tags),
        "meta": dict(meta),
        "weight": weight,
        "checks": list(checks),
    }
    given = {key: value for key, value in body.items() if value not in (None, [], {})}
    return instance_id or f"{service}-{port}", given
