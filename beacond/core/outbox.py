"""Gathers what one call into the core gives back, in order, and numbers it."""

from beacond.core.effects import Changed, Dropped, Effect, Emit, Publish, Send
from beacond.core.events import Event, EventLog, Kind
from beacond.core.messages import AnnounceRequest, Envelope, Message, ShardRequest, SyncRequest
from beacond.core.view import AgentView, InstanceView


class Outbox:
    """Effects of the call in progress, and the identity under which this node speaks."""

    def __init__(self, node: str, incarnation: int, boot_id: bytes, log: EventLog) -> None:
        self.node = node
        self.incarnation = incarnation
        self.boot_id = boot_id
        self.log = log
        self.wall_offset_s = 0.0
        """What to add to `now` for Unix time; the driver keeps it right."""
        self.muzzled = False
        """Another agent has our name: only ask, so as to go on answering."""
        self._counter = 0
        self._effects: list[Effect] = []

    def publish(self, message: Message, *, bus: str = "") -> None:
        """To all, over all buses or this one alone."""
        if not self.muzzled:
            self._effects.append(Publish(self._envelope(), message, bus))

    def send(self, to: str, message: Message, *, bus: str = "") -> None:
        """To one node, over all buses or this one alone."""
        if not self.muzzled or isinstance(message, AnnounceRequest | SyncRequest | ShardRequest):
            self._effects.append(Send(self._envelope(to), message, bus))

    def emit(
        self,
        now: float,
        kind: Kind,
        reason: str = "",
        *,
        instance: InstanceView | None = None,
        agent: AgentView | None = None,
        nodes: tuple[str, ...] = (),
        bus: str = "",
    ) -> None:
        event = Event(
            self.log.last_seq + 1, self.wall(now), kind, reason, instance, agent, nodes, bus
        )
        self.log.append(event)
        self._effects.append(Emit(event))

    def drop(self, reason: str) -> None:
        self._effects.append(Dropped(reason))

    def add(self, effect: Effect) -> None:
        self._effects.append(effect)

    def changed(self, services: tuple[str, ...], *, everything: bool) -> None:
        if services or everything:
            self._effects.append(Changed(services, everything))

    def wall(self, now: float) -> float:
        return now + self.wall_offset_s

    def take(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects

    def _envelope(self, to: str = "") -> Envelope:
        self._counter += 1
        return Envelope(self.node, self.incarnation, self.boot_id, self._counter, to)
