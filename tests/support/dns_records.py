"""DNS messages as sets of records, and zone files as what they should be."""

import random
from collections import Counter
from collections.abc import Callable, Iterable

import dns.message
import dns.name
import dns.rdata
import dns.rdatatype
import dns.rrset

from beacond.core.view import View
from beacond.dns.packet import Responder
from beacond.dns.zone import parse_domain

DOMAIN = "beacon.internal"

RecordSet = set[tuple[str, int, str, str]]
"""Name, TTL, type, data."""


def record_set(rrsets: Iterable[dns.rrset.RRset]) -> RecordSet:
    return {
        (str(s.name), s.ttl, dns.rdatatype.to_text(s.rdtype), data.to_text())
        for s in rrsets
        for data in s
    }


def from_zone(text: str, ttl: int = 0) -> RecordSet:
    """Lines of a zone file, `NAME TYPE DATA`; names are relative to the domain."""
    origin = dns.name.from_text(DOMAIN)
    found: RecordSet = set()
    for line in text.splitlines():
        owner, qtype, rest = line.split(None, 2)
        name = origin if owner == "@" else dns.name.from_text(owner, origin)
        data = dns.rdata.from_text("IN", qtype, rest, origin, relativize=False)
        found.add((str(name), ttl, qtype, data.to_text()))
    return found


def responder(
    view: View,
    *,
    node: str = "host-a",
    domain: str = DOMAIN,
    ttl_s: int = 0,
    recursive: bool = False,
    seed: int = 1,
    count: Callable[[str, str], None] | None = None,
) -> Responder:
    return Responder(
        domain=parse_domain(domain),
        node=node,
        ttl_s=ttl_s,
        stale_ttl_s=30,
        recursive=recursive,
        view=view,
        count=count or (lambda qtype, rcode: None),
        rng=random.Random(seed),
    )


def ask(
    to: Responder, name: str, qtype: str = "A", *, tcp: bool = True, **options: object
) -> dns.message.Message:
    """A question below the domain (absolute with a final dot), its reply checked and parsed."""
    full = name if name.endswith(".") else f"{name}.{DOMAIN}." if name else f"{DOMAIN}."
    query = dns.message.make_query(full, qtype, **options)  # type: ignore[arg-type]
    reply = to.respond(query.to_wire(), tcp=tcp)
    assert isinstance(reply, bytes)
    message = dns.message.from_wire(reply)
    assert query.is_response(message)
    return message


class Tally:
    """Counts as metrics would."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self.drops: Counter[str] = Counter()

    def dns_query(self, qtype: str, rcode: str) -> None:
        self.counts[qtype, rcode] += 1

    def dropped(self, reason: str) -> None:
        self.drops[reason] += 1
