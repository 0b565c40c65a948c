"""One parser per kind of value: what TOML, an environment variable or a flag gave → a value.

Each raises `ValueError` with a text that completes "must be …", or says what is wrong. TOML gives
its own types; the environment and flags give text, or lists of text.
"""

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from beacond.bus.base import BusConfigError
from beacond.bus.url import open_bus
from beacond.core.names import ADDRESS_RULE, LABEL_RULE, canonical_address, is_label
from beacond.spec.durations import format_duration, parse_duration

Parse = Callable[[object], object]

BUSES_MAX = 8
RECURSORS_MAX = 8
DOMAIN_MAX = 100
"""Leaves room for the longest name we answer for: 135 octets before the domain, of 253 (RFC 1035
section 2.3.4)."""

_DOMAIN_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_HOST_PORT = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[^:\s\[\]]+)):(?P<port>[0-9]{1,5})"
)
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


@dataclass(frozen=True, slots=True)
class Listen:
    """Where to listen, or whom to ask. Port 0: the kernel picks one."""

    host: str
    """Canonical IP literal, without brackets."""
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def nearest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """`; did you mean 'X'?`, or nothing where nothing is near."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=cutoff)
    return f"; did you mean {found[0]!r}?" if found else ""


def text(raw: object) -> str:
    if not isinstance(raw, str):
        raise ValueError(f"must be a string, not {_toml_type(raw)}")
    return raw.strip()


def label(raw: object) -> str:
    word = text(raw).lower()
    if not is_label(word):
        raise ValueError(f"must be {LABEL_RULE}")
    return word


def label_or_nothing(raw: object) -> str:
    return label(raw) if text(raw) else ""


def domain(raw: object) -> str:
    name = text(raw).lower().rstrip(".")
    labels = name.split(".")
    if len(name) > DOMAIN_MAX or not all(_DOMAIN_LABEL.fullmatch(part) for part in labels):
        raise ValueError(
            f"must be a DNS name of at most {DOMAIN_MAX} characters, such as beacon.internal"
        )
    return name


def duration(least_s: float, most_s: float, *, whole: bool = False) -> Parse:
    """Seconds from a string with a unit, within limits; `whole`: no fraction of a second."""

    def parse(raw: object) -> float | int:
        allowed = duration_limits(least_s, most_s, whole=whole)
        try:
            seconds = parse_duration(raw) if isinstance(raw, str) else None
        except ValueError:
            seconds = None
        if seconds is None:
            raise ValueError(f'must be a duration with a unit, such as "5s" or "1m30s" ({allowed})')
        if not least_s <= seconds <= most_s or (whole and seconds != int(seconds)):
            raise ValueError(f"must be {allowed}")
        return int(seconds) if whole else seconds

    return parse


def duration_limits(least_s: float, most_s: float, *, whole: bool = False) -> str:
    span = f"{format_duration(least_s)} to {format_duration(most_s)}"
    return f"{span}, whole seconds" if whole else span


def whole_number(least: int, most: int) -> Parse:
    def parse(raw: object) -> int:
        digits = str(raw) if type(raw) is int else text(raw)
        if not (digits.isascii() and digits.isdigit() and least <= int(digits) <= most):
            raise ValueError(f"must be a whole number from {least} to {most}")
        return int(digits)

    return parse


def one_of(*words: str) -> Parse:
    def parse(raw: object) -> str:
        word = text(raw).lower()
        if word not in words:
            raise ValueError(f"must be {' or '.join(words)}{nearest(word, words)}")
        return word

    return parse


def boolean(raw: object) -> bool:
    if isinstance(raw, bool):
        return raw
    word = raw.strip().lower() if isinstance(raw, str) else None
    if word not in _TRUE + _FALSE:
        raise ValueError("must be true or false")
    return word in _TRUE


def path(raw: object) -> Path:
    """Made absolute by the loader: what a path is relative to depends on where it was given."""
    word = text(raw)
    if not word or "\0" in word:
        raise ValueError("must be a path")
    return Path(word)


def listen_or_off(raw: object) -> Listen | None:
    word = text(raw).lower()
    return None if word == "off" else _listen(word, 'must be HOST:PORT or "off"')


def _listen(word: str, must_be: str, *, default_port: int | None = None) -> Listen:
    if default_port is not None and canonical_address(word) is not None:
        return Listen(str(ip_address(word)), default_port)
    found = _HOST_PORT.fullmatch(word)
    if found is None:
        raise ValueError(f"{must_be}, such as 127.0.0.1:8650 or [::1]:8650")
    host = found["v6"] or ("127.0.0.1" if found["host"] == "localhost" else found["host"])
    try:
        address = str(ip_address(host))
    except ValueError:
        raise ValueError(f"{must_be}: HOST is an IP address (IPv6 in brackets)") from None
    port = int(found["port"])
    if port > 65535:
        raise ValueError(f"{must_be}: PORT is 0 to 65535")
    return Listen(address, port)


def advertise(raw: object) -> tuple[str, ...]:
    """IP literals, at most one a family."""
    found = []
    for word in _words(raw):
        address = canonical_address(word)
        if address is None:
            raise ValueError(f"{word!r} is refused: must be {ADDRESS_RULE}")
        found.append(address)
    families = [":" in address for address in found]
    if len(set(families)) != len(families):
        raise ValueError("must be at most one IPv4 and one IPv6 address")
    return tuple(found)


def recursors(raw: object) -> tuple[Listen, ...]:
    found = tuple(
        _listen(word, "must be IP addresses, each with or without :PORT", default_port=53)
        for word in _words(raw)
    )
    if len(found) > RECURSORS_MAX:
        raise ValueError(f"must be at most {RECURSORS_MAX} addresses")
    if any(server.port == 0 for server in found):
        raise ValueError("must be servers with a port of 1 to 65535")
    return found


def bus_urls(raw: object) -> tuple[str, ...]:
    """URLs of buses. No message repeats a URL: it may hold a password."""
    urls = tuple(_words(raw))
    if not 1 <= len(urls) <= BUSES_MAX:
        raise ValueError(f"must be 1 to {BUSES_MAX} URLs")
    shown: set[str] = set()
    for number, url in enumerate(urls, 1):
        which = f"URL {number}: " if len(urls) > 1 else ""
        try:
            # Made and thrown away: only the bus itself knows all that its URL may say.
            bus = open_bus(url, fleet="check", node="check", incarnation=1)
        except BusConfigError as error:
            raise ValueError(f"{which}{error}") from None
        if bus.url in shown:
            # Its password and options make it no other bus.
            raise ValueError(f"{which}names the same bus twice")
        shown.add(bus.url)
    return urls


def _words(raw: object) -> Sequence[str]:
    words = [raw] if isinstance(raw, str) else raw
    if not isinstance(words, list | tuple) or not all(isinstance(word, str) for word in words):
        raise ValueError("must be a list of strings")
    return [word.strip() for word in words]


def _toml_type(raw: object) -> str:
    match raw:
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case list():
            return "a list"
        case dict():
            return "a table"
        case _:
            return "a date or time"
