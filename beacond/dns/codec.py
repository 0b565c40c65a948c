"""Queries from bytes, records to bytes (RFC 1035 §4, RFC 6891).

Own code, and little of it, for three reasons. A query is read without following a single
compression pointer: its question needs none (RFC 1035 §4.1.4), and a reader that follows them can
be sent in circles. A record is written with pointers into the question only, so that its bytes are
the same wherever it stands in whichever answer: records are encoded once, then shuffled and
dropped. And both are on the path of every packet.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from beacond.dns.records import (
    SOA_TTL_S,
    SRV_PRIORITY,
    Address,
    Data,
    Rcode,
    Record,
    Soa,
    Srv,
    Target,
    Txt,
    packed_address,
)
from beacond.dns.zone import Name

HEADER_OCTETS = 12
NAME_OCTETS_MAX = 255
UDP_OCTETS_MAX = 1232
"""What passes any path without fragments (IPv6's least MTU less its headers)."""
UDP_PLAIN_OCTETS_MAX = 512
"""Without EDNS (RFC 1035 §4.2.1)."""
TCP_OCTETS_MAX = 65535
RECORD_OCTETS_MIN = 13
"""A pointer for a name, type, class, TTL, length, and one octet."""

CLASS_IN = 1
TYPE_OPT = 41
QR = 0x8000
OPCODE = 0x7800
AA = 0x0400
TC = 0x0200
RD = 0x0100
RA = 0x0080
CD = 0x0010
DO = 0x8000

_POINTER = 0xC000
_SOA_TIMES_S = (3600, 600, 86400, SOA_TTL_S)
"""Refresh, retry, expire: for secondaries, of which there are none. Then the minimum."""

header_struct = struct.Struct("!6H")
_record_struct = struct.Struct("!HHIH")
_types_struct = struct.Struct("!HH")
_opt_struct = struct.Struct("!xHHBBHH")


@dataclass(frozen=True, slots=True)
class Query:
    """A well-formed query, whatever its id."""

    flags: int
    question: bytes
    """As sent: name, type and class."""
    key: bytes
    """The question in lower case."""
    name: Name
    """In lower case."""
    type: int
    qclass: int
    edns_octets: int | None
    """The largest UDP answer the client takes; None: it sent no OPT."""
    edns_version: int = 0
    dnssec_ok: bool = False


@dataclass(frozen=True, slots=True)
class Fault:
    """A packet that can't be answered, with the rcode that tells its sender so."""

    flags: int
    rcode: Rcode


def parse_query(packet: bytes) -> Query | Fault | None:
    """None for what must not be answered: a response, or nothing with an id in it. Never raises,
    and does work in proportion to the packet's length."""
    if len(packet) < 2 or (len(packet) > 2 and packet[2] & 0x80):
        return None
    if len(packet) < HEADER_OCTETS:
        return Fault(0, Rcode.FORMERR)
    _, flags, questions, answers, authority, additional = header_struct.unpack_from(packet)
    if flags & OPCODE:
        return Fault(flags, Rcode.NOTIMP)
    try:
        if questions != 1:
            return Fault(flags, Rcode.FORMERR)
        return _parse_body(packet, flags, answers + authority, additional)
    except (IndexError, struct.error, _MalformedError):
        return Fault(flags, Rcode.FORMERR)


class _MalformedError(Exception):
    pass


def _parse_body(packet: bytes, flags: int, before: int, additional: int) -> Query:
    """Raises IndexError, struct.error or _MalformedError. `before`: records before the additional
    ones."""
    name, offset = _parse_question_name(packet)
    qtype, qclass = _types_struct.unpack_from(packet, offset)
    offset += _types_struct.size
    question = packet[HEADER_OCTETS:offset]
    edns: tuple[int, int, bool] | None = None
    for number in range(before + additional):
        owner = packet[offset]
        offset = _skip_name(packet, offset)
        rtype, rclass, ttl, length = _record_struct.unpack_from(packet, offset)
        offset += _record_struct.size + length
        if offset > len(packet):
            raise _MalformedError
        if rtype == TYPE_OPT:
            # One at most, of the root, in the additional section (RFC 6891 §6.1.1).
            if edns is not None or owner != 0 or number < before:
                raise _MalformedError
            edns = rclass, ttl >> 16 & 0xFF, bool(ttl & DO)
    if offset != len(packet):
        raise _MalformedError
    octets, version, dnssec_ok = edns or (None, 0, False)
    lowered = question[: -_types_struct.size].lower() + question[-_types_struct.size :]
    return Query(flags, question, lowered, name, qtype, qclass, octets, version, dnssec_ok)


def _parse_question_name(packet: bytes) -> tuple[Name, int]:
    """The labels in lower case, and where they end."""
    labels: list[bytes] = []
    offset = HEADER_OCTETS
    while length := packet[offset]:
        end = offset + 1 + length
        if length > 63 or end >= len(packet) or end - HEADER_OCTETS >= NAME_OCTETS_MAX:
            raise _MalformedError
        labels.append(packet[offset + 1 : end].lower())
        offset = end
    return tuple(labels), offset + 1


def _skip_name(packet: bytes, offset: int) -> int:
    while length := packet[offset]:
        if length >= 0xC0:
            return offset + 2
        if length > 63:
            raise _MalformedError
        offset += 1 + length
    return offset + 1


def question_offsets(name: Name) -> dict[Name, int]:
    """The question's name and its parents, and where in the packet each begins."""
    offsets: dict[Name, int] = {}
    offset = HEADER_OCTETS
    for start, label in enumerate(name):
        offsets[name[start:]] = offset
        offset += 1 + len(label)
    return offsets


def encode_record(record: Record, offsets: Mapping[Name, int]) -> bytes:
    """`offsets`: what names may point to, from `question_offsets`."""
    data = _encode_data(record.data, offsets)
    fixed = _record_struct.pack(record.type, CLASS_IN, record.ttl_s, len(data))
    return encode_name(record.name, offsets) + fixed + data


def encode_name(name: Name, offsets: Mapping[Name, int]) -> bytes:
    parts: list[bytes] = []
    for start, label in enumerate(name):
        offset = offsets.get(name[start:])
        if offset is not None:
            parts.append((_POINTER | offset).to_bytes(2, "big"))
            return b"".join(parts)
        parts += (len(label).to_bytes(1, "big"), label)
    parts.append(b"\0")
    return b"".join(parts)


def encode_opt(rcode: int, *, dnssec_ok: bool, octets: int = UDP_OCTETS_MAX) -> bytes:
    """Our OPT record: version 0, no options, the upper bits of the rcode (RFC 6891 §6.1.3) and,
    as RFC 3225 §3 wants, the DO bit of the query."""
    return _opt_struct.pack(TYPE_OPT, octets, rcode >> 4, 0, DO if dnssec_ok else 0, 0)


def _encode_data(data: Data, offsets: Mapping[Name, int]) -> bytes:
    match data:
        case Address(address):
            return packed_address(address)
        case Target(name):
            return encode_name(name, offsets)
        case Srv(weight, port, target):
            # No compression of the target (RFC 2782).
            return struct.pack("!HHH", SRV_PRIORITY, weight, port) + encode_name(target, {})
        case Txt(strings):
            return b"".join(len(s).to_bytes(1, "big") + s for s in strings)
        case Soa(server, mailbox, serial):
            names = encode_name(server, offsets) + encode_name(mailbox, offsets)
            return names + struct.pack("!5I", serial, *_SOA_TIMES_S)
