"""The seam between an agent and the bus that carries its messages.

A bus carries opaque bytes: to all agents of the fleet (our own included: hearing ourselves is how
we know that we are not deaf), or to one node. It promises nothing: messages may be lost, repeated
and reordered. It never keeps a message for later: what can't be sent now is lost, and the protocol
above repairs it. Buffered heartbeats would come out stale and keep the dead alive.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class BusState(StrEnum):
    DOWN = "down"
    """No session."""
    UP = "up"
    TX_BLOCKED = "tx_blocked"
    """Deliveries arrive and publishing is refused or stuck (a broker's memory or disk alarm)."""


@dataclass(frozen=True, slots=True)
class Delivery:
    data: bytes
    received_at: float
    """This host's monotonic seconds (`loop.time()`) when it was read."""


class BusSink(Protocol):
    """Who listens to a bus. Both are called in the event loop, never raise, never wait."""

    def received(self, bus: "Bus", batch: Sequence[Delivery]) -> None: ...

    def state_changed(self, bus: "Bus", state: BusState, reason: str) -> None:
        """`reason` is one short line for people; empty when all is well."""


class Bus(Protocol):
    """One connection to one bus, for one node of one fleet."""

    @property
    def url(self) -> str:
        """Without password: for logs, status and metrics."""

    @property
    def state(self) -> BusState: ...

    async def run(self, sink: BusSink) -> None:
        """Connect, listen and reconnect until cancelled. A bus that is away is not an error.

        Raises `BusConfigError` for what no retry can mend.
        """

    def broadcast(self, data: bytes) -> bool:
        """Hand over for sending to all; False: could not be sent, and won't be."""

    def send(self, node: str, data: bytes) -> bool:
        """The same to one node; a node that is not there is no error."""

    async def flush(self, timeout_s: float) -> bool:
        """Wait until what was handed over has left; False when the time ran out."""

    def spread_reconnects(self, seconds: float) -> None:
        """Reconnect after an outage at a random moment within so many seconds."""


class BusConfigError(ValueError):
    """A bus URL that can't work: unknown scheme, missing user, bad port. Says what is allowed."""
