"""What this node runs: registrations, their health and modes. The only writer of our own state."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from beacond.core.checks import CheckRun
from beacond.core.leases import NEVER
from beacond.core.local import (
    FILE_ORIGIN,
    Change,
    LimitReached,
    LocalInstance,
    ModeState,
    NoSuchCheck,
    OwnedElsewhere,
    Registration,
    UnknownInstance,
)
from beacond.core.model import (
    INSTANCES_MAX,
    CheckType,
    InstanceSpec,
    Mode,
    Published,
    Status,
    worst_status,
)

MODE_FOR_S = {Mode.DRAINING: 600.0, Mode.MAINTENANCE: 3600.0}
MODE_FOR_MAX_S = 24 * 3600.0


@dataclass(slots=True)
class _Moded:
    """A mode that ends by itself. `ends_at` is monotonic, the state's `until` is for people."""

    state: ModeState = field(default_factory=ModeState)
    ends_at: float = NEVER

    def set(self, mode: Mode, for_s: float | None, reason: str, now: float, wall: float) -> None:
        self.state = _mode_state(mode, for_s, reason, wall)
        self.ends_at = NEVER if self.state.until is None else now + (self.state.until - wall)

    def restore(self, state: ModeState, now: float, wall: float) -> None:
        """Go on with a mode set before a restart; its end is judged by our own wall clock."""
        if state.mode is Mode.NORMAL or state.until is None:
            return
        left_s = min(state.until - wall, MODE_FOR_MAX_S)
        if left_s > 0:
            self.state, self.ends_at = state, now + left_s

    def end(self, now: float) -> bool:
        if now < self.ends_at:
            return False
        self.state, self.ends_at = ModeState(), NEVER
        return True


@dataclass(slots=True)
class _Own:
    spec: InstanceSpec
    origin: str
    checks: dict[str, CheckRun]
    mode: _Moded = field(default_factory=_Moded)

    @property
    def status(self) -> Status:
        return worst_status(*(run.status for run in self.checks.values()))


