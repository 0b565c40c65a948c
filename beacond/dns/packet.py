"""Bytes in, bytes out: what a DNS server does between its sockets. No I/O, never raises.

A question's answer is rendered to bytes once and kept until the index of its service (or, where
more than one service decides, of the whole view) moves. What a UDP packet that was seen before
gets, all but id and order, is kept too, and so are some orders: the common query costs a
dictionary hit and a join, and now and then a shuffle.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from beacond.core.view import Sight, View
from beacond.dns.answer import Answer, Context, answer, service_of
from beacond.dns.codec import (
    AA,
    CD,
    CLASS_IN,
    HEADER_OCTETS,
    OPCODE,
    QR,
    RA,
    RD,
    RECORD_OCTETS_MIN,
    TC,
    TCP_OCTETS_MAX,
    UDP_OCTETS_MAX,
    UDP_PLAIN_OCTETS_MAX,
    Fault,
    Query,
    encode_opt,
    encode_record,
    header_struct,
    parse_query,
    question_offsets,
)
from beacond.dns.records import Rcode, Type
from beacond.dns.zone import Name, Outside, Reverse, Service, parse_name

PLANS_MAX = 4096
PLAN_QUERY_OCTETS_MAX = 320
"""Of a query that is remembered: a name of the greatest length, and an OPT."""
RENDERED_MAX = 8192
RENDERED_OCTETS_MAX = 32 * 1024 * 1024
"""Of all remembered answers together. Either table is emptied when full: one that a flood of
names fills is of no use, and cheap to fill again."""
ABSENCES_MAX = 256
ORDERS_MAX = 16
"""Orders kept of one answer."""
ORDER_USES = 16
"""How often one of them is used, on average, before another takes its place. Every reply's order
is any of all with equal chance; what this saves is a shuffle of a microsecond or more."""

_FIRST_LABEL = HEADER_OCTETS + 1
_UNDERSCORE = ord("_")
_TRANSFERS = frozenset((251, 252))
"""IXFR, AXFR."""
_TYPE_LABELS = {int(t): t.name for t in Type} | {
    5: "CNAME",
    15: "MX",
    64: "SVCB",
    65: "HTTPS",
    251: "IXFR",
    252: "AXFR",
}
OTHER = "other"
_RCODES = frozenset(map(int, Rcode))


@dataclass(frozen=True, slots=True)
class Forward:
    """A question that is not ours, for the recursors."""

    query: Query


@dataclass(slots=True)
class _Rendered:
    """An answer as bytes, and what it was made from."""

    answers: list[bytes]
    authority: list[bytes]
    additional: list[bytes]
    flags: int
    octets: int
    """Of header, question and authority: what is never left out."""
    total: int
    """Of everything but the OPT."""
    kept: int
    """Of that and of the orders."""
    shuffled: bool
    forwardable: bool
    absent: bool
    """Asked for by the name of a service that there is not, perhaps below a tag."""
    labels: tuple[str, str]
    service: str | None
    index: int
    blind: bool
    view_index: int
    sight: Sight
    """With `view_index`: the view that was last found to agree."""
    orders: list[bytes] = field(default_factory=list)
    """The answers joined in some orders."""


@dataclass(slots=True)
class _Plan:
    """The reply to one packet, its id left out, where all of it fits."""

    rendered: _Rendered
    head: bytes
    """Up to the answers, where they are shuffled; else the whole."""
    tail: bytes


@dataclass(frozen=True, slots=True)
class _Absence:
    """The reply to all packets that ask for a service nobody has, and differ in its name only."""

    head: bytes
    """From the flags to the question."""
    rest: int
    """Octets of the question after the name's first label."""
    tail: bytes
    labels: tuple[str, str]
    view_index: int
    sight: Sight


