"""What a name may look like: one rule each, said in the words an error message needs.

Service and node names become DNS labels (RFC 1123), port names are RFC 6335 service names.
"""

import re
from ipaddress import IPv4Address, IPv6Address, ip_address

LABEL_RULE = "1 to 62 of a-z, 0-9 and '-', beginning and ending with a letter or digit"
PORT_NAME_RULE = (
    "RFC 6335: 1 to 15 of a-z, 0-9 and single '-', at least one letter, "
    "no '-' at either end, and neither 'tcp' nor 'udp'"
)
INSTANCE_ID_RULE = "1 to 255 printable ASCII characters"
TAG_RULE = "1 to 255 bytes of UTF-8 without control characters"
ADDRESS_RULE = "an IPv4 or IPv6 literal that another host can connect to"

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,60}[a-z0-9])?")
_PORT_NAME = re.compile(r"(?=.{1,15}\Z)(?=.*[a-z])(?!.*--)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
_PRINTABLE_ASCII = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def is_label(text: str) -> bool:
    """Whether `text` (already lower-cased) is a service, node or zone name."""
    return _LABEL.fullmatch(text) is not None


def is_port_name(text: str) -> bool:
    return _PORT_NAME.fullmatch(text) is not None and text not in ("tcp", "udp")


def is_instance_id(text: str) -> bool:
    return _PRINTABLE_ASCII.fullmatch(text) is not None


def is_tag(text: str) -> bool:
    return 0 < len(text.encode("utf-8", "replace")) <= 255 and not _CONTROL.search(text)


def canonical_address(text: str) -> str | None:
    """The one spelling of an IP literal, or None where no host could connect to it."""
    try:
        address: IPv4Address | IPv6Address = ip_address(text)
    except ValueError:
        return None
    # The mapped form is the same address; which spelling it prints with depends on the Python.
    address = getattr(address, "ipv4_mapped", None) or address
    if address.is_unspecified or address.is_multicast or "%" in text:
        return None
    return str(address)


def is_loopback(address: str) -> bool:
    """Whether a canonical address is this host's own, whichever host that is."""
    return address.startswith("127.") or address == "::1"
