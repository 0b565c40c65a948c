"""Whatever the bytes, the answer is bytes, a question to forward, or silence; never an exception.

And the work stays in proportion: a packet costs less than some microseconds for each octet, and
what is remembered of it is bounded.
"""

import random
import struct
import time

import dns.message
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from beacond.core.model import Status
from beacond.dns import packet
from beacond.dns.codec import Query, parse_query
from beacond.dns.packet import Forward, Responder
from tests.support.dns_records import DOMAIN, responder
from tests.support.views import HandMadeView, agent, instance

LABELS = (
    *(b"web", b"WEB", b"db", b"blue", b"service", b"node", b"addr", b"ns", b"east", b"_tcp"),
    *(b"_web", b"_udp", b"_dns-sd", b"_services", b"_grpc", b"host-a", b"0a000001", b"fd00"),
    *(b"web-1@host-a", b"beacon", b"internal", b"in-addr", b"ip6", b"arpa", b"1", b"10", b"0"),
    *(b"", b"\xff", b"\0", b".", b"_", b"x" * 63),
)
TYPES = (1, 2, 5, 6, 12, 15, 16, 28, 33, 41, 64, 65, 249, 250, 251, 252, 255, 0, 65535)


def fleet(seed: int = 1) -> Responder:
    made = HandMadeView(
        agents=[agent("host-a", "10.0.0.1", "fd00::1", zone="east")],
        instances=[
            instance("web", "web-1", tags=["blue"], ports={"grpc": 1}, zone="east"),
            instance("web", "web-2", addresses=("10.0.0.1", "fd00::1"), meta={"k": "v"}),
            instance("web", "x" * 200, addresses=("fd00::3",)),
            instance("db", status=Status.CRITICAL),
        ],
    )
    return responder(made.view, recursive=True, seed=seed)


SHARED = fleet()


def check(to: Responder, data: bytes) -> bytes | None:
    """A reply is a DNS message that others can read, with the id of its query, and fits."""
    replies = [to.respond(data, tcp=tcp) for tcp in (False, True)]
    for reply, limit in zip(replies, (1232, 65535), strict=True):
        assert reply is None or isinstance(reply, bytes | Forward)
        if isinstance(reply, bytes):
            assert 12 <= len(reply) <= limit
            assert reply[:2] == data[:2]
            assert reply[2] & 0x80
            dns.message.from_wire(reply)
    assert len({type(reply) for reply in replies}) == 1
    return replies[0] if isinstance(replies[0], bytes) else None


def name_wire(labels: list[bytes]) -> bytes:
    return b"".join(len(label).to_bytes(1, "big") + label for label in labels if label) + b"\0"


names = st.lists(st.sampled_from(LABELS), max_size=8).map(name_wire) | st.lists(
    st.sampled_from(LABELS), max_size=5
).map(lambda labels: name_wire([*labels, b"beacon", b"internal"]))
questions = st.builds(
    lambda name, qtype, qclass: name + struct.pack("!HH", qtype, qclass),
    names,
    st.sampled_from(TYPES),
    st.sampled_from((1, 1, 1, 3, 255)),
)
records = st.builds(
    lambda name, rtype, rclass, ttl, data: (
        name + struct.pack("!HHIH", rtype, rclass, ttl, len(data)) + data
    ),
    names | st.just(b"\0") | st.just(b"\xc0\x0c"),
    st.sampled_from((41, 41, 1, 250)),
    st.integers(0, 65535),
    st.sampled_from((0, 0x8000, 0x10000, 0xFFFFFFFF)),
    st.binary(max_size=40),
)


@st.composite
def packets(draw: st.DrawFn) -> bytes:
    """Nearly well-formed queries: the parts are right, their number and place may be not."""
    body = b"".join(draw(st.lists(questions, min_size=1, max_size=2)))
    extra = draw(st.lists(records, max_size=3))
    counts = draw(
        st.just((1, 0, 0, len(extra))) | st.tuples(*[st.sampled_from((0, 1, 2, 65535))] * 4)
    )
    flags = draw(st.sampled_from((0x0100, 0, 0x0110, 0x8000, 0x2800)) | st.integers(0, 65535))
    data = struct.pack("!6H", draw(st.integers(0, 65535)), flags, *counts) + body + b"".join(extra)
    return data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data


