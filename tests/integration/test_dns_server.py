"""The sockets, with real packets of real clients."""

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator, Callable

import dns.asyncquery
import dns.flags
import dns.message
import dns.rcode
import pytest
import uvloop

from beacond.dns import DnsConfig, DnsServer, recursors, server
from beacond.dns.udp import BATCH_MAX
from tests.support.dns_records import DOMAIN, Tally
from tests.support.views import HandMadeView, agent, instance

TIMEOUT_S = 10.0
NAME = f"web.service.{DOMAIN}."


def fleet(count: int = 3) -> HandMadeView:
    return HandMadeView(
        [
            instance("web", f"w{n}", port=n, addresses=(f"10.0.{n >> 8}.{n & 255}",))
            for n in range(1, count + 1)
        ],
        [agent("host-a", "10.0.0.1")],
    )


def made(
    fleet: HandMadeView,
    *,
    domain: str = DOMAIN,
    to: tuple[str, ...] = (),
    tally: Tally | None = None,
) -> DnsServer:
    config = DnsConfig(domain=domain, node="host-a", recursors=to)
    return DnsServer(config, fleet.view, tally or Tally(), random.Random(1))


@contextlib.asynccontextmanager
async def running(
    one: DnsServer, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[tuple[str, int]]:
    address = await one.start(host, port)
    try:
        yield address
    finally:
        await one.stop()


def query(name: str = NAME, qtype: str = "A", **options: object) -> dns.message.QueryMessage:
    return dns.message.make_query(name, qtype, **options)  # type: ignore[arg-type]


async def udp(
    address: tuple[str, int], question: dns.message.Message | None = None
) -> dns.message.Message:
    host, port = address
    return await dns.asyncquery.udp(question or query(), host, TIMEOUT_S, port)


async def tcp(
    address: tuple[str, int], question: dns.message.Message | None = None
) -> dns.message.Message:
    host, port = address
    return await dns.asyncquery.tcp(question or query(), host, TIMEOUT_S, port)


def framed(message: dns.message.Message) -> bytes:
    wire = message.to_wire()
    return len(wire).to_bytes(2, "big") + wire


async def read_framed(reader: asyncio.StreamReader) -> dns.message.Message:
    async with asyncio.timeout(TIMEOUT_S):
        length = int.from_bytes(await reader.readexactly(2), "big")
        return dns.message.from_wire(await reader.readexactly(length))


async def assert_closed(reader: asyncio.StreamReader) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""


async def test_one_port_answers_over_udp_and_tcp() -> None:
    async with running(made(fleet())) as address:
        for ask in (udp, tcp):
            reply = await ask(address)
            assert len(reply.answer[0]) == 3
            assert (await ask(address, query("example.org."))).rcode() == dns.rcode.REFUSED


async def test_ipv6_is_answered() -> None:
    async with running(made(fleet()), "::1") as address:
        assert address[0] == "::1"
        for ask in (udp, tcp):
            assert (await ask(address)).rcode() == dns.rcode.NOERROR


@pytest.mark.parametrize(
    ("bound", "asked"), [("0.0.0.0", "127.0.0.2"), ("::", "::1"), ("::", "127.0.0.2")]
)
async def test_reply_leaves_from_the_address_that_was_asked(bound: str, asked: str) -> None:
    async with running(made(fleet()), bound) as (_, port):
        # dnspython itself compares the source with the address it asked.
        assert (await udp((asked, port))).rcode() == dns.rcode.NOERROR
        family = socket.AF_INET6 if ":" in asked else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as client:
            client.setblocking(False)
            client.connect((asked, port))
            client.send(query().to_wire())
            async with asyncio.timeout(TIMEOUT_S):
                assert await asyncio.get_running_loop().sock_recv(client, 512)


async def test_truncated_answer_is_whole_over_tcp() -> None:
    async with running(made(fleet(400))) as (host, port):
        reply, fell_back = await dns.asyncquery.udp_with_fallback(query(), host, TIMEOUT_S, port)
        assert fell_back
        assert len(reply.answer[0]) == 400
        assert (await udp((host, port))).flags & dns.flags.TC


async def test_burst_larger_than_a_batch_is_answered_whole() -> None:
    async with running(made(fleet())) as address:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.setblocking(False)
            client.connect(address)
            count = BATCH_MAX * 2 + 1
            for n in range(count):
                client.send(n.to_bytes(2, "big") + query().to_wire()[2:])
            loop = asyncio.get_running_loop()
            async with asyncio.timeout(TIMEOUT_S):
                replies = [await loop.sock_recv(client, 512) for _ in range(count)]
            assert [int.from_bytes(r[:2], "big") for r in replies] == list(range(count))


async def test_garbage_is_dropped_and_the_next_query_answered() -> None:
    tally = Tally()
    async with running(made(fleet(), tally=tally)) as address:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            for junk in (b"", b"x", b"\0\0\x80", bytes(9000)):
                client.sendto(junk, address)
        assert (await udp(address)).rcode() == dns.rcode.NOERROR
    # The last has an id, and so gets an answer.
    assert tally.drops == {server.NOT_A_QUERY: 3}


async def test_what_is_dropped_over_tcp_is_counted() -> None:
    tally = Tally()
    async with running(made(fleet(), tally=tally)) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"\0\3\0\0\x80")
        async with asyncio.timeout(TIMEOUT_S):
            assert await reader.read() == b""
        writer.close()
    assert tally.drops == {server.NOT_A_QUERY: 1}


