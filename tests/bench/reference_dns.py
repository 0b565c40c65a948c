"""unbound and dnsmasq with the agent's records as data of their own."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench import process
from tests.bench.population import DOMAIN, LOOKED_UP
from tests.bench.questions import question
from tests.bench.rounds import Target
from tests.bench.wait import until_answered
from tests.support.rabbitmq import free_port

UNBOUND = """
server:
    directory: "{folder}"
    chroot: ""
    username: ""
    pidfile: ""
    use-syslog: no
    logfile: "{folder}/unbound.log"
    verbosity: 0
    do-daemonize: no
    num-threads: 1
    module-config: "iterator"
    interface: 127.0.0.1@{port}
    do-ip6: no
    rrset-roundrobin: yes
    local-zone: "{domain}." static
    local-data: "{domain}. 1 IN SOA ns.{domain}. hostmaster.{domain}. 1 1 1 1 1"
{data}
remote-control:
    control-enable: no
"""

DNSMASQ = """
port={port}
listen-address=127.0.0.1
bind-interfaces
user={user}
pid-file=
no-resolv
no-hosts
local=/{domain}/
addn-hosts={hosts}
"""


@contextmanager
def unbound(folder: Path) -> Iterator[Target]:
    """Additional records it adds to none. Only where it is installed."""
    port, path = free_port(), folder / "unbound.conf"
    data = "\n".join(
        f"    local-data: '{name}. 0 IN {qtype} {data}'"
        for name, qtype, data in LOOKED_UP.dns_records()
    )
    path.write_text(UNBOUND.format(folder=folder, port=port, domain=DOMAIN, data=data))
    with _answering("unbound", port, "-d", "-c", path) as target:
        yield target


@contextmanager
def dnsmasq(folder: Path) -> Iterator[Target]:
    """Addresses only. Only where it is installed."""
    port, path, hosts = free_port(), folder / "dnsmasq.conf", folder / "hosts"
    lines = (f"{ip} {name}\n" for name, qtype, ip in LOOKED_UP.dns_records() if qtype == "A")
    hosts.write_text("".join(lines))
    user = process.user()
    path.write_text(DNSMASQ.format(port=port, user=user, domain=DOMAIN, hosts=hosts))
    with _answering("dnsmasq", port, "--keep-in-foreground", f"--conf-file={path}") as target:
        yield target


@contextmanager
def _answering(name: str, port: int, *arguments: object) -> Iterator[Target]:
    server = process.start_server(name, *arguments)
    try:
        until_answered(port, question(LOOKED_UP.dns_names()[0], "A"), server)
        yield Target(name, port, process.family(server.pid))
    finally:
        process.end_server(server)
