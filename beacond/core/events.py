"""The event log: what happened, in this agent's order, bounded, resumable, honest about gaps."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

from beacond.core.view import AgentView, InstanceView


class Kind(StrEnum):
    INSTANCE_STARTED = "instance.started"
    INSTANCE_STOPPED = "instance.stopped"
    INSTANCE_REGISTERED = "instance.registered"
    INSTANCE_DEREGISTERED = "instance.deregistered"
    INSTANCE_CHANGED = "instance.changed"
    INSTANCE_HEALTH = "instance.health"
    INSTANCE_MODE = "instance.mode"
    AGENT_JOINED = "agent.joined"
    AGENT_SUSPECT = "agent.suspect"
    AGENT_RECOVERED = "agent.recovered"
    AGENT_LEFT = "agent.left"
    AGENT_EXPIRED = "agent.expired"
    AGENT_CONFLICT = "agent.conflict"
    VIEW_BLIND = "view.blind"
    VIEW_SIGHTED = "view.sighted"
    VIEW_HELD = "view.held"
    BUS_UP = "bus.up"
    BUS_DOWN = "bus.down"


@dataclass(frozen=True, slots=True)
class Event:
    seq: int
    """Grows by one with every event of this agent's incarnation."""
    time: float
    """Unix seconds on this host's clock: a label, never compared."""
    kind: Kind
    reason: str = ""
    instance: InstanceView | None = None
    """As it is after the event; before it where it is gone."""
    agent: AgentView | None = None
    nodes: tuple[str, ...] = ()
    """view.held: the nodes held."""
    bus: str = ""
    """bus.up, bus.down: which."""


class EventLog:
    """The last `capacity` events. Ids are `INCARNATION.SEQ`."""

    def __init__(self, incarnation: int, capacity: int) -> None:
        self.incarnation = incarnation
        self._events: deque[Event] = deque(maxlen=capacity)
        self._last_seq = 0

    @property
    def last_seq(self) -> int:
        return self._last_seq

    @property
    def last_id(self) -> str:
        return f"{self.incarnation}.{self._last_seq}"

    def id_of(self, event: Event) -> str:
        return f"{self.incarnation}.{event.seq}"

    def append(self, event: Event) -> None:
        """Take an event whose `seq` is `last_seq + 1`."""
        self._events.append(event)
        self._last_seq = event.seq

    def retained(self) -> Sequence[Event]:
        """All that is not forgotten, oldest first."""
        return list(self._events)

    def since(self, event_id: str) -> Sequence[Event] | None:
        """The events after `event_id`, oldest first; None where they can't all be told.

        None means that a reader must start again from the whole state: the id is of another
        incarnation, from the future, forgotten, or no id at all.
        """
        seq = self._seq_of(event_id)
        if seq is None or seq > self._last_seq:
            return None
        missing = self._last_seq - seq
        if missing > len(self._events):
            return None
        return list(islice(self._events, len(self._events) - missing, None))

    def _seq_of(self, event_id: str) -> int | None:
        incarnation, dot, seq = event_id.partition(".")
        if not dot or incarnation != str(self.incarnation):
            return None
        # isdecimal() alone would let through digits of other scripts.
        if not (seq.isascii() and seq.isdecimal() and len(seq) <= 16):
            return None
        return int(seq)