class Registry:
    """Registrations of this host. Refusals raise a `RequestError` and change nothing."""

    def __init__(self, addresses: tuple[str, ...]) -> None:
        self._addresses = addresses
        self._own: dict[str, _Own] = {}
        self._host_mode = _Moded()
        self._deadline: float | None = None
        """Asked for after every call into the core, so kept until something here changes."""

    # ---- reads

    @property
    def host_mode(self) -> ModeState:
        return self._host_mode.state

    def instances(self) -> tuple[LocalInstance, ...]:
        return tuple(self._local(own) for _, own in sorted(self._own.items()))

    def instance(self, instance_id: str) -> LocalInstance:
        return self._local(self._find(instance_id))

    def published(self) -> tuple[Published, ...]:
        return tuple(
            _published(own.spec, own.status, own.mode.state.mode)
            for _, own in sorted(self._own.items())
        )

    def registrations(self) -> tuple[Registration, ...]:
        return tuple(
            Registration(own.spec, own.origin, own.mode.state)
            for _, own in sorted(self._own.items())
        )

    @property
    def deadline(self) -> float:
        """When `advance` next has something to do."""
        if self._deadline is None:
            modes_at = min((own.mode.ends_at for own in self._own.values()), default=NEVER)
            checks_at = min((run.deadline for run in self._runs()), default=NEVER)
            self._deadline = min(self._host_mode.ends_at, modes_at, checks_at)
        return self._deadline

    # ---- requests

    def check(self, change: Change) -> None:
        """Raises OwnedElsewhere, UnknownInstance or LimitReached where a change can't be made."""
        for spec in change.put:
            own = self._own.get(spec.id)
            if own is not None and own.origin != change.origin:
                raise OwnedElsewhere(f"instance {spec.id!r} belongs to {_owner(own.origin)}")
        for instance_id in change.drop:
            own = self._find(instance_id)
            # What a file holds would come back at its next reading.
            if own.origin.startswith(FILE_ORIGIN) and own.origin != change.origin:
                raise OwnedElsewhere(f"instance {instance_id!r} belongs to {_owner(own.origin)}")
        ids = (self._own.keys() | {spec.id for spec in change.put}) - set(change.drop)
        if len(ids) > INSTANCES_MAX:
            raise LimitReached(f"a host offers {INSTANCES_MAX} instances at most")

    def plan(self, change: Change) -> tuple[Registration, ...]:
        """What the registrations would be after it."""
        planned = {r.spec.id: r for r in self.registrations() if r.spec.id not in change.drop}
        for spec in change.put:
            before = planned.get(spec.id)
            mode = before.mode if before is not None else ModeState()
            planned[spec.id] = Registration(spec, change.origin, mode)
        return tuple(registration for _, registration in sorted(planned.items()))

    def published_after(self, change: Change) -> tuple[Published, ...]:
        """What would be published after it; the health of what is new aside."""
        published = {p.id: p for p in self.published() if p.id not in change.drop}
        published |= {spec.id: _published(spec) for spec in change.put}
        return tuple(instance for _, instance in sorted(published.items()))

    def apply(self, change: Change, now: float) -> None:
        """Make a change that `check` allowed. What is put as it was stays as it is."""
        self._deadline = None
        for instance_id in change.drop:
            self._own.pop(instance_id, None)
        for spec in change.put:
            self._put(spec, change.origin, now)

    def plan_mode(
        self, instance_id: str | None, mode: Mode, for_s: float | None, reason: str, wall: float
    ) -> tuple[tuple[Registration, ...], ModeState]:
        """Registrations and host mode as they would be. Raises UnknownInstance."""
        planned = _mode_state(mode, for_s, reason, wall)
        if instance_id is None:
            return self.registrations(), planned
        self._find(instance_id)
        registrations = tuple(
            replace(r, mode=planned) if r.spec.id == instance_id else r
            for r in self.registrations()
        )
        return registrations, self.host_mode

    def set_mode(
        self, instance_id: str | None, mode: Mode, for_s: float | None, reason: str,
        *, now: float, wall: float,
    ) -> ModeState:  # fmt: skip
        """Raises UnknownInstance. With no id: the whole host's."""
        self._deadline = None
        moded = self._host_mode if instance_id is None else self._find(instance_id).mode
        moded.set(mode, for_s, reason, now, wall)
        return moded.state

    def set_health(
        self, instance_id: str, status: Status, output: str, check: str | None,
        *, now: float, wall: float,
    ) -> bool:  # fmt: skip
        """Renew ttl checks; True where the instance's status changed.

        Raises UnknownInstance, NoSuchCheck.
        """
        own = self._find(instance_id)
        runs = [
            run
            for run in own.checks.values()
            if run.check.type is CheckType.TTL and check in (None, run.check.name)
        ]
        if not runs:
            what = "no ttl check" if check is None else f"no ttl check named {check!r}"
            raise NoSuchCheck(f"instance {instance_id!r} has {what}")
        self._deadline = None
        before = own.status
        for run in runs:
            run.report(status, output, now, wall)
        return own.status is not before

    def check_result(
        self, instance_id: str, check: str, status: Status, output: str,
        *, now: float, wall: float,
    ) -> bool:  # fmt: skip
        """True where the instance's status changed; what is gone meanwhile is no error."""
        self._deadline = None
        own = self._own.get(instance_id)
        run = own.checks.get(check) if own is not None else None
        if own is None or run is None:
            return False
        before = own.status
        run.result(status, output, now, wall)
        return own.status is not before

    # ---- time and restarts

    def advance(self, now: float) -> bool:
        """End ttls and modes that ran out, drop what was critical for too long.

        True where what has to be on disk changed; the health of a check has not to be.
        """
        self._deadline = None
        ended = self._host_mode.end(now)
        for instance_id, own in sorted(self._own.items()):
            ended |= own.mode.end(now)
            for run in own.checks.values():
                run.expire(now)
            if any(run.must_deregister(now) for run in own.checks.values()):
                del self._own[instance_id]
                ended = True
        return ended

    def postpone(self, seconds: float) -> None:
        self._deadline = None
        for run in self._runs():
            run.postpone(seconds)

    def restore(
        self,
        registrations: Iterable[Registration],
        host_mode: ModeState,
        statuses: Mapping[str, Mapping[str, Status]],
        *, rebooted: bool, now: float, wall: float,
    ) -> None:  # fmt: skip
        """Take up what was on disk. `statuses`: instance → check → status before the restart.

        After a reboot of the host nothing known of a check holds any more: all start critical.
        """
        self._deadline = None
        self._host_mode.restore(host_mode, now, wall)
        for registration in registrations:
            spec, known = registration.spec, statuses.get(registration.spec.id, {})
            checks = {
                check.name: CheckRun.begin(
                    check, now, Status.CRITICAL if rebooted else known.get(check.name)
                )
                for check in spec.checks
            }
            own = self._own[spec.id] = _Own(spec, registration.origin, checks)
            own.mode.restore(registration.mode, now, wall)

    def _put(self, spec: InstanceSpec, origin: str, now: float) -> None:
        own = self._own.get(spec.id)
        kept = own.checks if own is not None else {}
        checks = {
            check.name: kept[check.name]
            if check.name in kept and kept[check.name].check == check
            else CheckRun.begin(check, now)
            for check in spec.checks
        }
        if own is None:
            self._own[spec.id] = _Own(spec, origin, checks)
        else:
            own.spec, own.checks = spec, checks

    def _runs(self) -> Iterator[CheckRun]:
        for own in self._own.values():
            yield from own.checks.values()

    def _find(self, instance_id: str) -> _Own:
        own = self._own.get(instance_id)
        if own is None:
            raise UnknownInstance(f"no instance {instance_id!r} is registered on this host")
        return own

    def _local(self, own: _Own) -> LocalInstance:
        return LocalInstance(
            spec=own.spec,
            origin=own.origin,
            addresses=(own.spec.address,) if own.spec.address else self._addresses,
            status=own.status,
            mode=own.mode.state,
            checks=tuple(run.state() for run in own.checks.values()),
        )


def _mode_state(mode: Mode, for_s: float | None, reason: str, wall: float) -> ModeState:
    if mode is Mode.NORMAL:
        return ModeState()
    lasts_s = min(MODE_FOR_S[mode] if for_s is None else for_s, MODE_FOR_MAX_S)
    return ModeState(mode, wall + lasts_s, reason)


def _published(
    spec: InstanceSpec, status: Status = Status.PASSING, mode: Mode = Mode.NORMAL
) -> Published:
    return Published(
        id=spec.id,
        service=spec.service,
        port=spec.port,
        ports=spec.ports,
        address=spec.address,
        tags=spec.tags,
        meta=spec.meta,
        weight=spec.weight,
        status=status,
        mode=mode,
    )


def _owner(origin: str) -> str:
    if origin.startswith(FILE_ORIGIN):
        return f"the file {origin.removeprefix(FILE_ORIGIN)!r} in services_dir"
    return "a running `beacond run`" if origin == "run" else "a registration over HTTP"
