"""The four clients under one face. Each module imports only what its system needs."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Protocol, cast


class NotDone(Exception):
    """The system refused, was not there, or took too long."""


class Client(Protocol):
    """Made from a site's `client_config`; used by one thread."""

    def lookup(self, service: str, timeout_s: float) -> tuple[set[str], set[str]]:
        """Instance ids, and those of them said to be suspect. Raises NotDone."""

    def register(self, service: str, instance_id: str, address: str, port: int, way: str) -> None:
        """And keep it registered while this process lives. Raises NotDone."""

    def deregister(self, instance_id: str) -> None:
        """Raises NotDone."""

    def leader(self) -> str | None:
        """The address of the server that decides; None: none does."""


def client_for(config: Mapping[str, Any]) -> Client:
    module = import_module(f"tests.peers.{config['system']}_client")
    return cast(Client, module.make(config))
