"""Sessions as agents have them, as far as the broker can tell, that cost this side next to nothing.

What arrives is counted in bytes and thrown away, so that many of them fit into one process.
"""

import selectors
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle

from pamqp import base, body, commands, frame, header

from beacond.bus.amqp_session import PING
from beacond.bus.amqp_topology import BROADCAST_KEY, EXCHANGE_TYPE, QUEUE_ARGUMENTS, node_key

EXCHANGE = "bcn.default"
CONSUMER_TAG = "ctag1." + 32 * "0"
"""As long as those of the library that agents use."""
READ_MAX = 1 << 18

Message = Callable[[int], tuple[bytes, str]]
"""Of the session with that number: what it sends, and the routing key."""


class Line:
    """One AMQP connection with one channel."""

    def __init__(self, port: int, user: str, password: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        # Or a frame that follows another waits for its acknowledgement: 40 ms a connection.
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(b"AMQP\x00\x00\x09\x01")
        self.rest = b""
        """What came after the answer that was last waited for."""
        self._wait(commands.Connection.Start)
        login = f"\0{user}\0{password}"
        self.ask(commands.Connection.StartOk(response=login), commands.Connection.Tune, 0)
        # No heartbeats: the traffic would keep the connection alive anyway.
        self.tell(commands.Connection.TuneOk(2047, 131072, 0), 0)
        self.ask(commands.Connection.Open("/"), commands.Connection.OpenOk, 0)
        self.ask(commands.Channel.Open(), commands.Channel.OpenOk)

    def tell(self, what: base.Frame, channel: int = 1) -> None:
        self.socket.sendall(frame.marshal(what, channel))

    def ask(self, what: base.Frame, answer: type[base.Frame], channel: int = 1) -> base.Frame:
        self.tell(what, channel)
        return self._wait(answer)

    def _wait(self, kind: type[base.Frame]) -> base.Frame:
        while True:
            try:
                size, _, found = frame.unmarshal(self.rest)
            except Exception:  # not all of it is here yet: the library tells in several ways
                size, found = 0, None
            if found is None:
                data = self.socket.recv(READ_MAX)
                if not data:
                    raise ConnectionError("closed by the broker") from None
                self.rest += data
                continue
            self.rest = self.rest[size:]
            if isinstance(found, kind):
                return found


def delivery(data: bytes, key: str, *, kind: str | None = None) -> bytes:
    """The frames that bring an agent one message, of that kind (its type) or none."""
    return _frames(commands.Basic.Deliver(CONSUMER_TAG, 1, False, EXCHANGE, key), data, kind)


def publication(
    data: bytes, key: str, *, exchange: str = EXCHANGE, kind: str | None = None
) -> bytes:
    """The frames by which an agent sends one message, that kind (its type) or none."""
    return _frames(commands.Basic.Publish(exchange=exchange, routing_key=key), data, kind)


def _frames(method: base.Frame, data: bytes, kind: str | None) -> bytes:
    properties = commands.Basic.Properties(delivery_mode=1, message_id="-", message_type=kind)
    content = header.ContentHeader(body_size=len(data), properties=properties)
    parts: Sequence[frame.FrameTypes] = (method, content, body.ContentBody(data))
    return b"".join(frame.marshal(part, 1) for part in parts)


def make_exchange(port: int, user: str, password: str, exchange: str = EXCHANGE) -> None:
    """Where it is missing."""
    line = Line(port, user, password)
    made = commands.Exchange.Declare(exchange=exchange, exchange_type=EXCHANGE_TYPE, durable=True)
    line.ask(made, commands.Exchange.DeclareOk)
    line.socket.close()


def listener(
    port: int, user: str, password: str, *, keys: Iterable[str], exchange: str = EXCHANGE
) -> Line:
    """What an agent hears by, not blocking any more."""
    line = Line(port, user, password)
    declared = line.ask(
        commands.Queue.Declare(exclusive=True, auto_delete=True, arguments=QUEUE_ARGUMENTS),
        commands.Queue.DeclareOk,
    )
    assert isinstance(declared, commands.Queue.DeclareOk)
    for key in keys:
        bind = commands.Queue.Bind(queue=declared.queue, exchange=exchange, routing_key=key)
        line.ask(bind, commands.Queue.BindOk)
    consume = commands.Basic.Consume(queue=declared.queue, consumer_tag=CONSUMER_TAG, no_ack=True)
    line.ask(consume, commands.Basic.ConsumeOk)
    line.socket.setblocking(False)
    return line


def speaker(port: int, user: str, password: str) -> Line:
    """What an agent speaks by, with confirms; not blocking any more."""
    line = Line(port, user, password)
    line.ask(commands.Confirm.Select(), commands.Confirm.SelectOk)
    line.socket.setblocking(False)
    return line


class Sessions:
    """Two connections each, one that listens to the fleet and one that publishes with confirms."""

    def __init__(self, port: int, user: str, password: str) -> None:
        self._login = (port, user, password)
        self._listening: list[Line] = []
        self._speaking: list[Line] = []
        self._all = selectors.DefaultSelector()
        self.heard_bytes = 0
        """By the listening ones."""

    def add(self, number: int) -> None:
        for _ in range(number):
            self._add_one()

    def _add_one(self) -> None:
        own_key = node_key(f"node-{len(self._listening):04}")
        if not self._listening:
            make_exchange(*self._login)
        listening = listener(*self._login, keys=(own_key, BROADCAST_KEY))
        speaking = speaker(*self._login)
        for each, listens in ((listening, True), (speaking, False)):
            self._all.register(each.socket, selectors.EVENT_READ, listens)
        self._listening.append(listening)
        self._speaking.append(speaking)

    def run(self, seconds: float, rate: float, message: Message) -> int:
        """All in turn send so many messages a second, evenly; how many were sent."""
        sent, began_at = 0, time.monotonic()
        turns: Iterator[int] = cycle(range(len(self._speaking)))
        while (passed_s := time.monotonic() - began_at) < seconds:
            if rate * passed_s >= sent + 1:
                number = next(turns)
                data, key = message(number)
                kind = None if key == BROADCAST_KEY else PING
                self._speaking[number].socket.sendall(publication(data, key, kind=kind))
                sent += 1
                self._drain(0)
            else:
                self._drain(min((sent + 1) / rate - passed_s, 0.1) if rate else 0.1)
        self._drain(0.5)
        return sent

    def _drain(self, wait_s: float) -> None:
        for key, _ in self._all.select(max(wait_s, 0)):
            data = key.fileobj.recv(READ_MAX)  # type: ignore[union-attr]
            if not data:
                raise ConnectionError("closed by the broker")
            if key.data:
                self.heard_bytes += len(data)

    def close(self) -> None:
        for line in (*self._listening, *self._speaking):
            line.socket.close()
        self._all.close()


@contextmanager
def sessions(port: int, user: str, password: str) -> Iterator[Sessions]:
    made = Sessions(port, user, password)
    try:
        yield made
    finally:
        made.close()
