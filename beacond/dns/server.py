"""The sockets: UDP and TCP on one port (RFC 7766). What is answered is `packet`'s business."""

import asyncio
import logging
import random
import socket
from dataclasses import dataclass
from typing import Protocol

from beacond.core.view import View
from beacond.dns.codec import Query
from beacond.dns.packet import Forward, Responder, rcode_label, type_label
from beacond.dns.records import Rcode
from beacond.dns.recursors import Recursors, parse_recursor
from beacond.dns.udp import Origin, UdpSocket
from beacond.dns.zone import parse_domain

NOT_A_QUERY = "dns-not-a-query"
"""The metrics' reason of a packet that must not be answered."""
UDP_BUFFER_OCTETS = 1024 * 1024
"""Asked of the kernel, which may give less: for bursts while the loop is busy."""
TCP_CONNECTIONS_MAX = 512
TCP_IDLE_S = 10.0
"""RFC 7766 §6.2.3 wants seconds."""
TCP_BATCH_MAX = 32
"""Pipelined queries answered before other work gets its turn."""
TCP_BACKLOG = 128
FREE_PORT_TRIES = 16

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
        self._udp: UdpSocket | None = None
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
        self._udp = UdpSocket(udp)
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
    def _answer_datagrams(self, udp: UdpSocket) -> None:
        respond = self._responder.respond
        replies: list[bytes | None] = []
        for place, packet in enumerate(udp.receive()):
            reply = respond(packet, tcp=False)
            if isinstance(reply, bytes):
                replies.append(reply)
                continue
            replies.append(None)
            if reply is None:
                self._metrics.dropped(NOT_A_QUERY)
            else:
                self._spawn_forward(udp, packet, udp.origin(place), reply.query)
        udp.reply(replies)

    def _spawn_forward(self, udp: UdpSocket, packet: bytes, origin: Origin, query: Query) -> None:
        async def forward() -> None:
            udp.reply_to(origin, await self._forward(packet, query, tcp=False))

        if self._recursors.is_full:
            udp.reply_to(origin, self._responder.refuse(packet, query, Rcode.SERVFAIL))
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
