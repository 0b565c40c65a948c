"""Headers, EDNS, sizes, and what is remembered: bytes in, bytes out."""

import struct
from collections import Counter

import dns.edns
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import pytest

from beacond.core.view import InstanceView
from beacond.dns import codec, packet
from beacond.dns.packet import Forward, Responder
from tests.support.dns_records import DOMAIN, Tally, ask, responder
from tests.support.views import HandMadeView, agent, instance

NAME = f"web.service.{DOMAIN}."


def members(count: int, service: str = "web") -> list[InstanceView]:
    return [
        instance(
            service, f"i{n:05}", port=n + 1, addresses=(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}",)
        )
        for n in range(1, count + 1)
    ]


def one() -> Responder:
    return responder(HandMadeView(members(1), [agent("host-a", "10.0.0.1")]).view)


def many(count: int) -> Responder:
    return responder(HandMadeView(members(count)).view)


def query(name: str = NAME, qtype: str = "A", **options: object) -> bytes:
    return dns.message.make_query(name, qtype, **options).to_wire()  # type: ignore[arg-type]


def reply_to(to: Responder, data: bytes, *, tcp: bool = False) -> bytes:
    reply = to.respond(data, tcp=tcp)
    assert isinstance(reply, bytes)
    return reply


def header(data: bytes) -> tuple[int, ...]:
    return struct.unpack("!6H", data[:12])


# ---- what is dropped, and what is wrong


@pytest.mark.parametrize("data", [b"", b"\1"], ids=["empty", "half-an-id"])
def test_packet_without_an_id_is_dropped(data: bytes) -> None:
    assert one().respond(data, tcp=False) is None


@pytest.mark.parametrize("length", [3, 11, 12, 40])
def test_response_is_never_answered(length: int) -> None:
    data = bytearray(query())
    data[2] |= 0x80
    assert one().respond(bytes(data[:length]), tcp=False) is None


OPT = b"\0" + struct.pack("!HHIH", 41, 1232, 0, 0)
QUESTION = query()[12:]


def crafted(
    body: bytes, *, flags: int = 0x0100, counts: tuple[int, int, int, int] = (1, 0, 0, 0)
) -> bytes:
    return struct.pack("!6H", 0xBEAC, flags, *counts) + body


MALFORMED = {
    "id only": b"\xbe\xac",
    "half a header": b"\xbe\xac\1\0\0\1\0\0",
    "no question": crafted(b"", counts=(0, 0, 0, 0)),
    "two questions": crafted(QUESTION * 2, counts=(2, 0, 0, 0)),
    "question missing": crafted(b""),
    "name cut": crafted(b"\3we"),
    "name without end": crafted(b"\3web"),
    "type cut": crafted(b"\3web\0\0"),
    "class cut": crafted(b"\3web\0\0\1\0"),
    "pointer to itself": crafted(b"\xc0\x0c\0\1\0\1"),
    "pointer to the header": crafted(b"\3web\xc0\x00\0\1\0\1"),
    "label type 01": crafted(b"\x41web\0\0\1\0\1"),
    "name too long": crafted(b"\x3f" + b"a" * 63 + (b"\x3f" + b"a" * 63) * 3 + b"\0\0\1\0\1"),
    "trailing octets": crafted(QUESTION + b"\0"),
    "record missing": crafted(QUESTION, counts=(1, 0, 0, 1)),
    "record cut": crafted(QUESTION + OPT[:-1], counts=(1, 0, 0, 1)),
    "record data beyond the end": crafted(QUESTION + OPT[:-2] + b"\0\1", counts=(1, 0, 0, 1)),
    "two OPT": crafted(QUESTION + OPT * 2, counts=(1, 0, 0, 2)),
    "OPT as an answer": crafted(QUESTION + OPT, counts=(1, 1, 0, 0)),
    "OPT not of the root": crafted(QUESTION + b"\1a" + OPT, counts=(1, 0, 0, 1)),
    "65535 records": crafted(QUESTION, counts=(1, 65535, 65535, 65535)),
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_query_gets_formerr_and_its_id(data: bytes) -> None:
    reply = reply_to(one(), data)
    assert reply[:2] == b"\xbe\xac"
    assert len(reply) == 12
    assert header(reply)[1] & 0x800F == 0x8000 | dns.rcode.FORMERR


def test_longest_name_is_answered() -> None:
    longest = ".".join(["a" * 63] * 3 + ["a" * 61]) + "."
    assert len(dns.name.from_text(longest).to_wire()) == 255
    message = dns.message.from_wire(reply_to(one(), query(longest)))
    assert message.rcode() == dns.rcode.REFUSED


@pytest.mark.parametrize("opcode", [1, 2, 4, 5, 6, 15])
def test_other_opcode_is_not_implemented(opcode: int) -> None:
    reply = reply_to(one(), crafted(QUESTION, flags=opcode << 11 | 0x0100))
    assert header(reply)[1] == 0x8100 | opcode << 11 | dns.rcode.NOTIMP


def test_other_classes_are_refused() -> None:
    for rdclass in ("CH", "HS", "ANY"):
        for name, qtype in ((NAME, "A"), ("version.bind.", "TXT")):
            message = dns.message.from_wire(reply_to(one(), query(name, qtype, rdclass=rdclass)))
            assert message.rcode() == dns.rcode.REFUSED


def test_records_beside_the_question_are_read_past() -> None:
    record = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 0, 4) + b"\1\2\3\4"
    data = crafted(QUESTION + record * 2 + OPT + record, counts=(1, 1, 1, 2))
    assert header(reply_to(one(), data))[2:] == (1, 1, 0, 1)


