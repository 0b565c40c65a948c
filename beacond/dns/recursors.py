"""Questions outside the domain, passed to the resolvers the configuration names.

One query, one socket, one random id: an answer counts only from the address asked, on the port it
was asked from, with that id and that question (RFC 5452 §9). Nothing is cached here.
"""

import asyncio
import logging
import re
import secrets
from collections.abc import Sequence
from ipaddress import ip_address

from beacond.dns.codec import (
    CD,
    HEADER_OCTETS,
    QR,
    RD,
    TCP_OCTETS_MAX,
    Query,
    encode_opt,
    header_struct,
)
from beacond.dns.packet import udp_limit

QUERIES_MAX = 256
"""In flight; beyond that a client gets SERVFAIL at once."""
RECURSOR_TIMEOUT_S = 2.0
"""For one recursor; then the next is asked."""
TIMEOUT_S = 5.0
"""For all of them: what clients wait by default."""
DNS_PORT = 53

HostPort = tuple[str, int]

_BRACKETED = re.compile(r"\[(.*)\](?::([0-9]{1,5}))?")
_WITH_PORT = re.compile(r"([^:]*):([0-9]{1,5})")

log = logging.getLogger("beacond.dns")


def parse_recursor(text: str) -> HostPort:
    """`IP`, `IPv4:PORT` or `[IPv6]:PORT`. Raises ValueError, saying what is wrong."""
    found = _BRACKETED.fullmatch(text) or _WITH_PORT.fullmatch(text)
    host, port = found.groups() if found is not None else (text, None)
    try:
        address = str(ip_address(host))
    except ValueError:
        raise ValueError(f"recursor {text!r}: {host!r} is not an IP address") from None
    if port is not None and not 0 < int(port) < 65536:
        raise ValueError(f"recursor {text!r}: {port} is not a port")
    return address, DNS_PORT if port is None else int(port)


class Recursors:
    """Asks one recursor after the other, beginning with the one that answered last."""

    def __init__(self, addresses: Sequence[HostPort]) -> None:
        self._addresses = list(addresses)
        self._silent: set[HostPort] = set()
        self._in_flight = 0

    @property
    def is_full(self) -> bool:
        return self._in_flight >= QUERIES_MAX

    async def ask(self, query: Query, *, tcp: bool) -> bytes | None:
        """A recursor's answer to a question, short enough for the client, its id to be replaced.

        Over the transport the client used, so that it sees a truncated answer as such. None: too
        many questions are in flight, or nobody answered in time.
        """
        if self.is_full:
            return None
        self._in_flight += 1
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await self._ask_in_turn(query, tcp=tcp)
        except TimeoutError:
            return None
        finally:
            self._in_flight -= 1

    async def _ask_in_turn(self, query: Query, *, tcp: bool) -> bytes | None:
        for address in tuple(self._addresses):
            try:
                async with asyncio.timeout(RECURSOR_TIMEOUT_S):
                    reply = await (_ask_tcp if tcp else _ask_udp)(address, query)
            except (OSError, EOFError, TimeoutError) as error:
                self._note_silent(address, error)
                continue
            self._note_answered(address)
            return reply
        return None

    def _note_silent(self, address: HostPort, error: Exception) -> None:
        if address in self._silent:
            return
        self._silent.add(address)
        reason = str(error) or "no answer in time"
        log.warning("recursor silent", extra={"address": _text(address), "reason": reason})

    def _note_answered(self, address: HostPort) -> None:
        if self._addresses[0] != address:
            self._addresses.remove(address)
            self._addresses.insert(0, address)
        if address in self._silent:
            self._silent.discard(address)
            log.info("recursor answers again", extra={"address": _text(address)})


def _text(address: HostPort) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _packet(query: Query, query_id: bytes) -> bytes:
    """The client's question with nothing else of what it sent but RD, CD, DO and its size."""
    opt = b""
    if query.edns_octets is not None:
        opt = encode_opt(0, dnssec_ok=query.dnssec_ok, octets=udp_limit(query))
    flags = query.flags & (RD | CD)
    return (
        query_id
        + header_struct.pack(0, flags, 1, 0, 0, 1 if opt else 0)[2:]
        + (query.question + opt)
    )


def _answers(reply: bytes, query: Query, query_id: bytes) -> bool:
    if len(reply) < HEADER_OCTETS or reply[:2] != query_id:
        return False
    _, flags, questions, *_ = header_struct.unpack_from(reply)
    asked = reply[HEADER_OCTETS : HEADER_OCTETS + len(query.question)]
    return bool(flags & QR) and questions == 1 and asked.lower() == query.question.lower()


class _Exchange(asyncio.DatagramProtocol):
    """Waits for the one datagram that answers."""

    def __init__(self, query: Query, query_id: bytes) -> None:
        self._query = query
        self._query_id = query_id
        self.reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: object) -> None:
        fits = len(data) <= udp_limit(self._query)
        if fits and not self.reply.done() and _answers(data, self._query, self._query_id):
            self.reply.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self.reply.done():
            self.reply.set_exception(exc)


async def _ask_udp(address: HostPort, query: Query) -> bytes:
    query_id = secrets.token_bytes(2)
    transport, exchange = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: _Exchange(query, query_id), remote_addr=address
    )
    try:
        transport.sendto(_packet(query, query_id))
        return await exchange.reply
    finally:
        transport.close()


async def _ask_tcp(address: HostPort, query: Query) -> bytes:
    query_id = secrets.token_bytes(2)
    packet = _packet(query, query_id)
    reader, writer = await asyncio.open_connection(*address, limit=TCP_OCTETS_MAX + 2)
    try:
        writer.write(len(packet).to_bytes(2, "big") + packet)
        length = int.from_bytes(await reader.readexactly(2), "big")
        reply = await reader.readexactly(length)
    finally:
        writer.close()
    if not _answers(reply, query, query_id):
        raise ConnectionError("an answer to another question")
    return reply
