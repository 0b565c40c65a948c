"""Which question a name asks: a pure parse of a DNS name into one of a closed set of shapes.

Nothing here knows what exists. A shape says what to look for; `answer` looks. Names are tuples of
lower-cased labels, the leftmost first, without the root.
"""

import re
from dataclasses import dataclass
from ipaddress import ip_address

from beacond.core.names import is_label

Name = tuple[bytes, ...]

DOMAIN_OCTETS_MAX = 120
"""Leaves room, within the 255 octets of a name (RFC 1035 §2.3.4), for the longest we put below
the domain: a 63-octet instance, a 63-octet service and `_tcp`."""

_DOMAIN_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_ADDRESS_HEX = re.compile(r"[0-9a-f]{8}|[0-9a-f]{32}")
_OCTET = re.compile(rb"0|[1-9][0-9]{0,2}")
_NIBBLE = re.compile(rb"[0-9a-f]")
_IN_ADDR_ARPA = (b"in-addr", b"arpa")
_IP6_ARPA = (b"ip6", b"arpa")


@dataclass(frozen=True, slots=True)
class Apex:
    """DOMAIN itself."""


@dataclass(frozen=True, slots=True)
class NameServer:
    """`ns.DOMAIN`: this agent."""


@dataclass(frozen=True, slots=True)
class Branch:
    """A name that exists only because others lie below it (an empty non-terminal, RFC 8020)."""


@dataclass(frozen=True, slots=True)
class ZoneBranch:
    """The same, below an availability zone: there as long as the zone is known."""

    zone: str


@dataclass(frozen=True, slots=True)
class Service:
    """`[TAG.]NAME.service[.ZONE].DOMAIN`."""

    service: str
    tag: str | None = None
    zone: str | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`_NAME._WHAT.service[.ZONE].DOMAIN` (RFC 2782). `what`: `tcp`, a port's name or a tag."""

    service: str
    what: str
    zone: str | None = None


@dataclass(frozen=True, slots=True)
class ServiceType:
    """`_NAME._tcp.DOMAIN`: what browsers list (RFC 6763 §4), and RFC 2782 without `service`."""

    service: str


@dataclass(frozen=True, slots=True)
class ServiceTypes:
    """`_services._dns-sd._udp.DOMAIN`: all service types (RFC 6763 §9)."""


@dataclass(frozen=True, slots=True)
class SdInstance:
    """`INSTANCE._NAME._tcp.DOMAIN`: one instance (RFC 6763 §5); its label as lower-cased."""

    service: str
    label: str


@dataclass(frozen=True, slots=True)
class Node:
    """`NODE.node.DOMAIN`."""

    node: str


@dataclass(frozen=True, slots=True)
class HexAddress:
    """`HEX.addr.DOMAIN`."""

    address: str


@dataclass(frozen=True, slots=True)
class Reverse:
    """A whole address below in-addr.arpa (RFC 1035 §3.5) or ip6.arpa (RFC 3596 §2.5)."""

    address: str


@dataclass(frozen=True, slots=True)
class Nothing:
    """Inside the domain, and of no shape that can exist."""


@dataclass(frozen=True, slots=True)
class Outside:
    """Not ours."""


Asked = (
    Apex
    | NameServer
    | Branch
    | ZoneBranch
    | Service
    | Endpoint
    | ServiceType
    | ServiceTypes
    | SdInstance
    | Node
    | HexAddress
    | Reverse
    | Nothing
    | Outside
)


def parse_domain(text: str) -> Name:
    """The labels of a domain from the configuration; a final dot is allowed.

    Raises ValueError, saying what is wrong.
    """
    labels = text.lower().removesuffix(".").split(".")
    for label in labels:
        if not _DOMAIN_LABEL.fullmatch(label):
            raise ValueError(f"domain {text!r}: {label!r} is not a label")
    if len(text) > DOMAIN_OCTETS_MAX:
        raise ValueError(f"domain {text!r}: longer than {DOMAIN_OCTETS_MAX} characters")
    return tuple(label.encode("ascii") for label in labels)


def parse_name(name: Name, domain: Name) -> Asked:
    """What a lower-cased name asks for, under `domain`."""
    below = len(name) - len(domain)
    if below < 0 or name[below:] != domain:
        return _reverse(name)
    try:
        labels = [label.decode("ascii") for label in name[:below]]
    except UnicodeDecodeError:
        return Nothing()
    match labels:
        case []:
            return Apex()
        case ["ns"]:
            return NameServer()
        case ["service" | "node" | "addr" | "_tcp" | "_udp"] | ["_dns-sd", "_udp"]:
            return Branch()
        case ["_services", "_dns-sd", "_udp"]:
            return ServiceTypes()
        case [*left, "service"]:
            return _service(left, zone=None)
        case [node, "node"]:
            return Node(node)
        case [text, "addr"] if _ADDRESS_HEX.fullmatch(text):
            return HexAddress(str(ip_address(bytes.fromhex(text))))
        case [service, "_tcp"] if _is_underscored(service):
            return ServiceType(service[1:])
        case [label, service, "_tcp"] if _is_underscored(service):
            return SdInstance(service[1:], label)
        case [zone] if is_label(zone):
            return ZoneBranch(zone)
        case [*left, "service", zone] if is_label(zone):
            return _service(left, zone=zone)
        case _:
            return Nothing()


def _service(left: list[str], *, zone: str | None) -> Asked:
    """What stands left of `service`."""
    match left:
        case []:
            return Branch() if zone is None else ZoneBranch(zone)
        case [name] if is_label(name):
            return Service(name, zone=zone)
        case [what] if _is_underscored(what):
            # `_tcp.service.DOMAIN` and its like: whether a service lies below depends on all of
            # them, so all such names exist; a resolver that walks down (RFC 9156) passes through.
            return Branch() if zone is None else ZoneBranch(zone)
        case [tag, name] if is_label(tag) and is_label(name):
            return Service(name, tag=tag, zone=zone)
        case [name, what] if _is_underscored(name) and _is_underscored(what):
            return Endpoint(name[1:], what[1:], zone)
        case _:
            return Nothing()


def _is_underscored(label: str) -> bool:
    return label.startswith("_") and is_label(label[1:])


def _reverse(name: Name) -> Asked:
    digits = name[:-2][::-1]
    if name[-2:] == _IN_ADDR_ARPA and len(digits) == 4 and all(map(_is_octet, digits)):
        return Reverse(str(ip_address(bytes(map(int, digits)))))
    if name[-2:] == _IP6_ARPA and len(digits) == 32 and all(map(_NIBBLE.fullmatch, digits)):
        return Reverse(str(ip_address(bytes.fromhex(b"".join(digits).decode("ascii")))))
    return Outside()


def _is_octet(label: bytes) -> bool:
    return _OCTET.fullmatch(label) is not None and int(label) < 256
