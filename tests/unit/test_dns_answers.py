"""What each name answers, as tables in zone file syntax."""

from dataclasses import dataclass

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from beacond.core.model import AgentState, Mode, Status
from beacond.core.view import InstanceView
from tests.support.dns_records import DOMAIN, ask, from_zone, record_set, responder
from tests.support.views import HandMadeView, agent, instance

LONG_ID = "checkout/" + "x" * 60


def fleet() -> HandMadeView:
    return HandMadeView(
        agents=[
            agent("host-a", "10.0.0.1", zone="east"),
            agent("host-b", "10.0.0.2", "fd00::2", zone="west", version="2.1"),
            agent("host-c", "10.0.0.3", state=AgentState.LEFT),
            agent("host-d", "10.0.0.4", state=AgentState.SUSPECT),
        ],
        instances=[
            instance(
                "web",
                "web-1",
                node="host-a",
                zone="east",
                tags=["Blue", "v1.2"],
                meta={"path": "/", "version": "2"},
                ports={"metrics": 9100},
            ),
            instance(
                "web",
                "web 2.b",
                node="host-b",
                addresses=("10.0.0.2", "fd00::2"),
                port=8081,
                zone="west",
                weight=5,
                tags=["green"],
            ),
            instance(
                "web",
                "web-3",
                node="host-d",
                addresses=("10.0.0.4",),
                zone="east",
                tags=["blue", "canary"],
                ports={"admin": 9999},
                status=Status.CRITICAL,
            ),
            instance("db", "db", addresses=("10.9.9.9",), port=5432, status=Status.WARNING),
            instance("db", "db-old", addresses=("10.9.9.8",), mode=Mode.DRAINING),
            instance("db", "db-off", addresses=("10.9.9.7",), mode=Mode.MAINTENANCE),
            instance("leaving", mode=Mode.DRAINING),
            instance("sick", status=Status.CRITICAL),
            instance("six", addresses=("fd00::6",), weight=70000),
            instance("checkout", LONG_ID, port=1),
            instance("twice", "a", port=1),
            instance("twice", "b", port=2),
        ],
    )


@dataclass(frozen=True)
class Row:
    name: str
    type: str
    answers: str
    additional: str = ""


WEB_1, WEB_2 = "0a000001.addr", "host-b.node"
WEB_HOSTS = f"{WEB_1} A 10.0.0.1\n{WEB_2} A 10.0.0.2\n{WEB_2} AAAA fd00::2\n"

