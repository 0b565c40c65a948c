"""What is answered: a question and the view give records. Pure; no packets here.

`answer` is the one place that decides between an answer, NODATA, NXDOMAIN and REFUSED.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from beacond.core.model import AgentState
from beacond.core.view import InstanceView, Selection, View, select
from beacond.dns.records import (
    SOA_TTL_S,
    Address,
    Rcode,
    Record,
    Soa,
    Srv,
    Target,
    Txt,
    Type,
    packed_address,
)
from beacond.dns.zone import (
    Apex,
    Asked,
    Branch,
    Endpoint,
    HexAddress,
    Name,
    NameServer,
    Node,
    Nothing,
    Outside,
    Reverse,
    SdInstance,
    Service,
    ServiceType,
    ServiceTypes,
    ZoneBranch,
)

LABEL_OCTETS_MAX = 63
STRING_OCTETS_MAX = 255
TXT_OCTETS_MAX = 16_384
"""Of one TXT record; what does not fit is left out."""


@dataclass(frozen=True, slots=True)
class Answer:
    rcode: Rcode
    answers: tuple[Record, ...] = ()
    authority: tuple[Record, ...] = ()
    additional: tuple[Record, ...] = ()
    shuffled: bool = False
    """Whether the order of `answers` is to differ from query to query."""


@dataclass(frozen=True, slots=True)
class Context:
    """What an answer is made from, beside the question."""

    view: View
    domain: Name
    node: str
    """This agent's own, whose addresses are those of `ns.DOMAIN`."""
    ttl_s: int
    """Of everything but the SOA."""


@dataclass(frozen=True, slots=True)
class _Found:
    """A name that exists, with its records of the type asked for, if any."""

    answers: tuple[Record, ...] = ()
    additional: tuple[Record, ...] = ()
    shuffled: bool = False


_ANY_ORDER = (Type.A, Type.AAAA, Type.SRV, Type.PTR, Type.SOA, Type.TXT)


def answer(name: Name, asked: Asked, qtype: int, context: Context) -> Answer:
    """The answer to a question of class IN; `asked` is what `name` (lower-cased) parses to.

    Outside the domain, and for reverse names of addresses unknown here: REFUSED. A name that does
    not exist: NXDOMAIN (RFC 2308 §2.1). One that exists, if only because of what lies below it
    (RFC 8020 §2), without that type: NOERROR without answers (RFC 2308 §2.2). Both carry the SOA
    (RFC 2308 §3). ANY gives one type of those there are (RFC 8482 §4.1).
    """
    if isinstance(asked, Outside):
        return Answer(Rcode.REFUSED)
    if isinstance(asked, Reverse) and asked.address not in context.view.addresses:
        return Answer(Rcode.REFUSED)
    found: _Found | None = None
    for wanted in _ANY_ORDER if qtype == Type.ANY else (qtype,):
        found = _find(name, asked, wanted, context)
        if found is None:
            break
        if found.answers:
            return Answer(Rcode.NOERROR, found.answers, (), found.additional, found.shuffled)
    # The reverse name of a known address is answered as a zone of its own.
    soa = _soa(name if isinstance(asked, Reverse) else context.domain, context)
    return Answer(Rcode.NXDOMAIN if found is None else Rcode.NOERROR, authority=(soa,))


def service_of(asked: Asked) -> str | None:
    """The one service that alone decides the answer; None where more of the view does."""
    match asked:
        case Service(service) | Endpoint(service) | ServiceType(service) | SdInstance(service):
            return service
        case _:
            return None


def instance_label(instance: InstanceView) -> bytes:
    """The DNS-SD name of an instance (RFC 6763 §4.1.1): `ID@NODE`, hashed where too long."""
    label = f"{instance.id}@{instance.node}".encode("utf-8", "replace")
    if len(label) <= LABEL_OCTETS_MAX:
        return label
    return hashlib.sha256(label).hexdigest()[:40].encode("ascii")


def _find(name: Name, asked: Asked, qtype: int, context: Context) -> _Found | None:
    """None: there is no such name."""
    match asked:
        case Apex():
            return _apex(qtype, context)
        case NameServer():
            return _Found(_hosts(name, _own_addresses(context), qtype, context))
        case Branch():
            return _Found()
        case ZoneBranch(zone):
            return _Found() if zone in context.view.zones else None
        case Service():
            return _service(name, asked, qtype, context)
        case Endpoint(service, what, zone):
            return _endpoint(name, service, what, zone, qtype, context)
        case ServiceType(service):
            return _service_type(name, service, qtype, context)
        case ServiceTypes():
            return _service_types(name, qtype, context)
        case SdInstance(service, label):
            return _sd_instance(name, service, label, qtype, context)
        case Node(node):
            return _node(name, node, qtype, context)
        case HexAddress(address):
            if address not in context.view.addresses:
                return None
            return _Found(_hosts(name, (address,), qtype, context))
        case Reverse(address):
            return _reverse(name, address, qtype, context)
        case Nothing() | Outside():
            return None


