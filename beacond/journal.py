"""Events as log lines: what an operator reads at 3 a.m., one line for each change."""

import logging

from beacond.core.events import Event, Kind
from beacond.core.view import InstanceView

log = logging.getLogger("beacond.events")

_LEVELS = {
    # The bus tells of itself, with more to say.
    Kind.BUS_UP: logging.DEBUG,
    Kind.BUS_DOWN: logging.DEBUG,
    Kind.AGENT_CONFLICT: logging.ERROR,
    Kind.VIEW_BLIND: logging.WARNING,
    Kind.VIEW_HELD: logging.WARNING,
}
_TOLD_BY_THE_NEXT = (Kind.INSTANCE_REGISTERED, Kind.INSTANCE_DEREGISTERED)
"""`instance.started` or `.stopped` follows where the instance may be used."""


def write(event: Event) -> None:
    """Log one event."""
    level = _LEVELS.get(event.kind, logging.INFO)
    if event.kind in _TOLD_BY_THE_NEXT and event.instance and event.instance.passing:
        level = logging.DEBUG
    if log.isEnabledFor(level):
        log.log(level, event.kind.value, extra=_facts(event))


def _facts(event: Event) -> dict[str, str]:
    facts: dict[str, str] = {}
    if event.instance is not None:
        facts |= _instance(event.instance)
    if event.agent is not None:
        facts["node"] = event.agent.node
    if event.nodes:
        facts["nodes"] = " ".join(event.nodes[:10])
        facts["count"] = str(len(event.nodes))
    if event.bus:
        facts["bus"] = event.bus
    if event.reason:
        facts["reason"] = event.reason
    return facts


def _instance(instance: InstanceView) -> dict[str, str]:
    return {
        "service": instance.service,
        "id": instance.id,
        "node": instance.node,
        "address": _hostport(instance.address, instance.port),
        "status": instance.status.value,
    }


def _hostport(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