POSITIVE = [
    Row("web.service", "A", "web.service A 10.0.0.1\nweb.service A 10.0.0.2"),
    Row("web.service", "AAAA", "web.service AAAA fd00::2"),
    Row(
        "web.service",
        "SRV",
        f"web.service SRV 1 1 8080 {WEB_1}\nweb.service SRV 1 5 8081 {WEB_2}",
        WEB_HOSTS,
    ),
    Row("web.service", "TXT", 'web.service TXT "path=/" "version=2"\nweb.service TXT ""'),
    # One A per address, however many instances are there; SRV tells them apart.
    Row("twice.service", "A", "twice.service A 10.0.0.1"),
    Row(
        "twice.service",
        "SRV",
        f"twice.service SRV 1 1 1 {WEB_1}\ntwice.service SRV 1 1 2 {WEB_1}",
        f"{WEB_1} A 10.0.0.1",
    ),
    # Warning is served; draining and maintenance aren't where something passes.
    Row("db.service", "A", "db.service A 10.9.9.9"),
    Row("leaving.service", "A", "leaving.service A 10.0.0.1"),
    Row(
        "six.service",
        "SRV",
        "six.service SRV 1 65535 8080 fd000000000000000000000000000006.addr",
        "fd000000000000000000000000000006.addr AAAA fd00::6",
    ),
    # Tags, in whatever case they were registered.
    Row("blue.web.service", "A", "blue.web.service A 10.0.0.1"),
    Row("green.web.service", "A", "green.web.service A 10.0.0.2"),
    # Zones.
    Row("web.service.west", "A", "web.service.west A 10.0.0.2"),
    Row("blue.web.service.east", "A", "blue.web.service.east A 10.0.0.1"),
    # RFC 2782: tcp, else a port's name, else a tag.
    Row(
        "_web._tcp.service",
        "SRV",
        f"_web._tcp.service SRV 1 1 8080 {WEB_1}\n_web._tcp.service SRV 1 5 8081 {WEB_2}",
        WEB_HOSTS,
    ),
    Row(
        "_web._metrics.service",
        "SRV",
        f"_web._metrics.service SRV 1 1 9100 {WEB_1}",
        f"{WEB_1} A 10.0.0.1",
    ),
    Row(
        "_web._blue.service",
        "SRV",
        f"_web._blue.service SRV 1 1 8080 {WEB_1}",
        f"{WEB_1} A 10.0.0.1",
    ),
    Row(
        "_web._tcp.service.east",
        "SRV",
        f"_web._tcp.service.east SRV 1 1 8080 {WEB_1}",
        f"{WEB_1} A 10.0.0.1",
    ),
    Row(
        "_web._tcp",
        "SRV",
        f"_web._tcp SRV 1 1 8080 {WEB_1}\n_web._tcp SRV 1 5 8081 {WEB_2}",
        WEB_HOSTS,
    ),
    # Nodes and addresses.
    Row("host-b.node", "A", "host-b.node A 10.0.0.2"),
    Row("host-b.node", "AAAA", "host-b.node AAAA fd00::2"),
    Row("host-b.node", "TXT", 'host-b.node TXT "zone=west" "version=2.1"'),
    Row("host-d.node", "A", "host-d.node A 10.0.0.4"),
    Row("0a090909.addr", "A", "0a090909.addr A 10.9.9.9"),
    Row(
        "fd000000000000000000000000000002.addr",
        "AAAA",
        "fd000000000000000000000000000002.addr AAAA fd00::2",
    ),
    # The reverse: the node, else the service.
    Row("2.0.0.10.in-addr.arpa.", "PTR", "2.0.0.10.in-addr.arpa. PTR host-b.node"),
    Row("9.9.9.10.in-addr.arpa.", "PTR", "9.9.9.10.in-addr.arpa. PTR db.service"),
    Row(
        "2." + "0." * 27 + "0.0.d.f.ip6.arpa.",
        "PTR",
        "2." + "0." * 27 + "0.0.d.f.ip6.arpa. PTR host-b.node",
    ),
    # DNS-SD.
    Row(
        "_services._dns-sd._udp",
        "PTR",
        "\n".join(
            f"_services._dns-sd._udp PTR _{name}._tcp"
            for name in ("checkout", "db", "leaving", "sick", "six", "twice", "web")
        ),
    ),
    Row(
        "_web._tcp",
        "PTR",
        "_web._tcp PTR web-1@host-a._web._tcp\n_web._tcp PTR web\\0322\\.b@host-b._web._tcp",
        f"web-1\\@host-a._web._tcp SRV 1 1 8080 {WEB_1}\n"
        'web-1\\@host-a._web._tcp TXT "path=/" "version=2"\n'
        f"web\\0322\\.b\\@host-b._web._tcp SRV 1 5 8081 {WEB_2}\n"
        'web\\0322\\.b\\@host-b._web._tcp TXT ""\n' + WEB_HOSTS,
    ),
    Row(
        "web\\0322\\.b\\@host-b._web._tcp",
        "SRV",
        f"web\\0322\\.b\\@host-b._web._tcp SRV 1 5 8081 {WEB_2}",
        f"{WEB_2} A 10.0.0.2\n{WEB_2} AAAA fd00::2",
    ),
    Row(
        "web-1\\@host-a._web._tcp",
        "TXT",
        'web-1\\@host-a._web._tcp TXT "path=/" "version=2"',
    ),
    # The domain itself.
    Row("", "NS", "@ NS ns", "ns A 10.0.0.1"),
    Row("ns", "A", "ns A 10.0.0.1"),
    # RFC 8482: one of the types there are.
    Row("web.service", "ANY", "web.service A 10.0.0.1\nweb.service A 10.0.0.2"),
    Row("six.service", "ANY", "six.service AAAA fd00::6"),
]


@pytest.mark.parametrize("row", POSITIVE, ids=[f"{r.name or '@'}-{r.type}" for r in POSITIVE])
def test_name_answers_with_these_records(row: Row) -> None:
    reply = ask(responder(fleet().view), row.name, row.type)
    assert reply.rcode() == dns.rcode.NOERROR
    assert record_set(reply.answer) == from_zone(row.answers)
    assert record_set(reply.additional) == from_zone(row.additional)
    assert not reply.authority
    assert reply.flags & dns.flags.AA


