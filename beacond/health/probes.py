"""Checks over the network, one run each: http and tcp."""

import asyncio
import errno
import os
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from beacond import __version__
from beacond.core.model import Check, Status
from beacond.health.outcome import BODY_MAX, Outcome, clean_text, critical, reason_of, timed_out

TARGETS_MAX = 64
"""Addresses tried at a second look."""
BODY_WAIT_S = 1.0
"""How long a body is waited for once the status is known."""
_RESOLVER_THREADS = 4


class HttpProber:
    """Asks http checks their question. One session, no memory between two questions.

    No proxies, cookies, redirects or kept connections: a check sees what a new client sees.
    """

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._resolver = _Resolver()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=True, resolver=self._resolver),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": f"beacond/{__version__}", "Accept-Encoding": "identity"},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            auto_decompress=False,
            trust_env=False,
        )
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._session is not None:
            await self._session.close()
            await self._resolver.close()
            self._session = None

    async def probe(self, check: Check) -> Outcome:
        """2xx is passing, 429 (RFC 6585: busy) warning, all else critical, redirects too."""
        if self._session is None or check.url is None:
            return critical("the check has no url")
        try:
            return await self._ask(self._session, check.url, check.timeout_s)
        except TimeoutError:
            return timed_out(check.timeout_s)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return critical(_describe(error))

    async def _ask(self, session: aiohttp.ClientSession, url: str, timeout_s: float) -> Outcome:
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + timeout_s
        async with asyncio.timeout_at(ends_at):
            # `encoded`: sent as it was registered, without a second opinion on its quoting.
            response = await session.get(URL(url, encoded=True), allow_redirects=False)
        try:
            body = await _beginning(response, min(ends_at, loop.time() + BODY_WAIT_S))
        finally:
            response.close()
        head, text = f"{response.status} {response.reason or ''}".strip(), clean_text(body)
        return Outcome(_verdict(response.status), f"{head}: {text}" if text else head)


async def _beginning(response: aiohttp.ClientResponse, ends_at: float) -> bytes:
    """The first bytes of the body. The status has been heard: a body that stalls or breaks off
    does not change it."""
    body = bytearray()
    with suppress(TimeoutError, aiohttp.ClientError, OSError):
        async with asyncio.timeout_at(ends_at):
            while len(body) < BODY_MAX:
                chunk = await response.content.read(BODY_MAX - len(body))
                if not chunk:
                    break
                body += chunk
    return bytes(body)


def _verdict(status: int) -> Status:
    if 200 <= status <= 299:
        return Status.PASSING
    return Status.WARNING if status == 429 else Status.CRITICAL


def _describe(error: Exception) -> str:
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return f"bad certificate: {error.certificate_error}"[:BODY_MAX]
        case aiohttp.ClientConnectorError():
            return f"cannot connect: {reason_of(error.os_error)}"
        case aiohttp.ServerDisconnectedError():
            return "the server closed the connection without an answer"
        case aiohttp.ClientResponseError():
            return f"not an HTTP answer: {error.message}"[:BODY_MAX]
        case OSError():
            return reason_of(error)
    return (str(error) or type(error).__name__)[:BODY_MAX]


class _Resolver(AbstractResolver):
    """Resolves names of http checks in its own threads.

    In the loop's default ones a DNS server that hangs (perhaps this very agent) would hold up the
    agent's writes to disk.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_RESOLVER_THREADS, "beacond-health-dns")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(
            self._threads,
            lambda: socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM),
        )
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=int(address[1]),
                family=at_family,
                proto=proto,
                flags=socket.AI_NUMERICHOST,
            )
            for at_family, _, proto, _, address in found
        ]

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


async def probe_tcp(address: str, port: int, timeout_s: float) -> Outcome:
    """Passing where something accepts a connection; it is closed at once."""
    try:
        async with asyncio.timeout(timeout_s):
            await _connect(address, port)
    except TimeoutError:
        return timed_out(timeout_s)
    except OSError as error:
        return critical(f"cannot connect: {reason_of(error)}")
    return Outcome(Status.PASSING, "connected")


async def tcp_reachable(
    targets: Sequence[tuple[str, int]], timeout_s: float
) -> frozenset[tuple[str, int]]:
    """Those of these (IP literal, port) that accept a TCP connection in time.

    All are tried at once; of a longer list the first 64.
    """
    attempts = {target: asyncio.create_task(_accepts(*target)) for target in targets[:TARGETS_MAX]}
    try:
        if attempts:
            await asyncio.wait(attempts.values(), timeout=timeout_s)
        return frozenset(t for t, task in attempts.items() if task.done() and task.result())
    finally:
        for task in attempts.values():
            task.cancel()
        await asyncio.gather(*attempts.values(), return_exceptions=True)


async def _accepts(address: str, port: int) -> bool:
    try:
        await _connect(address, port)
    except OSError:
        return False
    return True


async def _connect(address: str, port: int) -> None:
    """Raises OSError."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_connection(asyncio.Protocol, address, port)
    own, other = transport.get_extra_info("sockname"), transport.get_extra_info("peername")
    transport.abort()
    # Towards a free local port of the ephemeral range the kernel may pick that very port as the
    # source and connect the socket to itself: nobody listens there.
    if own == other:
        raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
