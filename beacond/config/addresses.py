"""At which address others reach this host, where nobody says so."""

import socket
import threading
from collections.abc import Sequence

from beacond.bus.url import parse
from beacond.config.model import Config

RESOLVE_MAX_S = 2.0
"""How long a bus host's name may take to resolve: a dead DNS server must not stop a start."""

LOOPBACK = "127.0.0.1"

# Of the documentation ranges (RFC 5737, RFC 3849): never connected to, they only ask the kernel
# for a route. A connected UDP socket has sent nothing.
_ELSEWHERE = ("192.0.2.1", "2001:db8::1")
_DISCARD_PORT = 9


def advertised(config: Config) -> tuple[str, ...]:
    """The addresses to publish: those configured, else the default ones. May wait, see there."""
    if config.advertise:
        return config.advertise
    buses = [parse(url) for url in config.bus]
    return default_addresses([h for bus in buses if bus.scheme != "local" for h, _ in bus.hosts])


def default_addresses(bus_hosts: Sequence[str]) -> tuple[str, ...]:
    """The source address the kernel uses towards the first bus host, else of the default route.

    `bus_hosts`: names or IP literals; empty (`local://` alone) gives 127.0.0.1. Waits up to
    `RESOLVE_MAX_S` for a name: call it before the event loop starts, or in a thread.
    """
    if not bus_hosts:
        return (LOOPBACK,)
    for host in [*_resolve(bus_hosts[0]), *_ELSEWHERE]:
        found = _source_towards(host)
        if found is not None:
            return (found,)
    return (LOOPBACK,)


def _resolve(host: str) -> list[str]:
    """The addresses of a host; none where it has none, or they take too long."""
    found: list[str] = []

    def look_up() -> None:
        try:
            infos = socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM)
        except OSError:
            return
        found.extend(str(info[4][0]) for info in infos)

    # getaddrinfo can't be interrupted: a thread that nobody waits for is what bounds it.
    thread = threading.Thread(target=look_up, daemon=True, name="resolve-bus-host")
    thread.start()
    thread.join(RESOLVE_MAX_S)
    return list(found)


def _source_towards(host: str) -> str | None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((host, _DISCARD_PORT))
            address = str(probe.getsockname()[0])
    except OSError:
        return None
    # A link-local source is of no use without its interface.
    return None if "%" in address or address in ("0.0.0.0", "::") else address
