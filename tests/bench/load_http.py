"""Load on an HTTP server: `python -m tests.bench.load_http PORT PID TYPE SECONDS SEED`.

A fixed number of connections, kept open, with one request under way on each. It counts only
answers of status 200 with a body.
"""

import asyncio
import json
import sys
import time
from itertools import count
from random import Random
from typing import cast

import uvloop

from tests.bench.population import LOOKED_UP
from tests.bench.process import cpu_s

CONNECTIONS = 16
DRAWN = 4096
WARM_UP_S = 0.3
_LENGTH = b"\r\nContent-Length: "


class Tally:
    def __init__(self) -> None:
        self.answers = self.wrong = 0
        self.stopping = False


class Connection(asyncio.Protocol):
    """Asks the next question when an answer is complete."""

    def __init__(self, requests: list[bytes], first: int, tally: Tally) -> None:
        self._requests = requests
        self._next = first
        self._tally = tally
        self._unread = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._unread += data
        head = self._unread.find(b"\r\n\r\n")
        if head < 0:
            return
        at = self._unread.find(_LENGTH, 0, head) + len(_LENGTH)
        length = int(self._unread[at : self._unread.find(b"\r", at)])
        if len(self._unread) < head + 4 + length:
            return
        if self._unread.startswith(b"HTTP/1.1 200 ") and length:
            self._tally.answers += 1
        else:
            self._tally.wrong += 1
        self._unread = b""
        self._ask()

    def _ask(self) -> None:
        if self._transport is not None and not self._tally.stopping:
            self._next = (self._next + 1) % DRAWN
            self._transport.write(self._requests[self._next])


def request(service: str) -> bytes:
    return (
        f"GET /v1/services/{service} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        "Accept: */*\r\nUser-Agent: bench\r\n\r\n"
    ).encode()


async def main(port: int, pid: int, seconds: float, seed: int) -> None:
    names, rng, tally = LOOKED_UP.service_names(), Random(seed), Tally()
    requests = [request(rng.choice(names)) for _ in range(DRAWN)]
    loop = asyncio.get_running_loop()
    firsts = count(0, DRAWN // CONNECTIONS)
    made = [
        await loop.create_connection(
            lambda: Connection(requests, next(firsts), tally), "127.0.0.1", port
        )
        for _ in range(CONNECTIONS)
    ]
    await asyncio.sleep(WARM_UP_S)
    began_at, used_s, own_s = time.perf_counter(), cpu_s(pid), time.process_time()
    before = tally.answers
    await asyncio.sleep(seconds)
    wall_s, answers = time.perf_counter() - began_at, tally.answers - before
    used_s, own_s = cpu_s(pid) - used_s, time.process_time() - own_s
    tally.stopping = True
    for transport, _ in made:
        transport.close()
    told = {"answers": answers, "wrong": tally.wrong, "lost": 0}
    print(json.dumps(told | {"wall_s": wall_s, "cpu_s": used_s, "own_cpu_s": own_s}))


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[4]), int(sys.argv[5])))
