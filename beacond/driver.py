"""The only caller of the core: gives it `now`, performs its effects, arms one timer."""

import asyncio
import logging
import time
from collections.abc import (
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Sequence,
)
from contextlib import contextmanager, suppress

from beacond.bus.base import Bus, BusState, Delivery
from beacond.core.effects import (
    Changed,
    Dropped,
    Effect,
    Emit,
    Probe,
    Publish,
    SaveIncarnation,
    SaveRegistrations,
    Send,
)
from beacond.core.events import Event, EventLog
from beacond.core.local import (
    FILE_ORIGIN,
    Change,
    LimitReached,
    LocalInstance,
    ModeState,
    RequestError,
)
from beacond.core.messages import Heartbeat
from beacond.core.model import InstanceSpec, Mode, Status
from beacond.core.node import Node
from beacond.core.view import View
from beacond.doors import Counters, Disk, Target, Targets
from beacond.readers import EventStream, Readers
from beacond.saver import Saver
from beacond.status import AgentStatus, BusNow
from beacond.wire import Codec, DecodeError, EncodeError, Keyring

log = logging.getLogger("beacond.driver")

TOLD = frozenset({"bad-signature", "unsigned", "wrong-version"})
"""Another key, none, or another major version: an agent that sees only itself looks well."""
AFTER_ERROR_S = 1.0
SUSPENDED_S = 1.0
"""The host slept if its two monotonic clocks drift apart by more than this."""


