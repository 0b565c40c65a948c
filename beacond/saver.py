"""Makes what this host offers durable, on a disk that may be slow or refuse."""

import asyncio
import logging
from collections.abc import Callable, Iterable

from beacond.core.local import ModeState, NotPersisted, Registration
from beacond.doors import Disk

log = logging.getLogger("beacond.driver")

RETRY_S = 5.0

Registered = tuple[tuple[Registration, ...], ModeState]
"""All registrations, and the host's mode."""


class Saver:
    """One writer at a time: who plans a change and saves it holds `turn` from plan to apply."""

    def __init__(
        self,
        disk: Disk,
        current: Callable[[], Registered],
        file_modes: Iterable[tuple[str, ModeState]],
    ) -> None:
        """`current` reads what to save when nobody says it.

        `file_modes`: modes from before the restart of instances whose file was not read yet.
        """
        self._disk = disk
        self._current = current
        self._file_modes = dict(file_modes)
        self._unsaved = self._saving = False
        self.turn = asyncio.Lock()

    async def save(self, instances: tuple[Registration, ...], host_mode: ModeState) -> None:
        """Raises NotPersisted."""
        file_modes = tuple(sorted(self._file_modes.items(), key=lambda item: item[0]))
        await asyncio.to_thread(self._disk.save_registrations, instances, host_mode, file_modes)

    def take_file_mode(self, instance_id: str) -> ModeState | None:
        return self._file_modes.pop(instance_id, None)

    def note_change(self) -> bool:
        """The registry changed by itself; True where `save_changes` has to be started."""
        self._unsaved = True
        started, self._saving = self._saving, True
        return not started

    async def save_changes(self) -> None:
        """Nobody waits for the disk here, so try until it takes it."""
        complained = False
        while self._unsaved:
            # First, so that a change made while this is being written is written after it.
            self._unsaved = False
            try:
                async with self.turn:
                    await self.save(*self._current())
            except NotPersisted as error:
                self._unsaved = True
                if not complained:
                    log.error("registrations not saved", extra={"reason": str(error)})
                complained = True
                await asyncio.sleep(RETRY_S)
        self._saving = False

    async def save_incarnation(self, incarnation: int) -> None:
        try:
            await asyncio.to_thread(self._disk.save_incarnation, incarnation)
        except NotPersisted as error:
            log.error("incarnation not saved", extra={"reason": str(error)})
