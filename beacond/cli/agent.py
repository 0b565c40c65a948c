"""`agent`, the daemon, and `check-config`."""

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from beacond.cli.errors import BadInput
from beacond.config import SETTINGS, Config, ConfigError, Setting, check, load

Command = TypeVar("Command", bound=Callable[..., Any])


def _setting_options(command: Command) -> Command:
    """A flag for every setting. Values stay text: one place checks them, whatever their source."""
    for setting in reversed(SETTINGS):
        command = _option(setting)(command)
    return command


def _option(setting: Setting) -> Callable[[Command], Command]:
    default = setting.default_text if setting.default is None else setting.default or "none"
    text = f"{setting.meaning} [{default}]".replace("`", "")
    return click.option(
        setting.flag,
        setting.key,
        multiple=setting.many,
        metavar=setting.metavar,
        help=text,
    )


@click.command()
@click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A TOML file [/etc/beacond/beacond.toml if it exists].",
)
@_setting_options
def agent(file: Path | None, **flags: object) -> int:
    """Run the agent of this host, in the foreground.

    SIGTERM and SIGINT stop it gracefully, SIGHUP reads the configuration and the service files
    again. Every flag is also an environment variable, BEACOND_NODE for --node and so on, and a key
    of the configuration file: docs/configuration.md tells all about them.
    """

    def reload() -> Config:
        return load(file, flags=flags)

    config = _or_complain(reload)

    gc.disable()  # until it serves: see there
    from beacond import logs
    from beacond.agent import main

    logs.set_up(config.log_level, config.log_format)
    return main(config, reload)


@click.command("check-config", short_help="Tell what is wrong with a configuration file.")
@click.argument("file", type=click.Path(path_type=Path))
def check_config(file: Path) -> None:
    """Tell what is wrong with the configuration in FILE, with line and key."""
    _or_complain(lambda: check(file))
    click.echo(f"{file}: no problems")


def _or_complain(read: Callable[[], Config]) -> Config:
    try:
        return read()
    except ConfigError as error:
        first, *others = map(str, error.problems)
        raise BadInput("\nbeacond: ".join([first, *others])) from None
