"""UDP in batches: everyone gets their own answer, from the address that they asked."""

import socket

import pytest

from beacond.dns.udp import BATCH_MAX, UdpSocket


def bound(host: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.bind((host, 0))
    sock.settimeout(10)
    return sock


def served(host: str) -> tuple[UdpSocket, int]:
    sock = bound(host)
    sock.setblocking(False)
    return UdpSocket(sock), sock.getsockname()[1]


def asking(host: str, port: int, count: int) -> list[socket.socket]:
    """Sockets that sent their number, each connected to where it asked."""
    clients = [bound(host) for _ in range(count)]
    for number, client in enumerate(clients):
        client.connect((host, port))
        client.send(b"%d" % number)
    return clients


@pytest.mark.parametrize(
    ("listening", "asked"),
    [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.7"), ("::1", "::1"), ("::", "::1")],
)
def test_each_gets_its_own_reply_from_where_it_asked(listening: str, asked: str) -> None:
    udp, port = served(listening)
    for _ in range(2):
        clients = asking(asked, port, BATCH_MAX)
        packets = udp.receive()
        assert packets == [b"%d" % number for number in range(BATCH_MAX)]
        udp.reply([b"to " + packet * (1 + place % 3) for place, packet in enumerate(packets)])
        for number, client in enumerate(clients):
            assert client.recv(4096) == b"to " + b"%d" % number * (1 + number % 3)
            client.close()
    udp.close()


def test_nothing_there_is_no_packets() -> None:
    udp, _ = served("127.0.0.1")
    assert udp.receive() == []
    udp.close()


def test_more_than_a_batch_is_read_in_several() -> None:
    udp, port = served("127.0.0.1")
    clients = asking("127.0.0.1", port, BATCH_MAX + 3)
    assert [len(udp.receive()), len(udp.receive())] == [BATCH_MAX, 3]
    for client in clients:
        client.close()
    udp.close()


def test_those_without_a_reply_are_left_out() -> None:
    udp, port = served("127.0.0.1")
    clients = asking("127.0.0.1", port, 5)
    udp.receive()
    udp.reply([None, b"one", None, b"three", None])
    assert [clients[1].recv(10), clients[3].recv(10)] == [b"one", b"three"]
    for client in (clients[0], clients[2], clients[4]):
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.recv(10)
    for client in clients:
        client.close()
    udp.close()


def test_reply_that_cannot_be_sent_costs_nobody_else_theirs() -> None:
    udp, port = served("127.0.0.1")
    clients = asking("127.0.0.1", port, 3)
    udp.receive()
    udp._names[32 + 2 : 32 + 4] = bytes(2)  # as if the second had come from port 0
    udp.reply([b"first", b"second", b"third"])
    assert [clients[0].recv(10), clients[2].recv(10)] == [b"first", b"third"]
    for client in clients:
        client.close()
    udp.close()


@pytest.mark.parametrize(
    ("listening", "asked"),
    [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.7"), ("::1", "::1"), ("::", "::1")],
)
def test_reply_may_come_when_others_were_read_meanwhile(listening: str, asked: str) -> None:
    udp, port = served(listening)
    first = asking(asked, port, 2)
    udp.receive()
    origin = udp.origin(1)
    if listening == "0.0.0.0":
        # From the address that was asked, by whatever interface leads back.
        assert origin[1][0][2][:8] == bytes(4) + socket.inet_aton(asked)
    others = asking(asked, port, 2)
    udp.receive()
    udp.reply_to(origin, b"late")
    assert first[1].recv(10) == b"late"
    for client in (*first, *others):
        client.close()
    udp.close()
