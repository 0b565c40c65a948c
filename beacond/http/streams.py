"""How a stream of events is written: server-sent events or lines of JSON, to readers that may be
slow or gone."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

RETRY_MS = 2000
WRITE_TIMEOUT_S = 10.0
"""For a reader to take each `CHUNK_BYTES`."""
CHUNK_BYTES = 64 * 1024
AT_ONCE_BYTES = 16 * 1024
"""With less than that on its way, writing waits for nobody (asyncio's limit is 64 KiB)."""


@dataclass(frozen=True, slots=True)
class Format:
    """One way to write a stream. `frame` takes an event's id, its kind and its JSON."""

    content_type: str
    opening: bytes
    keep_alive: bytes
    frame: Callable[[str, str, bytes], bytes]


def _sse_frame(event_id: str, kind: str, data: bytes) -> bytes:
    # WHATWG HTML, "server-sent events": one data line, since JSON here has no line ends.
    return f"id: {event_id}\nevent: {kind}\ndata: ".encode() + data + b"\n\n"


def _line_frame(_event_id: str, _kind: str, data: bytes) -> bytes:
    return data + b"\n"


SSE = Format("text/event-stream", f"retry: {RETRY_MS}\n\n".encode(), b": alive\n\n", _sse_frame)
NDJSON = Format("application/x-ndjson", b"", b"\n", _line_frame)


def format_of(accept: str) -> Format | None:
    """The stream that an `Accept` header names; None: it names none."""
    for part in accept.lower().split(","):
        media_type = part.partition(";")[0].strip()
        for offered in (SSE, NDJSON):
            if media_type == offered.content_type:
                return offered
    return None


class ReaderTooSlow(Exception):
    """A reader did not take what was sent in time; its connection is cut."""


class StreamWriter:
    """The answer of one stream, from its head to its end."""

    def __init__(self, request: web.Request, form: Format, heads: dict[str, str]) -> None:
        self._request = request
        self._response = web.StreamResponse(
            headers={"Content-Type": form.content_type, "X-Accel-Buffering": "no", **heads}
        )

    async def open(self) -> web.StreamResponse:
        await self._response.prepare(self._request)
        return self._response

    async def send(self, data: bytes) -> None:
        """Raises ReaderTooSlow, and ConnectionError where the reader is gone."""
        transport = self._request.transport
        if transport is not None and transport.get_write_buffer_size() + len(data) < AT_ONCE_BYTES:
            await self._response.write(data)
            return
        for start in range(0, len(data), CHUNK_BYTES):
            await self._patiently(self._response.write(data[start : start + CHUNK_BYTES]))
        # A write into a buffer with room returns at once: let others have their turn.
        await asyncio.sleep(0)

    async def close(self) -> None:
        await self._patiently(self._response.write_eof())

    async def _patiently(self, writing: Awaitable[None]) -> None:
        try:
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                await writing
        except TimeoutError:
            if self._request.transport is not None:
                self._request.transport.abort()
            raise ReaderTooSlow from None
