"""`run`: a program, registered while it lives.

The program comes first: it starts at once, agent or not, and nothing that the agent does or fails
to do touches it. It keeps the terminal, the process group and the standard streams of `run`, so
that job control works as if `run` were not there.
"""

import os
import signal
from collections.abc import Sequence
from typing import Any

import click

from beacond.cli.client import Client
from beacond.cli.errors import CliError
from beacond.cli.keeper import Keeper
from beacond.cli.options import agent_option, offer, offer_options

FORWARDED = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)

_SENT_BY_KERNEL = 0x80
"""`si_code` SI_KERNEL: of a terminal's Ctrl-C, which the whole foreground group gets."""


class CannotStart(CliError):
    exit_code = 126  # as shells have it


class NotFound(CannotStart):
    exit_code = 127


# The first word that is no option begins CMD: what follows is CMD's, with or without `--`.
@click.command(context_settings={"allow_interspersed_args": False})
@click.option("--name", required=True, metavar="NAME", help="The service.")
@offer_options
@agent_option
@click.argument("command", nargs=-1, required=True, metavar="-- CMD...")
def run(client: Client, name: str, command: tuple[str, ...], **described: Any) -> int:
    """Run CMD, registered while it runs.

    CMD starts even without an agent, and is registered as soon as there is one. Signals go to it;
    its exit status is that of this command. If this command is killed, the agent finds the
    instance critical after 10 s and deregisters it 30 s later.
    """
    instance_id, body = offer(name, **described)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (*FORWARDED, signal.SIGCHLD))
    # With SIGCHLD ignored, as some parents leave it, a child's status would be lost.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = _start(command, before)
    # Only now, so that the program gets its signals unblocked and the thread gets none.
    keeper = Keeper(client.with_timeout(Keeper.CALL_MAX_S), instance_id, body)
    keeper.start()
    status = _wait(pid)
    keeper.stop()
    return status


def _start(command: Sequence[str], mask: set[int]) -> int:
    """The process id. Raises CannotStart."""
    try:
        return os.posix_spawnp(
            command[0],
            list(command),
            os.environ,
            setsigmask=mask,
            # Python ignores these; programs expect their defaults.
            setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),
        )
    except OSError as error:
        kind = NotFound if isinstance(error, FileNotFoundError) else CannotStart
        why = (error.strerror or "").lower()
        raise kind(f"{command[0]} can't be started: {why}") from None


def _wait(pid: int) -> int:
    """Hand signals on until the program ends; its status as a shell tells it."""
    while True:
        came = signal.sigwaitinfo((*FORWARDED, signal.SIGCHLD))
        if came.si_signo == signal.SIGCHLD:
            status = _reap(pid)
            if status is not None:
                return status
        elif came.si_code != _SENT_BY_KERNEL:
            os.kill(pid, came.si_signo)


def _reap(pid: int) -> int | None:
    """The program's status if it has ended. As first process of a container we also inherit
    orphans, which nobody else would bury."""
    status = None
    while True:
        try:
            ended, how = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return status
        if not ended:
            return status
        if ended == pid:
            code = os.waitstatus_to_exitcode(how)
            status = code if code >= 0 else 128 - code
