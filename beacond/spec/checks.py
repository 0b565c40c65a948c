"""Checks as users write them: which fields each type has, and the core's `Check` they become."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from beacond.core.model import Check, CheckType, Status
from beacond.spec.durations import parse_duration
from beacond.spec.fields import (
    COMMAND_MAX,
    Argument,
    CheckName,
    DeregisterAfter,
    Interval,
    Path,
    Port,
    Strict,
    Threshold,
    Timeout,
    Ttl,
    Url,
)
from beacond.spec.problems import Problem, SpecError

StatusWord = Literal["passing", "warning", "critical"]


class _Check(Strict):
    name: CheckName | None = None
    deregister_after: DeregisterAfter | None = None
    status: StatusWord = "critical"


class _Polled(_Check):
    interval: Interval = "10s"
    timeout: Timeout = "5s"
    failures: Threshold = 3
    passes: Threshold = 1


class HttpCheck(_Polled):
    type: Literal["http"]
    url: Url | None = None
    path: Path | None = None
    port: Port | None = None


class TcpCheck(_Polled):
    type: Literal["tcp"]
    port: Port | None = None


class TtlCheck(_Check):
    type: Literal["ttl"]
    ttl: Ttl


class ExecCheck(_Polled):
    type: Literal["exec"]
    command: Annotated[list[Argument], Field(min_length=1, max_length=COMMAND_MAX)]


CheckTable = Annotated[HttpCheck | TcpCheck | TtlCheck | ExecCheck, Field(discriminator="type")]


def to_checks(
    tables: Sequence[CheckTable], *, address: str, port: int, allow_exec: bool
) -> tuple[Check, ...]:
    """The core's checks. `address` and `port` are the instance's, to make a path a URL.

    Raises SpecError.
    """
    problems = [
        problem
        for number, table in enumerate(tables)
        for problem in _problems(table, f"checks[{number}]", allow_exec=allow_exec)
    ]
    given = [table.name for table in tables if table.name is not None]
    problems += [
        Problem(f"checks[{number}].name", "is the name of another check of this instance")
        for number, table in enumerate(tables)
        if table.name is not None and given.index(table.name) < _rank(tables, number)
    ]
    if problems:
        raise SpecError(problems)
    checks: list[Check] = []
    for table in tables:
        name = table.name or _free_name(table.type, {*given, *(check.name for check in checks)})
        checks.append(_to_check(table, name, address=address, port=port))
    return tuple(checks)


def _rank(tables: Sequence[CheckTable], number: int) -> int:
    """How many named checks come before this one."""
    return sum(table.name is not None for table in tables[:number])


def _free_name(wanted: str, taken: set[str]) -> str:
    number, name = 1, wanted
    while name in taken:
        number += 1
        name = f"{wanted}-{number}"
    return name


def _problems(table: CheckTable, field: str, *, allow_exec: bool) -> list[Problem]:
    match table:
        case HttpCheck() if (table.url is None) == (table.path is None):
            return [Problem(field, "an http check needs either url or path")]
        case HttpCheck() if table.url is not None and table.port is not None:
            return [Problem(f"{field}.port", "goes with path; a url has its own port")]
        case ExecCheck() if not allow_exec:
            return [
                Problem(
                    f"{field}.type",
                    "exec checks are accepted only from a file in services_dir, "
                    "and only with allow_exec = true in the config",
                )
            ]
        case ExecCheck() if not table.command[0]:
            return [Problem(f"{field}.command[0]", "must name a program")]
    return []


def _to_check(table: CheckTable, name: str, *, address: str, port: int) -> Check:
    after = table.deregister_after
    deregister_after_s = parse_duration(after) if after is not None else None
    initial = Status(table.status)
    if isinstance(table, TtlCheck):
        return Check(
            type=CheckType.TTL,
            name=name,
            ttl_s=parse_duration(table.ttl),
            deregister_after_s=deregister_after_s,
            initial=initial,
        )
    return Check(
        type=CheckType(table.type),
        name=name,
        url=_url(table, address, port) if isinstance(table, HttpCheck) else None,
        port=(table.port or port) if isinstance(table, TcpCheck) else None,
        command=tuple(table.command) if isinstance(table, ExecCheck) else (),
        interval_s=parse_duration(table.interval),
        timeout_s=parse_duration(table.timeout),
        failures=table.failures,
        passes=table.passes,
        deregister_after_s=deregister_after_s,
        initial=initial,
    )


def _url(check: HttpCheck, address: str, port: int) -> str:
    if check.url is not None:
        return check.url
    host = f"[{address}]" if ":" in address else address
    return f"http://{host}:{check.port or port}{check.path}"
