"""Values of the core as JSON: pure, sorted, and equal bytes for equal content.

No running age is in here, so that an answer can be rendered once and kept.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from beacond.core.events import Event
from beacond.core.local import CheckState, LocalInstance, ModeState
from beacond.core.model import Check, CheckType, Mode
from beacond.core.view import AgentView, InstanceView, ServiceView
from beacond.spec.durations import format_duration
from beacond.status import AgentStatus, BusStatus

Json = dict[str, Any]


def to_json(value: object) -> bytes:
    """One line of UTF-8, without a line's end."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def rfc3339(unix_s: float) -> str:
    """UTC, to the millisecond."""
    moment = datetime.fromtimestamp(round(unix_s, 3), UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def rfc3339_or_none(unix_s: float | None) -> str | None:
    return None if unix_s is None else rfc3339(unix_s)


def host_port(instance: InstanceView) -> bytes:
    """`192.0.2.1:80`, `[2001:db8::1]:80`, and a line's end."""
    address = f"[{instance.address}]" if ":" in instance.address else instance.address
    return f"{address}:{instance.port}\n".encode()


# ---- what this agent believes of everyone


def instance(view: InstanceView) -> Json:
    return {
        "id": view.id,
        "service": view.service,
        "node": view.node,
        "address": view.address,
        "addresses": list(view.addresses),
        "port": view.port,
        "ports": dict(view.ports),
        "tags": list(view.tags),
        "meta": dict(view.meta),
        "weight": view.weight,
        "zone": view.zone,
        "status": view.status.value,
        "mode": view.mode.value,
        "freshness": view.freshness.value,
    }


def lookup(
    service: str,
    index: int,
    stale_since: float | None,
    selected: tuple[InstanceView, ...],
    limit: int | None,
) -> Json:
    """The answer about one service. `selected` is in order; `limit` cuts it, `total` tells."""
    return {
        "service": service,
        "index": index,
        "stale_since": rfc3339_or_none(stale_since),
        "total": len(selected),
        "instances": [instance(each) for each in selected[:limit]],
    }


def service(view: ServiceView) -> Json:
    """One service with every instance, whatever its health."""
    return {
        "service": view.name,
        "index": view.index,
        "instances": [instance(each) for each in view.instances],
    }


def services(known: Mapping[str, ServiceView]) -> Json:
    return {"services": [_service_summary(known[name]) for name in sorted(known)]}


def _service_summary(service: ServiceView) -> Json:
    found = service.instances
    return {
        "name": service.name,
        "instances": len(found),
        "passing": sum(each.passing for each in found),
        "tags": sorted({tag for each in found for tag in each.tags}),
        "zones": sorted({each.zone for each in found if each.zone}),
    }


def agent(view: AgentView) -> Json:
    return {
        "node": view.node,
        "zone": view.zone,
        "addresses": list(view.addresses),
        "state": view.state.value,
        "incarnation": view.incarnation,
        "version": view.version,
        "instances": view.instances,
    }


def agents(known: Iterable[tuple[AgentView, float | None]]) -> Json:
    """Agents with the Unix seconds at which this agent last heard them."""
    listed = sorted(known, key=lambda pair: pair[0].node)
    return {
        "agents": [
            {**agent(view), "last_heard": rfc3339_or_none(heard_at)} for view, heard_at in listed
        ]
    }


# ---- what this host runs


def local_instance(local: LocalInstance) -> Json:
    spec = local.spec
    return {
        "id": spec.id,
        "service": spec.service,
        "address": local.addresses[0] if local.addresses else None,
        "addresses": list(local.addresses),
        "port": spec.port,
        "ports": dict(spec.ports),
        "tags": list(spec.tags),
        "meta": dict(spec.meta),
        "weight": spec.weight,
        "origin": local.origin,
        "status": local.status.value,
        **mode(local.mode),
        "checks": [_check_state(state) for state in local.checks],
    }


def mode(state: ModeState) -> Json:
    return {
        "mode": state.mode.value,
        "until": rfc3339_or_none(state.until) if state.mode is not Mode.NORMAL else None,
        "reason": state.reason,
    }


def _check_state(state: CheckState) -> Json:
    return {
        **_check(state.check),
        "status": state.status.value,
        "output": state.output,
        "checked_at": rfc3339_or_none(state.checked_at),
    }


def _check(check: Check) -> Json:
    """How it is done, with the fields that its type has."""
    shown: Json = {"name": check.name, "type": check.type.value}
    match check.type:
        case CheckType.HTTP:
            shown["url"] = check.url
        case CheckType.TCP:
            shown["port"] = check.port
        case CheckType.EXEC:
            shown["command"] = list(check.command)
        case CheckType.TTL:
            shown["ttl"] = format_duration(check.ttl_s)
    if check.type is not CheckType.TTL:
        shown["interval"] = format_duration(check.interval_s)
        shown["timeout"] = format_duration(check.timeout_s)
        shown["failures"] = check.failures
        shown["passes"] = check.passes
    after_s = check.deregister_after_s
    shown["deregister_after"] = None if after_s is None else format_duration(after_s)
    return shown


# ---- the agent itself


def status(of: AgentStatus, *, uptime_s: float, counts: Mapping[str, int]) -> Json:
    return {
        "node": of.node,
        "fleet": of.fleet,
        "zone": of.zone,
        "domain": of.domain,
        "incarnation": of.incarnation,
        "version": of.version,
        "started_at": rfc3339(of.started_at),
        "uptime": max(0, int(uptime_s)),
        "addresses": list(of.addresses),
        "bus": [_bus(bus) for bus in of.bus],
        "stale_since": rfc3339_or_none(of.stale_since),
        "ready": of.ready,
        "ready_reason": of.ready_reason,
        "mode": mode(of.mode),
        "conflict": of.conflict,
        "failing": [{"part": part, "reason": reason} for part, reason in of.failing],
        "held": sorted(of.held),
        "relays": {"used": of.relayed, "shards": list(of.relay_for)},
        "counts": dict(counts),
    }


def _bus(bus: BusStatus) -> Json:
    return {
        "url": bus.url,
        "state": bus.state,
        "since": rfc3339(bus.since),
        "mute": bus.mute,
        "reason": bus.reason,
        "agents": bus.agents,
    }


# ---- events


def event(event_id: str, happened: Event) -> Json:
    """`instance`, `agent`, `nodes` and `bus` only where the event is about such."""
    shown: Json = {
        "id": event_id,
        "time": rfc3339(happened.time),
        "kind": happened.kind.value,
        "reason": happened.reason,
    }
    if happened.instance is not None:
        shown["instance"] = instance(happened.instance)
    if happened.agent is not None:
        shown["agent"] = agent(happened.agent)
    if happened.nodes:
        shown["nodes"] = list(happened.nodes)
    if happened.bus:
        shown["bus"] = happened.bus
    return shown
