"""The sessions that a fleet's hosts have with the broker, in one process."""

import asyncio
import socket
from collections.abc import Callable
from struct import Struct

from pamqp.constants import FRAME_BODY

from beacond.bus.amqp_session import PING as PING_KIND
from beacond.bus.amqp_topology import BROADCAST_KEY, node_key
from beacond.core.messages import AnnounceRequest, Envelope
from beacond.wire import Codec
from tests.bench.population import FLEET, node_name
from tests.costs.messages import PING
from tests.costs.sessions import listener, make_exchange, publication, speaker

EXCHANGE = f"bcn.{FLEET}"
COPIES = 256
"""Messages of others remembered, to know the copies that came to other queues."""
_FRAME = Struct(">BHI")

Heard = Callable[[bytes], None]


class Hosts:
    """What arrives is counted. Only what agents say that are none of these hosts is handed on, each
    message once."""

    def __init__(self, heard: Heard) -> None:
        self._heard = heard
        self._copies: dict[bytes, None] = {}
        self._speaking: dict[str, asyncio.Transport] = {}
        self._listening: dict[str, asyncio.Transport] = {}
        self._own_head = _own_head()
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Has an error once the broker has closed a connection."""
        self.deliveries = 0
        """At all their queues, pings too."""
        self.pings = 0
        self.published = 0

    async def open(
        self, address: tuple[str, int], user: str, password: str, nodes: list[str], *, each: bool
    ) -> None:
        """`each`: two connections and a queue for every host, as agents have them; else one queue
        that gets what is for any of them, and one who speaks."""
        login = (address[1], user, password)
        make_exchange(*login, EXCHANGE)
        for some in [[node] for node in nodes] if each else [nodes]:
            keys = [BROADCAST_KEY, *map(node_key, some)]
            line = listener(*login, keys=keys, exchange=EXCHANGE)
            ear = await self._joined(line.socket, _Ear(self, line.rest))
            mouth = await self._joined(speaker(*login).socket, _Mouth(self))
            self._listening |= dict.fromkeys(some, ear)
            self._speaking |= dict.fromkeys(some, mouth)

    def send(self, node: str, key: str, data: bytes) -> None:
        self.published += 1
        self._speaking[node].write(publication(data, key, exchange=EXCHANGE))

    def ping(self, node: str) -> None:
        """To itself, as agents do to see whether their session lives."""
        self.published += 1
        said = publication(PING, node_key(node), exchange=EXCHANGE, kind=PING_KIND)
        self._speaking[node].write(said)

    def close(self, node: str) -> None:
        """Of a host with a session of its own."""
        for transport in (self._listening.pop(node), self._speaking.pop(node)):
            transport.abort()

    # ---- for its connections

    def came(self, body: bytes) -> None:
        self.deliveries += 1
        if body.startswith(self._own_head):
            return
        if body[0] != self._own_head[0]:
            self.pings += 1
        elif body not in self._copies:
            self._copies[body] = None
            if len(self._copies) > COPIES:
                del self._copies[next(iter(self._copies))]
            self._heard(body)

    def ended(self, error: Exception | None) -> None:
        if error is not None and not self.lost.done():
            self.lost.set_exception(error)

    async def _joined(self, line: socket.socket, protocol: asyncio.Protocol) -> asyncio.Transport:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(lambda: protocol, sock=line)
        return transport


class _Mouth(asyncio.Protocol):
    """What comes back are confirms: of no interest."""

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts

    def eof_received(self) -> None:
        self._hosts.ended(ConnectionError("closed by the broker"))

    def connection_lost(self, error: Exception | None) -> None:
        self._hosts.ended(error)


class _Ear(_Mouth):
    def __init__(self, hosts: Hosts, rest: bytes) -> None:
        super().__init__(hosts)
        self._rest = rest

    def data_received(self, data: bytes) -> None:
        """Looks for the bodies of deliveries: each is one frame."""
        data, at = self._rest + data, 0
        while len(data) - at >= _FRAME.size:
            kind, _, size = _FRAME.unpack_from(data, at)
            begin, at_next = at + _FRAME.size, at + _FRAME.size + size + 1
            if at_next > len(data):
                break
            if kind == FRAME_BODY:
                self._hosts.came(data[begin : at_next - 1])
            at = at_next
        self._rest = data[at:]


def _own_head() -> bytes:
    """How every frame that one of the hosts has sent begins."""
    node = node_name(0)
    codec = Codec(fleet=FLEET, node=node, keyring=None)
    (frame,) = codec.encode(Envelope(node, 1, bytes(16), 1), AnnounceRequest(1))
    common = node.rstrip("0").encode()
    return frame[: frame.index(common) + len(common)]
