"""Outputs of checks as text: safe to show on a terminal and in a page."""

import errno
import socket
import ssl

from beacond.health.outcome import clean_text, reason_of


def test_bytes_that_are_not_text_are_replaced() -> None:
    assert clean_text(b"ok \xff\xc3\xa4") == "ok \ufffdä"


def test_a_terminal_is_not_steered() -> None:
    assert clean_text(b"\x1b[2J\x00one\r\ntwo\t3\n") == "\ufffd[2J\ufffdone\ufffd\ntwo\t3"


def test_the_reason_is_the_systems_own() -> None:
    refused = ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed ('::1', 80)")
    assert reason_of(refused) == "Connection refused"
    assert reason_of(socket.gaierror(-2, "Name or service not known")).startswith("Name or")
    assert reason_of(ssl.SSLError(1, "[SSL] wrong version number")) == "[SSL] wrong version number"


def test_the_reason_of_an_error_is_never_empty() -> None:
    assert reason_of(OSError("just words")) == "just words"
    assert reason_of(OSError()) == "OSError"
