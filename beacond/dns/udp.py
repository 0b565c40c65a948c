"""A UDP socket that is read and answered in batches, by recvmmsg(2) and sendmmsg(2) of Linux.

Two system calls serve a burst, and addresses stay the bytes that they are: `recvfrom` and `sendto`
turn each into text and back, which costs more than finding the answer. The memory that the kernel
reads and writes is laid out once.
"""

import ctypes
import logging
import os
import socket
import struct
import sys
from collections.abc import Sequence

from beacond.dns.codec import UDP_OCTETS_MAX

BATCH_MAX = 32
"""Packets read at once, and then answered before other work gets its turn."""
QUERY_OCTETS_MAX = 4096
"""What is longer is cut, and can't be read then."""

_IP_PKTINFO = 8
"""<linux/in.h>; `socket` lacks it before Python 3.12."""
_MMSGHDR = struct.Struct("@P I4x P N P N i4x I4x")
"""struct mmsghdr, <sys/socket.h>: name, its length, iov, count, control, its length, flags, and
what was received."""
_IOVEC = struct.Struct("@P Q")
_CMSGHDR = struct.Struct("@N i i")
_NAME_OCTETS = 32
"""For a sockaddr_in6, aligned."""
_SOCKADDR_OCTETS = {socket.AF_INET: 16, socket.AF_INET6: 28}
_PKTINFO_OCTETS = {socket.AF_INET: 12, socket.AF_INET6: 20}

Origin = tuple[tuple[object, ...], list[tuple[int, int, bytes]]]
"""Where a query came from, and what a reply needs to come from the address that was asked."""

_libc = ctypes.CDLL(None, use_errno=True)
_recvmmsg, _sendmmsg = _libc.recvmmsg, _libc.sendmmsg
_sendmmsg.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int]
_recvmmsg.argtypes = [*_sendmmsg.argtypes, ctypes.c_void_p]

log = logging.getLogger("beacond.dns")


class UdpSocket:
    """Of a bound, non-blocking socket.

    One bound to the unspecified address must answer from the address that it was asked at, or
    clients that connected their socket refuse the reply; packet info tells, and is told, which.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._family = sock.family
        self._fd = sock.fileno()
        wildcard = sock.getsockname()[0] in ("0.0.0.0", "::")
        self._control_octets = self._ask_for_info() if wildcard else 0
        self._names = bytearray(BATCH_MAX * _NAME_OCTETS)
        self._controls = bytearray(BATCH_MAX * self._control_octets)
        self._query_slots, self._in_iovecs = _slots(QUERY_OCTETS_MAX)
        self._reply_slots, self._out_iovecs = _slots(UDP_OCTETS_MAX)
        # The kernel writes lengths into what it reads; so it gets a fresh copy each time.
        self._in_fresh = self._headers(self._in_iovecs, _NAME_OCTETS)
        self._in = bytearray(self._in_fresh)
        self._out = self._headers(self._out_iovecs, _SOCKADDR_OCTETS[self._family])
        self._in_at, self._out_at = _address(self._in), _address(self._out)
        self._received = memoryview(self._in).cast("I")[14::16]
        """Octets of each packet."""
        self._sends = memoryview(self._out_iovecs).cast("Q")[1::2]
        """Octets of each reply."""

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        self._sock.close()

    def receive(self) -> list[bytes]:
        """The packets that are there, at most `BATCH_MAX`."""
        self._in[:] = self._in_fresh
        count = _recvmmsg(self._fd, self._in_at, BATCH_MAX, socket.MSG_DONTWAIT, None)
        if self._control_octets and self._family == socket.AF_INET:
            # The interface is left to the routes, since the way back may be another.
            for place in range(count):
                at = place * self._control_octets + _CMSGHDR.size
                self._controls[at : at + 4] = bytes(4)
        queries, octets = self._query_slots, self._received
        return [queries[place][: octets[place]].tobytes() for place in range(count)]

    def reply(self, replies: Sequence[bytes | None]) -> None:
        """To the packets received last, in their order; None: nothing. Of at most
        `UDP_OCTETS_MAX` each.

        As well as it goes: a reply that can't be sent (to port 0, into a full queue, after the
        end) is a reply lost, and clients ask again.
        """
        begin, slots, octets = 0, self._reply_slots, self._sends
        for place, reply in enumerate(replies):
            if reply is None:
                self._send(begin, place)
                begin = place + 1
            else:
                length = len(reply)
                slots[place][:length] = reply
                octets[place] = length
        self._send(begin, len(replies))

    def origin(self, place: int) -> Origin:
        """Of a packet received last, to be answered later by `reply_to`."""
        name = self._names[place * _NAME_OCTETS : (place + 1) * _NAME_OCTETS]
        port = int.from_bytes(name[2:4], "big")
        if self._family == socket.AF_INET:
            peer: tuple[object, ...] = (socket.inet_ntop(socket.AF_INET, name[4:8]), port)
        else:
            flow, scope = (
                int.from_bytes(name[4:8], "big"),
                int.from_bytes(name[24:28], sys.byteorder),
            )
            peer = (socket.inet_ntop(socket.AF_INET6, name[8:24]), port, flow, scope)
        if not self._control_octets:
            return peer, []
        at = place * self._control_octets
        _, level, kind = _CMSGHDR.unpack_from(self._controls, at)
        info = at + _CMSGHDR.size
        return peer, [
            (level, kind, bytes(self._controls[info : info + _PKTINFO_OCTETS[self._family]]))
        ]

    def reply_to(self, origin: Origin, reply: bytes) -> None:
        peer, ancillary = origin
        try:
            self._sock.sendmsg([reply], ancillary, 0, peer)
        except OSError as error:
            log.debug("reply lost", extra={"reason": str(error)})

    def _send(self, begin: int, end: int) -> None:
        while begin < end:
            header = self._out_at + begin * _MMSGHDR.size
            sent = _sendmmsg(self._fd, header, end - begin, socket.MSG_DONTWAIT)
            if sent <= 0:
                log.debug("reply lost", extra={"reason": os.strerror(ctypes.get_errno())})
            begin += max(sent, 1)

    def _ask_for_info(self) -> int:
        """Octets that it takes."""
        if self._family == socket.AF_INET6:
            self._sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        else:
            self._sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        return socket.CMSG_SPACE(_PKTINFO_OCTETS[self._family])

    def _headers(self, iovecs: bytearray, name_octets: int) -> bytearray:
        names, parts, at = _address(self._names), _address(iovecs), 0
        controls = _address(self._controls) if self._control_octets else 0
        headers = bytearray(BATCH_MAX * _MMSGHDR.size)
        for place in range(BATCH_MAX):
            name, part = names + place * _NAME_OCTETS, parts + place * _IOVEC.size
            control = controls + place * self._control_octets
            _MMSGHDR.pack_into(
                headers, at, name, name_octets, part, 1, control, self._control_octets, 0, 0
            )
            at += _MMSGHDR.size
        return headers


def _slots(octets: int) -> tuple[list[memoryview], bytearray]:
    """Memory for a batch of packets, and the struct iovec array that tells where it is."""
    memory = bytearray(BATCH_MAX * octets)
    begins = [place * octets for place in range(BATCH_MAX)]
    at, view = _address(memory), memoryview(memory)
    iovecs = bytearray().join(_IOVEC.pack(at + begin, octets) for begin in begins)
    return [view[begin : begin + octets] for begin in begins], iovecs


def _address(memory: bytearray) -> int:
    """Valid while the object lives: with a view of it, it can't be moved."""
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))
