"""What DNS servers are asked, and what a right answer is."""

import socket
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random

import dns.flags
import dns.message
from dns.rcode import to_text as rcode_text

from tests.bench import dnsperf
from tests.bench.population import DOMAIN, LOOKED_UP
from tests.bench.rounds import Load, Target

UDP_OCTETS = 1232
DRAWN = 20_000
"""Questions about known names drawn for a round, then asked in a circle."""
UNKNOWN = 500_000
"""Unknown names of a round: none comes twice."""
NAMES, ODD_STEP = 2**28, 0x9E3779B1
"""An odd step through a power of two comes to every number once."""
LOOKED_AT = 10
WITHIN_S = 5.0


def question(name: str, qtype: str) -> bytes:
    """A packet as a stub resolver sends it, with EDNS."""
    asked = dns.message.make_query(name, qtype, use_edns=0, payload=UDP_OCTETS)
    return asked.to_wire()


def ask(port: int, name: str, qtype: str) -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(WITHIN_S)
        asker.connect(("127.0.0.1", port))
        asker.send(question(name, qtype))
        return asker.recv(4096)


def _expected() -> dict[tuple[str, str], set[str]]:
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for name, qtype, data in LOOKED_UP.dns_records():
        found[name, qtype].add(data)
    return found


EXPECTED = _expected()


@dataclass(frozen=True, slots=True)
class Questions:
    """Of one kind. `moving`: the records of a name change while they are asked for, and only their
    number is known."""

    title: str
    qtype: str
    known: bool = True
    moving: bool = False

    @property
    def rcode(self) -> str:
        return "NOERROR" if self.known else "NXDOMAIN"

    def names(self, seed: int) -> Iterator[str]:
        rng = Random(seed)
        if self.known:
            names = LOOKED_UP.dns_names()
            yield from (rng.choice(names) for _ in range(DRAWN))
        else:
            first = rng.randrange(NAMES)
            numbers = ((first + number * ODD_STEP) % NAMES for number in range(UNKNOWN))
            yield from (f"x{number:07x}.service.{DOMAIN}" for number in numbers)

    def file(self, folder: Path, seed: int) -> Path:
        """As dnsperf reads them; made once for all who are asked these."""
        path = folder / f"questions-{self.title.replace(' ', '-')}-{seed}"
        if not path.exists():
            path.write_text("".join(f"{name} {self.qtype}\n" for name in self.names(seed)))
        return path

    def check(self, target: Target) -> set[int]:
        """Ask some; the octets of the answers. Raises RuntimeError where one is not right."""
        names = islice(self.names(LOOKED_AT), LOOKED_AT)
        replies = [(name, ask(target.port, name, self.qtype)) for name in names]
        for name, reply in replies:
            if wrong := self.fault(name, reply):
                raise RuntimeError(f"{target.name}, {name} {self.qtype}: {wrong}")
        return {len(reply) for _, reply in replies}

    def fault(self, name: str, reply: bytes) -> str:
        """What is wrong with an answer; empty: nothing."""
        told = dns.message.from_wire(reply)
        if told.flags & dns.flags.TC:
            return "it is cut"
        if (rcode := rcode_text(told.rcode())) != self.rcode:
            return f"it is {rcode}"
        data = [each.to_text() for records in told.answer for each in records]
        if len(data) != LOOKED_UP.per_service * self.known:
            return f"it has {len(data)} records"
        if self.known and not self.moving and set(data) != EXPECTED[name, self.qtype]:
            return f"it has other records: {data}"
        return ""

    def load(self, target: Target, folder: Path, seconds: float, seed: int) -> Load:
        """As fast as dnsperf goes. Raises RuntimeError where answers were not whole."""
        sizes, questions = self.check(target), self.file(folder, seed)
        used_s = target.cpu_s()
        report = dnsperf.run(target.port, questions, seconds, folder / "dnsperf")
        used_s = target.cpu_s() - used_s
        if not min(sizes) <= report.octets <= max(sizes):
            raise RuntimeError(f"{target.name}: answers of {report.octets} octets, not {sizes}")
        right = report.rcodes.get(self.rcode, 0)
        return Load(right, report.sent - right, report.run_s, used_s, report.tool_cpu_s)


A = Questions("A", "A")
SRV = Questions("SRV", "SRV")
UNKNOWN_A = Questions("unknown names", "A", known=False)
MOVING_A = Questions("A", "A", moving=True)