# ---- flags and EDNS


def test_rd_and_cd_are_copied_and_nothing_else() -> None:
    for flags in (0, 0x0100, 0x0010, 0x0110, 0x0670):
        reply = reply_to(one(), crafted(QUESTION, flags=flags))
        assert header(reply)[1] == 0x8400 | flags & 0x0110


def test_opt_is_sent_only_to_who_sent_one_and_echoes_no_option() -> None:
    plain = dns.message.from_wire(reply_to(one(), query()))
    assert plain.edns == -1
    options = [dns.edns.GenericOption(10, b"12345678"), dns.edns.ECSOption("192.0.2.0", 24)]
    extended = dns.message.from_wire(reply_to(one(), query(use_edns=0, options=options)))
    assert (extended.edns, extended.payload, extended.options) == (0, 1232, ())


def test_dnssec_ok_is_copied() -> None:
    assert dns.message.from_wire(reply_to(one(), query(want_dnssec=True))).ednsflags & 0x8000


def test_unknown_edns_version_is_badvers() -> None:
    for name in (NAME, "example.org."):
        message = dns.message.from_wire(reply_to(one(), query(name, use_edns=1)))
        assert message.rcode() == dns.rcode.BADVERS
        assert (message.edns, len(message.question), message.answer) == (0, 1, [])


# ---- size