async def test_answers_are_counted() -> None:
    tally = Tally()
    async with running(made(fleet(), tally=tally)) as address:
        await udp(address)
        await tcp(address, query("gone.service." + DOMAIN, "AAAA"))
    assert tally.counts == {("A", "NOERROR"): 1, ("AAAA", "NXDOMAIN"): 1}


# ---- TCP


async def test_pipelined_queries_are_answered_in_order_however_they_are_cut() -> None:
    async with running(made(fleet())) as address:
        reader, writer = await asyncio.open_connection(*address)
        questions = [query(f"n{n}.service.{DOMAIN}.") for n in range(server.TCP_BATCH_MAX * 2)]
        stream = b"".join(map(framed, questions))
        for start in range(0, len(stream), 7):
            writer.write(stream[start : start + 7])
            await writer.drain()
        for question in questions:
            assert question.is_response(await read_framed(reader))
        writer.close()


@pytest.mark.parametrize("sent", [b"\0\0", framed(query())[:2] + b"\0\0\x80" + bytes(60)])
async def test_what_cannot_be_answered_ends_the_connection(sent: bytes) -> None:
    async with running(made(fleet())) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(sent)
        await assert_closed(reader)
        writer.close()


async def test_idle_connection_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "TCP_IDLE_S", 0.1)
    async with running(made(fleet())) as address:
        for begun in (b"", b"\0", framed(query())[:9], framed(query()) + b"\0"):
            reader, writer = await asyncio.open_connection(*address)
            writer.write(begun)
            async with asyncio.timeout(TIMEOUT_S):
                received = await reader.read()
            assert bool(received) == (len(begun) > 20)
            writer.close()


async def test_connections_beyond_the_limit_are_closed_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "TCP_CONNECTIONS_MAX", 2)
    async with running(made(fleet())) as address:
        kept = []
        for _ in range(2):
            reader, writer = await asyncio.open_connection(*address)
            writer.write(framed(query()))
            await read_framed(reader)
            kept.append(writer)
        reader, writer = await asyncio.open_connection(*address)
        await assert_closed(reader)
        writer.close()
        for writer in kept:
            writer.close()
            await writer.wait_closed()
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                # The server notices the end of the others in its own time.
                with contextlib.suppress(EOFError, OSError):
                    assert (await tcp(address)).rcode() == dns.rcode.NOERROR
                    break


