"""A small HTTP client for the agent's API: standard library only, so that commands start fast."""

import http.client
import json
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from beacond import __version__
from beacond.cli.errors import BadInput, Refused, Unreachable

DEFAULT_URL = "http://127.0.0.1:8650"
TIMEOUT_S = 10.0
BODY_MAX = 64 * 1024 * 1024
"""Bytes of an answer; a fleet's whole state is far below."""
ERRORS_SHOWN_MAX = 20

Params = Mapping[str, str | Sequence[str] | None]


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Message
    text: str

    def json(self) -> Any:
        """Raises Unreachable: whatever answers without JSON is no agent."""
        try:
            return json.loads(self.text)
        except ValueError:
            raise Unreachable("the answer is not JSON: is this a beacond agent?") from None


class Client:
    """One agent, a new connection for each call."""

    def __init__(self, url: str = DEFAULT_URL, timeout_s: float = TIMEOUT_S) -> None:
        """Raises BadInput for a URL that can't be an agent's."""
        try:
            parts = urlsplit(url)
            port = parts.port or 80
        except ValueError:
            parts, port = urlsplit(""), 0
        if parts.scheme != "http" or not parts.hostname or parts.query or parts.username:
            raise BadInput(f"{url!r} is no agent's URL: write http://HOST:PORT")
        self.url = url
        self._timeout_s = timeout_s
        self._host, self._port = parts.hostname, port
        self._prefix = parts.path.rstrip("/")

    def with_timeout(self, timeout_s: float) -> "Client":
        return Client(self.url, timeout_s)

    def get(self, path: str, params: Params | None = None) -> Answer:
        return self.call("GET", path, params)

    def call(
        self, method: str, path: str, params: Params | None = None, body: object = None
    ) -> Answer:
        """Raises Refused for an answer that is no success, Unreachable where there is none."""
        headers = {"Accept": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        if data is not None:
            headers["Content-Type"] = "application/json"
        with self._request(method, path, params, headers, self._timeout_s, data) as response:
            return _checked(response)

    @contextmanager
    def stream(
        self, path: str, params: Params, headers: Mapping[str, str], silence_max_s: float
    ) -> Iterator[http.client.HTTPResponse]:
        """An answer to read line by line; a silence longer than this raises TimeoutError."""
        with self._request("GET", path, params, headers, silence_max_s) as response:
            if response.status != 200:
                _checked(response)
            yield response

    @contextmanager
    def _request(
        self,
        method: str,
        path: str,
        params: Params | None,
        headers: Mapping[str, str],
        timeout_s: float,
        data: bytes | None = None,
    ) -> Iterator[http.client.HTTPResponse]:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=timeout_s)
        given = {key: value for key, value in (params or {}).items() if value is not None}
        target = self._prefix + path + ("?" + urlencode(given, doseq=True) if given else "")
        try:
            try:
                connection.request(
                    method, target, data, {"User-Agent": f"beacond/{__version__}", **headers}
                )
                response = connection.getresponse()
            except (OSError, http.client.HTTPException) as error:
                raise Unreachable(
                    f"no agent answers at {self.url} ({_why(error)}): "
                    "start one with `beacond agent`, or name another with --agent"
                ) from error
            yield response
        finally:
            connection.close()


def segment(text: str) -> str:
    """One path segment, percent-encoded."""
    return quote(text, safe="")


def _checked(response: http.client.HTTPResponse) -> Answer:
    try:
        data = response.read(BODY_MAX + 1)
        # A read of a limited size does not complain of a body that ends early.
        if len(data) <= BODY_MAX and response.length:
            raise http.client.IncompleteRead(data)
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(f"the agent's answer broke off ({_why(error)})") from error
    if len(data) > BODY_MAX:
        raise Unreachable(f"the agent's answer is larger than {BODY_MAX} bytes")
    answer = Answer(response.status, response.headers, data.decode("utf-8", "replace"))
    if not 200 <= answer.status < 300:
        raise Refused(_problem(answer, response.reason), answer.status)
    return answer


def _problem(answer: Answer, reason: str) -> str:
    """RFC 9457 problem details as a line, and one more for each error in a field."""
    try:
        problem = json.loads(answer.text)
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        problem = {}
    title = str(problem.get("title") or reason)
    detail = str(problem.get("detail") or "")
    errors = problem.get("errors")
    shown = [
        f"{error.get('field') or 'it'}: {error.get('message', '')}"
        for error in (errors[:ERRORS_SHOWN_MAX] if isinstance(errors, list) else ())
        if isinstance(error, dict)
    ]
    if detail == "; ".join(shown):
        # Our agent's detail is the errors in one line: nothing is told twice.
        detail, shown = (detail, []) if len(shown) == 1 else ("", shown)
    first = ": ".join(part for part in (title, detail) if part)
    return "\n".join(map(clean, [first, *(f"  {each}" for each in shown)]))


def clean(text: str) -> str:
    """Text from elsewhere, without what a terminal would act on."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def host_port(address: str, port: object) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _why(error: Exception) -> str:
    match error:
        case TimeoutError():
            return "it takes too long"
        case socket.gaierror():
            return "its name is unknown"
        case OSError(errno=int() as number):
            return os.strerror(number).lower()
        case http.client.IncompleteRead():
            return "the connection was lost"
        case _:
            return "it does not speak HTTP"
