import json
import socket
import threading
from collections.abc import Iterator

import pytest

from beacond.cli.client import Client, segment
from beacond.cli.errors import BadInput, Refused, Unreachable
from tests.support.canned import Canned


@pytest.fixture
def canned() -> Iterator[Canned]:
    server = Canned()
    yield server
    server.close()


def test_a_call_sends_json_to_the_path_and_reads_json_back(canned):
    canned.body = b'{"a": 1}'
    answer = Client(canned.url).call("PUT", "/v1/x", {"q": "a b", "none": None}, {"k": "ü"})
    assert (answer.status, answer.json()) == (200, {"a": 1})
    ((method, path, headers, body),) = canned.asked
    assert (method, path) == ("PUT", "/v1/x?q=a+b")
    assert json.loads(body) == {"k": "ü"}
    assert headers["Content-Type"] == "application/json"
    assert headers["User-Agent"].startswith("beacond/")


def test_a_url_may_have_a_path_before_the_api(canned):
    Client(canned.url + "/proxy/").get("/v1/status")
    assert canned.asked[0][1] == "/proxy/v1/status"


def test_an_id_is_one_segment_of_a_path():
    assert segment("a/b c%?#") == "a%2Fb%20c%25%3F%23"


def test_a_refusal_is_told_with_its_detail_and_each_field(canned):
    canned.status = 422
    problem = {
        "title": "Unprocessable Content",
        "detail": "not valid",
        "errors": [{"field": "port", "message": "must be 1 to 65535"}, "nonsense"],
    }
    canned.body = json.dumps(problem).encode()
    with pytest.raises(Refused) as caught:
        Client(canned.url).get("/v1/x")
    assert caught.value.status == 422
    assert caught.value.exit_code == 1
    assert caught.value.message.splitlines() == [
        "Unprocessable Content: not valid",
        "  port: must be 1 to 65535",
    ]


@pytest.mark.parametrize("fields", [["port"], ["port", "tags[0]"]])
def test_what_is_wrong_with_a_field_is_told_once(fields, canned):
    errors = [{"field": field, "message": f"no good {field}"} for field in fields]
    detail = "; ".join(f"{e['field']}: {e['message']}" for e in errors)
    canned.status = 422
    canned.body = json.dumps({"title": "No", "detail": detail, "errors": errors}).encode()
    with pytest.raises(Refused) as caught:
        Client(canned.url).get("/v1/x")
    assert all(caught.value.message.count(f"no good {field}") == 1 for field in fields)
    assert len(caught.value.message.splitlines()) == (1 if len(fields) == 1 else 3)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"errors": 1}', b'"text"'])
def test_a_refusal_without_details_is_told_by_its_reason(body, canned):
    canned.status, canned.body = 503, body
    with pytest.raises(Refused, match=r"^Service Unavailable$"):
        Client(canned.url).get("/v1/x")


def test_an_answer_cannot_write_to_the_terminal(canned):
    canned.status = 400
    canned.body = json.dumps({"title": "a\x1b]0;evil\x07", "detail": "b\nc"}).encode()
    with pytest.raises(Refused) as caught:
        Client(canned.url).get("/v1/x")
    assert caught.value.message.isprintable()


def test_a_success_that_is_no_json_does_not_come_from_an_agent(canned):
    canned.body = b"<html>hello</html>"
    with pytest.raises(Unreachable, match="is this a beacond agent"):
        Client(canned.url).get("/v1/x").json()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_no_agent_is_told_with_what_to_do():
    with pytest.raises(Unreachable, match=r"connection refused.*beacond agent.*--agent") as caught:
        Client(f"http://127.0.0.1:{free_port()}").get("/v1/x")
    assert caught.value.exit_code == 3


def answering(data: bytes) -> tuple[str, threading.Thread]:
    """A TCP server that answers one connection with these bytes, and hangs up."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener, listener.accept()[0] as connection:
            connection.recv(65536)
            connection.sendall(data)

    thread = threading.Thread(target=serve)
    thread.start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}", thread


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "it does not speak HTTP|connection reset"),
        (b"SSH-2.0-OpenSSH\r\n", "it does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", "broke off"),
    ],
)
def test_what_is_no_whole_answer_counts_as_no_agent(data, complaint):
    url, thread = answering(data)
    with pytest.raises(Unreachable, match=complaint):
        Client(url).get("/v1/x")
    thread.join()


def test_silence_is_not_waited_for_without_end():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(Unreachable, match="takes too long"):
            Client(url).with_timeout(0.05).get("/v1/x")


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1:8650", "https://127.0.0.1", "http://", "http://u:p@h", "http://h:99999", "x"],
)
def test_a_url_that_cannot_be_an_agents_is_refused(url):
    with pytest.raises(BadInput, match="write http://HOST:PORT") as caught:
        Client(url)
    assert caught.value.exit_code == 2
