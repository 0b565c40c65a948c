"""Which events tell that an instance changed. Replayed in order they rebuild the view."""

from collections.abc import Iterator

from beacond.core.events import Kind
from beacond.core.model import Mode, Status
from beacond.core.tables import Change
from beacond.core.view import InstanceView

Telling = tuple[Kind, str, InstanceView]


def tell(change: Change, gone_because: str) -> Iterator[Telling]:
    """(kind, reason, instance) in order: first what happened to it, then whether it may be used.

    `gone_because`: `deregistered`, `agent-left` or `agent-expired`.
    """
    match change:
        case (None, InstanceView() as new):
            yield Kind.INSTANCE_REGISTERED, "registered", new
            if new.passing:
                yield Kind.INSTANCE_STARTED, "registered", new
        case (InstanceView() as old, None):
            yield Kind.INSTANCE_DEREGISTERED, gone_because, old
            if old.passing:
                yield Kind.INSTANCE_STOPPED, gone_because, old
        case (InstanceView() as old, InstanceView() as new):
            if old.service != new.service:
                yield from tell((old, None), "replaced")
                yield from tell((None, new), gone_because)
            else:
                yield from _tell_changed(old, new)


def _tell_changed(old: InstanceView, new: InstanceView) -> Iterator[Telling]:
    replaced = _endpoint(old) != _endpoint(new)
    if replaced or _description(old) != _description(new):
        yield Kind.INSTANCE_CHANGED, "replaced" if replaced else "", new
    if old.status is not new.status:
        yield Kind.INSTANCE_HEALTH, new.status.value, new
    if old.mode is not new.mode:
        yield Kind.INSTANCE_MODE, new.mode.value, new
    if old.passing and (replaced or not new.passing):
        reason, last = ("replaced", old) if replaced else (_why_stopped(new), new)
        yield Kind.INSTANCE_STOPPED, reason, last
    if new.passing and (replaced or not old.passing):
        yield Kind.INSTANCE_STARTED, "registered" if replaced else "healthy", new


def _endpoint(instance: InstanceView) -> object:
    return (instance.addresses, instance.port, instance.ports)


def _description(instance: InstanceView) -> object:
    return (instance.tags, instance.meta, instance.weight, instance.zone)


def _why_stopped(new: InstanceView) -> str:
    return "critical" if new.status is Status.CRITICAL else Mode(new.mode).value