def _apex(qtype: int, context: Context) -> _Found:
    if qtype == Type.SOA:
        return _Found((_soa(context.domain, context),))
    if qtype == Type.NS:
        server = (b"ns", *context.domain)
        record = Record(context.domain, Type.NS, context.ttl_s, Target(server))
        return _Found((record,), _all_hosts(server, _own_addresses(context), context))
    return _Found()


def _service(name: Name, asked: Service, qtype: int, context: Context) -> _Found | None:
    matching = _matching(asked.service, asked.tag, asked.zone, context)
    if matching is None:
        return None
    chosen = select(matching, Selection())
    match qtype:
        case Type.A | Type.AAAA:
            addresses = dict.fromkeys(a for i in chosen for a in i.addresses)
            return _Found(_hosts(name, addresses, qtype, context), shuffled=True)
        case Type.SRV:
            return _srv(name, [(i, i.port) for i in chosen], context)
        case Type.TXT:
            texts = dict.fromkeys(_txt(i.meta) for i in chosen)
            records = tuple(Record(name, Type.TXT, context.ttl_s, text) for text in texts)
            return _Found(records, shuffled=True)
        case _:
            return _Found()


def _matching(
    service: str, tag: str | None, zone: str | None, context: Context
) -> Sequence[InstanceView] | None:
    """A service's instances with that tag in that zone, whatever their health; None where the
    name does not exist: no such service, or none of its instances has that tag and zone."""
    if service not in context.view.services:
        return None
    instances = context.view.instances_of(service)
    if tag is None and zone is None:
        return instances
    matching = [
        i
        for i in instances
        if (zone is None or i.zone == zone) and (tag is None or _has_tag(i, tag))
    ]
    return matching or None


def _has_tag(instance: InstanceView, tag: str) -> bool:
    return any(tag == own.lower() for own in instance.tags)


def _endpoint(
    name: Name, service: str, what: str, zone: str | None, qtype: int, context: Context
) -> _Found | None:
    """RFC 2782 names: `tcp` is the instance's port; else a port's name; else a tag."""
    if what == "tcp":
        matching = _matching(service, None, zone, context)
        pairs = [(i, i.port) for i in select(matching or (), Selection())]
        return None if matching is None else _srv_only(name, pairs, qtype, context)
    named = {
        (i.node, i.id): port
        for i in _matching(service, None, zone, context) or ()
        for port_name, port in i.ports
        if port_name == what
    }
    matching = _matching(service, None if named else what, zone, context)
    if matching is None:
        return None
    if named:
        matching = [i for i in matching if (i.node, i.id) in named]
    chosen = select(matching, Selection())
    pairs = [(i, named.get((i.node, i.id), i.port)) for i in chosen]
    return _srv_only(name, pairs, qtype, context)


def _service_type(name: Name, service: str, qtype: int, context: Context) -> _Found | None:
    matching = _matching(service, None, None, context)
    if matching is None:
        return None
    chosen = select(matching, Selection())
    if qtype != Type.PTR:
        return _srv_only(name, [(i, i.port) for i in chosen], qtype, context)
    answers: list[Record] = []
    additional: dict[Record, None] = {}
    for instance in chosen:
        own = (instance_label(instance), *name)
        answers.append(Record(name, Type.PTR, context.ttl_s, Target(own)))
        srv = _srv(own, [(instance, instance.port)], context)
        text = Record(own, Type.TXT, context.ttl_s, _txt(instance.meta))
        # RFC 6763 §12.1
        additional |= dict.fromkeys((*srv.answers, text, *srv.additional))
    return _Found(tuple(answers), tuple(additional), shuffled=True)


def _service_types(name: Name, qtype: int, context: Context) -> _Found:
    if qtype != Type.PTR:
        return _Found()
    return _Found(
        tuple(
            Record(name, Type.PTR, context.ttl_s, Target((label, b"_tcp", *context.domain)))
            for label in (b"_" + s.encode("ascii") for s in sorted(context.view.services))
        )
    )


