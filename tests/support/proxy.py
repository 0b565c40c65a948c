"""A TCP proxy that can be cut, frozen and slowed, to stand between a client and a server."""

import asyncio
from dataclasses import dataclass
from random import Random
from types import TracebackType
from typing import Self

CHUNK_BYTES = 1400
UNDER_WAY_MAX = 256
"""Chunks that a slow way holds for each direction of a connection."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How slow a way is, in each direction. What was sent first arrives first."""

    latency_s: float = 0.0
    jitter_s: float = 0.0
    """On top, drawn evenly up to this."""
    bytes_per_s: float = float("inf")
    """Of each connection."""


class Proxy:
    """Forwards connections to `(host, port)`; listens on 127.0.0.1:`port`, a free one.

    `cut` drops what is open, `refuse` also what comes; `freeze_up` and `freeze_down` hold the
    bytes of one direction (client to server is up) while the connections stay open. `pace` may be
    set at any time; `reset_every` drops single connections at random.
    """

    def __init__(self, host: str, port: int, *, rng: Random | None = None) -> None:
        self._target = (host, port)
        self._rng = rng or Random()
        self._resetting: asyncio.Task[None] | None = None
        self.pace = Pace()
        self._server: asyncio.Server | None = None
        self._up = asyncio.Event()
        self._down = asyncio.Event()
        self._pumps: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._refusing = False
        self.port = 0
        self.accepted = 0
        self.chunks = 0
        """Forwarded so far, in both directions."""
        self.thaw()

    @property
    def is_idle(self) -> bool:
        """Is no connection open?"""
        return not self._writers

    async def __aenter__(self) -> Self:
        self._server = await self._listen()
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
        self.reset_every(None)
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

    def reset_every(self, mean_s: float | None) -> None:
        """Now and then reset one open connection; None: no more."""
        if self._resetting is not None:
            self._resetting.cancel()
        self._resetting = None
        if mean_s is not None:
            self._resetting = asyncio.create_task(self._reset_every(mean_s))

    async def _reset_every(self, mean_s: float) -> None:
        while True:
            await asyncio.sleep(self._rng.expovariate(1 / mean_s))
            if writers := sorted(self._writers, key=id):
                self._rng.choice(writers).transport.abort()

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._serve, "127.0.0.1", 0)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(*self._target)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self._refusing:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await self._connect()
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
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(UNDER_WAY_MAX)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._take(reader, under_way))
                both.create_task(self._give(under_way, writer, open_))
        except* ConnectionError:
            pass
        finally:
            self._writers.discard(writer)
            writer.transport.abort() if writer.is_closing() else writer.close()

    async def _take(
        self, reader: asyncio.StreamReader, under_way: asyncio.Queue[tuple[float, bytes]]
    ) -> None:
        now = asyncio.get_running_loop().time
        while True:
            data = await reader.read(CHUNK_BYTES if self.pace != Pace() else 65536)
            late_s = self.pace.latency_s + self._rng.uniform(0, self.pace.jitter_s)
            await under_way.put((now() + late_s, data))
            if not data:
                return

    async def _give(
        self,
        under_way: asyncio.Queue[tuple[float, bytes]],
        writer: asyncio.StreamWriter,
        open_: asyncio.Event,
    ) -> None:
        now = asyncio.get_running_loop().time
        while True:
            due_at, data = await under_way.get()
            if (wait_s := max(due_at - now(), len(data) / self.pace.bytes_per_s)) > 0:
                await asyncio.sleep(wait_s)
            await open_.wait()
            if not data:
                return
            writer.write(data)
            self.chunks += 1
            await writer.drain()