@settings(max_examples=600, deadline=None)
@given(st.binary(max_size=600))
@example(b"")
@example(b"\0" * 12)
@example(b"\xff" * 600)
def test_random_octets(data: bytes) -> None:
    check(SHARED, data)


@settings(max_examples=500, deadline=None)
@given(packets())
def test_nearly_well_formed_queries(data: bytes) -> None:
    check(SHARED, data)


def test_every_truncation_of_a_query() -> None:
    data = dns.message.make_query(f"_web._tcp.{DOMAIN}", "PTR", use_edns=0, payload=4096).to_wire()
    for length in range(len(data)):
        reply = check(SHARED, data[:length])
        assert reply is None or reply[3] & 0xF == 1
    assert check(SHARED, data)


def test_every_octet_of_a_query_changed() -> None:
    data = dns.message.make_query(f"blue.web.service.{DOMAIN}", "SRV", use_edns=0).to_wire()
    source = random.Random(7)
    to = fleet()
    for place in range(len(data)):
        for octet in (0, 1, 0x3F, 0x40, 0x80, 0xC0, 0xFF, *source.randbytes(16)):
            check(to, data[:place] + bytes((octet,)) + data[place + 1 :])


POINTER_TRAPS = {
    "at itself": b"\xc0\x0c",
    "forwards": b"\xc0\xff",
    "at a label before it": b"\1a\xc0\x0c",
    "two at each other": b"\xc0\x0e\xc0\x0c",
    "a long chain": b"".join(struct.pack("!H", 0xC000 | 12 + 2 * n) for n in range(2000)),
    "a chain in a ladder": b"\1a" * 2000 + b"\xc0\x0c" * 2000,
}


@pytest.mark.parametrize("trap", POINTER_TRAPS.values(), ids=POINTER_TRAPS.keys())
def test_compression_loops_are_not_followed(trap: bytes) -> None:
    asked = name_wire([b"web", b"service", b"beacon", b"internal"]) + b"\0\1\0\1"
    record = b"\0" + struct.pack("!HHIH", 10, 1, 0, len(trap)) + trap
    last = struct.pack("!HHHIH", 0xC000 | 12 + len(asked) + 11, 1, 1, 0, 0)
    for data in (
        struct.pack("!6H", 1, 0x100, 1, 0, 0, 0) + trap + b"\0\1\0\1",
        struct.pack("!6H", 1, 0x100, 1, 0, 0, 1) + asked + trap + b"\0\1\0\1\0\0\0\0\0\0",
        struct.pack("!6H", 1, 0x100, 1, 0, 0, 2) + asked + record + last,
    ):
        check(SHARED, data)


@pytest.mark.parametrize(
    "filling",
    [b"\0" + bytes(10), b"\xc0\x0c" + bytes(10), b"\1a" * 120 + b"\0" + bytes(10)],
    ids=["root", "pointer", "long-name"],
)
def test_work_is_in_proportion_to_the_packet(filling: bytes) -> None:
    asked = name_wire([b"web", b"service", b"beacon", b"internal"]) + b"\0\1\0\1"
    records = (65000 - len(asked)) // len(filling)
    data = struct.pack("!6H", 1, 0x100, 1, 0, 0, records) + asked + filling * records
    assert isinstance(parse_query(data), Query)
    started = time.process_time()
    check(fleet(), data)
    # Some 20 ms here; following each record's name or copying the rest would take minutes.
    assert time.process_time() - started < 5


def test_flood_of_names_leaves_bounded_memory() -> None:
    to = fleet()
    source = random.Random(3)
    for _ in range(10_000):
        label = source.randbytes(6).hex().encode()
        name = name_wire([label, b"service", b"beacon", b"internal"])
        data = source.randbytes(2) + struct.pack("!5H", 0x100, 1, 0, 0, 0) + name + b"\0\1\0\1"
        assert isinstance(to.respond(data, tcp=False), bytes)
    assert len(to._plans) <= packet.PLANS_MAX
    assert len(to._rendered) <= packet.RENDERED_MAX
    assert to._rendered_octets <= packet.RENDERED_OCTETS_MAX
