"""From a name to what it asks for."""

import pytest

from beacond.dns.recursors import parse_recursor
from beacond.dns.zone import (
    Apex,
    Asked,
    Branch,
    Endpoint,
    HexAddress,
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
    parse_domain,
    parse_name,
)

TABLE: list[tuple[str, Asked]] = [
    ("sd.test", Apex()),
    ("ns.sd.test", NameServer()),
    ("service.sd.test", Branch()),
    ("web.service.sd.test", Service("web")),
    ("blue.web.service.sd.test", Service("web", tag="blue")),
    ("web.service.east.sd.test", Service("web", zone="east")),
    ("blue.web.service.east.sd.test", Service("web", tag="blue", zone="east")),
    ("service.service.sd.test", Service("service")),
    ("node.service.sd.test", Service("node")),
    ("east.sd.test", ZoneBranch("east")),
    ("service.east.sd.test", ZoneBranch("east")),
    ("_tcp.service.east.sd.test", ZoneBranch("east")),
    ("_tcp.service.sd.test", Branch()),
    ("_web._tcp.service.sd.test", Endpoint("web", "tcp")),
    ("_web._grpc.service.sd.test", Endpoint("web", "grpc")),
    ("_web._tcp.service.east.sd.test", Endpoint("web", "tcp", "east")),
    ("_web._tcp.sd.test", ServiceType("web")),
    ("_services._dns-sd._udp.sd.test", ServiceTypes()),
    ("_dns-sd._udp.sd.test", Branch()),
    ("a@b._web._tcp.sd.test", SdInstance("web", "a@b")),
    ("host-a.node.sd.test", Node("host-a")),
    ("0a000001.addr.sd.test", HexAddress("10.0.0.1")),
    ("20010db8000000000000000000000001.addr.sd.test", HexAddress("2001:db8::1")),
    ("0a00000g.addr.sd.test", Nothing()),
    ("x.y.z.sd.test", Nothing()),
    ("_web.web.service.sd.test", Nothing()),
    ("_-._tcp.sd.test", Nothing()),
    ("*.sd.test", Nothing()),
    ("1.0.0.10.in-addr.arpa", Reverse("10.0.0.1")),
    ("1.0.0.10.x.in-addr.arpa", Outside()),
    ("in-addr.arpa", Outside()),
    ("1." + "0." * 23 + "8.b.d.0.1.0.0.2.ip6.arpa", Reverse("2001:db8::1")),
    ("g." + "0." * 23 + "8.b.d.0.1.0.0.2.ip6.arpa", Outside()),
    ("test", Outside()),
    ("sd.test.example", Outside()),
    ("xsd.test", Outside()),
]


@pytest.mark.parametrize(("text", "asked"), TABLE, ids=[text for text, _ in TABLE])
def test_name_asks_for(text: str, asked: Asked) -> None:
    name = tuple(label.encode() for label in text.split("."))
    assert parse_name(name, parse_domain("sd.test")) == asked


def test_root_is_outside() -> None:
    assert parse_name((), parse_domain("sd.test")) == Outside()


def test_label_that_is_no_ascii_is_nothing() -> None:
    assert (
        parse_name((b"w\xc3\xa9b", b"service", b"sd", b"test"), parse_domain("sd.test"))
        == Nothing()
    )


def test_domain_is_lower_cased_and_may_end_with_a_dot() -> None:
    assert parse_domain("Beacon.Internal.") == (b"beacon", b"internal")
    assert parse_domain("sd") == (b"sd",)
    assert parse_domain("a" * 63) == (b"a" * 63,)


@pytest.mark.parametrize(
    "text", ["", ".", "a..b", "a b", "_a.b", "-a", "é.test", "a" * 64, "a." * 61]
)
def test_domain_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="domain"):
        parse_domain(text)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", ("192.0.2.1", 53)),
        ("192.0.2.1:5353", ("192.0.2.1", 5353)),
        ("2001:db8::1", ("2001:db8::1", 53)),
        ("[2001:DB8::1]", ("2001:db8::1", 53)),
        ("[2001:db8::1]:54", ("2001:db8::1", 54)),
    ],
)
def test_recursor_is_an_address_with_or_without_a_port(text: str, address: tuple[str, int]) -> None:
    assert parse_recursor(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "dns.test",
        "192.0.2.1:",
        "192.0.2.1:0",
        "192.0.2.1:65536",
        "192.0.2.1:x",
        "[::1",
        "[::1]x",
        "[::1]:",
        "1.2.3",
    ],
)
def test_recursor_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="recursor"):
        parse_recursor(text)
