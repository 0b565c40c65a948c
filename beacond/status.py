"""How an agent is, in one value: for `/v1/status`, metrics and readiness."""

from dataclasses import dataclass

from beacond.bus.base import BusState
from beacond.core.local import ModeState
from beacond.core.view import Reach


@dataclass(frozen=True, slots=True)
class BusStatus:
    url: str
    state: str
    """`up`, `blind` (a session, but nothing is heard) or `down`."""
    since: float
    """Unix seconds."""
    mute: bool
    """It brings us others, and us to nobody."""
    reason: str
    agents: int
    """Other agents heard on it lately."""


@dataclass(frozen=True, slots=True)
class BusNow:
    """What a bus last said of itself."""

    state: BusState
    since: float
    """Unix seconds."""
    reason: str

    def status(self, url: str, reach: Reach, wall_offset_s: float) -> BusStatus:
        """With what the agent knows better: a session through which nothing is heard is blind.

        `wall_offset_s`: what to add to monotonic seconds for Unix time.
        """
        state, since = "up", self.since
        if self.state is BusState.DOWN:
            state = "down"
        elif not reach.in_sight:
            state = "blind"
            if reach.proof_at is not None:
                since = reach.proof_at + wall_offset_s
        return BusStatus(url, state, since, reach.mute, self.reason, reach.agents)


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
    failing: tuple[tuple[str, str], ...]
    """(part, reason) of what does not work now and is tried again: a port in use, say."""
    held: tuple[str, ...]
    """Nodes kept although silent, because too many fell silent at once."""
    relayed: bool
    """Our heartbeats go to relays, who vouch for us."""
    relay_for: tuple[int, ...]
    """The shards whose nodes send us their heartbeats."""
