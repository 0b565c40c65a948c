"""The `beacond` command: the agent itself, and small clients of its HTTP API.

Exit codes: 0 done, 1 the agent said no, 2 bad usage or configuration, 3 the agent cannot be
reached; `run` exits with its program's status. Errors go to standard error, a line each.
"""

import importlib
import os
import sys
from typing import Any

import click

from beacond import __version__
from beacond.cli.errors import CliError

COMMANDS = {
    "agent": "agent",
    "register": "register",
    "deregister": "register",
    "services": "look",
    "instances": "look",
    "agents": "look",
    "status": "look",
    "events": "events",
    "watch": "watch",
    "run": "run",
    "drain": "modes",
    "maintenance": "modes",
    "leave": "modes",
    "check-config": "agent",
    "plan": "plan",
}
"""Command → the module of this package that has it. Loaded only when needed: a client command
starts in a fraction of the time that the agent's libraries take."""

_INTERRUPTED = 130
"""128 + SIGINT, as shells have it."""


class _Commands(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # Whoever read our output has enough of it, as in `beacond events | head`. Standard
            # output leads nowhere from here on, lest the interpreter's last flush complain.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = COMMANDS.get(cmd_name)
        if module is None:
            return None
        found = getattr(
            importlib.import_module(f"beacond.cli.{module}"), cmd_name.replace("-", "_")
        )
        assert isinstance(found, click.Command)
        return found


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="beacond", message="%(prog)s %(version)s")
def cli() -> None:
    """The service discovery daemon that never stops answering."""


def main() -> None:
    """The entry point; does not return."""
    sys.exit(_run())


def _run() -> int:
    try:
        code = cli.main(prog_name="beacond", standalone_mode=False)
    except CliError as error:
        click.echo(f"beacond: {error.format_message()}", err=True)
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return error.exit_code
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx is not None else "beacond"
        text = " ".join(error.format_message().split()).rstrip(".")
        click.echo(f"{command}: {text} (see {command} --help)", err=True)
        return error.exit_code
    except click.Abort:
        return _INTERRUPTED
    return code if isinstance(code, int) else 0
