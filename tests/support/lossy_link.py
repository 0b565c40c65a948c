"""A way on which packets are really lost, late and few, and the kernel's own TCP copes with it.

Two network namespaces, each with a TUN device; this process carries every packet from one to the
other, or does not. All of it hangs on file descriptors and threads of this process: nothing is
left of it when they end, and the host's own devices and rules are never touched. Needs root.
"""

import asyncio
import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass
from random import Random
from types import TracebackType
from typing import Self

from tests.support.proxy import Proxy

CLONE_NEWNET = 0x40000000
TUN = "/dev/net/tun"
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
SIOCSIFFLAGS, SIOCSIFADDR, SIOCSIFDSTADDR = 0x8914, 0x8916, 0x8918
IFF_UP, IFF_RUNNING = 0x1, 0x40
DEVICE = b"link"
NEAR, FAR = "10.203.0.1", "10.203.0.2"
PACKET_BYTES_MAX = 65536
QUEUE_PACKETS = 50
"""Waiting for a narrow way; what comes on top is lost, as in any router."""


@dataclass(frozen=True, slots=True)
class Weather:
    """Of each packet, in each direction."""

    loss: float = 0.0
    delay_s: float = 0.0
    jitter_s: float = 0.0
    """On top, drawn evenly up to this: packets overtake each other."""
    bytes_per_s: float = float("inf")


class LossyLink:
    """Forwards connections at 127.0.0.1:`port` to (host, port), over the lossy way.

    `weather` may be set at any time; `carried` and `lost` count packets.
    """

    def __init__(self, host: str, port: int, *, seed: int = 0) -> None:
        self.weather = Weather()
        self.carried = self.lost = 0
        self._target = (host, port)
        self._rng = Random(seed)
        self._exit = AsyncExitStack()
        self._free_at = {NEAR: 0.0, FAR: 0.0}
        self.port = 0

    async def __aenter__(self) -> Self:
        try:
            near, far = self._side(NEAR, FAR), self._side(FAR, NEAR)
            self._carry(near, far)
            self._carry(far, near)
            end = await self._exit.enter_async_context(_FarEnd(*self._target, side=far))
            begin = await self._exit.enter_async_context(_NearEnd(FAR, end.port, side=near))
            self.port = begin.port
        except BaseException:
            await self._exit.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._exit.aclose()

    def _side(self, address: str, other: str) -> "_Side":
        side = _Side(address, other)
        self._exit.callback(side.close)
        return side

    def _carry(self, source: "_Side", sink: "_Side") -> None:
        loop = asyncio.get_running_loop()

        def packet() -> None:
            data = os.read(source.tun, PACKET_BYTES_MAX)
            after_s = self._after_s(source.address, len(data), loop.time())
            if after_s is None:
                self.lost += 1
            else:
                self.carried += 1
                loop.call_later(after_s, sink.give, data)

        loop.add_reader(source.tun, packet)
        self._exit.callback(loop.remove_reader, source.tun)

    def _after_s(self, side: str, size: int, now: float) -> float | None:
        """How much later that packet arrives; None: never."""
        weather = self.weather
        if self._rng.random() < weather.loss:
            return None
        taken_s = size / weather.bytes_per_s
        queued_s = max(self._free_at[side] - now, 0.0)
        if queued_s > QUEUE_PACKETS * taken_s and queued_s > 0:
            return None
        self._free_at[side] = now + queued_s + taken_s
        delay_s = weather.delay_s + self._rng.uniform(0, weather.jitter_s)
        return queued_s + taken_s + delay_s


class _Side:
    """A network namespace, alive in a thread of its own, with one device."""

    def __init__(self, address: str, other: str) -> None:
        self.address = address
        self._closed = False
        self._inside = ThreadPoolExecutor(1)
        try:
            self.tun = self._inside.submit(_make_namespace, address, other).result()
        except BaseException:
            self._inside.shutdown()
            raise

    def socket(self, make: Callable[[], socket.socket]) -> socket.socket:
        """Made there, it stays there, whoever uses it."""
        return self._inside.submit(make).result()

    def give(self, packet: bytes) -> None:
        if not self._closed:
            os.write(self.tun, packet)

    def close(self) -> None:
        self._closed = True
        os.close(self.tun)
        self._inside.shutdown()


class _NearEnd(Proxy):
    def __init__(self, host: str, port: int, *, side: _Side) -> None:
        super().__init__(host, port)
        self._side = side

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        made = self._side.socket(socket.socket)
        made.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(made, self._target)
            return await asyncio.open_connection(sock=made)
        except BaseException:
            made.close()
            raise


class _FarEnd(Proxy):
    def __init__(self, host: str, port: int, *, side: _Side) -> None:
        super().__init__(host, port)
        self._side = side

    async def _listen(self) -> asyncio.Server:
        made = self._side.socket(lambda: socket.create_server((self._side.address, 0)))
        return await asyncio.start_server(self._serve, sock=made)


def why_not() -> str | None:
    """What this machine lacks for it; None: nothing."""
    if os.geteuid() != 0:
        return "root"
    if not os.path.exists(TUN):
        return TUN
    try:
        _Side(NEAR, FAR).close()
    except OSError as error:
        return f"the right to make a network namespace ({error.strerror})"
    return None


def _make_namespace(address: str, other: str) -> int:
    """Move this thread into a namespace of its own; its device's file descriptor."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    tun = os.open(TUN, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH14x", DEVICE, IFF_TUN | IFF_NO_PI))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            for request, ip in ((SIOCSIFADDR, address), (SIOCSIFDSTADDR, other)):
                name = struct.pack("<16sH2x4s8x", DEVICE, socket.AF_INET, socket.inet_aton(ip))
                fcntl.ioctl(control, request, name)
            flags = struct.pack("16sH14x", DEVICE, IFF_UP | IFF_RUNNING)
            fcntl.ioctl(control, SIOCSIFFLAGS, flags)
    except BaseException:
        os.close(tun)
        raise
    return tun
