"""In front of aiohttp: a look-up that is asked again, byte for byte, gets its bytes at once.

aiohttp parses, routes and writes for some 80 µs of CPU; the answer is the same as before. So what
a client sent to get an answer is kept, and when the same bytes come again, alone and with nothing
under way, the rendered answer goes out. Anything else goes to aiohttp as if nothing were in front
of it. No client can tell the two ways apart.
"""

import asyncio
from collections.abc import Callable, Hashable
from email.utils import formatdate
from time import perf_counter, time
from typing import Protocol, cast

from aiohttp import HttpVersion11, web
from aiohttp.http import SERVER_SOFTWARE

from beacond.http.replies import JSON, Replies

REQUEST_OCTETS_MAX = 2048
"""Of a request that is kept."""
KEPT_MAX = 4096
"""Requests kept. All are forgotten when there are more: a flood of different ones is of no use, and
the usual ones are soon known again."""
_BODY_FOLLOWS = (b"\ncontent-length", b"\ntransfer-encoding", b"\nupgrade", b"\nexpect")


class Lookup(Protocol):
    """A question whose answer is kept rendered."""

    def stamp(self) -> Hashable:
        """Differs where the answer may."""

    def answer(self) -> tuple[int, bytes]:
        """Its index, and the JSON."""


LOOKUP = web.RequestKey("lookup", Lookup)
"""What a handler sets where the same request may be answered without it."""


class _Known:
    __slots__ = ("body", "head", "lookup", "observe", "second", "stamp")

    def __init__(self, lookup: Lookup, observe: Callable[[float], None]) -> None:
        self.lookup = lookup
        self.observe = observe
        self.stamp: Hashable = None
        self.second = 0
        self.head = self.body = b""


class Front:
    """Of one server: the requests it knows, and its connections."""

    def __init__(self, replies: Replies, keepalive_s: float) -> None:
        self._replies = replies
        self._lines: dict[web.RequestHandler, Line] = {}
        self.known: dict[bytes, _Known] = {}
        self.long_way_s = keepalive_s / 2
        """So often a connection's request goes to aiohttp, whose timer would end it else."""

    def factory(self, server: web.Server) -> Callable[[], asyncio.Protocol]:
        """Of the protocols of new connections."""
        return lambda: Line(self, server())

    def opened(self, line: "Line", inner: web.RequestHandler) -> None:
        self._lines[inner] = line

    def closed(self, inner: web.RequestHandler) -> None:
        self._lines.pop(inner, None)

    def learn(self, request: web.Request, observe: Callable[[float], None]) -> None:
        """aiohttp answers this with 200, and its handler says that it may be answered again."""
        line = self._lines.get(request.protocol)
        asked = line.asked if line is not None else b""
        if not asked or not request.keep_alive or request.version != HttpVersion11:
            return
        if len(self.known) >= KEPT_MAX:
            self.known.clear()
        self.known[asked] = _Known(request[LOOKUP], observe)

    def forget(self) -> None:
        """The server stops: what is asked from now on is aiohttp's."""
        self.known.clear()
        self._lines.clear()

    def answer(self, known: _Known) -> tuple[bytes, bytes]:
        """Head and body."""
        stamp, second = known.lookup.stamp(), int(time())
        # The heads tell the time, and the age of a stale view, in seconds.
        if known.stamp != stamp or known.second != second:
            index, known.body = known.lookup.answer()
            known.head = self._head(index, len(known.body), second)
            known.stamp, known.second = stamp, second
        return known.head, known.body

    def _head(self, index: int, length: int, second: int) -> bytes:
        heads = {
            "Content-Type": JSON,
            **self._replies.heads(index),
            "Content-Length": str(length),
            "Date": formatdate(second, usegmt=True),
            "Server": SERVER_SOFTWARE,
        }
        lines = ["HTTP/1.1 200 OK", *(f"{name}: {value}" for name, value in heads.items())]
        return "\r\n".join((*lines, "\r\n")).encode("ascii")


class Line(asyncio.Protocol):
    """One connection."""

    def __init__(self, front: Front, inner: web.RequestHandler) -> None:
        self._front = front
        self._inner = inner
        self._transport: asyncio.Transport
        self._plain = True
        """All that came were whole requests without bodies, so aiohttp waits for the next one's
        first byte whenever it has answered."""
        self._paused = False
        self._long_way_at = 0.0
        self._time = asyncio.get_running_loop().time
        self.asked = b""
        """The request that aiohttp is answering, where it is all that aiohttp has."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._front.opened(self, self._inner)
        self._inner.connection_made(transport)

    def connection_lost(self, error: BaseException | None) -> None:
        self._front.closed(self._inner)
        self._inner.connection_lost(error)

    def data_received(self, data: bytes) -> None:
        known = self._front.known.get(data)
        if known is not None and self._is_idle() and self._time() < self._long_way_at:
            began_at = perf_counter()
            self._transport.writelines(self._front.answer(known))
            known.observe(perf_counter() - began_at)
            return
        self._plain = self._plain and _is_whole_get(data)
        self.asked = data if self._is_idle() and len(data) <= REQUEST_OCTETS_MAX else b""
        self._long_way_at = self._time() + self._front.long_way_s
        self._inner.data_received(data)

    def _is_idle(self) -> bool:
        """aiohttp has nothing of this connection to read or to answer, and the client reads."""
        # There is no public word for it.
        waiter = self._inner._waiter  # noqa: SLF001
        return self._plain and not self._paused and waiter is not None and not waiter.done()

    def eof_received(self) -> bool | None:
        self._inner.eof_received()
        return None

    def pause_writing(self) -> None:
        self._paused = True
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._paused = False
        self._inner.resume_writing()


def _is_whole_get(data: bytes) -> bool:
    """One GET from its first byte to its last, whoever reads it: what a parser may take for the
    end of a line is one."""
    if not data.startswith(b"GET ") or not data.endswith(b"\r\n\r\n"):
        return False
    lines = data.count(b"\r\n")
    if not lines == data.count(b"\n") == data.count(b"\r") or data.count(b"\r\n\r\n") != 1:
        return False
    lowered = data.lower()
    return not any(name in lowered for name in _BODY_FOLLOWS)
