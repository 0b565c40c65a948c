"""unbound with the agent's records as local data."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.load_dns import TYPES, question
from tests.bench.population import DOMAIN, LOOKED_UP
from tests.bench.process import find_program
from tests.bench.wait import until_answered
from tests.support.rabbitmq import free_port

CONFIG = """
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
{data}
remote-control:
    control-enable: no
"""


def local_data() -> Iterator[str]:
    """The records that answer the same questions. Additional records it adds to none."""
    for record in LOOKED_UP.records():
        (ip,) = record.body.addresses
        target = bytes(map(int, ip.split("."))).hex() + f".addr.{DOMAIN}."
        yield f"{target} 0 IN A {ip}"
        for instance in record.body.instances:
            name = f"{instance.service}.service.{DOMAIN}."
            yield f"{name} 0 IN A {ip}"
            yield f"{name} 0 IN SRV 1 {instance.weight} {instance.port} {target}"


@contextmanager
def unbound(folder: Path) -> Iterator[tuple[int, int]]:
    """A running one: its port and process id. Only where `find_program("unbound")` finds one."""
    program, port, path = find_program("unbound"), free_port(), folder / "unbound.conf"
    assert program is not None
    data = "\n".join(f"    local-data: '{each}'" for each in local_data())
    path.write_text(CONFIG.format(folder=folder, port=port, domain=DOMAIN, data=data))
    process = subprocess.Popen([program, "-d", "-c", str(path)])
    try:
        until_answered(port, question(LOOKED_UP.dns_names()[0], TYPES["A"], 1), process)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait()
