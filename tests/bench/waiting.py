"""HTTP with a crowd that waits: what it costs lookups, and how soon a change is with all of it."""

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import cycle
from pathlib import Path
from typing import Protocol

from tests.bench import crowd, process
from tests.bench.crowd import CROWD
from tests.bench.http_lookups import Lookups
from tests.bench.looked_up import Agent
from tests.bench.report import Section
from tests.bench.rounds import Side, alternate, report
from tests.support.agent_process import until

SERVICE = "reached"
INSTANCE = f"/v1/instances/{SERVICE}-1"
REGISTERED = {
    "service": SERVICE,
    "port": 8080,
    "checks": [{"type": "ttl", "ttl": "1h"}],
}


def measure_cost(ours: Agent, folder: Path, seconds: int, rounds: int) -> Section:
    """What lookups cost the agent while a crowd waits, beside while nobody does."""
    section = Section(f"HTTP lookups while {CROWD} blocking queries and {CROWD} streams are open")
    if absent := process.missing("wrk"):
        section.skipped.append(absent)
        return section
    folder.mkdir()
    load = Lookups(ours.http, folder).side(ours.http, seconds).load
    sides = [
        Side("crowd", load, lambda: crowd.waiting(ours.http.port)),
        Side("nobody waits", load),
    ]
    report(section, "GET", alternate(sides, rounds), ["at least 0.95"])
    return section


def measure_reach(ours: Agent, changes: int) -> Section:
    """One change to all who wait, beside as many bare writes to as many sockets."""
    section = Section("HTTP, from sending a change of health until all who wait have it")
    port = ours.http.port
    crowd.ask(port, "PUT", INSTANCE, REGISTERED)
    try:
        for what, crowd_of in (("event streams", Streams), ("blocking queries", Queries)):
            with ExitStack() as stack:
                waiting: Waiting = crowd_of(port, stack)
                until(waiting.are_there)
                waiting.change()  # for the number of octets, and what is done but once
                writes = stack.enter_context(_bare_writes(waiting.octets))
                took, bare = [], []
                for _ in range(changes):
                    until(waiting.are_there)
                    took.append(1000 * waiting.change())
                    bare.append(1000 * writes.change())
            what = f"one change to {CROWD} {what}"
            section.add_rounds(what, "ms", took, beside="bare writes", others=bare, aim="at most 3")
    finally:
        crowd.ask(port, "DELETE", INSTANCE)
    section.notes += [
        f"{changes} changes each, in turn with the bare writes beside them",
        f"bare writes: on a word, a process writes as many octets to {CROWD} sockets one by one",
    ]
    return section


class Waiting(Protocol):
    octets: int
    """That each reads of one change."""

    def are_there(self) -> bool:
        """Whether the agent knows that they wait."""

    def change(self) -> float:
        """Seconds from sending one until all have it."""


class _Changer:
    """Tells the agent the health of the instance, over a connection of its own."""

    def __init__(self, port: int, stack: ExitStack) -> None:
        self._line = stack.enter_context(crowd.connect(port))
        self._health = cycle(("passing", "critical"))
        crowd.ask(port, "PUT", f"{INSTANCE}/health", {"status": "critical"})

    def send(self) -> None:
        body = json.dumps({"status": next(self._health)})
        heads = f"Host: 127.0.0.1\r\nContent-Length: {len(body)}"
        self._line.sendall(f"PUT {INSTANCE}/health HTTP/1.1\r\n{heads}\r\n\r\n{body}".encode())

    def finish(self) -> None:
        answer = b""
        while not crowd.is_whole_answer(answer):
            answer += self._line.recv(65536)
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(f"the agent refused a change: {answer!r}")


class Streams:
    def __init__(self, port: int, stack: ExitStack) -> None:
        self._port = port
        self._changer = _Changer(port, stack)
        asked = crowd.stream(port)
        self._lines = [stack.enter_context(crowd.connect(port)) for _ in range(CROWD)]
        for line in self._lines:
            line.sendall(asked)
            _read_head(line)
        self.octets = 0

    def are_there(self) -> bool:
        return crowd.are_open(self._port)[1] == CROWD

    def change(self) -> float:
        took_s, read = crowd.reach(self._lines, self._changer.send, crowd.is_whole_event)
        self._changer.finish()
        self.octets = len(read)
        return took_s


class Queries:
    def __init__(self, port: int, stack: ExitStack) -> None:
        self._port = port
        self._changer = _Changer(port, stack)
        self._lines = [stack.enter_context(crowd.connect(port)) for _ in range(CROWD)]
        self._ask(crowd.blocking(port, SERVICE))
        self.octets = 0

    def _ask(self, asked: bytes) -> None:
        for line in self._lines:
            line.sendall(asked)

    def are_there(self) -> bool:
        return crowd.are_open(self._port)[0] == CROWD

    def change(self) -> float:
        took_s, read = crowd.reach(self._lines, self._changer.send, crowd.is_whole_answer)
        self._changer.finish()
        self.octets = len(read)
        self._ask(crowd.next_blocking(read, SERVICE))
        return took_s


class _Writes:
    def __init__(self, port: int, octets: int, stack: ExitStack) -> None:
        self._control, *self._lines = (
            stack.enter_context(crowd.connect(port)) for _ in range(1 + CROWD)
        )
        self._octets = octets

    def change(self) -> float:
        def send() -> None:
            self._control.sendall(b"!")

        return crowd.reach(self._lines, send, lambda read: len(read) >= self._octets)[0]


@contextmanager
def _bare_writes(octets: int) -> Iterator[_Writes]:
    server = process.start("reference_writes", CROWD, octets)
    try:
        with ExitStack() as stack:
            yield _Writes(int(process.next_line(server)), octets, stack)
    finally:
        process.end(server)


def _read_head(line: socket.socket) -> None:
    read = b""
    while not read.endswith(b"\r\n\r\n"):
        read += line.recv(1)
