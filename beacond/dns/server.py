"""The sockets: UDP and TCP on one port (RFC 7766). What is answered is `packet`'s business."""

import asyncio
import logging
import random
import socket
from dataclasses import dataclass
from typing import Any, Protocol

from beacond.core.view import View
from beacond.dns.codec import Query
from beacond.dns.packet import Forward, Responder, rcode_label, type_label
from beacond.dns.records import Rcode
from beacond.dns.recursors import Recursors, parse_recursor
from beacond.dns.zone import parse_domain

NOT_A_QUERY = "dns-not-a-query"
"""The metrics' reason of a packet that must not be answered."""
UDP_BATCH_MAX = 64
"""Packets answered before other work gets its turn."""
UDP_QUERY_OCTETS_MAX = 4096
UDP_BUFFER_OCTETS = 1024 * 1024
"""Asked of the kernel, which may give less: for bursts while the loop is busy."""
TCP_CONNECTIONS_MAX = 512
TCP_IDLE_S = 10.0
"""RFC 7766 §6.2.3 wants seconds."""
TCP_BATCH_MAX = 32
"""Pipelined queries answered before other work gets its turn."""
TCP_BACKLOG = 128
FREE_PORT_TRIES = 16

_IP_PKTINFO = 8
"""<linux/in.h>; `socket` lacks it before Python 3.12."""
_PKTINFO_OCTETS = socket.CMSG_SPACE(20)

log = logging.getLogger("beacond.dns")


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsConfig:
    domain: str
    node: str
    """This agent's, whose addresses are those of `ns.DOMAIN`."""
    ttl_s: int = 0
    stale_ttl_s: int = 30
    """While blind (RFC 8767 §4)."""
    recursors: tuple[str, ...] = ()
    """`IP`, `IPv4:PORT` or `[IPv6]:PORT`: who answers what is outside the domain."""


class DnsMetrics(Protocol):
    """What is told of each answer, and of each packet that gets none; `beacond.metrics.Metrics`
    is one."""

    def dns_query(self, qtype: str, rcode: str) -> None: ...

    def dropped(self, reason: str) -> None: ...


