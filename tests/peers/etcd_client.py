"""etcd's v3 API through its JSON gateway: instances are keys with a lease, kept alive.

As etcd's own clients do, requests go to one member and, where it fails, to the next; leases are
renewed every third of their time; reads are linearizable, the default.
"""

import base64
import http.client
import json
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

from tests.peers.clients import NotDone

ACT_TIMEOUT_S = 8.0
MEMBER_TIMEOUT_S = 2.0
"""How long a change waits for one member before it tries the next."""


def make(config: Mapping[str, Any]) -> "EtcdClient":
    return EtcdClient(config["endpoints"], config["ttl_s"])


class EtcdClient:
    def __init__(self, endpoints: Sequence[tuple[str, int]], ttl_s: float) -> None:
        self._lookups = Members(endpoints)
        self._endpoints = endpoints
        self._ttl_s = round(ttl_s)
        self._put: dict[str, str] = {}
        self._lease = ""

    def lookup(self, service: str, timeout_s: float) -> tuple[set[str], set[str]]:
        prefix = f"/services/{service}/"
        end = prefix[:-1] + chr(ord("/") + 1)
        asked = {"key": _encoded(prefix), "range_end": _encoded(end), "keys_only": False}
        told = self._lookups.call("/v3/kv/range", asked, timeout_s, timeout_s / 2)
        keys = (base64.b64decode(each["key"]).decode() for each in told.get("kvs", ()))
        return {key.rpartition("/")[2] for key in keys}, set()

    def register(self, service: str, instance_id: str, address: str, port: int, way: str) -> None:
        key = _encoded(f"/services/{service}/{instance_id}")
        value = _encoded(json.dumps({"address": address, "port": port}))
        self._put = {"key": key, "value": value}
        self._lease = self._offer(Members(self._endpoints))
        threading.Thread(target=self._keep_alive, daemon=True).start()

    def deregister(self, instance_id: str) -> None:
        """The lease is revoked, and its key goes with it."""
        lease, self._lease = self._lease, ""
        Members(self._endpoints).call("/v3/lease/revoke", {"ID": lease}, ACT_TIMEOUT_S)

    def _offer(self, members: "Members") -> str:
        granted = members.call("/v3/lease/grant", {"TTL": self._ttl_s}, ACT_TIMEOUT_S)
        members.call("/v3/kv/put", self._put | {"lease": granted["ID"]}, ACT_TIMEOUT_S)
        lease: str = granted["ID"]
        return lease

    def leader(self) -> str | None:
        for endpoint in self._endpoints:
            with closing(http.client.HTTPConnection(*endpoint)) as connection:
                try:
                    told = _post(connection, "/v3/maintenance/status", {}, MEMBER_TIMEOUT_S)
                except (OSError, http.client.HTTPException, ValueError, NotDone):
                    continue
            if told["header"]["member_id"] == told.get("leader"):
                return endpoint[0]
        return None

    def _keep_alive(self) -> None:
        """A lease that is gone is made again, as a program that means to stay would."""
        members = Members(self._endpoints)
        while lease := self._lease:
            try:
                told = members.call("/v3/lease/keepalive", {"ID": lease}, self._ttl_s / 3)
                if "TTL" not in told["result"] and self._lease == lease:
                    self._lease = self._offer(members)
            except NotDone:
                pass
            time.sleep(self._ttl_s / 3)


class Members:
    """Connections to all members, the one in use first; for one thread."""

    def __init__(self, endpoints: Sequence[tuple[str, int]]) -> None:
        self._connections = [http.client.HTTPConnection(*endpoint) for endpoint in endpoints]

    def call(
        self, path: str, body: dict[str, Any], within_s: float, each_s: float = MEMBER_TIMEOUT_S
    ) -> Any:
        """Every member is tried once, as far as the time goes. Raises NotDone."""
        deadline = time.monotonic() + within_s
        last: Exception | None = None
        for _ in range(len(self._connections)):
            left_s = min(each_s, deadline - time.monotonic())
            if left_s <= 0:
                break
            try:
                return _post(self._connections[0], path, body, left_s)
            except (OSError, http.client.HTTPException, ValueError, NotDone) as error:
                last = error
                self._connections[0].close()
                self._connections.append(self._connections.pop(0))
        raise NotDone(f"{type(last).__name__}: {last}")


def _post(
    connection: http.client.HTTPConnection, path: str, body: dict[str, Any], within_s: float
) -> Any:
    """Waits `within_s` for the connection and again for the answer."""
    connection.timeout = within_s
    if connection.sock is None:
        connection.connect()
    connection.sock.settimeout(within_s)
    connection.request("POST", path, json.dumps(body))
    response = connection.getresponse()
    text = response.read()
    told = json.loads(text)
    if response.status != 200 or "error" in told:
        raise NotDone(f"status {response.status}: {told}")
    return told


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
