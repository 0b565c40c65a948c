"""What an `amqp://` or `amqps://` URL says; see `beacond.bus.amqp` for how it is written."""

import ssl
from dataclasses import dataclass, field
from urllib.parse import unquote

from beacond.bus.base import BusConfigError
from beacond.bus.url import BusUrl, parse

DEFAULT_PORTS = {"amqp": 5672, "amqps": 5671}
VHOST_LENGTH_MAX = 255
TLS_OPTIONS = ("cafile", "certfile", "keyfile")


@dataclass(frozen=True, slots=True)
class TlsFiles:
    cafile: str | None
    certfile: str | None
    keyfile: str | None

    def context(self) -> ssl.SSLContext:
        """Verifies the broker's certificate and name. Raises OSError for an unusable file."""
        context = ssl.create_default_context(cafile=self.cafile)
        if self.certfile is not None:
            context.load_cert_chain(self.certfile, self.keyfile)
        return context


@dataclass(frozen=True, slots=True)
class AmqpUrl:
    hosts: tuple[tuple[str, int], ...]
    user: str
    password: str = field(repr=False)
    vhost: str
    tls: TlsFiles | None
    shown: str
    """Without the password."""


def parse_amqp(url: str) -> AmqpUrl:
    """Raises BusConfigError."""
    parsed = parse(url)
    scheme = parsed.scheme
    if not parsed.user or not parsed.password:
        # The libraries below would log in as guest, or with the password "guest".
        raise BusConfigError(
            f"{scheme}: user and password are needed: {scheme}://user:password@host/vhost"
        )
    if not parsed.hosts:
        raise BusConfigError(f"{scheme}: a host is needed: {scheme}://user:password@host/vhost")
    if "/" in parsed.path:
        raise BusConfigError(f"{scheme}: one vhost after the host; in its name write '/' as %2F")
    vhost = unquote(parsed.path) or "/"
    if len(vhost.encode()) > VHOST_LENGTH_MAX:
        raise BusConfigError(f"{scheme}: a vhost's name has at most {VHOST_LENGTH_MAX} bytes")
    return AmqpUrl(
        hosts=tuple((host, port or DEFAULT_PORTS[scheme]) for host, port in parsed.hosts),
        user=parsed.user,
        password=parsed.password,
        vhost=vhost,
        tls=_parse_tls(parsed),
        shown=str(parsed),
    )


def _parse_tls(parsed: BusUrl) -> TlsFiles | None:
    allowed = TLS_OPTIONS if parsed.scheme == "amqps" else ()
    options = dict(parsed.options)
    if unknown := sorted(options.keys() - set(allowed)):
        known = ", ".join(allowed) or "none (TLS is amqps://)"
        raise BusConfigError(f"{parsed.scheme}: unknown option {unknown[0]!r}; known: {known}")
    if parsed.scheme == "amqp":
        return None
    files = TlsFiles(options.get("cafile"), options.get("certfile"), options.get("keyfile"))
    if files.keyfile is not None and files.certfile is None:
        raise BusConfigError("amqps: keyfile without certfile")
    try:
        files.context()
    except (OSError, ValueError) as error:
        raise BusConfigError(f"amqps: unusable cafile, certfile or keyfile: {error}") from error
    return files