class DnsServer:
    """Answers DNS from a view. May be started again after a stop.

    Raises ValueError for a domain or a recursor that is none.
    """

    def __init__(
        self, config: DnsConfig, view: View, metrics: DnsMetrics, rng: random.Random
    ) -> None:
        self._metrics = metrics
        self._responder = Responder(
            domain=parse_domain(config.domain),
            node=config.node,
            ttl_s=config.ttl_s,
            stale_ttl_s=config.stale_ttl_s,
            recursive=bool(config.recursors),
            view=view,
            count=metrics.dns_query,
            rng=rng,
        )
        self._recursors = Recursors([parse_recursor(text) for text in config.recursors])
        self._udp: _UdpSocket | None = None
        self._tcp: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections = 0

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Bind UDP and TCP to the same port, with 0 to one that is free for both; returns the
        address bound. Raises OSError where that can't be had."""
        loop = asyncio.get_running_loop()
        infos = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        family, _, _, _, address = infos[0]
        udp, tcp = _bind_both(family, address)
        wildcard = udp.getsockname()[0] in ("0.0.0.0", "::")
        self._udp = (_WildcardUdpSocket if wildcard else _UdpSocket)(udp)
        self._tcp = await asyncio.start_server(
            self._serve_connection, sock=tcp, backlog=TCP_BACKLOG
        )
        loop.add_reader(udp.fileno(), self._answer_datagrams, self._udp)
        bound_host, bound_port = udp.getsockname()[:2]
        shown = f"[{bound_host}]" if ":" in bound_host else bound_host
        log.info("listening", extra={"address": f"{shown}:{bound_port}"})
        return str(bound_host), int(bound_port)

    async def stop(self) -> None:
        """Close the sockets and every connection. What was being asked of a recursor is lost."""
        if self._udp is not None:
            asyncio.get_running_loop().remove_reader(self._udp.fileno())
            self._udp.close()
            self._udp = None
        if self._tcp is not None:
            self._tcp.close()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._tcp is not None:
            await self._tcp.wait_closed()
            self._tcp = None

    # ---- UDP
    def _answer_datagrams(self, udp: "_UdpSocket") -> None:
        for _ in range(UDP_BATCH_MAX):
            try:
                packet, origin = udp.receive()
            except OSError:
                return
            reply = self._responder.respond(packet, tcp=False)
            if isinstance(reply, Forward):
                self._spawn_forward(udp, packet, origin, reply.query)
            elif reply is not None:
                udp.send(reply, origin)
            else:
                self._metrics.dropped(NOT_A_QUERY)

    def _spawn_forward(self, udp: "_UdpSocket", packet: bytes, origin: Any, query: Query) -> None:
        async def forward() -> None:
            udp.send(await self._forward(packet, query, tcp=False), origin)

        if self._recursors.is_full:
            udp.send(self._responder.refuse(packet, query, Rcode.SERVFAIL), origin)
            return
        task = asyncio.get_running_loop().create_task(forward(), name="dns-forward")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _forward(self, packet: bytes, query: Query, *, tcp: bool) -> bytes:
        reply = await self._recursors.ask(query, tcp=tcp)
        if reply is None:
            return self._responder.refuse(packet, query, Rcode.SERVFAIL)
        self._metrics.dns_query(type_label(query.type), rcode_label(reply))
        return packet[:2] + reply[2:]

    # ---- TCP
    async def _serve_connection(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        if task is None or self._connections >= TCP_CONNECTIONS_MAX:
            writer.close()
            return
        self._connections += 1
        self._tasks.add(task)
        try:
            await self._answer_stream(reader, writer)
        except (EOFError, OSError, TimeoutError):
            log.debug("connection ended")
        finally:
            self._connections -= 1
            self._tasks.discard(task)
            writer.close()

    async def _answer_stream(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """In the order asked, until the client is silent, gone, or sends what can't be answered.

        Raises EOFError, OSError or TimeoutError at the end of all but the last.
        """
        answered = 0
        while True:
            async with asyncio.timeout(TCP_IDLE_S):
                length = int.from_bytes(await reader.readexactly(2), "big")
                packet = await reader.readexactly(length)
            reply = self._responder.respond(packet, tcp=True)
            if isinstance(reply, Forward):
                reply = await self._forward(packet, reply.query, tcp=True)
            if reply is None:
                self._metrics.dropped(NOT_A_QUERY)
                return
            writer.write(len(reply).to_bytes(2, "big") + reply)
            async with asyncio.timeout(TCP_IDLE_S):
                await writer.drain()
            answered += 1
            if answered % TCP_BATCH_MAX == 0:
                await asyncio.sleep(0)


class _UdpSocket:
    """A bound, non-blocking UDP socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self._sock.close()

    def receive(self) -> tuple[bytes, Any]:
        """A packet, and what `send` needs to reply. Raises OSError where there is none."""
        return self._sock.recvfrom(UDP_QUERY_OCTETS_MAX)

    def send(self, reply: bytes, origin: Any) -> None:
        """As well as it goes: a reply that can't be sent (to port 0, into a full queue, after
        the end) is a reply lost, and clients ask again."""
        try:
            self._sock.sendto(reply, origin)
        except OSError as error:
            log.debug("reply lost", extra={"reason": str(error)})


class _WildcardUdpSocket(_UdpSocket):
    """One bound to the unspecified address. It must answer from the address it was asked at, or
    clients that connected their socket refuse the reply; packet info tells, and is told, which."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)

    def receive(self) -> tuple[bytes, Any]:
        packet, found, _, peer = self._sock.recvmsg(UDP_QUERY_OCTETS_MAX, _PKTINFO_OCTETS)
        return packet, (peer, [_reply_info(*info) for info in found])

    def send(self, reply: bytes, origin: Any) -> None:
        peer, ancillary = origin
        try:
            self._sock.sendmsg([reply], ancillary, 0, peer)
        except OSError as error:
            log.debug("reply lost", extra={"reason": str(error)})


def _reply_info(level: int, kind: int, data: bytes) -> tuple[int, int, bytes]:
    """Packet info as received, turned into what the reply takes: for IPv4 the interface is left
    to the routes, since the way back may be another."""
    if level == socket.IPPROTO_IP:
        data = bytes(4) + data[4:]
    return level, kind, data


def _bind_both(
    family: int, address: tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]
) -> tuple[socket.socket, socket.socket]:
    """UDP and TCP sockets on one port. Raises OSError."""
    host, port, *scope = address
    for _ in range(FREE_PORT_TRIES if port == 0 else 1):
        tcp = _bind(family, socket.SOCK_STREAM, address)
        try:
            chosen = tcp.getsockname()[1]
            return _bind(family, socket.SOCK_DGRAM, (host, chosen, *scope)), tcp
        except OSError as error:
            tcp.close()
            refused = error
    raise refused


def _bind(family: int, kind: int, address: tuple[object, ...]) -> socket.socket:
    sock = socket.socket(family, kind)
    try:
        sock.setblocking(False)
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
            sock.listen(TCP_BACKLOG)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, UDP_BUFFER_OCTETS)
            sock.bind(address)
    except OSError as error:
        sock.close()
        protocol = "TCP" if kind == socket.SOCK_STREAM else "UDP"
        raise OSError(
            error.errno,
            f"can't listen on {address[0]} port {address[1]}, {protocol}: {error.strerror}",
        ) from None
    return sock