@pytest.mark.parametrize(
    ("payload", "limit"),
    [(None, 512), (0, 512), (100, 512), (512, 512), (900, 900), (1232, 1232), (65535, 1232)],
)
@pytest.mark.parametrize("count", [1, 28, 29, 60, 71, 72, 73, 3000])
def test_udp_answer_fits_the_client_and_says_when_it_is_cut(
    payload: int | None, limit: int, count: int
) -> None:
    options = {} if payload is None else {"use_edns": 0, "payload": payload}
    data = query(**options)
    reply = reply_to(many(count), data)
    message = dns.message.from_wire(reply)
    room = limit - len(data)
    assert len(reply) <= limit
    assert len(message.answer[0]) == min(count, room // 16)
    assert bool(message.flags & dns.flags.TC) == (count > room // 16)
    assert len(message.question) == 1
    assert (message.edns >= 0) == (payload is not None)


def test_additional_records_go_before_answers_do() -> None:
    for count in range(1, 60):
        message = dns.message.from_wire(reply_to(many(count), query(qtype="SRV", use_edns=0)))
        cut = len(message.answer[0]) < count
        assert bool(message.flags & dns.flags.TC) == cut
        if cut:
            assert not message.additional
        if count <= 14:
            assert len(message.additional) == count


def test_cut_answer_leaves_no_room_to_additional_records() -> None:
    to = many(40)
    for payload in range(512, 1233, 8):
        data = query(qtype="SRV", use_edns=0, payload=payload)
        message = dns.message.from_wire(reply_to(to, data))
        assert message.flags & dns.flags.TC
        assert not message.additional


def test_srv_targets_are_not_compressed() -> None:
    """RFC 2782."""
    target = dns.name.from_text(f"0a000001.addr.{DOMAIN}").to_wire()
    assert target in reply_to(many(1), query(qtype="SRV"))


def test_each_cut_answer_is_another_sample() -> None:
    to = many(500)
    seen = {
        str(a) for _ in range(200) for a in dns.message.from_wire(reply_to(to, query())).answer[0]
    }
    assert len(seen) == 500


def test_tcp_answer_is_whole_up_to_64_kib_and_a_sample_beyond() -> None:
    whole = dns.message.from_wire(reply_to(many(4000), query(), tcp=True))
    assert len(whole.answer[0]) == 4000
    reply = reply_to(many(5000), query(), tcp=True)
    assert 65535 - 16 < len(reply) <= 65535
    # There is nothing larger to be asked for: TC would only make the client give up.
    assert not dns.message.from_wire(reply).flags & dns.flags.TC


def test_record_larger_than_udp_takes_leaves_a_truncated_empty_answer() -> None:
    made = HandMadeView([instance("web", meta={str(n): "x" * 200 for n in range(20)})])
    message = dns.message.from_wire(reply_to(responder(made.view), query(qtype="TXT")))
    assert message.flags & dns.flags.TC
    assert (message.answer, len(message.question)) == ([], 1)


def test_pointers_never_lead_out_of_the_question() -> None:
    to = responder(HandMadeView(members(20), [agent("host-a", "10.0.0.1")]).view)
    for name, qtype in ((NAME, "SRV"), (f"_web._tcp.{DOMAIN}", "PTR"), (f"{DOMAIN}.", "NS")):
        data = query(name, qtype)
        for _ in range(5):
            dns.message.from_wire(reply_to(to, data, tcp=True))
            dns.message.from_wire(reply_to(to, data))


# ---- what is remembered


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_answers_follow_the_view(tcp: bool) -> None:
    made = HandMadeView()
    to = responder(made.view)

    def rcode(name: str) -> dns.rcode.Rcode:
        return ask(to, name, tcp=tcp).rcode()

    def addresses(name: str = "web.service") -> set[str]:
        return {str(a) for a in ask(to, name, tcp=tcp).answer[0]}

    assert rcode("web.service") == dns.rcode.NXDOMAIN
    made.put_service("web", members(2))
    assert addresses() == {"10.0.0.1", "10.0.0.2"}
    made.put_service("db", members(1, "db"))
    made.put_service("web", members(1))
    assert addresses() == {"10.0.0.1"}
    made.put_service("web", [])
    assert rcode("web.service") == dns.rcode.NOERROR
    made.put_service("web", members(3))
    made.blind(1.0)
    assert ask(to, "web.service", tcp=tcp).answer[0].ttl == 30
    made.remove_service("web")
    assert rcode("web.service") == dns.rcode.NXDOMAIN
    assert rcode("host-a.node") == dns.rcode.NXDOMAIN
    made.put_agent(agent("host-a", "10.0.0.9"))
    assert addresses("host-a.node") == {"10.0.0.9"}


def test_change_of_another_service_renders_nothing_anew() -> None:
    made = HandMadeView([*members(3), *members(3, "db")])
    to = responder(made.view)
    ask(to, "web.service")
    kept = dict(to._rendered)
    made.put_service("db", members(1, "db"))
    ask(to, "web.service")
    assert all(to._rendered[key] is kept[key] for key in kept)
    made.put_service("web", members(1))
    ask(to, "web.service")
    assert all(to._rendered[key] is not kept[key] for key in kept)


def test_memory_is_bounded_by_number_and_by_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packet, "PLANS_MAX", 50)
    monkeypatch.setattr(packet, "RENDERED_MAX", 40)
    to = many(1)
    for n in range(500):
        reply_to(to, query(f"n{n}.service.{DOMAIN}"))
        assert len(to._plans) <= 50
        assert len(to._rendered) <= 40
    monkeypatch.setattr(packet, "RENDERED_OCTETS_MAX", 20_000)
    for n in range(500):
        reply_to(to, query(f"n{n}.service.{DOMAIN}"))
        assert sum(r.total for r in to._rendered.values()) == to._rendered_octets <= 20_000


def test_large_packet_is_answered_and_not_remembered() -> None:
    to = many(1)
    padding = dns.edns.GenericOption(12, bytes(packet.PLAN_QUERY_OCTETS_MAX))
    reply_to(to, query(use_edns=0, options=[padding]))
    assert not to._plans


def test_replies_carry_the_id_of_their_query() -> None:
    to = many(3)
    for query_id in (0, 1, 0xFFFF, 0x1234):
        data = query_id.to_bytes(2, "big") + query()[2:]
        assert reply_to(to, data)[:2] == data[:2]


# ---- forwarding and counting


def test_only_what_is_outside_and_wants_recursion_is_forwarded() -> None:
    made = HandMadeView(members(1))
    to = responder(made.view, recursive=True)
    for name in ("example.org.", "1.2.0.192.in-addr.arpa."):
        assert isinstance(to.respond(query(name), tcp=False), Forward)
        without = dns.message.make_query(name, "A", flags=0).to_wire()
        assert dns.message.from_wire(reply_to(to, without)).rcode() == dns.rcode.REFUSED
    for data in (
        query(),
        query("gone.service." + DOMAIN),
        query("1.0.0.10.in-addr.arpa.", "PTR"),
        query("example.org.", "AXFR"),
        query("example.org.", "TXT", rdclass="CH"),
        query("example.org.", use_edns=1),
    ):
        assert dns.message.from_wire(reply_to(to, data)).flags & dns.flags.RA


def test_answers_are_counted_under_known_labels_only() -> None:
    tally = Tally()
    to = responder(HandMadeView(members(1)).view, count=tally.dns_query)
    for qtype in ("A", "AAAA", "TYPE4711", "TYPE65280", "SRV"):
        reply_to(to, query(qtype=qtype))
    reply_to(to, query("example.org."))
    reply_to(to, query(use_edns=1))
    reply_to(to, b"\0\0")
    to.respond(b"", tcp=False)
    assert tally.counts == {
        ("A", "NOERROR"): 1,
        ("AAAA", "NOERROR"): 1,
        ("other", "NOERROR"): 2,
        ("SRV", "NOERROR"): 1,
        ("A", "REFUSED"): 1,
        ("A", "BADVERS"): 1,
        ("other", "FORMERR"): 1,
    }


def test_encoded_soa_minimum_is_the_negative_ttl() -> None:
    assert codec._SOA_TIMES_S[-1] == codec.SOA_TTL_S == 1


# ---- order


def test_every_order_is_as_likely_for_every_reply() -> None:
    to, asked = many(3), query()
    seen = Counter(reply_to(to, asked)[2:] for _ in range(60_000))
    assert len(seen) == 6
    assert max(seen.values()) < 1.3 * min(seen.values())


def test_kept_orders_are_no_more_than_allowed_and_change() -> None:
    to, asked = many(9), query()
    seen = {reply_to(to, asked)[2:] for _ in range(4000)}
    rendered = to._plans[asked[2:]].rendered
    assert len(rendered.orders) == packet.ORDERS_MAX
    assert len(seen) > 10 * packet.ORDERS_MAX
    assert to._rendered_octets == rendered.kept == rendered.total + packet.ORDERS_MAX * 9 * 16


# ---- names of services that there are not

# Of each length the first is a name that nothing has: the others must not be taken for it.
LABELS = (
    *("other", "OTHER", "x1", "ns", "blah", "blue", "node", "_tcp", "_web", "-bad", "addr"),
    *("abc", "web", "WeB", "w_b", r"w\.b", r"\215eb", r"w\000b", "x", "1", "_", "x" * 63),
)
FORMS = (
    *("{}.service", "{}.service.z1", "{}.service.z9", "{}.web.service", "{}.other.service"),
    *("blue.{}.service", "{}._tcp", "{}.node", "{}", "{}.addr"),
)


def tagged() -> Responder:
    web = instance("web", tags=("blue",), zone="z1")
    return responder(HandMadeView([web], [agent("node", "10.0.0.1", zone="z1")]).view)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("options", [{}, {"use_edns": 0, "payload": 4096}, {"want_dnssec": True}])
def test_absent_name_is_answered_like_the_first_of_its_kind(
    form: str, options: dict[str, object]
) -> None:
    warm = tagged()
    for qtype in ("A", "SRV", "A", "SRV"):
        for label in LABELS:
            asked = query(f"{form.format(label)}.{DOMAIN}.", qtype, **options)
            assert reply_to(warm, asked) == reply_to(tagged(), asked), (label, qtype)


def test_absent_name_that_came_is_found_and_the_serial_moves_on() -> None:
    held = HandMadeView(members(1))
    to = responder(held.view)
    absent = [query(f"{name}.service.{DOMAIN}.") for name in ("db1", "db2", "db3")]
    first = [reply_to(to, asked) for asked in absent]
    assert [dns.message.from_wire(reply).rcode() for reply in first] == [dns.rcode.NXDOMAIN] * 3
    held.put_service("db2", members(1, "db2"))
    after = [dns.message.from_wire(reply_to(to, asked)) for asked in absent]
    assert [reply.rcode() for reply in after] == [3, 0, 3]
    serials = {reply.authority[0][0].serial for reply in (after[0], after[2])}
    assert serials == {held.view.index}


def test_service_that_is_there_and_not_so_is_kept_like_any_other() -> None:
    to = tagged()
    for name in ("web.service.z9", "red.web.service"):
        reply_to(to, query(f"{name}.{DOMAIN}."))
    assert len(to._plans) == len(to._rendered) == 2
    assert not to._absences


def test_flood_of_absent_names_keeps_nothing_but_its_form() -> None:
    to, tally = one(), Tally()
    to._count = tally.dns_query
    for number in range(5000):
        reply_to(to, query(f"n{number}.service.{DOMAIN}."))
    assert tally.counts == {("A", "NXDOMAIN"): 5000}
    assert not to._plans
    assert not to._rendered
    assert len(to._absences) == 4
    for number in range(2 * packet.ABSENCES_MAX):
        reply_to(to, query(f"other.service.z{number}.{DOMAIN}."))
    assert len(to._absences) <= packet.ABSENCES_MAX
