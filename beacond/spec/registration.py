"""What a program, a person or a file asks for, read strictly into the core's words.

Registrations come as the body of `PUT /v1/instances/{id}` or as `[[instance]]` tables of a file in
`services_dir`; reports of health and changes of mode over HTTP. Everything raises `SpecError` with
every problem found, and then nothing was changed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from beacond.core.model import InstanceSpec, Mode, Status
from beacond.spec.checks import CheckTable, StatusWord, to_checks
from beacond.spec.durations import parse_duration
from beacond.spec.fields import (
    CHECKS_MAX,
    META_MAX,
    PORTS_MAX,
    TAGS_MAX,
    Address,
    CheckName,
    InstanceId,
    MetaKey,
    MetaValue,
    ModeFor,
    Port,
    PortName,
    Reason,
    ServiceName,
    Strict,
    Tag,
    Text,
    Weight,
)
from beacond.spec.problems import Problem, SpecError
from beacond.spec.validation import validate

OUTPUT_CHARS_MAX = 4096
"""Of a report of health; what is longer is cut, not refused: health matters more than its text."""


def _distinct(ports: object) -> object:
    if isinstance(ports, dict) and len({str(name).lower() for name in ports}) < len(ports):
        raise ValueError("two names differ only in the case of letters")
    return ports


Ports = Annotated[dict[PortName, Port], BeforeValidator(_distinct), Field(max_length=PORTS_MAX)]


class InstanceTable(Strict):
    """An `[[instance]]` table; the body of a PUT is the same, with its id in the path."""

    id: InstanceId
    service: ServiceName
    port: Port
    ports: Ports = Field(default_factory=dict)
    address: Address | None = None
    tags: Annotated[list[Tag], Field(default_factory=list, max_length=TAGS_MAX)]
    meta: Annotated[dict[MetaKey, MetaValue], Field(default_factory=dict, max_length=META_MAX)]
    weight: Weight = 1
    checks: Annotated[list[CheckTable], Field(default_factory=list, max_length=CHECKS_MAX)]


class _HealthBody(Strict):
    status: StatusWord
    output: Text = ""
    check: CheckName | None = None


class _ModeBody(Strict):
    mode: Literal["normal", "draining", "maintenance"]
    for_: Annotated[ModeFor, Field(alias="for")] = ""
    """Empty: not said."""
    reason: Reason = ""


@dataclass(frozen=True, slots=True)
class HealthReport:
    status: Status
    output: str
    check: str | None
    """Which ttl check; None: the only one, or all."""


@dataclass(frozen=True, slots=True)
class ModeRequest:
    mode: Mode
    for_s: float | None
    """None: the mode's default."""
    reason: str


def parse_registration(
    instance_id: str, data: object, *, default_address: str, allow_exec: bool = False
) -> InstanceSpec:
    """The body of `PUT /v1/instances/{id}`.

    `default_address` (an IP literal) completes the URL of an http check with a `path` where the
    instance has no address of its own.
    """
    if not isinstance(data, Mapping):
        raise SpecError([Problem("", "must be an object")])
    if "id" in data:
        raise SpecError([Problem("id", "is given by the path")])
    return parse_instance(
        {**data, "id": instance_id}, default_address=default_address, allow_exec=allow_exec
    )


def parse_instance(data: object, *, default_address: str, allow_exec: bool = False) -> InstanceSpec:
    """An `[[instance]]` table, its `id` among the fields."""
    table = validate(InstanceTable, data)
    checks = to_checks(
        table.checks,
        address=table.address or default_address,
        port=table.port,
        allow_exec=allow_exec,
    )
    return InstanceSpec(
        id=table.id,
        service=table.service,
        port=table.port,
        ports=tuple(sorted(table.ports.items())),
        address=table.address,
        tags=tuple(sorted(set(table.tags))),
        meta=tuple(sorted(table.meta.items())),
        weight=table.weight,
        checks=checks,
    )


def parse_health(data: object) -> HealthReport:
    """The body of `PUT /v1/instances/{id}/health`."""
    body = validate(_HealthBody, data)
    return HealthReport(Status(body.status), body.output[:OUTPUT_CHARS_MAX], body.check)


def parse_mode(data: object) -> ModeRequest:
    """The body of `PUT /v1/mode` and `PUT /v1/instances/{id}/mode`."""
    body = validate(_ModeBody, data)
    if body.for_ and body.mode == "normal":
        raise SpecError([Problem("for", "goes with draining and maintenance; normal has no end")])
    for_s = parse_duration(body.for_) if body.for_ else None
    return ModeRequest(Mode(body.mode), for_s, body.reason)
