"""Serf over its RPC protocol: msgpack over TCP, a header and a body each way.

An instance is a tag of its host's member: its id is the key, its service the value.
"""

import socket
from collections.abc import Mapping
from typing import Any

import msgpack

from tests.peers.clients import NotDone

ACT_TIMEOUT_S = 8.0
"""More than the 5 s that an agent waits until a change of tags is on its way."""


def make(config: Mapping[str, Any]) -> "SerfClient":
    return SerfClient(config["local"], config["rpc_port"])


class SerfClient:
    def __init__(self, address: str, port: int) -> None:
        self._address = (address, port)
        self._socket: socket.socket | None = None
        self._unpacker = msgpack.Unpacker()
        self._seq = 0

    def lookup(self, service: str, timeout_s: float) -> tuple[set[str], set[str]]:
        asked = {"Tags": {}, "Status": "alive", "Name": ""}
        told = self._call("members-filtered", asked, timeout_s)
        found: set[str] = set()
        for member in told[b"Members"]:
            tags = member[b"Tags"] or {}
            found |= {key.decode() for key, value in tags.items() if value == service.encode()}
        return found, set()

    def register(self, service: str, instance_id: str, address: str, port: int, way: str) -> None:
        self._call("tags", {"Tags": {instance_id: service}, "DeleteTags": []}, ACT_TIMEOUT_S)

    def deregister(self, instance_id: str) -> None:
        self._call("tags", {"Tags": {}, "DeleteTags": [instance_id]}, ACT_TIMEOUT_S)

    def leader(self) -> None:
        """All are equal."""

    # ---- inside

    def _call(self, command: str, body: dict[str, Any], timeout_s: float) -> Any:
        try:
            if self._socket is None:
                self._connect(timeout_s)
            return self._exchange(command, body, timeout_s)
        except (OSError, ValueError) as error:
            self._hang_up()
            raise NotDone(f"{type(error).__name__}: {error}") from None

    def _connect(self, timeout_s: float) -> None:
        self._socket = socket.create_connection(self._address, timeout_s)
        self._unpacker = msgpack.Unpacker(raw=True)
        self._exchange("handshake", {"Version": 1}, timeout_s)

    def _hang_up(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _exchange(self, command: str, body: dict[str, Any], timeout_s: float) -> Any:
        assert self._socket is not None
        self._seq += 1
        self._socket.settimeout(timeout_s)
        head = {"Command": command, "Seq": self._seq}
        self._socket.sendall(b"".join(msgpack.packb(p, use_bin_type=False) for p in (head, body)))
        answer = self._next()
        if answer[b"Seq"] != self._seq:
            raise ValueError("an answer to another question")
        if answer[b"Error"]:
            raise NotDone(answer[b"Error"].decode())
        return self._next() if command == "members-filtered" else None

    def _next(self) -> Any:
        assert self._socket is not None
        while True:
            try:
                return self._unpacker.unpack()
            except msgpack.OutOfData:
                data = self._socket.recv(65536)
                if not data:
                    raise ConnectionResetError("hung up") from None
                self._unpacker.feed(data)
