"""What the core asks the driver to do, in order. Nothing else leaves the core."""

from dataclasses import dataclass

from beacond.core.events import Event
from beacond.core.messages import Envelope, Message


@dataclass(frozen=True, slots=True)
class Publish:
    """Broadcast once; lost if the bus can't take it now."""

    envelope: Envelope
    message: Message
    bus: str = ""
    """The only one that it is for; empty: all."""


@dataclass(frozen=True, slots=True)
class Send:
    """To the node `envelope.to` alone."""

    envelope: Envelope
    message: Message
    bus: str = ""
    """The only one that it is for; empty: all."""


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


Target = tuple[str, int]
"""(IP literal, port)"""


@dataclass(frozen=True, slots=True)
class Probe:
    """Try a TCP connection to each target; answer which accepted one with `Node.probed`."""

    number: int
    targets: tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class SaveRegistrations:
    """The registry changed by itself (a check's deregister-after, the end of a mode)."""


@dataclass(frozen=True, slots=True)
class SaveIncarnation:
    """Our incarnation was raised; the next start must be above it."""

    incarnation: int


Effect = Publish | Send | Emit | Changed | Dropped | Probe | SaveRegistrations | SaveIncarnation
