"""Many who wait for a change over HTTP: blocking queries and event streams, as bare sockets."""

import http.client
import json
import re
import select
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from tests.bench.population import LOOKED_UP
from tests.support.agent_process import until

CROWD = 500
WITHIN_S = 20.0
LINES = "application/x-ndjson"
PASSING_SET = "instance.started,instance.stopped"
"""The kinds that a reader follows who keeps a list of what may be used."""
_OPEN = re.compile(r"^beacond_http_(waiters|event_streams) (\S+)$", re.MULTILINE)
_LENGTH = re.compile(rb"\r\nContent-Length: (\d+)\r\n")
_INDEX = re.compile(rb"\r\nX-Beacond-Index: (\d+)\r\n")


def connect(port: int) -> socket.socket:
    line = socket.create_connection(("127.0.0.1", port), WITHIN_S)
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return line


def request(path: str, accept: str = "*/*") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: {accept}\r\n\r\n".encode()


def blocking(port: int, service: str) -> bytes:
    """The request that waits for the next change of a service."""
    path = f"/v1/services/{service}"
    answer = ask(port, "GET", path)
    return request(f"{path}?index={answer.headers['X-Beacond-Index']}&wait=10m")


def next_blocking(answer: bytes, service: str) -> bytes:
    """The same, of what that answer tells."""
    found = _INDEX.search(answer)
    assert found is not None, answer
    return request(f"/v1/services/{service}?index={found[1].decode()}&wait=10m")


def stream(port: int) -> bytes:
    """The request for what changes from now on in the passing set."""
    since = json.loads(ask(port, "GET", "/v1/events").read())["next"]
    return request(f"/v1/events?since={since}&kind={PASSING_SET}", LINES)


def ask(port: int, method: str, path: str, body: object = None) -> http.client.HTTPResponse:
    """Raises URLError where it is refused."""
    data = None if body is None else json.dumps(body).encode()
    url = f"http://127.0.0.1:{port}{path}"
    asked = urllib.request.Request(url, data, method=method)
    answer: http.client.HTTPResponse = urllib.request.urlopen(asked, timeout=WITHIN_S)
    return answer


@contextmanager
def waiting(port: int) -> Iterator[None]:
    """So many blocking queries, and so many streams, over all services, while the body runs."""
    with ExitStack() as stack:
        services = LOOKED_UP.service_names()
        queries = [blocking(port, service) for service in services]
        asked = [queries[number % len(queries)] for number in range(CROWD)]
        asked += [stream(port)] * CROWD
        for each in asked:
            stack.enter_context(connect(port)).sendall(each)
        until(lambda: are_open(port) == (CROWD, CROWD))
        yield
    until(lambda: are_open(port) == (0, 0))


def are_open(port: int) -> tuple[int, int]:
    """Blocking queries and streams, by the agent's own count."""
    told = dict(_OPEN.findall(ask(port, "GET", "/metrics").read().decode()))
    return int(float(told["waiters"])), int(float(told["event_streams"]))


def is_whole_answer(read: bytes) -> bool:
    head = read.find(b"\r\n\r\n")
    length = _LENGTH.search(read[: head + 2]) if head >= 0 else None
    return length is not None and len(read) >= head + 4 + int(length[1])


def is_whole_event(read: bytes) -> bool:
    """A line of JSON that ends its chunk, and no empty line of a quiet stream."""
    return b'"kind"' in read and read.endswith(b"\n\r\n")


def reach(
    lines: Sequence[socket.socket], trigger: Callable[[], object], whole: Callable[[bytes], bool]
) -> tuple[float, bytes]:
    """Seconds from the trigger until each line has read something whole, and what the last one
    read. Raises TimeoutError."""
    with select.epoll() as poll:
        by_fd = {line.fileno(): line for line in lines}
        for fd in by_fd:
            poll.register(fd, select.EPOLLIN)
        read = dict.fromkeys(by_fd, b"")
        left = set(by_fd)
        began_at = now = time.perf_counter()
        trigger()
        while left:
            for fd, _ in poll.poll(WITHIN_S, len(by_fd)):
                read[fd] += by_fd[fd].recv(65536)
                if whole(read[fd]):
                    left.discard(fd)
            now = time.perf_counter()
            if now - began_at > WITHIN_S:
                raise TimeoutError(f"{len(left)} of {len(lines)} heard nothing")
        return now - began_at, read[fd]
