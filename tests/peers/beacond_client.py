"""beacond's HTTP API: programs register at their host's agent, lookups ask the host's agent."""

import http.client
import json
from collections.abc import Mapping
from typing import Any

from tests.peers.clients import NotDone

ACT_TIMEOUT_S = 8.0
CHECK = {"type": "tcp", "interval": "1s", "timeout": "1s"}
"""Failures until critical: 3, the default."""
CHECK_FIRST = "check first"
"""A way to register: not to be found before the first check has passed, the default; a program
that listens already may as well say that it is passing."""


def make(config: Mapping[str, Any]) -> "BeacondClient":
    return BeacondClient(config["local"], config["http_port"])


class BeacondClient:
    def __init__(self, address: str, port: int) -> None:
        self._connection = http.client.HTTPConnection(address, port)

    def lookup(self, service: str, timeout_s: float) -> tuple[set[str], set[str]]:
        told = self._call("GET", f"/v1/services/{service}", None, timeout_s)
        found = told["instances"]
        suspect = {each["id"] for each in found if each["freshness"] != "fresh"}
        return {each["id"] for each in found}, suspect

    def register(self, service: str, instance_id: str, address: str, port: int, way: str) -> None:
        check = CHECK if way == CHECK_FIRST else CHECK | {"status": "passing"}
        asked = {"service": service, "address": address, "port": port, "checks": [check]}
        self._call("PUT", f"/v1/instances/{instance_id}", asked, ACT_TIMEOUT_S)

    def deregister(self, instance_id: str) -> None:
        self._call("DELETE", f"/v1/instances/{instance_id}", None, ACT_TIMEOUT_S)

    def leader(self) -> None:
        """All are equal."""

    def _call(self, method: str, path: str, body: Any, within_s: float) -> Any:
        connection = self._connection
        try:
            connection.timeout = within_s
            if connection.sock is None:
                connection.connect()
            connection.sock.settimeout(within_s)
            connection.request(method, path, json.dumps(body) if body is not None else None)
            response = connection.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise NotDone(f"{type(error).__name__}: {error}") from None
        if response.status >= 300:
            raise NotDone(f"status {response.status}: {text.decode(errors='replace')}")
        return json.loads(text) if text else None
