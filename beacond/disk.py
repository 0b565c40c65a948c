"""The driver's and the agent's door to the data dir: what is loaded at start and saved later."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from dataclasses import dataclass

from beacond.core.local import ModeState, NotPersisted, Registration
from beacond.core.messages import Tombstone
from beacond.core.model import Record, Status
from beacond.core.node import Node
from beacond.driver import Driver
from beacond.store.datadir import DataDir
from beacond.store.durable import StoreError
from beacond.store.identity import Identity
from beacond.store.registrations import Registrations
from beacond.store.snapshot import Snapshot
from beacond.wire import Codec, DecodeError

PART = "data_dir"
"""How `failing` calls what this module minds."""
RETRY_MIN_S = 0.5
RETRY_MAX_S = 10.0

log = logging.getLogger("beacond.store")


@dataclass(frozen=True, slots=True)
class Past:
    """What an agent knows of the time before its start."""

    identity: Identity
    registrations: Registrations
    snapshot: Snapshot | None
    refused: str = ""
    """Why this start's incarnation is not on disk; empty: it is."""

    @classmethod
    def load(cls, data: DataDir, *, node: str, fleet: str) -> "Past":
        """Draw the incarnation of this start, and read what there is.

        Raises StoreError where there is a past that can't be read. A disk that takes nothing is
        no reason not to start: see `IdentityFile` for why that is safe.
        """
        identity = data.identity.next_incarnation(int(time.time()), node=node, fleet=fleet)
        registrations, snapshot, refused = data.registrations.load(), data.snapshot.load(), ""
        try:
            data.ready()
        except StoreError as error:
            refused = str(error)
        return cls(identity, registrations, snapshot, refused)

    @property
    def former(self) -> tuple[str, int] | None:
        """The node name spoken for before, where it was another, and its last incarnation."""
        name = self.identity.previous_node
        return None if name is None else (name, max(self.identity.previous_incarnation, 1))

    def statuses(self) -> dict[str, dict[str, Status]]:
        own_checks = {} if self.snapshot is None else self.snapshot.own_checks
        return {
            instance_id: {name: status for name, status, _ in checks}
            for instance_id, checks in own_checks.items()
        }

    def records(self, codec: Codec) -> list[Record]:
        """Not verified again: they were when they came, and the keys may have changed since."""
        found, bad = [], 0
        for raw in () if self.snapshot is None else self.snapshot.records:
            try:
                found.append(codec.open(raw, verify=False))
            except DecodeError:
                bad += 1
        if bad:
            log.warning("records of the snapshot not read", extra={"count": bad})
        return found

    def tombstones(self) -> list[Tombstone]:
        found = () if self.snapshot is None else self.snapshot.tombstones
        return [Tombstone(node, incarnation) for node, incarnation in found]


class Disk:
    """Saves what must not be lost, and minds whether the disk takes it.

    The `save` calls block: make them in a thread.
    """

    def __init__(self, data: DataDir, refused: str = "") -> None:
        """`refused`: why the disk did not take what it was given until now, if so."""
        self._data = data
        self._loop = asyncio.get_running_loop()
        self._turn = threading.Lock()
        self._refused = {"incarnation": refused} if refused else {}
        self._changed = asyncio.Event()
        self._changed.set()

    @property
    def refused(self) -> str:
        """Why the disk does not take what we give it; empty: it does, as far as we know."""
        with self._turn:
            return next(iter(self._refused.values()), "")

    def save_registrations(
        self,
        instances: tuple[Registration, ...],
        host_mode: ModeState,
        file_modes: tuple[tuple[str, ModeState], ...],
    ) -> None:
        """Raises NotPersisted."""
        registrations = Registrations(instances, host_mode, file_modes)
        self._save("registrations", lambda: self._data.registrations.save(registrations))

    def save_incarnation(self, incarnation: int) -> None:
        """Raises NotPersisted; `mind` tries again."""
        self._save("incarnation", lambda: self._data.identity.raise_to(incarnation))

    def save_snapshot(self, snapshot: Snapshot) -> None:
        """Raises NotPersisted."""
        self._save("snapshot", lambda: self._data.snapshot.save(snapshot))

    async def mind(self, failing: MutableMapping[str, str]) -> None:
        """While the disk refuses, say so in `failing` and try until it does not. Never returns."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            if reason := self.refused:
                log.error("data dir refuses", extra={"reason": reason})
                try:
                    await self._until_it_takes(failing)
                finally:
                    failing.pop(PART, None)
                log.info("data dir takes again")

    async def _until_it_takes(self, failing: MutableMapping[str, str]) -> None:
        delay_s = RETRY_MIN_S
        while reason := self.refused:
            failing[PART] = reason
            with suppress(TimeoutError):
                async with asyncio.timeout(delay_s):
                    await self._changed.wait()
            self._changed.clear()
            with suppress(NotPersisted):
                await asyncio.to_thread(self._try_again)
            delay_s = min(2 * delay_s, RETRY_MAX_S)

    def _try_again(self) -> None:
        """A registration that was refused is its caller's to repeat; that it could be now is
        ours to find out. Snapshots come again by themselves."""
        self._save("incarnation", self._data.try_write)
        self._note("registrations", "")

    def _save(self, what: str, save: Callable[[], None]) -> None:
        try:
            save()
        except StoreError as error:
            self._note(what, str(error))
            raise NotPersisted(str(error)) from error
        self._note(what, "")

    def _note(self, what: str, reason: str) -> None:
        with self._turn:
            before = self._refused.pop(what, "")
            if reason:
                self._refused[what] = reason
        if before != reason:
            self._loop.call_soon_threadsafe(self._changed.set)


def take_snapshot(core: Node, driver: Driver) -> Snapshot:
    """The view as it is now. Records that only a newer agent can read are kept as they came."""
    return Snapshot(
        records=tuple(r.raw for r in core.records() if r.raw is not None),
        tombstones=tuple((t.node, t.incarnation) for t in core.tombstones()),
        index=core.view.index,
        own_checks={
            i.spec.id: tuple((c.check.name, c.status, c.output) for c in i.checks)
            for i in driver.local_instances()
            if i.checks
        },
        saved_at=driver.now_unix(),
    )
