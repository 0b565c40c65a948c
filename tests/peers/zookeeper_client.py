"""ZooKeeper through kazoo: an instance is an ephemeral node, its session kept by its program."""

import json
import logging
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from kazoo.client import KazooClient, KazooState
from kazoo.exceptions import KazooException, NodeExistsError, NoNodeError

from tests.peers.clients import NotDone

ACT_TIMEOUT_S = 8.0
RETRY = {"max_tries": -1, "delay": 0.1, "backoff": 2, "max_delay": 1.0}
"""Of connections: ZooKeeper's own client waits up to 1 s too; kazoo's default is up to 60 s."""

SRVR_WITHIN_S = 2.0


def make(config: Mapping[str, Any]) -> "ZooKeeperClient":
    logging.basicConfig(level=logging.WARNING)
    return ZooKeeperClient(config["servers"], config["ttl_s"])


class ZooKeeperClient:
    def __init__(self, servers: str, ttl_s: float) -> None:
        self._servers = servers
        self._client = KazooClient(
            servers, timeout=ttl_s, connection_retry=RETRY, randomize_hosts=False
        )
        self._connected = self._client.start_async()
        self._offered: tuple[str, bytes] | None = None
        self._lost = False
        self._ttl_s = ttl_s
        self._silent_since: float | None = None

    def lookup(self, service: str, timeout_s: float) -> tuple[set[str], set[str]]:
        deadline = time.monotonic() + timeout_s
        self._wait(timeout_s)
        asked = self._client.get_children_async(f"/services/{service}")
        timed_out = self._client.handler.timeout_exception
        try:
            found = set(asked.get(timeout=max(0.0, deadline - time.monotonic())))
        except NoNodeError:
            found = set()
        except timed_out:
            self._not_answered(deadline - timeout_s)
            raise NotDone("no answer in time") from None
        except KazooException as error:
            raise NotDone(f"{type(error).__name__}: {error}") from None
        self._silent_since = None
        return found, set()

    def _not_answered(self, asked_at: float) -> None:
        """A server that is mute for two thirds of a session's time is left for the next, as by
        ZooKeeper's own client; kazoo notices it only while nobody asks anything."""
        if self._silent_since is None:
            self._silent_since = asked_at
        elif time.monotonic() - self._silent_since > self._ttl_s * 2 / 3:
            self._silent_since = None
            with suppress(AttributeError, OSError):
                self._client._connection._socket.shutdown(socket.SHUT_RDWR)

    def register(self, service: str, instance_id: str, address: str, port: int, way: str) -> None:
        value = json.dumps({"address": address, "port": port}).encode()
        self._wait(ACT_TIMEOUT_S / 2)
        self._offered = (f"/services/{service}/{instance_id}", value)
        try:
            self._create(*self._offered).get(timeout=ACT_TIMEOUT_S / 2)
        except (KazooException, self._client.handler.timeout_exception) as error:
            raise NotDone(f"{type(error).__name__}: {error}") from None
        self._client.add_listener(self._state_changed)

    def deregister(self, instance_id: str) -> None:
        """The session is closed, and its ephemeral node goes with it."""
        self._offered = None
        self._client.stop()

    def leader(self) -> str | None:
        for server in self._servers.split(","):
            address, _, port = server.rpartition(":")
            if b"Mode: leader" in _srvr(address, int(port)):
                return address
        return None

    def _wait(self, within_s: float) -> None:
        if not self._connected.wait(within_s):
            raise NotDone("no connection to any server")

    def _create(self, path: str, value: bytes) -> Any:
        return self._client.create_async(path, value, ephemeral=True, makepath=True)

    def _state_changed(self, state: str) -> None:
        """What a session lost is offered again by the next, as a program that means to stay would
        do; called by kazoo's thread, which must not wait."""
        if state == KazooState.LOST:
            self._lost = True
        elif state == KazooState.CONNECTED and self._lost and self._offered is not None:
            self._lost = False
            offered = self._offered
            self._create(*offered).rawlink(lambda created: self._created(created, offered))

    def _created(self, created: Any, offered: tuple[str, bytes]) -> None:
        """Its former session's node may still be there: it goes with that one, so ours is made
        after it."""
        if isinstance(created.exception, NodeExistsError) and self._offered is not None:
            again = self._client.delete_async(offered[0])
            again.rawlink(lambda _: self._create(*offered))


def _srvr(address: str, port: int) -> bytes:
    """What one server says of itself; nothing where it does not answer."""
    try:
        with socket.create_connection((address, port), SRVR_WITHIN_S) as connection:
            connection.sendall(b"srvr")
            told = b""
            while more := connection.recv(4096):
                told += more
            return told
    except OSError:
        return b""
