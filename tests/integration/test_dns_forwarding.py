"""A resolver with the very snippets of deploy/dns in front of our DNS server."""

import asyncio
import os
import random
import shutil
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.rcode
import pytest

from beacond.core.model import Status
from beacond.dns import DnsConfig, DnsServer
from tests.support.views import HandMadeView, agent, instance

SNIPPETS = Path(__file__).resolve().parents[2] / "deploy" / "dns"
PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin"
READY_WITHIN_S = 20.0
QUERY_TIMEOUT_S = 5.0
DOMAIN = "beacon.internal"

DNSMASQ = """
port={port}
listen-address=127.0.0.1
bind-interfaces
no-resolv
no-hosts
stop-dns-rebind
pid-file=
{user}
conf-file={snippet}
"""

UNBOUND = """
server:
    directory: "{folder}"
    chroot: ""
    username: ""
    pidfile: ""
    use-syslog: no
    do-daemonize: no
    interface: 127.0.0.1@{port}
    do-ip6: no
    # As sites have it: signatures checked, private addresses refused, random case, old answers
    # rather than none.
    trust-anchor: ". DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D"
    private-address: 10.0.0.0/8
    use-caps-for-id: yes
    serve-expired: yes
remote-control:
    control-enable: no
forward-zone:
    # Nothing leaves this machine.
    name: "."
    forward-addr: 127.0.0.1@{nowhere}
include: "{snippet}"
"""


@dataclass
class Asked:
    """What our own server was asked: a `DnsMetrics`."""

    count: Counter[str] = field(default_factory=Counter)

    def dns_query(self, qtype: str, rcode: str) -> None:
        self.count[rcode] += 1


@dataclass
class Forwarding:
    port: int
    fleet: HandMadeView
    asked: Asked

    async def ask(
        self, name: str, rdtype: str, *, tcp: bool = False, timeout_s: float = QUERY_TIMEOUT_S
    ) -> dns.message.Message:
        query = dns.message.make_query(name, rdtype, use_edns=0, payload=1232)
        call = dns.asyncquery.tcp if tcp else dns.asyncquery.udp
        return await call(query, "127.0.0.1", timeout=timeout_s, port=self.port)

    async def addresses(self, service: str, *, tcp: bool = False) -> set[str]:
        reply = await self.ask(f"{service}.service.{DOMAIN}", "A", tcp=tcp)
        return {str(record) for rrset in reply.answer for record in rrset}


def free_port() -> int:
    """Free for UDP and TCP on loopback a moment ago."""
    for _ in range(100):
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            tcp.bind(("127.0.0.1", 0))
            port: int = tcp.getsockname()[1]
            try:
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("no port is free for both UDP and TCP")


def snippet(name: str, folder: Path, agents_port: int) -> Path:
    """The shipped snippet, its one port replaced by that of the server under test."""
    text = (SNIPPETS / name).read_text()
    assert text.count("8653") == 1
    path = folder / name
    path.write_text(text.replace("8653", str(agents_port)))
    return path


def dnsmasq(folder: Path, port: int, agents_port: int) -> list[str]:
    config = folder / "main.conf"
    shipped = snippet("dnsmasq.conf", folder, agents_port)
    user = "user=root" if os.getuid() == 0 else ""
    config.write_text(DNSMASQ.format(port=port, user=user, snippet=shipped))
    return ["dnsmasq", "--keep-in-foreground", "--log-facility=-", f"--conf-file={config}"]


def unbound(folder: Path, port: int, agents_port: int) -> list[str]:
    config = folder / "main.conf"
    shipped = snippet("unbound.conf", folder, agents_port)
    config.write_text(
        UNBOUND.format(folder=folder, port=port, nowhere=free_port(), snippet=shipped)
    )
    return ["unbound", "-d", "-c", str(config)]


async def until(true: Callable[[], Awaitable[bool]], within_s: float, what: str) -> None:
    """Ask again and again: a foreign process has no event to wait for."""
    deadline = asyncio.get_running_loop().time() + within_s
    while not await true():
        assert asyncio.get_running_loop().time() < deadline, what
        await asyncio.sleep(0.05)


