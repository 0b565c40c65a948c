"""Records ⇄ the bytes that their owner signed, which everybody else passes on untouched.

A record is sealed like a frame; its content is an array of fleet, node, incarnation, boot id,
version and body. What a newer agent adds to a body or an instance is ignored here, and survives
in `Record.raw`.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from ipaddress import IPv6Address
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

from beacond.core import names
from beacond.core.model import Body, Mode, Published, Record, Status
from beacond.wire import fields, sealed
from beacond.wire.errors import DecodeError, EncodeError
from beacond.wire.fields import Fields, malformed
from beacond.wire.keyring import Keyring
from beacond.wire.limits import (
    ADDRESSES_MAX,
    AGENT_VERSION_MAX,
    INSTANCES_MAX,
    META_KEY_MAX,
    META_MAX,
    META_VALUE_MAX,
    PORT_MAX,
    PORTS_MAX,
    RECORD_MAX,
    TAGS_MAX,
    WEIGHT_MAX,
)

if TYPE_CHECKING:
    from functools import _lru_cache_wrapper

T = TypeVar("T")

# The place in the tuple is the code on the wire.
STATUSES = (Status.PASSING, Status.WARNING, Status.CRITICAL)
MODES = (Mode.NORMAL, Mode.DRAINING, Mode.MAINTENANCE)
STATUS_CODES = {status: code for code, status in enumerate(STATUSES)}
MODE_CODES = {mode: code for code, mode in enumerate(MODES)}

_RECORD_FIELDS = 6
_FEW = 8
_KEPT = 1024
"""The instances of a service have mostly the same name, tags and metadata: so many of them, of
so few entries each, are read once and shared. Takes a third of the time of reading a record, and of
its memory. What is refused is not kept, so this holds some MiB at most, whoever sends."""


def seal_record(record: Record, *, fleet: str, keyring: Keyring | None) -> Record:
    """Our own record with `raw` filled in.

    Raises EncodeError where it exceeds a limit: what we can't read back nobody else could.
    """
    head = [fleet, record.node, record.incarnation, record.boot_id, record.version]
    try:
        content = fields.pack([*head, _body_fields(record.body)])
        raw = sealed.seal(sealed.RECORD, content, keyring)
        again = open_record(raw, fleet=fleet, keyring=None)
    except (ValueError, DecodeError) as error:
        raise EncodeError(f"a record that others would refuse: {error}") from error
    if again != record:
        raise EncodeError("a record that others would read differently")
    return replace(record, raw=raw)


def open_record(raw: bytes, *, fleet: str, keyring: Keyring | None) -> Record:
    """A record from its bytes; the tag is looked at only where there is a keyring.

    Raises DecodeError.
    """
    if len(raw) > RECORD_MAX:
        raise DecodeError("oversized", f"a record of {len(raw)} bytes")
    content = fields.unpack(sealed.unseal(sealed.RECORD, raw, keyring))
    if type(content) is not list or len(content) < _RECORD_FIELDS:
        raise malformed("record is no array of 6 or more")
    if content[0] != fleet:
        raise DecodeError("wrong-fleet")
    return Record(
        node=fields.label(content[1], "node"),
        incarnation=fields.incarnation(content[2]),
        boot_id=fields.boot_id(content[3]),
        version=fields.count(content[4], "version"),
        body=_body(fields.mapping(content[5], "body")),
        raw=raw,
    )


def _body_fields(body: Body) -> Fields:
    return _without_none(
        {
            "zone": body.zone or None,
            "addrs": list(body.addresses) or None,
            "agent": body.agent_version or None,
            "mode": MODE_CODES[body.mode] or None,
            "insts": [_instance_fields(instance) for instance in body.instances] or None,
            "relays": int(body.relays) or None,
        }
    )


def _instance_fields(instance: Published) -> Fields:
    return _without_none(
        {
            "id": instance.id,
            "svc": instance.service,
            "port": instance.port,
            "ports": dict(instance.ports) or None,
            "addr": instance.address,
            "tags": list(instance.tags) or None,
            "meta": dict(instance.meta) or None,
            "weight": None if instance.weight == 1 else instance.weight,
            "status": STATUS_CODES[instance.status] or None,
            "mode": MODE_CODES[instance.mode] or None,
        }
    )


def _without_none(written: Fields) -> Fields:
    """What has its default is not written: None in the maps above."""
    return {key: value for key, value in written.items() if value is not None}


def _body(written: Fields) -> Body:
    addresses = _addresses(written.get("addrs", []))
    listed = fields.array(written.get("insts", []), 0, INSTANCES_MAX, "insts")
    instances = tuple([_instance(fields.mapping(each, "instance")) for each in listed])
    _increasing([instance.id for instance in instances], "instances")
    if not addresses and any(instance.address is None for instance in instances):
        raise malformed("an instance without any address")
    return Body(
        zone=fields.label_or_empty(written.get("zone", ""), "zone"),
        addresses=addresses,
        agent_version=fields.text(written.get("agent", ""), _is_agent_version, "agent"),
        mode=mode(written.get("mode", 0)),
        instances=instances,
        relays=bool(fields.integer(written.get("relays", 0), 0, 1, "relays")),
    )


def _instance(written: Fields) -> Published:
    get = written.get
    return Published(
        fields.text(get("id"), names.is_instance_id, "id"),
        _shared(_service, get("svc")),
        _port(get("port")),
        _ports(fields.mapping(written["ports"], "ports")) if "ports" in written else (),
        _address(written["addr"]) if "addr" in written else None,
        _tags(written["tags"]) if "tags" in written else (),
        _meta(fields.mapping(written["meta"], "meta")) if "meta" in written else (),
        fields.integer(written["weight"], 0, WEIGHT_MAX, "weight") if "weight" in written else 1,
        _status(written["status"]) if "status" in written else Status.PASSING,
        mode(written["mode"]) if "mode" in written else Mode.NORMAL,
    )


def _shared(read: "_lru_cache_wrapper[T]", written: Any) -> T:
    try:
        return read(written)
    except TypeError:  # unhashable: it holds a list or a map
        raise malformed("a list or a map where text belongs") from None


@lru_cache(_KEPT)
def _service(written: object) -> str:
    return fields.label(written, "svc")


def _tags(written: object) -> tuple[str, ...]:
    listed = fields.array(written, 0, TAGS_MAX, "tags")
    if len(listed) > _FEW:
        return _checked_tags(tuple(listed))
    return _shared(_few_tags, tuple(listed))


def _checked_tags(tags: tuple[Any, ...]) -> tuple[str, ...]:
    for tag in tags:
        fields.text(tag, names.is_tag, "tag")
    _increasing(tags, "tags")
    return tags


_few_tags = lru_cache(_KEPT)(_checked_tags)


def _ports(written: Fields) -> tuple[tuple[str, int], ...]:
    return _pairs(written, PORTS_MAX, _port_pair, "ports")


def _meta(written: Fields) -> tuple[tuple[str, str], ...]:
    if len(written) > _FEW:
        return _pairs(written, META_MAX, _meta_pair, "meta")
    return _shared(_few_meta, tuple(written.items()))


@lru_cache(_KEPT)
def _few_meta(pairs: tuple[tuple[object, object], ...]) -> tuple[tuple[str, str], ...]:
    return _pairs(dict(pairs), META_MAX, _meta_pair, "meta")


def _status(code: object) -> Status:
    return STATUSES[fields.integer(code, 0, len(STATUSES) - 1, "status")]


def mode(code: object) -> Mode:
    return MODES[fields.integer(code, 0, len(MODES) - 1, "mode")]


def _pairs(
    found: Fields, most: int, pair: Callable[[object, object], tuple[str, Any]], what: str
) -> tuple[tuple[str, Any], ...]:
    """A map as pairs sorted by key, whatever order it was written in."""
    if len(found) > most:
        raise malformed(f"more than {most} {what}")
    return tuple(sorted([pair(key, value) for key, value in found.items()]))


def _port_pair(name: object, port: object) -> tuple[str, int]:
    return fields.text(name, names.is_port_name, "port name"), _port(port)


def _meta_pair(key: object, value: object) -> tuple[str, str]:
    return (
        fields.text(key, _is_meta_key, "meta key"),
        fields.text(value, _is_meta_value, "meta value"),
    )


def _port(value: object) -> int:
    return fields.integer(value, 1, PORT_MAX, "port")


def _addresses(written: object) -> tuple[str, ...]:
    listed = fields.array(written, 0, ADDRESSES_MAX, "addrs")
    found = tuple([_address(each) for each in listed])
    if len({":" in each for each in found}) < len(found):
        raise malformed("two addresses of one family")
    return found


def _address(value: object) -> str:
    return fields.text(value, _is_address, "address")


def _is_address(text: str) -> bool:
    if names.canonical_address(text) != text:
        return False
    # These have two usual spellings, and another meaning: IPv4.
    return not (text.startswith("::ffff:") and IPv6Address(text).ipv4_mapped is not None)


def _is_meta_key(text: str) -> bool:
    return 0 < len(text.encode()) <= META_KEY_MAX


def _is_meta_value(text: str) -> bool:
    return len(text.encode()) <= META_VALUE_MAX


def _is_agent_version(text: str) -> bool:
    return len(text.encode()) <= AGENT_VERSION_MAX


def _increasing(texts: Sequence[str], what: str) -> None:
    """Sorted and without repeats; UTF-8 sorts by bytes as it does by code points."""
    if any(a >= b for a, b in pairwise(texts)):
        raise malformed(f"{what} unsorted or repeated")
