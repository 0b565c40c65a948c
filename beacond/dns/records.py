"""DNS records as values, of the types that are answered."""

import socket
from dataclasses import dataclass
from enum import IntEnum

from beacond.dns.zone import Name

SOA_TTL_S = 1
"""Also its minimum: how long a resolver may believe that something is not there (RFC 2308 §5)."""
SRV_PRIORITY = 1


class Type(IntEnum):
    A = 1
    NS = 2
    SOA = 6
    PTR = 12
    TXT = 16
    AAAA = 28
    SRV = 33
    ANY = 255


class Rcode(IntEnum):
    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5
    BADVERS = 16


@dataclass(frozen=True, slots=True)
class Address:
    """A, AAAA."""

    address: str


@dataclass(frozen=True, slots=True)
class Target:
    """NS, PTR."""

    name: Name


@dataclass(frozen=True, slots=True)
class Srv:
    weight: int
    port: int
    target: Name


@dataclass(frozen=True, slots=True)
class Txt:
    strings: tuple[bytes, ...]
    """At least one, each at most 255 octets."""


@dataclass(frozen=True, slots=True)
class Soa:
    server: Name
    mailbox: Name
    serial: int


Data = Address | Target | Srv | Txt | Soa


@dataclass(frozen=True, slots=True)
class Record:
    name: Name
    type: Type
    ttl_s: int
    data: Data


def packed_address(address: str) -> bytes:
    """4 or 16 octets, in network order."""
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