@asynccontextmanager
async def running(command: list[str], log: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    program = shutil.which(command[0], path=PATH)
    assert program is not None
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            program, *command[1:], stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


@pytest.fixture(
    params=[
        pytest.param(dnsmasq, marks=pytest.mark.server("dnsmasq")),
        pytest.param(unbound, marks=pytest.mark.server("unbound")),
    ],
    ids=["dnsmasq", "unbound"],
)
async def forwarding(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Forwarding]:
    fleet = HandMadeView(
        [instance("web", addresses=("10.0.0.1",))],
        [agent("host-a", "10.0.0.1")],
    )
    asked = Asked()
    config = DnsConfig(domain=DOMAIN, node="host-a")
    server = DnsServer(config, fleet.view, asked, random.Random(1))
    _, agents_port = await server.start("127.0.0.1", 0)
    port = free_port()
    log = tmp_path / "resolver.log"
    resolver = Forwarding(port, fleet, asked)
    try:
        async with running(request.param(tmp_path, port, agents_port), log) as process:

            async def answers() -> bool:
                assert process.returncode is None, log.read_text()
                try:
                    await resolver.ask(f"service.{DOMAIN}", "A", timeout_s=0.2)
                except (OSError, dns.exception.DNSException):
                    return False
                return True

            await until(answers, READY_WITHIN_S, "the resolver does not answer")
            yield resolver
    finally:
        await server.stop()


async def test_addresses_ports_and_texts_come_through(forwarding: Forwarding) -> None:
    assert await forwarding.addresses("web") == {"10.0.0.1"}
    reply = await forwarding.ask(f"web.service.{DOMAIN}", "SRV")
    ((record,),) = reply.answer
    assert record.port == 8080
    target = await forwarding.ask(str(record.target), "A")
    assert [str(r) for rrset in target.answer for r in rrset] == ["10.0.0.1"]
    reply = await forwarding.ask(f"web.service.{DOMAIN}", "TXT")
    assert reply.rcode() == dns.rcode.NOERROR


async def test_next_question_sees_a_change(forwarding: Forwarding) -> None:
    assert await forwarding.addresses("web") == {"10.0.0.1"}
    forwarding.fleet.put_service("web", [instance("web", addresses=("10.0.0.2",))])
    assert await forwarding.addresses("web") == {"10.0.0.2"}


@pytest.mark.parametrize(
    "forwarding",
    [pytest.param(unbound, marks=pytest.mark.server("unbound"))],
    indirect=True,
    ids=["unbound"],
)
async def test_unbound_keeps_nothing_that_was_said_while_blind(forwarding: Forwarding) -> None:
    forwarding.fleet.blind(since=1.0)
    assert await forwarding.addresses("web") == {"10.0.0.1"}
    forwarding.fleet.blind(since=None)
    forwarding.fleet.put_service("web", [instance("web", addresses=("10.0.0.2",))])
    assert await forwarding.addresses("web") == {"10.0.0.2"}


async def test_service_that_was_unknown_is_found_once_it_is_there(forwarding: Forwarding) -> None:
    reply = await forwarding.ask(f"api.service.{DOMAIN}", "A")
    assert reply.rcode() == dns.rcode.NXDOMAIN
    forwarding.fleet.put_service("api", [instance("api", addresses=("10.0.0.3",))])

    async def found() -> bool:
        return await forwarding.addresses("api") == {"10.0.0.3"}

    await until(found, 5.0, "a negative answer outlives its second")


async def test_service_with_nothing_passing_exists_and_has_no_address(
    forwarding: Forwarding,
) -> None:
    forwarding.fleet.put_service("web", [instance("web", status=Status.CRITICAL)])
    reply = await forwarding.ask(f"web.service.{DOMAIN}", "A")
    assert (reply.rcode(), reply.answer) == (dns.rcode.NOERROR, [])


async def test_knowing_the_domains_name_server_leads_nobody_astray(forwarding: Forwarding) -> None:
    for name, rdtype in ((DOMAIN, "NS"), (DOMAIN, "SOA"), (f"ns.{DOMAIN}", "A")):
        reply = await forwarding.ask(name, rdtype)
        assert reply.rcode() == dns.rcode.NOERROR
        assert reply.answer
    forwarding.fleet.put_service("api", [instance("api", addresses=("10.0.0.4",))])
    assert await forwarding.addresses("api") == {"10.0.0.4"}


async def test_answer_too_large_for_a_packet_comes_over_tcp(forwarding: Forwarding) -> None:
    every = {f"10.0.{n // 100}.{n % 100 + 1}" for n in range(150)}
    members = [instance("many", f"many-{a}", addresses=(a,)) for a in sorted(every)]
    forwarding.fleet.put_service("many", members)
    reply = await forwarding.ask(f"many.service.{DOMAIN}", "A")
    assert reply.flags & dns.flags.TC
    assert await forwarding.addresses("many", tcp=True) == every


async def test_names_outside_the_domain_never_reach_the_agent(forwarding: Forwarding) -> None:
    await forwarding.addresses("web")
    before = forwarding.asked.count.copy()
    for name in ("example.com", "internal", "notbeacon.internal"):
        try:
            await forwarding.ask(name, "A", timeout_s=0.5)
        except dns.exception.Timeout:
            continue  # unbound is still trying the server that is not there
    assert forwarding.asked.count == before
