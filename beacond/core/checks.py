"""How the health of one check follows from what is reported of it."""

from dataclasses import dataclass, field

from beacond.core.leases import NEVER
from beacond.core.local import CheckState
from beacond.core.model import Check, CheckType, Status

OUTPUT_MAX = 4096
"""Characters kept of a check's output."""


@dataclass(slots=True)
class CheckRun:
    """One check with its thresholds. Moments are this host's monotonic seconds."""

    check: Check
    status: Status
    output: str = ""
    checked_at: float | None = None
    """Unix seconds: shown to people, never compared."""
    _failures: int = 0
    _passes: int = 0
    _ttl_ends_at: float | None = None
    _critical_at: float | None = field(default=None)

    @classmethod
    def begin(cls, check: Check, now: float, status: Status | None = None) -> "CheckRun":
        """Start a check in its first status, or in one remembered from before a restart."""
        run = cls(check=check, status=check.initial)
        run._become(status or check.initial, now)
        if check.type is CheckType.TTL and run.status is not Status.CRITICAL:
            run._ttl_ends_at = now + check.ttl_s
        return run

    def result(self, status: Status, output: str, now: float, wall: float) -> bool:
        """Take what one run of the check saw; True where its status changed.

        Critical only after `failures` in a row, and back only after `passes` in a row.
        """
        self._note(output, wall)
        if status is Status.CRITICAL:
            self._failures, self._passes = self._failures + 1, 0
            if self._failures < self.check.failures:
                return False
        else:
            self._failures, self._passes = 0, self._passes + 1
            if self.status is Status.CRITICAL and self._passes < self.check.passes:
                return False
        return self._become(status, now)

    def report(self, status: Status, output: str, now: float, wall: float) -> bool:
        """Take a program's own word for a ttl check, for `ttl_s` from now."""
        self._note(output, wall)
        self._ttl_ends_at = now + self.check.ttl_s
        return self._become(status, now)

    def expire(self, now: float) -> bool:
        """End a ttl that ran out; True where the status changed."""
        if self._ttl_ends_at is None or now < self._ttl_ends_at:
            return False
        self._ttl_ends_at = None
        self.output = f"no report for {self.check.ttl_s:g} s"
        return self._become(Status.CRITICAL, now)

    def must_deregister(self, now: float) -> bool:
        return now >= self._deregister_at

    @property
    def deadline(self) -> float:
        ttl_ends_at = NEVER if self._ttl_ends_at is None else self._ttl_ends_at
        return min(ttl_ends_at, self._deregister_at)

    def postpone(self, seconds: float) -> None:
        """Forgive time in which nobody could have reached us."""
        if self._ttl_ends_at is not None:
            self._ttl_ends_at += seconds
        if self._critical_at is not None:
            self._critical_at += seconds

    def state(self) -> CheckState:
        return CheckState(self.check, self.status, self.output, self.checked_at)

    @property
    def _deregister_at(self) -> float:
        if self._critical_at is None or self.check.deregister_after_s is None:
            return NEVER
        return self._critical_at + self.check.deregister_after_s

    def _note(self, output: str, wall: float) -> None:
        self.output = output[:OUTPUT_MAX]
        self.checked_at = wall

    def _become(self, status: Status, now: float) -> bool:
        if status is not Status.CRITICAL:
            self._critical_at = None
        elif self._critical_at is None:
            self._critical_at = now
        changed = status is not self.status
        self.status = status
        return changed
