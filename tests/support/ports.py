"""Ports for servers that are told where to listen before they start."""

import random
import socket
from collections.abc import Iterable
from contextlib import closing

TRIES = 1000


def free_ports(addresses: Iterable[str], number: int) -> list[int]:
    """Free for TCP and UDP at every one of these addresses, and below those that a kernel hands
    out by itself, so that they stay free until they are used. Raises OSError."""
    wanted = list(addresses)
    ports: list[int] = []
    for _ in range(TRIES):
        port = random.randrange(20_000, 32_000)
        if port not in ports and all(_is_free(address, port) for address in wanted):
            ports.append(port)
        if len(ports) == number:
            return ports
    raise OSError("no free ports on loopback")


def _is_free(address: str, port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with closing(socket.socket(socket.AF_INET, kind)) as probe:
            if kind is socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                return False
    return True