NODATA = [
    ("sick.service", "A"),
    ("web.service", "MX"),
    ("six.service", "A"),
    ("canary.web.service", "A"),
    ("_web._admin.service", "SRV"),
    ("_web._tcp.service", "A"),
    ("host-a.node", "AAAA"),
    ("host-a.node", "SRV"),
    ("host-c.node", "A"),
    ("0a090909.addr", "AAAA"),
    ("web-3\\@host-d._web._tcp", "SRV"),
    ("web-3\\@host-d._web._tcp", "TXT"),
    ("_sick._tcp", "PTR"),
    ("ns", "AAAA"),
    ("", "A"),
    ("", "TXT"),
    # Empty non-terminals.
    ("service", "A"),
    ("node", "A"),
    ("addr", "A"),
    ("_tcp", "PTR"),
    ("_udp", "A"),
    ("_dns-sd._udp", "A"),
    ("_tcp.service", "NS"),
    ("_metrics.service", "A"),
    ("east", "A"),
    ("service.east", "NS"),
    ("_tcp.service.east", "A"),
    ("_services._dns-sd._udp", "A"),
    ("sick.service", "ANY"),
]

NXDOMAIN = [
    ("gone.service", "A"),
    ("gone.service", "ANY"),
    ("red.web.service", "A"),
    ("v1.2.web.service", "A"),
    ("web.service.north", "A"),
    ("six.service.east", "A"),
    ("_gone._tcp.service", "SRV"),
    ("_gone._tcp", "PTR"),
    ("_web._red.service", "SRV"),
    ("_web._metrics", "SRV"),
    ("gone\\@host-a._web._tcp", "SRV"),
    ("web-1\\@host-a._db._tcp", "SRV"),
    ("gone.node", "A"),
    ("a.host-a.node", "A"),
    ("0a00000f.addr", "A"),
    ("0a0000.addr", "A"),
    ("north", "A"),
    ("service.north", "A"),
    ("_tcp.service.north", "A"),
    ("web", "A"),
    ("a.b.c.d.service", "A"),
    ("w\\195\\169b.service", "A"),
    ("\\000.service", "A"),
    ("web\\.service", "A"),
]

REFUSED = [
    ("example.org.", "A"),
    (".", "NS"),
    ("internal.", "SOA"),
    ("notbeacon.internal.", "A"),
    ("1.2.3.4.in-addr.arpa.", "PTR"),
    ("1.0.0.10.in-addr.arpa.", "AXFR"),
    ("0.10.in-addr.arpa.", "PTR"),
    ("01.0.0.10.in-addr.arpa.", "PTR"),
    ("300.0.0.10.in-addr.arpa.", "PTR"),
    ("web.service", "AXFR"),
    ("", "IXFR"),
]


def ids(rows: list[tuple[str, str]]) -> list[str]:
    return [f"{name or '@'}-{qtype}" for name, qtype in rows]


def assert_negative(reply: dns.message.Message, owner: str = f"{DOMAIN}.") -> None:
    """RFC 2308: the SOA, with a TTL that is also its minimum."""
    assert not reply.answer
    assert not reply.additional
    (soa,) = reply.authority
    assert (str(soa.name), soa.ttl, soa[0].minimum) == (owner, 1, 1)
    assert reply.flags & dns.flags.AA


@pytest.mark.parametrize(("name", "qtype"), NODATA, ids=ids(NODATA))
def test_existing_name_without_that_type_is_nodata(name: str, qtype: str) -> None:
    reply = ask(responder(fleet().view), name, qtype)
    assert reply.rcode() == dns.rcode.NOERROR
    assert_negative(reply)


@pytest.mark.parametrize(("name", "qtype"), NXDOMAIN, ids=ids(NXDOMAIN))
def test_unknown_name_is_nxdomain(name: str, qtype: str) -> None:
    reply = ask(responder(fleet().view), name, qtype)
    assert reply.rcode() == dns.rcode.NXDOMAIN
    assert_negative(reply)


@pytest.mark.parametrize(("name", "qtype"), REFUSED, ids=ids(REFUSED))
def test_what_is_not_ours_to_answer_is_refused(name: str, qtype: str) -> None:
    reply = ask(responder(fleet().view), name, qtype)
    assert reply.rcode() == dns.rcode.REFUSED
    assert not reply.answer + reply.authority + reply.additional
    assert not reply.flags & (dns.flags.AA | dns.flags.RA)


def test_reverse_name_of_known_address_has_no_other_types() -> None:
    reply = ask(responder(fleet().view), "1.0.0.10.in-addr.arpa.", "A")
    assert reply.rcode() == dns.rcode.NOERROR
    assert_negative(reply, owner="1.0.0.10.in-addr.arpa.")


def test_soa_has_the_view_index_as_serial() -> None:
    made = fleet()
    made.view.index = 2**40 + 77
    (soa,) = ask(responder(made.view), "", "SOA").answer
    assert (soa.ttl, soa[0].serial, soa[0].minimum) == (1, 77, 1)
    assert str(soa[0].mname) == f"ns.{DOMAIN}."