def _sd_instance(
    name: Name, service: str, label: str, qtype: int, context: Context
) -> _Found | None:
    instances = context.view.instances_of(service)
    wanted = label.encode("ascii")
    matching = [i for i in instances if instance_label(i).lower() == wanted]
    if not matching:
        return None
    chosen = select(matching, Selection())
    if qtype == Type.TXT:
        texts = dict.fromkeys(_txt(i.meta) for i in chosen)
        return _Found(tuple(Record(name, Type.TXT, context.ttl_s, text) for text in texts))
    return _srv_only(name, [(i, i.port) for i in chosen], qtype, context)


def _node(name: Name, node: str, qtype: int, context: Context) -> _Found | None:
    agent = context.view.agents.get(node)
    if agent is None:
        return None
    if agent.state in (AgentState.LEFT, AgentState.EXPIRED):
        return _Found()
    if qtype == Type.TXT:
        facts = (("zone", agent.zone), ("version", agent.version))
        text = _txt([(key, value) for key, value in facts if value])
        return _Found((Record(name, Type.TXT, context.ttl_s, text),))
    return _Found(_hosts(name, agent.addresses, qtype, context))


def _reverse(name: Name, address: str, qtype: int, context: Context) -> _Found:
    """The nodes with that address; where there is none, the services."""
    if qtype != Type.PTR:
        return _Found()
    owners = context.view.addresses[address]
    kind = "node" if any(kind == "node" for kind, _ in owners) else "service"
    branch = (kind.encode("ascii"), *context.domain)
    return _Found(
        tuple(
            Record(name, Type.PTR, context.ttl_s, Target((owner.encode("ascii"), *branch)))
            for owner in sorted(owner for own_kind, owner in owners if own_kind == kind)
        )
    )


def _srv_only(
    name: Name, pairs: Iterable[tuple[InstanceView, int]], qtype: int, context: Context
) -> _Found:
    return _srv(name, pairs, context) if qtype == Type.SRV else _Found()


def _srv(name: Name, pairs: Iterable[tuple[InstanceView, int]], context: Context) -> _Found:
    """SRV records with the addresses of their targets (RFC 2782)."""
    answers: dict[Record, None] = {}
    targets: dict[Name, tuple[str, ...]] = {}
    for instance, port in pairs:
        target = _target(instance, context.domain)
        targets[target] = instance.addresses
        data = Srv(min(max(instance.weight, 0), 65535), port, target)
        answers[Record(name, Type.SRV, context.ttl_s, data)] = None
    additional = [
        record
        for target, addresses in targets.items()
        for record in _all_hosts(target, addresses, context)
    ]
    return _Found(tuple(answers), tuple(additional), shuffled=True)


def _target(instance: InstanceView, domain: Name) -> Name:
    """A name that resolves to exactly this instance's addresses: with several they are the
    agent's."""
    if len(instance.addresses) > 1:
        return (instance.node.encode("ascii"), b"node", *domain)
    packed = packed_address(instance.address)
    return (packed.hex().encode("ascii"), b"addr", *domain)


def _hosts(
    name: Name, addresses: Iterable[str], qtype: int, context: Context
) -> tuple[Record, ...]:
    if qtype not in (Type.A, Type.AAAA):
        return ()
    return tuple(r for r in _all_hosts(name, addresses, context) if r.type == qtype)


def _all_hosts(name: Name, addresses: Iterable[str], context: Context) -> tuple[Record, ...]:
    return tuple(
        Record(name, Type.AAAA if ":" in a else Type.A, context.ttl_s, Address(a))
        for a in addresses
    )


def _own_addresses(context: Context) -> tuple[str, ...]:
    own = context.view.agents.get(context.node)
    return own.addresses if own is not None else ()


def _txt(pairs: Iterable[tuple[str, str]]) -> Txt:
    """`key=value` strings (RFC 6763 §6.3). One that does not fit is left out: a cut value would
    be a wrong one. At least one string, if empty (RFC 6763 §6.1)."""
    strings: list[bytes] = []
    room = TXT_OCTETS_MAX
    for key, value in pairs:
        string = f"{key}={value}".encode("utf-8", "replace")
        if len(string) <= STRING_OCTETS_MAX and len(string) < room:
            strings.append(string)
            room -= len(string) + 1
    return Txt(tuple(strings) or (b"",))


def _soa(name: Name, context: Context) -> Record:
    server, mailbox = (b"ns", *context.domain), (b"hostmaster", *context.domain)
    return Record(
        name, Type.SOA, SOA_TTL_S, Soa(server, mailbox, serial=context.view.index & 0xFFFFFFFF)
    )