class Responder:
    """Answers packets from a view. Belongs to one event loop.

    `count(type, rcode)` is called once for each answer, with label values from a closed set.
    """

    def __init__(
        self,
        *,
        domain: Name,
        node: str,
        ttl_s: int,
        stale_ttl_s: int,
        recursive: bool,
        view: View,
        count: Callable[[str, str], None],
        rng: random.Random,
    ) -> None:
        self._domain = domain
        self._node = node
        self._ttl_s = ttl_s
        self._stale_ttl_s = stale_ttl_s
        self._recursive = recursive
        self._view = view
        self._count = count
        self._rng = rng
        self._random = rng.random
        self._plans: dict[bytes, _Plan] = {}
        self._absences: dict[bytes, _Absence] = {}
        """By the packet without its id and the first label of its name."""
        self._rendered: dict[bytes, _Rendered] = {}
        self._rendered_octets = 0

    def respond(self, packet: bytes, *, tcp: bool) -> bytes | Forward | None:
        """The reply to a packet; None where there must not be one; Forward only where this
        responder is `recursive`."""
        if not tcp:
            plan = self._plans.get(packet[2:])
            if plan is not None and self._is_current(plan.rendered):
                return self._follow(packet, plan)
            absent = self._absent(packet)
            if absent is not None:
                return absent
        query = parse_query(packet)
        if query is None:
            return None
        if isinstance(query, Fault):
            return self._fault(packet, query)
        if query.edns_version:
            return self.refuse(packet, query, Rcode.BADVERS)
        rendered = self._rendered.get(query.key)
        if rendered is None or not self._is_current(rendered):
            rendered = self._render(query)
        if rendered.forwardable and self._recursive and query.flags & RD:
            return Forward(query)
        limit = TCP_OCTETS_MAX if tcp else udp_limit(query)
        opt = _opt(query, rendered.flags & 0xF)
        if tcp or rendered.total + len(opt) > limit:
            self._count(*rendered.labels)
            return packet[:2] + self._fit(query, rendered, opt, limit=limit, tcp=tcp)
        plan = _plan(query, rendered, opt)
        if rendered.absent:
            self._remember_absence(packet, query, plan)
        else:
            self._remember_plan(packet, plan)
        return self._follow(packet, plan)

    def _absent(self, packet: bytes) -> bytes | None:
        """The reply where a service is asked for that nobody has, and another such was before:
        wrong names come in floods, and each once.

        With all else the same, to the length of its first label, only one that begins with `_`,
        or is a service's, can make a name that exists (`zone`); to see that is 0.15 µs less than
        to match it against the rule for labels.
        """
        if len(packet) <= HEADER_OCTETS:
            return None
        end = _FIRST_LABEL + packet[HEADER_OCTETS]
        absence = self._absences.get(packet[2:_FIRST_LABEL] + packet[end:])
        view = self._view
        if absence is None or absence.view_index != view.index or absence.sight is not view.sight:
            return None
        label = packet[_FIRST_LABEL:end].decode("latin-1").lower()
        if label in view.services or packet[_FIRST_LABEL] == _UNDERSCORE:
            return None
        self._count(*absence.labels)
        question = packet[HEADER_OCTETS : end + absence.rest]
        return b"".join((packet[:2], absence.head, question, absence.tail))

    def _remember_absence(self, packet: bytes, query: Query, plan: _Plan) -> None:
        if len(packet) > PLAN_QUERY_OCTETS_MAX:
            return
        if len(self._absences) >= ABSENCES_MAX:
            self._absences.clear()
        end = _FIRST_LABEL + packet[HEADER_OCTETS]
        head, question = HEADER_OCTETS - 2, len(query.question)
        self._absences[packet[2:_FIRST_LABEL] + packet[end:]] = _Absence(
            head=plan.head[:head],
            rest=HEADER_OCTETS + question - end,
            tail=plan.head[head + question :],
            labels=plan.rendered.labels,
            view_index=self._view.index,
            sight=self._view.sight,
        )

    def _follow(self, packet: bytes, plan: _Plan) -> bytes:
        rendered = plan.rendered
        self._count(*rendered.labels)
        if not rendered.shuffled:
            return packet[:2] + plan.head
        # How likely one that is kept is used, and which, comes from one draw.
        drawn, orders = self._random() * ORDERS_MAX, rendered.orders
        place = int(drawn)
        if drawn - place < 1 / ORDER_USES or place >= len(orders):
            order = self._reorder(rendered, place)
        else:
            order = orders[place]
        return b"".join((packet[:2], plan.head, order, plan.tail))

    def _reorder(self, rendered: _Rendered, place: int) -> bytes:
        answers, orders = rendered.answers, rendered.orders
        order = b"".join(_shuffled(answers, len(answers), self._rng))
        if place >= len(orders):
            rendered.kept += len(order)
            self._rendered_octets += len(order)
        orders[place : place + 1] = (order,)
        return order

    def refuse(self, packet: bytes, query: Query, rcode: Rcode) -> bytes:
        """A reply with an rcode and nothing else, to a well-formed query."""
        self._count(type_label(query.type), rcode.name)
        flags = QR | rcode & 0xF | query.flags & (RD | CD) | self._recursion_available
        opt = _opt(query, rcode)
        counts = (1).to_bytes(2, "big") + bytes(4) + (1 if opt else 0).to_bytes(2, "big")
        return packet[:2] + flags.to_bytes(2, "big") + counts + query.question + opt

    @property
    def _recursion_available(self) -> int:
        return RA if self._recursive else 0

    def _fault(self, packet: bytes, fault: Fault) -> bytes:
        """Of what could not be read nothing is sent back but id, opcode and RD."""
        self._count(OTHER, fault.rcode.name)
        flags = QR | fault.rcode | fault.flags & (OPCODE | RD)
        return packet[:2] + flags.to_bytes(2, "big") + bytes(8)

    def _remember_plan(self, packet: bytes, plan: _Plan) -> None:
        if len(packet) > PLAN_QUERY_OCTETS_MAX:
            return
        if len(self._plans) >= PLANS_MAX:
            self._plans.clear()
        self._plans[packet[2:]] = plan

    def _is_current(self, rendered: _Rendered) -> bool:
        view = self._view
        if rendered.view_index == view.index and rendered.sight is view.sight:
            return True
        if (rendered.index, rendered.blind) != self._stamp(rendered.service):
            return False
        rendered.view_index, rendered.sight = view.index, view.sight
        return True

    def _stamp(self, service: str | None) -> tuple[int, bool]:
        view = self._view
        index = view.index if service is None else view.index_of(service)
        return index, view.sight.stale_since is not None

    def _render(self, query: Query) -> _Rendered:
        asked = parse_name(query.name, self._domain)
        service, known = service_of(asked), self._view.services
        index, blind = self._stamp(service)
        served = query.qclass == CLASS_IN and query.type not in _TRANSFERS
        if served:
            # RFC 8767 §4: what may be out of date is given 30 seconds.
            ttl_s = self._stale_ttl_s if blind else self._ttl_s
            context = Context(self._view, self._domain, self._node, ttl_s)
            given = answer(query.name, asked, query.type, context)
        else:
            given = Answer(Rcode.REFUSED)
        refused = given.rcode is Rcode.REFUSED
        offsets = question_offsets(query.name)
        answers = [encode_record(r, offsets) for r in given.answers]
        authority = [encode_record(r, offsets) for r in given.authority]
        additional = [encode_record(r, offsets) for r in given.additional]
        octets = HEADER_OCTETS + len(query.question) + sum(map(len, authority))
        total = octets + sum(map(len, answers)) + sum(map(len, additional))
        rendered = _Rendered(
            answers=answers,
            authority=authority,
            additional=additional,
            flags=QR | given.rcode | (0 if refused else AA) | self._recursion_available,
            octets=octets,
            total=total,
            kept=total,
            shuffled=given.shuffled and len(answers) > 1,
            absent=isinstance(asked, Service)
            and given.rcode is Rcode.NXDOMAIN
            and service not in known,
            forwardable=served and refused and isinstance(asked, Outside | Reverse),
            labels=(type_label(query.type), given.rcode.name),
            service=service,
            index=index,
            blind=blind,
            view_index=self._view.index,
            sight=self._view.sight,
        )
        if not rendered.absent:
            self._remember_rendered(query.key, rendered)
        return rendered

    def _remember_rendered(self, key: bytes, rendered: _Rendered) -> None:
        replaced = self._rendered.pop(key, None)
        if replaced is not None:
            self._rendered_octets -= replaced.kept
        if (
            len(self._rendered) >= RENDERED_MAX
            or self._rendered_octets + rendered.total > RENDERED_OCTETS_MAX
        ):
            self._rendered.clear()
            self._rendered_octets = 0
        self._rendered[key] = rendered
        self._rendered_octets += rendered.total

    def _fit(
        self, query: Query, rendered: _Rendered, opt: bytes, *, limit: int, tcp: bool
    ) -> bytes:
        """A reply without its id, as much of it as may be sent. Over TCP there is nothing larger
        to be asked for, and a TC bit would only make the client give up."""
        answers: Sequence[bytes] = rendered.answers
        if rendered.shuffled:
            answers = _shuffled(answers, limit // RECORD_OCTETS_MIN, self._rng)
        room = limit - rendered.octets - len(opt)
        answers, additional = _fitting(answers, rendered.additional, room)
        flags = TC if len(answers) < len(rendered.answers) and not tcp else 0
        head = _head(query, rendered, flags, (len(answers), len(additional) + bool(opt)))
        return b"".join((head, *answers, *rendered.authority, *additional, opt))


def _plan(query: Query, rendered: _Rendered, opt: bytes) -> _Plan:
    counts = len(rendered.answers), len(rendered.additional) + bool(opt)
    head = _head(query, rendered, 0, counts)
    tail = b"".join((*rendered.authority, *rendered.additional, opt))
    if rendered.shuffled:
        return _Plan(rendered, head, tail)
    return _Plan(rendered, b"".join((head, *rendered.answers, tail)), b"")


def _head(query: Query, rendered: _Rendered, flags: int, counts: tuple[int, int]) -> bytes:
    """Header without the id, and question. `counts`: of answers and additional records."""
    flags |= rendered.flags | query.flags & (RD | CD)
    header = header_struct.pack(0, flags, 1, counts[0], len(rendered.authority), counts[1])
    return header[2:] + query.question


def udp_limit(query: Query) -> int:
    """How long a UDP answer may be. RFC 6891 §6.2.3: less than 512 means 512."""
    if query.edns_octets is None:
        return UDP_PLAIN_OCTETS_MAX
    return min(max(query.edns_octets, UDP_PLAIN_OCTETS_MAX), UDP_OCTETS_MAX)


_OPTS = {
    (rcode, dnssec_ok): encode_opt(rcode, dnssec_ok=dnssec_ok)
    for rcode in map(int, Rcode)
    for dnssec_ok in (False, True)
}


def _opt(query: Query, rcode: int) -> bytes:
    return b"" if query.edns_octets is None else _OPTS[rcode, query.dnssec_ok]


def type_label(qtype: int) -> str:
    """For metrics."""
    return _TYPE_LABELS.get(qtype, OTHER)


def rcode_label(reply: bytes) -> str:
    """For metrics, of a reply that somebody else made."""
    rcode = reply[3] & 0xF
    return Rcode(rcode).name if rcode in _RCODES else OTHER


def _shuffled(records: Sequence[bytes], first: int, rng: random.Random) -> list[bytes]:
    """All records, in random order as far as the first so many, beyond which nothing fits.

    Fisher and Yates, written out: `rng.shuffle` takes three times as long.
    """
    order = list(records)
    uniform = rng.random
    left = len(order)
    for place in range(min(first, left - 1)):
        other = place + int(uniform() * (left - place))
        order[place], order[other] = order[other], order[place]
    return order


def _fitting(
    answers: Sequence[bytes], additional: Sequence[bytes], room: int
) -> tuple[Sequence[bytes], Sequence[bytes]]:
    """What goes into so many octets: first answers, then, if all fitted, additional records."""
    kept = _prefix(answers, room)
    if len(kept) < len(answers):
        return kept, ()
    return kept, _prefix(additional, room - sum(map(len, kept)))


def _prefix(records: Sequence[bytes], room: int) -> Sequence[bytes]:
    for place, record in enumerate(records):
        room -= len(record)
        if room < 0:
            return records[:place]
    return records
