"""RabbitMQ, and other brokers that speak AMQP 0-9-1 with RabbitMQ's extensions.

Features: broadcast, unicast, batches, several hosts, TLS. A broker that is away, frozen, blocked
by an alarm or has forgotten us is noticed by a message to ourselves every few seconds, and a new
session is made before the old one is let go. Nothing waits for a broker to come back: what can't
be sent now is refused, and what was queued when the session failed is dropped.

Connection string: `amqp://USER:PASSWORD@HOST[:PORT][,HOST[:PORT]...][/VHOST]`, or `amqps://` with
`?cafile=FILE&certfile=FILE&keyfile=FILE` (each optional; the broker's certificate is always
verified, without `cafile` by the system's authorities). Ports default to 5672 and 5671, the vhost
to `/`. User and password are needed. Several hosts are members of one cluster, tried in random
order.

On the broker: direct exchange `bcn.FLEET`, routing keys `all` and `to.NODE`, one exclusive queue
an agent, connections named `beacond:NODE:INCARNATION:pub` and `:sub`. See docs/rabbitmq.md.
"""

import asyncio
import logging
from asyncio import FIRST_COMPLETED
from collections.abc import Sequence
from random import Random
from typing import Any

from beacond.bus.amqp_outbox import Outbox
from beacond.bus.amqp_reason import SessionError
from beacond.bus.amqp_session import MESSAGE_BYTES_MAX, AmqpSession, Timing
from beacond.bus.amqp_topology import BROADCAST_KEY, Identity, node_key
from beacond.bus.amqp_url import parse_amqp
from beacond.bus.base import BusSink, BusState, Delivery

ROUTING_KEY_BYTES_MAX = 255
PINGS_MISSED_MAX = 3
STEADY_S = 30.0
"""A session that lived so long ends the backing off."""
PATIENT_SPREADS = 2
SPREAD_S = 1.0
SILENT = "what we send to ourselves does not come back"
UNECHOED = "what we send to all does not come back"
BLOCKED = "the broker blocks publishing (memory or disk alarm)"
UNCONFIRMED = "the broker does not confirm what we publish"

log = logging.getLogger("beacond.bus")


