"""What the driver needs of the world beside the bus, as the agent gives it."""

from typing import Protocol

from beacond.core.effects import Target as Target
from beacond.core.local import ModeState, Registration

Targets = tuple[Target, ...]


class Disk(Protocol):
    """What must survive a crash. Blocking calls, made in a thread; they raise NotPersisted where
    the disk refuses."""

    def save_registrations(
        self,
        instances: tuple[Registration, ...],
        host_mode: ModeState,
        file_modes: tuple[tuple[str, ModeState], ...],
    ) -> None: ...

    def save_incarnation(self, incarnation: int) -> None: ...


class Counters(Protocol):
    """Where the driver counts what passes through it."""

    def bus_message(self, direction: str, kind: str) -> None: ...

    def dropped(self, reason: str) -> None: ...

    def echo(self, seconds: float) -> None: ...
