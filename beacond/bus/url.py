"""Bus URLs: what they say, how they are shown, and which module speaks them.

`scheme://[user[:password]@][host[:port][,host[:port]...]][/path][?option=value&...]`, with
user, password, path and values percent-encoded where they hold reserved characters.

No error text of this module quotes the URL it refuses: it may hold a password in a place where
nobody expects one.
"""

import difflib
import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote

from beacond.bus.base import Bus, BusConfigError

SCHEMES = {
    "local": "beacond.bus.local:LocalBus",
    "amqp": "beacond.bus.amqp:AmqpBus",
    "amqps": "beacond.bus.amqp:AmqpBus",
}
"""Scheme to `module:class`. A module is imported when its scheme is first used, so that an agent
pays only for the buses it speaks. The class is called as `open_bus` is."""

URL_LENGTH_MAX = 2048
HOSTS_MAX = 16
WRITTEN = "in user, password and path write '@' as %40, ':' as %3A, '/' as %2F, '?' as %3F"

_HOST = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[^\s:\[\]@,%]+))(?::(?P<port>\d{1,5}))?"
)
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f]")


@dataclass(frozen=True, slots=True)
class BusUrl:
    scheme: str
    user: str | None
    password: str | None = field(repr=False)
    hosts: tuple[tuple[str, int | None], ...]
    """In the order written; IPv6 literals without brackets. Empty: none given."""
    path: str
    """As written, still encoded, without the slash that begins it."""
    options: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        """Without the password and the options: for logs, status and metrics."""
        user = "" if self.user is None else quote(self.user, safe="") + "@"
        hosts = ",".join(_show_host(host, port) for host, port in self.hosts)
        return f"{self.scheme}://{user}{hosts}" + (f"/{self.path}" if self.path else "")


def open_bus(url: str, *, fleet: str, node: str, incarnation: int) -> Bus:
    """The bus that `url` names, for one node of one fleet; it connects once it is run.

    Raises BusConfigError for a URL that can't work.
    """
    module, _, name = SCHEMES[parse(url).scheme].partition(":")
    make: Callable[..., Bus] = getattr(importlib.import_module(module), name)
    return make(url, fleet=fleet, node=node, incarnation=incarnation)


def parse(url: str) -> BusUrl:
    """Raises BusConfigError, saying what is allowed."""
    if len(url) > URL_LENGTH_MAX:
        raise BusConfigError(f"a bus URL has at most {URL_LENGTH_MAX} characters")
    if _UNPRINTABLE.search(url):
        raise BusConfigError("a bus URL holds no spaces and no control characters")
    scheme, separator, rest = url.partition("://")
    if not separator:
        raise BusConfigError("a bus URL looks like local:// or amqp://user:password@host/vhost")
    scheme = _known(scheme.lower())
    if "#" in rest:
        raise BusConfigError(f"{scheme}: write '#' as %23")
    location, _, query = rest.partition("?")
    authority, _, path = location.partition("/")
    if "@" in path or "@" in query:
        # More likely the end of a password with a bare '/' or '?' in it than part of a name.
        raise BusConfigError(f"{scheme}: {WRITTEN}")
    credentials, at, hosts = authority.rpartition("@")
    user, colon, password = credentials.partition(":")
    return BusUrl(
        scheme=scheme,
        user=unquote(user) if at else None,
        password=unquote(password) if colon else None,
        hosts=_parse_hosts(scheme, hosts),
        path=path,
        options=_parse_options(scheme, query),
    )


def redact(url: str) -> str:
    """`url` without its password, also where it can't be parsed."""
    try:
        return str(parse(url))
    except BusConfigError:
        scheme, separator, _ = url.partition("://")
        return f"{scheme}://..." if separator and scheme.lower() in SCHEMES else "..."


def _known(scheme: str) -> str:
    if scheme in SCHEMES:
        return scheme
    near = difflib.get_close_matches(scheme, SCHEMES, n=1)
    hint = f"did you mean {near[0]}://? " if near else ""
    allowed = ", ".join(f"{known}://" for known in SCHEMES)
    raise BusConfigError(f"unknown kind of bus {scheme[:20]!r}: {hint}known are {allowed}")


def _parse_hosts(scheme: str, text: str) -> tuple[tuple[str, int | None], ...]:
    if not text:
        return ()
    parts = text.split(",")
    if len(parts) > HOSTS_MAX:
        raise BusConfigError(f"{scheme}: at most {HOSTS_MAX} hosts in one URL")
    hosts: list[tuple[str, int | None]] = []
    for part in parts:
        found = _HOST.fullmatch(part)
        port = int(found["port"]) if found and found["port"] else None
        if found is None or port == 0 or (port or 1) > 65535:
            raise BusConfigError(
                f"{scheme}: hosts are written host:port,host:port with ports from 1 to 65535, "
                f"IPv6 in brackets; {WRITTEN}"
            )
        hosts.append((found["v6"] or found["name"], port))
    return tuple(hosts)


def _parse_options(scheme: str, query: str) -> tuple[tuple[str, str], ...]:
    try:
        return tuple(parse_qsl(query, strict_parsing=bool(query), max_num_fields=16))
    except ValueError:
        raise BusConfigError(f"{scheme}: options are written ?name=value&name=value") from None


def _show_host(host: str, port: int | None) -> str:
    shown = f"[{host}]" if ":" in host else host
    return shown if port is None else f"{shown}:{port}"
