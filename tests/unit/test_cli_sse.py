import socket
import threading
from collections.abc import Iterator

import pytest

from beacond.cli import sse
from beacond.cli.client import Client
from beacond.cli.errors import Refused, Unreachable
from beacond.cli.events import line
from beacond.cli.sse import Message

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
BUSY = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


class Streams:
    """A server that gives each connection the next of some answers, then hangs up."""

    def __init__(self, *answers: bytes) -> None:
        self.requests: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, args=(answers,))
        self._thread.start()

    def _serve(self, answers: tuple[bytes, ...]) -> None:
        for answer in answers:
            connection, _ = self._listener.accept()
            with connection:
                self.requests.append(connection.recv(65536))
                connection.sendall(answer)
        self._listener.close()

    def close(self) -> None:
        self._thread.join()


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "RETRY_S", 0.01)


def messages(url: str, since: str | None, lost: list[str]) -> Iterator[Message]:
    return sse.follow(Client(url), {"service": "web"}, since, lost.append)


def test_a_lost_connection_goes_on_after_the_last_id():
    server = Streams(
        HEAD
        + chunk(b"retry: 2000\n\nid: 7.1\nevent: a\ndata: 1\n\n: alive\n\n")
        + chunk(b"id: 7.2\nevent: b\nda")
        + chunk(b"ta: {}\n\nid: 7.3\nevent: c\ndata: broken o"),
        BUSY,
        HEAD + chunk(b"id: 7.3\r\nevent: c\r\ndata: x\r\ndata:y\r\n\r\n"),
    )
    lost: list[str] = []
    stream = messages(server.url, None, lost)
    assert [next(stream) for _ in range(3)] == [
        Message("a", "1", "7.1"),
        Message("b", "{}", "7.2"),
        Message("c", "x\ny", "7.3"),
    ]
    server.close()
    first, second, third = server.requests
    assert b"GET /v1/events?service=web " in first
    assert b"Last-Event-ID" not in first
    assert b"Last-Event-ID: 7.2\r\n" in second
    assert b"Last-Event-ID: 7.2\r\n" in third
    assert len(lost) == 1


def test_a_start_in_the_past_is_asked_for_by_its_id():
    server = Streams(HEAD + chunk(b"id: 7.9\ndata: 1\n\n"))
    assert next(messages(server.url, "7.8", [])) == Message("message", "1", "7.9")
    server.close()
    assert b"Last-Event-ID: 7.8\r\n" in server.requests[0]


def test_a_first_connection_that_fails_is_an_error():
    server = Streams(BUSY)
    with pytest.raises(Refused):
        next(messages(server.url, None, []))
    server.close()
    with pytest.raises(Unreachable):
        next(messages(server.url, None, []))


def test_an_agent_that_says_no_later_ends_it():
    no = b"HTTP/1.1 422 No\r\nContent-Length: 0\r\n\r\n"
    server = Streams(HEAD + chunk(b"id: 1.1\ndata: 1\n\n"), no)
    stream = messages(server.url, None, [])
    next(stream)
    with pytest.raises(Refused):
        next(stream)
    server.close()


def test_a_dead_connection_is_found_by_its_silence(monkeypatch):
    monkeypatch.setattr(sse, "SILENCE_MAX_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        lost: list[str] = []
        stream = messages(f"http://127.0.0.1:{listener.getsockname()[1]}", None, lost)
        held: list[socket.socket] = []

        def serve() -> None:
            for data in (b"id: 1.1\ndata: 1\n\n", b"id: 1.2\ndata: 2\n\n"):
                connection, _ = listener.accept()
                held.append(connection)
                connection.recv(65536)
                connection.sendall(HEAD + chunk(data))

        thread = threading.Thread(target=serve)
        thread.start()
        assert [next(stream).data, next(stream).data] == ["1", "2"]
        assert lost == ["the connection was lost"]
        thread.join()
        for connection in held:
            connection.close()


def test_an_event_shows_every_address_with_its_port():
    instance = {
        "service": "web",
        "id": "w1",
        "node": "n1",
        "addresses": ["10.0.0.1", "2001:db8::1"],
        "port": 80,
        "status": "passing",
        "mode": "normal",
    }
    shown = line({"time": "T", "kind": "instance.started", "instance": instance})
    assert "10.0.0.1:80,[2001:db8::1]:80" in shown
