"""What one run of a check saw, and how it becomes text."""

import os
import socket
import ssl
from dataclasses import dataclass

from beacond.core.model import Status

OUTPUT_MAX = 4096
"""Bytes kept of a program's output."""
BODY_MAX = 512
"""Bytes kept of an HTTP answer."""


@dataclass(frozen=True, slots=True)
class Outcome:
    status: Status
    output: str


def critical(output: str) -> Outcome:
    return Outcome(Status.CRITICAL, output)


def timed_out(timeout_s: float) -> Outcome:
    return critical(f"timed out after {timeout_s:g} s")


def clean_text(data: bytes) -> str:
    """As text to show: what is not UTF-8 or moves a terminal's cursor is replaced."""
    text = data.decode("utf-8", "replace")
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text).strip()


def reason_of(error: OSError) -> str:
    """Why the system refused, in its own words."""
    # asyncio puts its own words into `strerror`; resolver and TLS use `errno` for their own codes.
    if error.errno and not isinstance(error, socket.gaierror | ssl.SSLError):
        return os.strerror(error.errno)
    return error.strerror or str(error) or type(error).__name__
