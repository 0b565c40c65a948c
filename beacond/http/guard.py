"""Who may change what this host offers.

Anyone on the host itself may; whoever comes from beyond loopback only where the config says so.
A web page in a browser on this host also comes from loopback: it is known by its `Origin`, which
browsers send with every request that is not GET or HEAD (Fetch standard, "append a request Origin
header"). Only pages that this agent itself served are let through, by a name that no one else can
point here: a name from the DNS could be (DNS rebinding), an address or `localhost` can't.
"""

from ipaddress import ip_address
from typing import Literal
from urllib.parse import urlsplit

from aiohttp import web

from beacond.http.problems import HttpProblem

Writes = Literal["local", "any"]
WRITING = frozenset(("PUT", "POST", "DELETE", "PATCH"))


def check_write(request: web.Request, *, writes: Writes, own_names: frozenset[str]) -> None:
    """Raises HttpProblem 403. `own_names`: host names, lower-case, that mean this agent."""
    if writes == "local" and not _from_loopback(request):
        raise HttpProblem(
            403, 'changes are taken from this host only; http_writes = "any" in the config opens it'
        )
    origin = request.headers.get("Origin")
    if origin is not None and not is_own_origin(origin, request.host, own_names):
        raise HttpProblem(403, "changes are not taken from web pages of another origin")


def _from_loopback(request: web.Request) -> bool:
    peer = request.transport.get_extra_info("peername") if request.transport else None
    if not peer:
        return False
    address = ip_address(peer[0].partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def is_own_origin(origin: str, host: str, own_names: frozenset[str]) -> bool:
    """Whether a page of this origin was served by us, `host` being the request's `Host`."""
    try:
        parts = urlsplit(origin.lower())
        name = parts.hostname or ""
    except ValueError:
        return False
    if parts.scheme not in ("http", "https") or parts.netloc != host.lower():
        return False
    return name in own_names or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
