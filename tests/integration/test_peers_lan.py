"""The network that hosts of `make freshness` and `make availability` are cut off from."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.peers.places import Lan, Place, missing_for_lan
from tests.support.agent_process import until

LISTEN = """\
import socket, sys
with socket.create_server((sys.argv[1], 7000)) as listener:
    print("listening", flush=True)
    while True:
        listener.accept()[0].close()
"""
CONNECT = """\
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), 1).close()
    print("accepted")
except OSError as error:
    print(type(error).__name__)
"""


@pytest.fixture
def lan() -> Iterator[Lan]:
    if missing := missing_for_lan():
        pytest.skip(f"no network namespaces: {missing} is missing")
    with Lan() as made:
        yield made


@contextmanager
def listening(place: Place) -> Iterator[None]:
    command = [*place.enter, sys.executable, "-S", "-c", LISTEN, place.address]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline()
            yield
        finally:
            process.kill()


def connected(place: Place, address: str, port: int = 7000) -> str:
    command = [*place.enter, sys.executable, "-S", "-c", CONNECT, address, str(port)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_hosts_reach_each_other_until_one_is_cut_off_and_again_when_it_is_healed(lan: Lan) -> None:
    alpha, beta, gamma = lan.places
    with listening(beta):
        assert connected(alpha, beta.address) == "accepted"
        lan.cut(beta)
        assert connected(alpha, beta.address) != "accepted"
        assert connected(beta, beta.address) == "accepted"
        lan.heal(beta)
        # The kernel takes up to a second to see that the link is up again.
        until(lambda: connected(gamma, beta.address) == "accepted")
        assert connected(lan.broker, beta.address) == "accepted"


def test_host_that_was_cut_off_is_mute_and_refuses_nothing(lan: Lan) -> None:
    alpha, beta, _ = lan.places
    assert connected(alpha, beta.address) == "ConnectionRefusedError"
    lan.cut(beta)
    assert connected(alpha, beta.address) in {"TimeoutError", "OSError"}


def test_hosts_have_no_way_to_any_other_network(lan: Lan) -> None:
    assert connected(lan.places[0], "192.0.2.1") == "OSError"
