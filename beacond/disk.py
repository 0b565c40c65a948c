"""The driver's and the agent's door to the data dir: what is loaded at start and saved later."""

import logging
import time
from collections.abc import Callable
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

log = logging.getLogger("beacond.store")


@dataclass(frozen=True, slots=True)
class Past:
    """What an agent knows of the time before its start."""

    identity: Identity
    registrations: Registrations
    snapshot: Snapshot | None

    @classmethod
    def load(cls, data: DataDir, *, node: str, fleet: str) -> "Past":
        """Raises StoreError. Draws the incarnation of this start."""
        return cls(
            data.identity.next_incarnation(int(time.time()), node=node, fleet=fleet),
            data.registrations.load(),
            data.snapshot.load(),
        )

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
    """Saves what must not be lost. Every call blocks: make it in a thread."""

    def __init__(self, data: DataDir) -> None:
        self._data = data

    def save_registrations(
        self,
        instances: tuple[Registration, ...],
        host_mode: ModeState,
        file_modes: tuple[tuple[str, ModeState], ...],
    ) -> None:
        """Raises NotPersisted."""
        self._or_refuse(
            lambda: self._data.registrations.save(Registrations(instances, host_mode, file_modes))
        )

    def save_incarnation(self, incarnation: int) -> None:
        """Raises NotPersisted."""
        self._or_refuse(lambda: self._data.identity.raise_to(incarnation))

    def save_snapshot(self, snapshot: Snapshot) -> None:
        """Raises NotPersisted."""
        self._or_refuse(lambda: self._data.snapshot.save(snapshot))

    def _or_refuse(self, save: Callable[[], None]) -> None:
        try:
            save()
        except StoreError as error:
            raise NotPersisted(str(error)) from error


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
