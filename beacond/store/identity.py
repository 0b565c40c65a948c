"""Who this agent was at its last start: what keeps its incarnation growing."""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from beacond.core.model import INCARNATION_MAX
from beacond.store.durable import Damaged, StoredFile, StoreError

FORMAT = 1
SIZE_MAX = 65536
KERNEL_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

log = logging.getLogger("beacond.store")


@dataclass(frozen=True, slots=True)
class Identity:
    previous_node: str | None
    """The name this agent last ran under in this fleet, where that is another one."""
    previous_incarnation: int
    """0: none is known."""
    incarnation: int
    rebooted: bool
    """The kernel has started since the last start of the agent, or nothing is known of that."""


@dataclass(frozen=True, slots=True)
class _Stored:
    node: str
    fleet: str
    incarnation: int
    kernel_boot_id: str


class IdentityFile:
    """`next_incarnation` once, then `persist` until the disk takes it.

    A start whose incarnation is not on disk yet may be used: the one after it could draw the same
    again, or a lower one if the clock went back, and only if this one dies before the disk took it.
    Others then see another boot id; they take the greater of two with one incarnation, and tell
    whoever comes with less, who raises its own. So a full disk costs a heartbeat or two at the
    next start, where waiting for room would cost all answers until then.
    """

    def __init__(
        self,
        path: Path,
        kernel_boot_id: Path = KERNEL_BOOT_ID,
        ready: Callable[[], None] = lambda: None,
    ) -> None:
        """`ready` is called before each write; see `StoredFile`."""
        self._file = StoredFile(path, ready)
        self._kernel_boot_id = kernel_boot_id
        self._drawn: _Stored | None = None
        self._durable = False

    def next_incarnation(self, now_unix: int, *, node: str, fleet: str) -> Identity:
        """Draw the incarnation of this start, above any on disk; `persist` puts it there.

        The wall clock only seeds it, so that a lost disk is unlikely to go back. Raises
        StoreError where the file is there and we may not have it.
        """
        with self._file.turn:
            before = self._file.load(SIZE_MAX, _decode)
            previous = before.incarnation if before is not None else 0
            incarnation = min(max(previous + 1, now_unix, 1), INCARNATION_MAX)
            if incarnation == previous:
                log.error("incarnation can't grow any more", extra={"incarnation": incarnation})
            boot_id = self._read_boot_id()
            self._drawn = _Stored(node, fleet, incarnation, boot_id)
        renamed = before is not None and before.fleet == fleet and before.node != node
        return Identity(
            previous_node=before.node if before is not None and renamed else None,
            previous_incarnation=previous,
            incarnation=incarnation,
            rebooted=before is None or before.kernel_boot_id != boot_id,
        )

    def persist(self, *, anew: bool = False) -> None:
        """Make sure that the next start is above this one. Raises StoreError.

        `anew`: write it also where it is on disk, to try whether the disk takes it.
        """
        with self._file.turn:
            if anew or not self._durable:
                self._save()

    def raise_to(self, incarnation: int) -> None:
        """Make sure that the next start is above `incarnation`. Never lowers it.

        After `next_incarnation` only. Raises StoreError; `persist` tries again.
        """
        with self._file.turn:
            if self._drawn is None:
                raise StoreError(f"{self._file.path}: no incarnation was drawn yet")
            if self._drawn.incarnation < incarnation:
                self._drawn = replace(self._drawn, incarnation=min(incarnation, INCARNATION_MAX))
                self._durable = False
            if not self._durable:
                self._save()

    def _save(self) -> None:
        if self._drawn is None:
            return
        content = {
            "format": FORMAT,
            "node": self._drawn.node,
            "fleet": self._drawn.fleet,
            "incarnation": self._drawn.incarnation,
            "kernel_boot_id": self._drawn.kernel_boot_id,
        }
        self._file.replace((json.dumps(content, indent=2) + "\n").encode())
        self._durable = True

    def _read_boot_id(self) -> str:
        """Empty where the kernel does not tell."""
        try:
            return self._kernel_boot_id.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError):
            return ""


def _decode(data: bytes) -> _Stored:
    """Raises Damaged."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Damaged("not JSON") from error
    match content:
        case {
            "format": int(number),
            "node": str(node),
            "fleet": str(fleet),
            "incarnation": int(incarnation),
            "kernel_boot_id": str(boot_id),
        } if number == FORMAT and 0 < incarnation <= INCARNATION_MAX:
            # JSON's true is an int in Python.
            if isinstance(incarnation, bool):
                raise Damaged("incarnation is not a number")
            return _Stored(node, fleet, incarnation, boot_id)
    raise Damaged(f"not an identity of format {FORMAT}")
