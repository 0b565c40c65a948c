"""What the core asks the driver to do, in order. Nothing else leaves the core."""

from dataclasses import dataclass

from beacond.core.events import Event
from beacond.core.messages import Envelope, Message


@dataclass(frozen=True, slots=True)
class Publish:
    """Broadcast once; lost if the bus can't take it now."""

    envelope: Envelope
    message: Message


@dataclass(frozen=True, slots=True)
class Send:
    """To the node `envelope.to` alone."""

    envelope: Envelope
    message: Message


@dataclass(frozen=True, slots=True)
class Emit:
    """An event has been appended to the log."""

    event: Event


@dataclass(frozen=True, slots=True)
class Changed:
    """The answers of these services changed; all of them where `everything`."""

    services: tuple[str, ...]
    everything: bool = False


@dataclass(frozen=True, slots=True)
class Dropped:
    """A message from outside was not applied; counted by reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class ProbeNode:
    """Try a TCP connection to each target; answer with `Node.probed`."""

    node: str
    targets: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class SaveRegistrations:
    """The registry changed by itself (a check's deregister-after, the end of a mode)."""


@dataclass(frozen=True, slots=True)
class SaveIncarnation:
    """Our incarnation was raised; the next start must be above it."""

    incarnation: int


Effect = Publish | Send | Emit | Changed | Dropped | ProbeNode | SaveRegistrations | SaveIncarnation