class AmqpBus:
    def __init__(
        self,
        url: str,
        *,
        fleet: str,
        node: str,
        incarnation: int,
        rng: Random | None = None,
        timing: Timing | None = None,
    ) -> None:
        """`rng` and `timing` are for tests. Raises BusConfigError."""
        self._target = parse_amqp(url)
        self._identity = Identity(f"bcn.{fleet}", node, f"beacond:{node}:{incarnation}")
        self._rng = rng or Random()
        self._timing = timing or Timing()
        self._spread_s = SPREAD_S
        self._outbox = Outbox()
        self._sink: BusSink | None = None
        self._session: AmqpSession | None = None
        self._state = BusState.DOWN
        self._reason = ""
        self._retiring: set[asyncio.Task[None]] = set()
        self._doubt = asyncio.Event()

    @property
    def url(self) -> str:
        return self._target.shown

    @property
    def state(self) -> BusState:
        return self._state

    def spread_reconnects(self, seconds: float) -> None:
        self._spread_s = max(seconds, 0.0)

    # ---- sending
    def broadcast(self, data: bytes) -> bool:
        return self._offer(BROADCAST_KEY, data)

    def send(self, node: str, data: bytes) -> bool:
        return self._offer(node_key(node), data)

    async def flush(self, timeout_s: float) -> bool:
        return await self._outbox.emptied(timeout_s)

    def _offer(self, key: str, data: bytes) -> bool:
        if self._state is not BusState.UP or len(data) > MESSAGE_BYTES_MAX:
            return False
        return len(key.encode()) <= ROUTING_KEY_BYTES_MAX and self._outbox.put(key, data)

    # ---- the life of sessions
    async def run(self, sink: BusSink) -> None:
        if self._sink is not None:
            raise RuntimeError("this bus is running already")
        self._sink = sink
        try:
            await self._keep_sessions()
        finally:
            self._sink = None
            self._state, self._reason = BusState.DOWN, ""
            self._outbox.drop()
            self._retire()
            if self._retiring:
                await asyncio.wait(self._retiring)

    async def _keep_sessions(self) -> None:
        loop = asyncio.get_running_loop()
        refusals = drops = 0
        while True:
            try:
                session = await self._open_anywhere()
            except SessionError as error:
                refusals += error.refused
                self._set_state(self._state, str(error))
            else:
                self._retire()
                self._session = session
                born_at = loop.time()
                self._lose(session, await self._serve(session))
                refusals = 0
                drops = 0 if loop.time() - born_at > STEADY_S else drops + 1
            await asyncio.sleep(self._rng.uniform(0, self._retry_s(refusals, drops)))

    def _retry_s(self, refusals: int, drops: int) -> float:
        """At most so long until the next attempt: the spread that the fleet's size asks for.

        Others wait for us for a ttl and that spread once they hear again, so it may be twice that
        where sessions end soon or the broker says no, and not more: rights that were taken away
        and given back, or a broker that was restarted twice, would cost us our place. The waiting
        itself is drawn evenly below it, so that a fleet never comes back in step.
        """
        return self._spread_s * (PATIENT_SPREADS if max(refusals, drops) > 1 else 1)

    async def _open_anywhere(self) -> AmqpSession:
        """Try every host once. Raises SessionError where none is of use."""
        hosts = self._target.hosts
        errors: dict[tuple[str, int], SessionError] = {}
        for address in self._rng.sample(hosts, len(hosts)):
            try:
                return await AmqpSession.open(
                    self._target,
                    address,
                    self._identity,
                    self._timing,
                    nonce=self._rng.randbytes(8),
                    received=self._received,
                )
            except SessionError as error:
                errors[address] = error
        raise SessionError(
            "; ".join(f"{host[0]}:{host[1]}: {errors[host]}" for host in hosts),
            refused=all(error.refused for error in errors.values()),
        )

    async def _serve(self, session: AmqpSession) -> str:
        """Until the session is of no use any more; returns why."""
        self._doubt.clear()
        if session.proven:
            self._set_state(BusState.UP, "")
        else:
            self._mute(BLOCKED)
        publishing = asyncio.create_task(self._publish(session))
        watching = asyncio.create_task(self._watch(session))
        ends: set[asyncio.Future[Any]] = {publishing, watching, session.lost}
        try:
            await asyncio.wait(ends, return_when=FIRST_COMPLETED)
            if publishing.done():
                publishing.result()
            return session.lost.result() if session.lost.done() else watching.result()
        finally:
            publishing.cancel()
            watching.cancel()
            await asyncio.wait({publishing, watching})

    async def _publish(self, session: AmqpSession) -> None:
        """Batches go out side by side: on a long way each would wait for the confirms of the one
        before."""
        async with asyncio.TaskGroup() as sending:
            while True:
                batch = await self._outbox.take()
                sending.create_task(self._send(session, batch))

    async def _send(self, session: AmqpSession, batch: Sequence[tuple[str, bytes]]) -> None:
        sent = False
        try:
            sent = not await session.is_blocked() and await session.publish(batch)
        finally:
            self._outbox.done(len(batch), sent=sent)
        if not sent and not session.lost.done():
            self._mute(BLOCKED if await session.is_blocked() else UNCONFIRMED)

    async def _watch(self, session: AmqpSession) -> str:
        missed = 0
        while missed < PINGS_MISSED_MAX:
            if missed == 0:
                await self._rest(self._timing.ping_s)
            if await session.is_blocked():
                self._mute(BLOCKED)
                await session.unblocked()
            if await session.ping():
                if session.is_unechoed():
                    return UNECHOED
                missed = 0
                self._set_state(BusState.UP, "")
            elif await session.is_blocked():
                self._doubt.set()
            else:
                missed += 1
        return SILENT

    async def _rest(self, seconds: float) -> None:
        """Wait, unless there is reason to doubt that all is well."""
        try:
            async with asyncio.timeout(seconds):
                await self._doubt.wait()
        except TimeoutError:
            pass
        self._doubt.clear()

    # ---- changes
    def _received(self, batch: Sequence[Delivery]) -> None:
        if self._sink is not None:
            self._sink.received(self, batch)

    def _mute(self, reason: str) -> None:
        """We can't publish: nothing waits until we can."""
        self._outbox.drop()
        self._set_state(BusState.TX_BLOCKED, reason)
        self._doubt.set()

    def _lose(self, session: AmqpSession, reason: str) -> None:
        """Publishing is over; a session that still hears is kept until there is another."""
        self._outbox.drop()
        if not session.hears():
            self._set_state(BusState.DOWN, reason)
            return
        self._set_state(BusState.TX_BLOCKED, reason)
        session.deaf.add_done_callback(lambda deaf: self._deafened(session, deaf.result()))

    def _deafened(self, session: AmqpSession, reason: str) -> None:
        if self._sink is not None and self._session is session:
            self._set_state(BusState.DOWN, reason)

    def _retire(self) -> None:
        """Close the present session on the side: a broker that stands still makes that slow."""
        session, self._session = self._session, None
        if session is not None:
            closing = asyncio.create_task(session.close())
            self._retiring.add(closing)
            closing.add_done_callback(self._retiring.discard)

    def _set_state(self, state: BusState, reason: str) -> None:
        if (state, reason) == (self._state, self._reason):
            return
        self._state, self._reason = state, reason
        level = logging.INFO if state is BusState.UP else logging.WARNING
        log.log(level, "bus state", extra={"bus": self.url, "state": state.value, "reason": reason})
        if self._sink is not None:
            self._sink.state_changed(self, state, reason)