class Driver:
    """The door through which the shells reach the core. All of it belongs to one event loop.

    Reads (`view`, `log`, `status`, `local_instances`) never wait. Requests raise a
    `core.local.RequestError` and then have changed nothing.
    """

    def __init__(
        self,
        core: Node,
        codec: Codec,
        disk: Disk,
        counters: Counters,
        *,
        fleet: str,
        domain: str,
        probe: Callable[[Targets], Awaitable[frozenset[Target]]],
        file_modes: Iterable[tuple[str, ModeState]] = (),
    ) -> None:
        self._core = core
        self._codec = codec
        self._counters = counters
        self._fleet = fleet
        self._domain = domain
        self._probe = probe
        registry = core.registry
        self._saver = Saver(
            disk, lambda: (registry.registrations(), registry.host_mode), file_modes
        )
        self._loop = asyncio.get_running_loop()
        self._started_at = time.time()
        self._slept_s = _slept_s()
        self._buses: dict[Bus, BusNow] = {}
        self._refused: set[str] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._local_listeners: list[Callable[[], None]] = []
        self._event_listeners: list[Callable[[Event], None]] = []
        self._readers = Readers(core.view)
        self._goodbye_said = asyncio.Event()
        self.failing: dict[str, str] = {}
        """Part of the agent → why it does not work now; kept by who supervises them."""
        self.leave_asked = asyncio.Event()
        """Set by `leave`: somebody wants this agent to say goodbye for good."""

    # ---- reads

    @property
    def view(self) -> View:
        return self._core.view

    @property
    def log(self) -> EventLog:
        return self._core.log

    def status(self) -> AgentStatus:
        settings, now = self._core.settings, self._loop.time()
        not_ready = self._core.not_ready(now)
        return AgentStatus(
            node=settings.node,
            fleet=self._fleet,
            zone=settings.zone,
            domain=self._domain,
            incarnation=self._core.incarnation,
            version=settings.agent_version,
            started_at=self._started_at,
            addresses=settings.addresses,
            bus=tuple(
                known.status(bus.url, self._core.reach(bus.url, now), time.time() - now)
                for bus, known in self._buses.items()
            ),
            stale_since=self.view.sight.stale_since,
            ready=not not_ready,
            ready_reason=not_ready,
            mode=self._core.registry.host_mode,
            conflict=self._core.conflict,
            failing=tuple(sorted(self.failing.items())),
            held=self._core.held,
            relayed=self._core.relayed,
            relay_for=self._core.relay_for,
        )

    def local_instances(self) -> tuple[LocalInstance, ...]:
        """Sorted by id."""
        return self._core.registry.instances()

    def local_instance(self, instance_id: str) -> LocalInstance:
        """Raises UnknownInstance."""
        return self._core.registry.instance(instance_id)

    def now_unix(self) -> float:
        """This host's wall clock."""
        return time.time()

    def last_heard(self, node: str) -> float | None:
        """Unix seconds when this agent itself last heard that node; None: never."""
        if node == self._core.settings.node:
            return time.time()
        at = self._core.last_heard_at(node)
        return None if at is None else time.time() - (self._loop.time() - at)

    # ---- requests of programs and operators: on disk before they return

    async def register(self, spec: InstanceSpec, origin: str) -> tuple[LocalInstance, bool]:
        """Register or replace; True where the id is new.

        Raises OwnedElsewhere, LimitReached, NotPersisted.
        """
        async with self._saver.turn:
            new = all(i.spec.id != spec.id for i in self.local_instances())
            await self._change(Change(origin, (spec,)))
            return self.local_instance(spec.id), new

    async def deregister(self, instance_id: str, origin: str) -> None:
        """Raises UnknownInstance, OwnedElsewhere (an id a file owns), NotPersisted."""
        async with self._saver.turn:
            await self._change(Change(origin, drop=(instance_id,)))

    async def set_mode(
        self, instance_id: str | None, mode: Mode, for_s: float | None, reason: str
    ) -> ModeState:
        """Of one instance, or with None of the whole host. `for_s` None: the mode's default.

        Raises UnknownInstance, NotPersisted.
        """
        registry = self._core.registry
        async with self._saver.turn:
            planned, host_mode = registry.plan_mode(instance_id, mode, for_s, reason, time.time())
            await self._saver.save(planned, host_mode)
            # It may be gone meanwhile, by its check's deregister-after: then it is UnknownInstance.
            self._do(self._core.set_mode(instance_id, mode, for_s, reason, self._now()))
            if instance_id is None:
                return registry.host_mode
            return registry.instance(instance_id).mode

    async def replace_file(self, name: str, specs: Iterable[InstanceSpec]) -> list[str]:
        """Make what origin `file:NAME` offers exactly this; returns refusals, a line each."""
        origin = FILE_ORIGIN + name
        refused: list[str] = []
        async with self._saver.turn:
            put = []
            for spec in specs:
                try:
                    self._core.registry.check(Change(origin, (spec,)))
                    put.append(spec)
                except RequestError as error:
                    refused.append(f"{spec.id}: {error}")
            kept = {spec.id for spec in put}
            drop = self._ids(origin, kept)
            try:
                await self._change(Change(origin, tuple(put), drop))
            except RequestError as error:
                refused.append(str(error))
        return refused

    async def files_gone(self, kept: Iterable[str]) -> None:
        """Deregister what comes from files other than these. Raises NotPersisted."""
        origins = {FILE_ORIGIN + name for name in kept}
        async with self._saver.turn:
            gone = {i.origin for i in self.local_instances()} - origins
            for origin in sorted(o for o in gone if o.startswith(FILE_ORIGIN)):
                await self._change(Change(origin, drop=self._ids(origin, set())))

    # ---- health

    def set_health(
        self, instance_id: str, status: Status, output: str, check: str | None
    ) -> LocalInstance:
        """A program's own report: renews a ttl check (the named one; None: all of them).

        Raises UnknownInstance, NoSuchCheck.
        """
        self._do(self._core.set_health(instance_id, status, output, check, self._now()))
        return self.local_instance(instance_id)

    def check_result(self, instance_id: str, check: str, status: Status, output: str) -> None:
        """What one run of an http, tcp or exec check saw; thresholds are the core's business.

        Ignored where instance or check are gone.
        """
        self._do(self._core.check_result(instance_id, check, status, output, self._now()))

    def on_local_change(self, callback: Callable[[], None]) -> None:
        """Call back after each change of what this host offers."""
        self._local_listeners.append(callback)

    def on_event(self, callback: Callable[[Event], None]) -> None:
        self._event_listeners.append(callback)

    # ---- waiting

    async def wait_index(self, service: str, index: int) -> None:
        """Until `view.index_of(service) > index`, or the agent stops."""
        await self._readers.wait_index(service, index)

    @contextmanager
    def events(self, queue_max: int = 1024) -> Iterator[EventStream]:
        """Events from now on.

        The stream ends where the reader fell more than `queue_max` behind or the agent stops:
        close the connection then.
        """
        with self._readers.events(queue_max) as events:
            yield events

    def end_streams(self) -> None:
        """The agent stops: let every waiter and stream come to its end."""
        self._readers.end()

    # ---- the bus (this object is the `BusSink`)

    def attach(self, bus: Bus) -> None:
        """Speak and listen on this bus, once it runs."""
        self._buses[bus] = BusNow(BusState.DOWN, time.time(), "not connected yet")
        bus.spread_reconnects(self._core.reconnect_spread_s())

    def detach(self, bus: Bus, *, for_good: bool) -> None:
        """Speak and listen on this bus no more; it runs no longer. `for_good`: none of its URL
        takes its place, so whoever was heard there alone is given up after one grace."""
        if not for_good:
            self.state_changed(bus, BusState.DOWN, "configured anew")
        del self._buses[bus]
        if for_good:
            self._do(self._core.bus_removed(bus.url, self._now()))

    def received(self, bus: Bus, batch: Sequence[Delivery]) -> None:
        for delivery in batch:
            try:
                decoded = self._codec.decode(delivery.data)
            except DecodeError as error:
                self._refuse(bus, error.reason)
                continue
            self._count_skipped()
            if decoded is None:
                continue
            envelope, message = decoded
            self._counters.bus_message("in", type(message).__name__.lower())
            if isinstance(message, Heartbeat) and envelope.sender == self._core.settings.node:
                echo_s = self._core.echo_s(message, delivery.received_at)
                if echo_s is not None:
                    self._counters.echo(echo_s)
            at = min(delivery.received_at, self._loop.time())
            self._perform(
                self._core.receive(envelope, message, bus=bus.url, received_at=at, now=self._now())
            )
        self._arm()

    def state_changed(self, bus: Bus, state: BusState, reason: str) -> None:
        known = self._buses[bus]
        up, can_publish = state is not BusState.DOWN, state is BusState.UP
        # Down for another reason than before is no other state.
        same = up == (known.state is not BusState.DOWN)
        self._buses[bus] = BusNow(state, known.since if same else time.time(), reason)
        self._do(
            self._core.bus_changed(
                bus.url, up=up, can_publish=can_publish, reason=reason, now=self._now()
            )
        )

    def set_keyring(self, keyring: Keyring | None) -> None:
        """Sign and verify with these keys from now on."""
        self._refused.clear()
        before = self._codec.keyring
        self._codec.keyring = keyring
        if (before and before.signing_id) != (keyring and keyring.signing_id):
            self._do(self._core.republish(self._now()))

    # ---- life

    def start(self, effects: list[Effect]) -> None:
        """Begin with what the core wants done at its start."""
        self._do(effects)

    async def leave(self) -> None:
        """Ask the agent to say goodbye for good and stop; returns at once."""
        self.leave_asked.set()

    def drain(self) -> None:
        """Tell everybody that this host is not to be used any more."""
        self._do(self._core.stop_soon(self._now()))

    async def say_goodbye(self, hold_s: float, timeout_s: float) -> None:
        """Say goodbye, twice, and wait until it has left, if the bus lets it."""
        self._do(self._core.goodbye(hold_s, self._now()))
        deadline = self._loop.time() + timeout_s
        with suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await self._goodbye_said.wait()
        for bus in list(self._buses):
            await bus.flush(max(deadline - self._loop.time(), 0.01))

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # ---- inside

    def _refuse(self, bus: Bus, reason: str) -> None:
        """Count it; what keeps whole agents from hearing each other is told too, once."""
        self._counters.dropped(reason)
        if reason in TOLD and reason not in self._refused:
            self._refused.add(reason)
            log.warning("messages refused", extra={"bus": bus.url, "reason": reason})

    def _count_skipped(self) -> None:
        """Single records of a sync that could not be read."""
        for reason, times in self._codec.skipped.items():
            for _ in range(times):
                self._counters.dropped(f"record-{reason}")
        self._codec.skipped.clear()

    def _now(self) -> float:
        now = self._loop.time()
        self._core.set_wall(time.time(), now)
        return now

    def _do(self, effects: list[Effect]) -> None:
        self._perform(effects)
        self._arm()

    def _perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Publish() | Send():
                    self._transmit(effect)
                case Emit(event):
                    self._readers.tell(event)
                    for listener in self._event_listeners:
                        listener(event)
                case Changed(services, everything):
                    self._readers.changed(services, everything=everything)
                    for bus in self._buses:
                        bus.spread_reconnects(self._core.reconnect_spread_s())
                case Dropped(reason):
                    self._counters.dropped(reason)
                case Probe():
                    self._spawn(self._carry_out(effect))
                case SaveRegistrations():
                    self._tell_local()
                    if self._saver.note_change():
                        self._spawn(self._saver.save_changes())
                case SaveIncarnation(incarnation):
                    self._spawn(self._saver.save_incarnation(incarnation))

    def _transmit(self, effect: Publish | Send) -> None:
        kind = type(effect.message).__name__.lower()
        try:
            frames = self._codec.encode(effect.envelope, effect.message)
        except EncodeError as error:
            log.error("message not sent", extra={"kind": kind, "reason": str(error)})
            self._counters.dropped("not-encoded")
            return
        for bus in [b for b in self._buses if effect.bus in ("", b.url)]:
            for frame in frames:
                if effect.envelope.to:
                    sent = bus.send(effect.envelope.to, frame)
                else:
                    sent = bus.broadcast(frame)
                if not sent:
                    self._counters.dropped("not-sent")
                    break
            else:
                self._counters.bus_message("out", kind)

    def _arm(self) -> None:
        """One timer, moved only where the deadline did."""
        if self._core.goodbye_said:
            self._goodbye_said.set()
        at = self._core.next_deadline()
        if self._timer is not None:
            if self._timer_at == at and not self._timer.cancelled():
                return
            self._timer.cancel()
        # uvloop's handle for "at once" does not know when: so it is kept here.
        self._timer, self._timer_at = self._loop.call_at(at, self._tick), at

    def _tick(self) -> None:
        self._timer = None
        now = self._now()
        before_s, self._slept_s = self._slept_s, _slept_s()
        try:
            if self._slept_s - before_s > SUSPENDED_S:
                self._perform(self._core.suspended(now))
            self._do(self._core.tick(now))
        finally:
            # A bug in the core must not silence this host: the loop tells of it, time goes on.
            if self._timer is None:
                self._timer_at = self._loop.time() + AFTER_ERROR_S
                self._timer = self._loop.call_at(self._timer_at, self._tick)

    async def _change(self, change: Change) -> None:
        """Check, make durable, then apply; refused, it has changed nothing."""
        registry = self._core.registry
        registry.check(change)
        known = {i.spec.id: i.spec for i in self.local_instances()}
        if not change.drop and all(known.get(spec.id) == spec for spec in change.put):
            return
        try:
            self._codec.seal(self._core.record_after(change))
        except EncodeError as error:
            raise LimitReached(f"this host would offer more than fits: {error}") from error
        await self._saver.save(registry.plan(change), registry.host_mode)
        self._do(self._core.change(change, self._now()))
        for spec in change.put:
            self._restore_file_mode(spec.id)
        self._tell_local()

    def _restore_file_mode(self, instance_id: str) -> None:
        """An instance of a file takes up the mode it had before our restart."""
        mode = self._saver.take_file_mode(instance_id)
        if mode is not None and mode.until is not None and mode.until > time.time():
            for_s = mode.until - time.time()
            self._do(self._core.set_mode(instance_id, mode.mode, for_s, mode.reason, self._now()))

    def _ids(self, origin: str, kept: set[str]) -> tuple[str, ...]:
        """What an origin offers, besides what is kept."""
        return tuple(
            i.spec.id
            for i in self.local_instances()
            if i.origin == origin and i.spec.id not in kept
        )

    async def _carry_out(self, probe: Probe) -> None:
        reached = await self._probe(probe.targets)
        self._do(self._core.probed(probe.number, reached, self._now()))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _tell_local(self) -> None:
        for listener in self._local_listeners:
            listener()


def _slept_s() -> float:
    """How long this host was suspended since it booted."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
