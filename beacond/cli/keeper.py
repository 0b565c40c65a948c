"""Keeps an instance registered from a thread, through any trouble of the agent."""

import random
import threading
from typing import Any

import click

from beacond.cli.client import Client, clean, segment
from beacond.cli.errors import CliError, Refused

CHECK = "run"
"""Name of the check that says that we are alive."""
CHECK_TTL = "10s"
DEREGISTER_AFTER = "30s"
RENEW_S = 3.0
"""Two renewals may be lost within the check's ttl."""
RETRY_S = 0.5
RETRY_MAX_S = 5.0
REFUSED_RETRY_S = 30.0
"""An agent that said no to the registration: an id may become free, a bad value never good."""
STOP_MAX_S = 3.0
"""How long the end of the program is held up by an agent that does not answer."""

_NOT_FOUND, _CONFLICT = 404, 409


class Keeper:
    """Registers, renews, registers again where the agent forgot, deregisters at the end."""

    CALL_MAX_S = 2.0

    def __init__(self, client: Client, instance_id: str, body: dict[str, Any]) -> None:
        alive = {
            "type": "ttl",
            "name": CHECK,
            "ttl": CHECK_TTL,
            "deregister_after": DEREGISTER_AFTER,
            "status": "passing",
        }
        self._client = client
        self._path = f"/v1/instances/{segment(instance_id)}"
        self._id = instance_id
        self._body = {**body, "checks": [*body.get("checks", ()), alive]}
        self._registered = False
        """The agent said so, and has not denied it since."""
        self._offered = False
        """The agent may have taken it, though its answer may not have come."""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True, name="keeper")
        self._told = ""

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Deregister, if the agent answers in time."""
        self._stopping.set()
        self._thread.join(STOP_MAX_S)

    def _keep(self) -> None:
        retry_s = RETRY_S
        while True:
            try:
                self._register_or_renew()
                self._tell("")
                wait_s, retry_s = RENEW_S, RETRY_S
            except CliError as error:
                self._tell(error.message)
                no = isinstance(error, Refused) and error.status < 500
                wait_s = REFUSED_RETRY_S if no else retry_s
                retry_s = min(retry_s * 2, RETRY_MAX_S)
            if self._stopping.wait(wait_s * random.uniform(0.8, 1.0)):
                break
        if self._offered:
            self._deregister()

    def _register_or_renew(self) -> None:
        if self._registered and not self._renew():
            self._registered = False
        if not self._registered:
            self._offered = True
            try:
                self._client.call("PUT", self._path, {"origin": "run"}, self._body)
            except Refused:
                self._offered = False
                raise
            self._registered = True

    def _renew(self) -> bool:
        """False: the agent does not know us (any more)."""
        try:
            self._client.call(
                "PUT", self._path + "/health", body={"status": "passing", "check": CHECK}
            )
        except Refused as error:
            if error.status in (_NOT_FOUND, _CONFLICT):
                return False
            raise
        return True

    def _deregister(self) -> None:
        try:
            self._client.call("DELETE", self._path, {"origin": "run"})
        except CliError as error:
            gone = isinstance(error, Refused) and error.status == _NOT_FOUND
            if self._registered and not gone:
                self._tell(f"not deregistered: {error.message}")

    def _tell(self, trouble: str) -> None:
        """One line for each new kind of trouble, none while it lasts, one when it is over."""
        if trouble and trouble != self._told:
            first = clean(trouble.splitlines()[0])
            details = "".join("\n" + each for each in trouble.splitlines()[1:])
            click.echo(f"beacond run: {self._id}: {first}{details}", err=True)
        elif self._told and not trouble:
            click.echo(f"beacond run: {self._id}: registered", err=True)
        self._told = trouble
