"""Who this agent was at its last start: what keeps its incarnation growing."""

import json
import logging
import threading
from dataclasses import dataclass
from pathlib import Path

from beacond.core.model import INCARNATION_MAX
from beacond.store.durable import Damaged, StoreError, read_bounded, set_aside, write_durably

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
    def __init__(self, path: Path, kernel_boot_id: Path = KERNEL_BOOT_ID) -> None:
        self._path = path
        self._kernel_boot_id = kernel_boot_id
        self._lock = threading.Lock()
        self._stored: _Stored | None = None

    def next_incarnation(self, now_unix: int, *, node: str, fleet: str) -> Identity:
        """Draw the incarnation of this start: above any before, on disk before it is returned.

        The wall clock only seeds it, so that a lost disk is unlikely to go back. Raises
        StoreError.
        """
        with self._lock:
            before = self._load()
            previous = before.incarnation if before is not None else 0
            incarnation = min(max(previous + 1, now_unix, 1), INCARNATION_MAX)
            if incarnation == previous:
                log.error("incarnation can't grow any more", extra={"incarnation": incarnation})
            boot_id = self._read_boot_id()
            self._save(_Stored(node, fleet, incarnation, boot_id))
        renamed = before is not None and before.fleet == fleet and before.node != node
        return Identity(
            previous_node=before.node if before is not None and renamed else None,
            previous_incarnation=previous,
            incarnation=incarnation,
            rebooted=before is None or before.kernel_boot_id != boot_id,
        )

    def raise_to(self, incarnation: int) -> None:
        """Make sure that the next start is above `incarnation`. Never lowers it.

        After `next_incarnation` only. Raises StoreError.
        """
        with self._lock:
            if self._stored is None:
                raise StoreError(f"{self._path}: no incarnation was drawn yet")
            if self._stored.incarnation >= incarnation:
                return
            stored = self._stored
            self._save(
                _Stored(
                    stored.node,
                    stored.fleet,
                    min(incarnation, INCARNATION_MAX),
                    stored.kernel_boot_id,
                )
            )

    def _load(self) -> _Stored | None:
        try:
            data = read_bounded(self._path, SIZE_MAX)
            return None if data is None else _decode(data)
        except Damaged as error:
            set_aside(self._path, str(error))
            return None

    def _save(self, stored: _Stored) -> None:
        content = {
            "format": FORMAT,
            "node": stored.node,
            "fleet": stored.fleet,
            "incarnation": stored.incarnation,
            "kernel_boot_id": stored.kernel_boot_id,
        }
        write_durably(self._path, (json.dumps(content, indent=2) + "\n").encode())
        self._stored = stored

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
