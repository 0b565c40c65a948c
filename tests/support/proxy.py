"""A TCP proxy that can be cut and frozen, to stand between a client and a server."""

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Self


class Proxy:
    """Forwards connections to `(host, port)`; listens on 127.0.0.1:`port`, a free one.

    `cut` drops what is open, `refuse` also what comes; `freeze_up` and `freeze_down` hold the
    bytes of one direction (client to server is up) while the connections stay open.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._up = asyncio.Event()
        self._down = asyncio.Event()
        self._pumps: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._refusing = False
        self.port = 0
        self.accepted = 0
        self.thaw()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        if pumps := list(self._pumps):
            for pump in pumps:
                pump.cancel()
            await asyncio.wait(pumps)
        await self._server.wait_closed()

    def freeze_up(self) -> None:
        self._up.clear()

    def freeze_down(self) -> None:
        self._down.clear()

    def thaw(self) -> None:
        self._up.set()
        self._down.set()

    def cut(self) -> None:
        """Reset every open connection, at both ends."""
        for writer in list(self._writers):
            writer.transport.abort()

    def refuse(self, refusing: bool = True) -> None:
        self._refusing = refusing

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self._refusing:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        for end in (writer, far_writer):
            self._writers.add(end)
        self._start(reader, far_writer, self._up)
        self._start(far_reader, writer, self._down)

    def _start(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, open_: asyncio.Event
    ) -> None:
        pump = asyncio.create_task(self._pump(reader, writer, open_))
        self._pumps.add(pump)
        pump.add_done_callback(self._pumps.discard)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, open_: asyncio.Event
    ) -> None:
        try:
            with suppress(ConnectionError):
                while data := await reader.read(65536):
                    await open_.wait()
                    writer.write(data)
                    await writer.drain()
        finally:
            self._writers.discard(writer)
            writer.transport.abort() if writer.is_closing() else writer.close()