def test_every_srv_target_resolves_to_exactly_the_additional_addresses() -> None:
    to = responder(fleet().view)
    for name in ("web.service", "six.service", "_db._tcp.service", "_web._metrics.service"):
        reply = ask(to, name, "SRV")
        targets = {str(data.target) for data in reply.answer[0]}
        resolved = {
            record
            for target in targets
            for qtype in ("A", "AAAA")
            for record in record_set(ask(to, target, qtype).answer)
        }
        assert resolved == record_set(reply.additional) != set()


def test_long_instance_name_is_hashed_and_found_again() -> None:
    to = responder(fleet().view)
    (pointer,) = ask(to, "_checkout._tcp", "PTR").answer[0]
    label = pointer.target.labels[0]
    assert len(label) == 40
    (srv,) = ask(to, str(pointer.target), "SRV").answer[0]
    assert srv.port == 1


@pytest.mark.parametrize("instance_id", ["x", "a.b", "a b", "\\", '"', "@", "é"])
def test_instance_name_leads_back_to_the_instance(instance_id: str) -> None:
    made = HandMadeView([instance("web", instance_id, port=7)])
    to = responder(made.view)
    (pointer,) = ask(to, "_web._tcp", "PTR").answer[0]
    reply = ask(to, str(pointer.target), "SRV")
    assert [srv.port for srv in (reply.answer[0] if reply.answer else ())] == (
        [7] if instance_id.isascii() else []
    )


def test_names_are_compared_without_case_and_echoed_with_it() -> None:
    to = responder(fleet().view)
    for name in ("WeB.SerVIce", "BLUE.weB.service", "HOST-A.NoDe", "0A090909.aDDr"):
        reply = ask(to, name)
        assert reply.question[0].name.to_text() == f"{name}.{DOMAIN}."
        assert reply.answer[0].name.to_text() == f"{name}.{DOMAIN}."


def test_meta_that_does_not_fit_a_string_is_left_out() -> None:
    made = HandMadeView([instance("web", meta={"a": "x" * 253, "b": "y" * 254, "c": ""})])
    (text,) = ask(responder(made.view), "web.service", "TXT").answer[0]
    assert text.strings == (b"a=" + b"x" * 253, b"c=")


def test_meta_beyond_the_limit_of_a_record_is_left_out() -> None:
    made = HandMadeView([instance("web", meta={f"{n:03}": "x" * 250 for n in range(300)})])
    (text,) = ask(responder(made.view), "web.service", "TXT").answer[0]
    assert 60 < len(text.strings) < 65


def test_held_instance_is_answered_only_where_nothing_fresher_is() -> None:
    held = instance("web", "held", addresses=("10.0.0.9",), last_resort=True)
    fresh = instance("web", "fresh", addresses=("10.0.0.1",))
    made = HandMadeView([held, fresh])
    to = responder(made.view)
    assert [str(a) for a in ask(to, "web.service").answer[0]] == ["10.0.0.1"]
    made.put_service("web", [held])
    assert [str(a) for a in ask(to, "web.service").answer[0]] == ["10.0.0.9"]


def test_ttl_is_as_configured_and_30_while_blind() -> None:
    made = fleet()
    for ttl_s in (0, 7):
        to = responder(made.view, ttl_s=ttl_s)
        for blind_since, expected in ((None, ttl_s), (1.0, 30), (2.0, 30), (None, ttl_s)):
            made.blind(blind_since)
            reply = ask(to, "web.service", "SRV")
            assert {s.ttl for s in reply.answer + reply.additional} == {expected}
            assert ask(to, "host-a.node").answer[0].ttl == expected
            assert ask(to, "gone.service").authority[0].ttl == 1


def test_agent_that_is_not_in_the_view_has_a_name_server_without_address() -> None:
    to = responder(fleet().view, node="host-z")
    assert ask(to, "ns", "A").rcode() == dns.rcode.NOERROR
    assert len(ask(to, "", "NS").answer) == 1


def members(count: int) -> list[InstanceView]:
    return [
        instance("web", f"w{n:04}", addresses=(f"10.1.{n // 250}.{n % 250 + 1}",))
        for n in range(count)
    ]


def test_each_instance_comes_first_about_equally_often() -> None:
    to = responder(HandMadeView(members(4)).view)
    first = [str(next(iter(wire_order(ask(to, "web.service"))))) for _ in range(6000)]
    counts = {address: first.count(address) for address in set(first)}
    assert len(counts) == 4
    assert all(1000 < n < 2000 for n in counts.values()), counts


def wire_order(reply: dns.message.Message) -> list[str]:
    return [str(data) for data in reply.answer[0]]
