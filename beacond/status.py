"""How an agent is, in one value: for `/v1/status`, metrics and readiness."""

from dataclasses import dataclass

from beacond.core.local import ModeState


@dataclass(frozen=True, slots=True)
class BusStatus:
    url: str
    state: str
    """`up`, `blind` (a session, but nothing is heard) or `down`."""
    since: float
    """Unix seconds."""
    mute: bool
    reason: str


@dataclass(frozen=True, slots=True)
class AgentStatus:
    node: str
    fleet: str
    zone: str
    domain: str
    incarnation: int
    version: str
    started_at: float
    """Unix seconds."""
    addresses: tuple[str, ...]
    bus: tuple[BusStatus, ...]
    stale_since: float | None
    ready: bool
    ready_reason: str
    mode: ModeState
    """The host's."""
    conflict: bool
    """Another agent speaks under our name and won: we answer, and publish nothing."""
    held: tuple[str, ...]
    """Nodes kept although silent, because too many fell silent at once."""
