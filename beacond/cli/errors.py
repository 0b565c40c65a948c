"""How a command fails."""

import click


class CliError(click.ClickException):
    """Ends the command with one clear message; further lines are indented details."""

    exit_code = 1


class Refused(CliError):
    """The agent answered, and said no."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Unreachable(CliError):
    """No answer from an agent."""

    exit_code = 3


class BadInput(CliError):
    """What was given can't work, whatever the agent."""

    exit_code = 2
