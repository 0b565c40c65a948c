import json
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from beacond.cli import keeper as keeper_module
from beacond.cli.client import Client
from beacond.cli.keeper import Keeper
from tests.support.canned import Canned


@pytest.fixture
def canned(monkeypatch: pytest.MonkeyPatch) -> Iterator[Canned]:
    for name in ("RENEW_S", "RETRY_S", "RETRY_MAX_S", "REFUSED_RETRY_S"):
        monkeypatch.setattr(keeper_module, name, 0.01)
    server = Canned()
    yield server
    server.close()


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def calls(canned: Canned) -> list[tuple[str, str]]:
    return [(method, path) for method, path, _, _ in canned.asked]


REGISTER = ("PUT", "/v1/instances/web-80?origin=run")
RENEW = ("PUT", "/v1/instances/web-80/health")
DEREGISTER = ("DELETE", "/v1/instances/web-80?origin=run")


def test_it_registers_then_renews_then_deregisters(canned):
    keeper = Keeper(Client(canned.url), "web-80", {"service": "web", "port": 80})
    keeper.start()
    until(lambda: len(canned.asked) >= 3)
    keeper.stop()
    made = calls(canned)
    assert made[:3] == [REGISTER, RENEW, RENEW]
    assert made[-1] == DEREGISTER
    assert made.count(REGISTER) == made.count(DEREGISTER) == 1
    registered, renewed = (json.loads(body) for _, _, _, body in canned.asked[:2])
    assert registered["checks"] == [
        {"type": "ttl", "name": "run", "ttl": "10s", "deregister_after": "30s", "status": "passing"}
    ]
    assert renewed == {"status": "passing", "check": "run"}


@pytest.mark.parametrize("status", [404, 409])
def test_an_agent_that_does_not_know_it_is_told_again_at_once(status, canned):
    keeper = Keeper(Client(canned.url), "web-80", {})
    keeper.start()
    until(lambda: RENEW in calls(canned))
    canned.status = status
    until(lambda: calls(canned).count(REGISTER) >= 2)
    at = len(canned.asked) - calls(canned)[::-1].index(REGISTER) - 1
    assert calls(canned)[at - 1] in (RENEW, REGISTER)
    canned.status = 200
    keeper.stop()


def test_an_agent_in_trouble_is_asked_again_and_the_trouble_told_once(canned, capsys):
    canned.status = 503
    keeper = Keeper(Client(canned.url), "web-80", {})
    keeper.start()
    until(lambda: len(canned.asked) >= 3)
    canned.status = 200
    until(lambda: RENEW in calls(canned))
    keeper.stop()
    assert capsys.readouterr().err.splitlines() == [
        "beacond run: web-80: Service Unavailable",
        "beacond run: web-80: registered",
    ]


def test_what_was_never_accepted_is_not_deregistered(canned):
    canned.status = 422
    keeper = Keeper(Client(canned.url), "web-80", {})
    keeper.start()
    until(lambda: len(canned.asked) >= 2)
    keeper.stop()
    assert set(calls(canned)) == {REGISTER}


def test_a_registration_whose_answer_was_lost_is_taken_back(canned, capsys):
    """The agent may have taken it: a connection that breaks says nothing."""
    requests: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            for _ in range(2):
                connection, _ = listener.accept()
                with connection:
                    requests.append(connection.recv(65536).split(b"\r\n")[0])

        thread = threading.Thread(target=hang_up)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        keeper = Keeper(Client(url), "web-80", {})
        keeper._stopping.set()
        keeper.start()
        keeper.stop()
        thread.join()
    assert [request.split()[0] for request in requests] == [b"PUT", b"DELETE"]
    assert capsys.readouterr().err.count("\n") == 1


def test_an_agent_that_does_not_answer_holds_up_the_end_for_a_moment_only(monkeypatch):
    monkeypatch.setattr(keeper_module, "STOP_MAX_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        keeper = Keeper(Client(url, timeout_s=2.0), "web-80", {})
        keeper.start()
        keeper.stop()
        assert keeper._thread.is_alive()  # so nobody waited for its end
    keeper._thread.join()