# ---- start and stop


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
async def test_port_in_use_is_an_error_and_leaves_nothing_open(kind: int) -> None:
    one = made(fleet())
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"127.0.0.1 port {port}, (TCP|UDP): .*in use"):
            await one.start("127.0.0.1", port)
    async with running(one, port=port) as address:
        assert address == ("127.0.0.1", port)
        assert (await udp(address)).rcode() == dns.rcode.NOERROR


async def test_stop_closes_connections_and_the_port_is_free_again() -> None:
    one = made(fleet())
    host, port = await one.start("127.0.0.1", 0)
    for _ in range(2):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(framed(query()))
        await read_framed(reader)
        async with asyncio.timeout(server.TCP_IDLE_S / 2):
            await one.stop()
        await assert_closed(reader)
        writer.close()
        with pytest.raises(OSError):  # noqa: PT011 (refused, however the system says it)
            await asyncio.open_connection(host, port)
        await one.start(host, port)
    await one.stop()
    await one.stop()
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_uvloop_serves_and_stops() -> None:
    async def check() -> None:
        async with running(made(fleet(400))) as (host, port):
            reply, fell_back = await dns.asyncquery.udp_with_fallback(
                query(), host, TIMEOUT_S, port
            )
            assert fell_back
            assert len(reply.answer[0]) == 400

    uvloop.run(check())


# ---- recursors


def outside(count: int = 3) -> DnsServer:
    """A resolver for another domain, to be forwarded to."""
    return made(fleet(count), domain="example.org")


OUTSIDE = "web.service.example.org."


def at(address: tuple[str, int]) -> str:
    return f"{address[0]}:{address[1]}"


async def test_outside_names_are_forwarded_over_the_same_transport() -> None:
    tally = Tally()
    async with (
        running(outside(400)) as upstream,
        running(made(fleet(), to=(at(upstream),), tally=tally)) as address,
    ):
        for question in (query(OUTSIDE), query(OUTSIDE, use_edns=0, payload=700)):
            reply = await udp(address, question)
            assert reply.flags & dns.flags.TC
            assert len(reply.answer[0]) in (29, 40)
        reply = await tcp(address, query(OUTSIDE))
        assert len(reply.answer[0]) == 400
        assert (await udp(address)).flags & dns.flags.RA
        mixed = query("WeB.service.example.ORG.")
        assert (await udp(address, mixed)).question == mixed.question
    assert tally.counts["A", "NOERROR"] == 5


class Upstream(asyncio.DatagramProtocol):
    """Sends what `replies` makes of a query."""

    def __init__(self, replies: Callable[[bytes], list[bytes]]) -> None:
        self.replies = replies
        self.queries: list[bytes] = []
        self.asked = asyncio.Event()

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.queries.append(data)
        self.asked.set()
        for reply in self.replies(data):
            self.transport.sendto(reply, addr)


@contextlib.asynccontextmanager
async def upstream(
    replies: Callable[[bytes], list[bytes]],
) -> AsyncIterator[tuple[Upstream, str]]:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(
        lambda: Upstream(replies), local_addr=("127.0.0.1", 0)
    )
    try:
        yield protocol, at(transport.get_extra_info("sockname"))
    finally:
        transport.close()


def answered(data: bytes) -> bytes:
    """A NOERROR reply to a query."""
    return data[:2] + bytes((data[2] | 0x80, 0x80)) + data[4:]


async def test_answers_to_other_questions_are_not_believed() -> None:
    def lies(data: bytes) -> list[bytes]:
        reply = answered(data)
        lie = reply[:3] + b"\x85" + reply[4:]
        other_id = (int.from_bytes(data[:2], "big") ^ 1).to_bytes(2, "big")
        return [
            b"",
            data,
            other_id + lie[2:],
            lie[:4] + bytes(8),
            lie[:4] + bytes(2) + lie[6:],
            lie[:2] + data[2:3] + lie[3:],
            lie.replace(b"\7example", b"\7fxample"),
            lie + bytes(5000),
            reply,
        ]

    async with (
        upstream(lies) as (_, address),
        running(made(fleet(), to=(address,))) as ours,
    ):
        assert (await udp(ours, query("example.org."))).rcode() == dns.rcode.NOERROR


async def test_forwarded_query_has_another_id_and_none_of_the_clients_options() -> None:
    async with (
        upstream(lambda data: [answered(data)]) as (protocol, address),
        running(made(fleet(), to=(address,))) as ours,
    ):
        options = [dns.edns.GenericOption(10, b"12345678")]
        for _ in range(8):
            await udp(ours, query("example.org.", use_edns=0, payload=4096, options=options, id=7))
        forwarded = [dns.message.from_wire(data) for data in protocol.queries]
        assert len({message.id for message in forwarded}) > 4
        assert all(m.options == () and m.payload == 1232 for m in forwarded)


async def test_silent_recursor_is_passed_over_and_remembered(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(recursors, "RECURSOR_TIMEOUT_S", 0.05)
    async with (
        upstream(lambda data: []) as (silent, first),
        upstream(lambda data: [answered(data)]) as (_, second),
        running(made(fleet(), to=(first, second))) as ours,
    ):
        for _ in range(5):
            assert (await udp(ours, query("example.org."))).rcode() == dns.rcode.NOERROR
        assert len(silent.queries) == 1
    assert [r.message for r in caplog.records if r.levelname == "WARNING"] == ["recursor silent"]


async def test_no_recursor_answers_means_servfail() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        gone = at(closed.getsockname())
        async with running(made(fleet(), to=(gone,))) as ours:
            for ask in (udp, tcp):
                reply = await ask(ours, query("example.org."))
                assert reply.rcode() == dns.rcode.SERVFAIL
                assert reply.flags & dns.flags.RA
            assert (await udp(ours)).rcode() == dns.rcode.NOERROR


async def test_forwarding_beyond_the_limit_is_servfail_at_once_and_stop_ends_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recursors, "QUERIES_MAX", 1)
    async with (
        upstream(lambda data: []) as (silent, address),
        running(made(fleet(), to=(address,))) as ours,
    ):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(query("example.org.").to_wire(), ours)
            async with asyncio.timeout(TIMEOUT_S):
                await silent.asked.wait()
            assert (await udp(ours, query("example.org."))).rcode() == dns.rcode.SERVFAIL
        assert len(silent.queries) == 1


# ---- clients in wide use


async def output_of(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    async with asyncio.timeout(30):
        out, _ = await process.communicate()
    return out.decode()


@pytest.mark.server("dig")
async def test_dig_agrees() -> None:
    async with running(made(fleet())) as (host, port):

        async def dig(*words: str) -> str:
            return await output_of("dig", f"@{host}", "-p", str(port), "+tries=1", *words)

        assert set((await dig("+short", NAME)).split()) == {"10.0.0.1", "10.0.0.2", "10.0.0.3"}
        full = await dig(f"_web._tcp.service.{DOMAIN}", "SRV")
        assert "status: NOERROR" in full
        assert "ANSWER: 3, AUTHORITY: 0, ADDITIONAL: 4" in full
        assert "WARNING" not in full.replace("WARNING: recursion requested but not available", "")
        assert "host-a.node" in await dig("+short", "-x", "10.0.0.1")
        assert "status: NXDOMAIN" in await dig("+tcp", f"gone.service.{DOMAIN}")
        assert "; Transfer failed." in await dig(DOMAIN, "AXFR")
        assert "status: NOTIMP" in await dig("+opcode=STATUS", "+header-only", NAME)
        assert "status: BADVERS" in await dig("+edns=1", "+noednsnegotiation", NAME)
