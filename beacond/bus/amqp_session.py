"""One AMQP session: a connection that listens and one that publishes, to the same broker.

Two connections, because a broker in need of memory or disk stops reading from those who publish
and goes on serving those who only listen.

aiormq is used, the layer below aio-pika: that is where timeouts and the broker's cancelling of a
consumer are to be had. Deliveries are taken before it sees them, see `amqp_reader`.
"""

import asyncio
import logging
import ssl
from asyncio import FIRST_COMPLETED
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import quote

import aiormq
from aiormq import spec
from aiormq.abc import AbstractChannel
from aiormq.abc import AbstractConnection as Link
from aiormq.exceptions import ConnectionClosed, DeliveryError

from beacond.bus.amqp_reader import ListeningTransport
from beacond.bus.amqp_reason import LIBRARY_ERRORS, SessionError, explain, failing
from beacond.bus.amqp_topology import BROADCAST_KEY, Identity, open_channel, subscribe
from beacond.bus.amqp_url import AmqpUrl
from beacond.bus.base import Delivery

HEARTBEAT_S = 10
"""Cleans up after what the self-ping has long noticed; the broker then forgets us within 20 s."""
MESSAGE_BYTES_MAX = 1 << 20
PING = "ping"
PING_NUMBER_BYTES = 8
UNECHOED_MIN = 3

# It reports at ERROR, with tracebacks and at each attempt, what we report once in one line.
logging.getLogger("aiormq").setLevel(logging.CRITICAL)


@dataclass(frozen=True, slots=True)
class Timing:
    connect_s: float = 15.0
    """Long, because a broker that comes back to a thousand clients answers late; giving up early
    makes it answer nobody."""
    rpc_s: float = 10.0
    confirm_s: float = 4.0
    overdue_s: float = 0.5
    """Without a confirm for so long, we look whether a ping overtakes it."""
    ping_s: float = 3.0
    close_s: float = 1.5


class AmqpSession:
    """Made by `open`. `lost` is done, with a reason, once anything of it has failed; `deaf` once
    it no longer listens (a session that can't publish may still hear)."""

    def __init__(
        self,
        url: AmqpUrl,
        identity: Identity,
        timing: Timing,
        nonce: bytes,
        received: Callable[[Sequence[Delivery]], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._url = url
        self._identity = identity
        self._timing = timing
        self._received = received
        self._links: list[Link] = []
        self._pub: AbstractChannel | None = None
        self._pub_link: Link | None = None
        self._batch: list[Delivery] = []
        self._nonce = nonce
        self._pings = 0
        self._echoes: dict[asyncio.Future[None], int] = {}
        """Who waits for a ping of ours to come back: for which, or any later one."""
        self._unechoed: dict[bytes, float] = {}
        """What we sent to all since anything of it came back, and when; some at most."""
        self.lost: asyncio.Future[str] = self._loop.create_future()
        self.deaf: asyncio.Future[str] = self._loop.create_future()
        self.heard_at = self._loop.time()
        """When anything was last read."""
        self.proven = False
        """The last ping came back."""

    # ---- making
    @classmethod
    async def open(
        cls,
        url: AmqpUrl,
        address: tuple[str, int],
        identity: Identity,
        timing: Timing,
        nonce: bytes,
        received: Callable[[Sequence[Delivery]], None],
    ) -> Self:
        """A session that listens and, unless the broker blocks publishing, has heard itself.

        `nonce` tells its pings from another session's. `received` gets what others and we
        ourselves sent, in the event loop. Raises SessionError.
        """
        session = cls(url, identity, timing, nonce, received)
        try:
            await session._listen(await session._connect(address, "sub"))
            await session._prepare_publishing(await session._connect(address, "pub"))
            with failing("publish"):
                if not await session.ping() and not await session.is_blocked():
                    raise SessionError(_first(session.lost, "what we send does not come back"))
        except BaseException:
            await session.close()
            raise
        return session

    async def _connect(self, address: tuple[str, int], role: str) -> Link:
        context: ssl.SSLContext | None = None
        with failing("connect"):
            if self._url.tls is not None:
                context = self._url.tls.context()
            link = aiormq.Connection(
                _library_url(self._url, address),
                context=context,
                client_properties={"connection_name": f"{self._identity.name}:{role}"},
                transport_factory=(
                    ListeningTransport(address, context, self._arrived, MESSAGE_BYTES_MAX + 1)
                    if role == "sub"
                    else None
                ),
            )
            # Noted first: who is cancelled just when it is connected has to close it all the same.
            self._links.append(link)
            async with asyncio.timeout(self._timing.connect_s):
                await link.connect()
        return link

    async def _listen(self, link: Link) -> None:
        self._watch(link.closing, "connection", deafening=True)
        channel = await subscribe(
            link,
            self._identity,
            cancelled=self._cancelled,
            rpc_s=self._timing.rpc_s,
        )
        self._watch(channel.closing, "channel", deafening=True)

    async def _prepare_publishing(self, link: Link) -> None:
        self._watch(link.closing, "connection")
        self._pub_link = link
        with failing("open a channel"):
            self._pub = await open_channel(link, self._timing.rpc_s, confirms=True)
        self._watch(self._pub.closing, "publish")

    # ---- publishing
    async def publish(self, batch: Sequence[tuple[str, bytes]]) -> bool:
        """Send `(routing key, body)` to the exchange; True when the broker has taken them all.

        It says so by its confirms, or by bringing back a ping sent after them: in a cluster a
        confirm waits for all queues, also for those of a server that stands still.
        False: some may be lost, or leave later than now (the broker has stopped reading).
        """
        now = self._loop.time()
        to_all = {body: now for key, body in batch if key == BROADCAST_KEY}
        if len(self._unechoed) < UNECHOED_MIN:
            self._unechoed |= to_all
        confirming = asyncio.create_task(self._publish(batch, _MESSAGE))
        taken = False
        try:
            await asyncio.wait({confirming}, timeout=self._timing.overdue_s)
            if confirming.done():
                taken = confirming.result()
            else:
                async with self._echo() as echo:
                    ends: set[asyncio.Future[Any]] = {confirming, echo}
                    await asyncio.wait(ends, return_when=FIRST_COMPLETED)
                    taken = echo.done() or confirming.result()
            return taken
        finally:
            if not taken:
                self._unechoed.clear()
            await _end(confirming)

    async def _publish(
        self, batch: Sequence[tuple[str, bytes]], properties: spec.Basic.Properties
    ) -> bool:
        channel = self._pub
        if channel is None:
            return False
        # The library ends our publishing with its own CancelledError when a channel closes:
        # gathered, that is a result like others.
        results = await asyncio.gather(
            *(
                channel.basic_publish(
                    body,
                    exchange=self._identity.exchange,
                    routing_key=key,
                    properties=properties,
                    timeout=self._timing.confirm_s,
                )
                for key, body in batch
            ),
            return_exceptions=True,
        )
        errors = [result for result in results if isinstance(result, BaseException)]
        if errors and channel.is_closed:
            # The reason is on its way.
            await asyncio.wait({self.lost}, timeout=self._timing.close_s)
        # A refusal (nack) of one message is its loss, and says nothing about the session.
        return all(isinstance(error, DeliveryError) for error in errors)

    async def ping(self) -> bool:
        """Send ourselves a message through the exchange and wait until it is back.

        It passes every part that others' messages need, so it finds what no error tells:
        deleted bindings, a forgotten queue, a broker that stands still. An earlier ping that comes
        late counts too: a slow broker is no dead one, and a new session would slow it further.
        """
        async with self._echo(or_earlier=True) as echo:
            ends: set[asyncio.Future[Any]] = {echo, self.lost}
            for _ in range(2):
                half_s = self._timing.ping_s / 2
                done, _ = await asyncio.wait(ends, timeout=half_s, return_when=FIRST_COMPLETED)
                if done or await self.is_blocked():
                    break
        self.proven = echo.done()
        return self.proven

    @asynccontextmanager
    async def _echo(self, *, or_earlier: bool = False) -> AsyncIterator["asyncio.Future[None]"]:
        """Ping; what is given is done once that ping is back."""
        self._pings += 1
        echo: asyncio.Future[None] = self._loop.create_future()
        self._echoes[echo] = 0 if or_earlier else self._pings
        body = self._nonce + self._pings.to_bytes(PING_NUMBER_BYTES, "big")
        sending = asyncio.create_task(self._publish([(self._identity.own_key, body)], _PING))
        try:
            yield echo
        finally:
            del self._echoes[echo]
            await _end(sending)

    async def is_blocked(self) -> bool:
        """Has the broker said that it reads nothing more of what we publish?"""
        if self._pub_link is None or self._pub_link.is_closed:
            return False
        try:
            async with asyncio.timeout(0.01):
                await self._pub_link.ready()
        except TimeoutError:
            return True
        return False

    async def unblocked(self) -> None:
        """Wait until it reads again, or the session is lost."""
        if self._pub_link is None:
            return
        ready = asyncio.ensure_future(self._pub_link.ready())
        ends: set[asyncio.Future[Any]] = {ready, self.lost}
        try:
            await asyncio.wait(ends, return_when=FIRST_COMPLETED)
        finally:
            ready.cancel()

    # ---- hearing
    def hears(self) -> bool:
        """Is it connected, and has read anything for as long as it takes to miss the pings?"""
        silent_s = self._loop.time() - self.heard_at
        return not self.deaf.done() and silent_s < 3 * self._timing.ping_s

    def is_unechoed(self) -> bool:
        """Does nothing come back of what we sent to all, though the broker took it? A ping goes by
        another binding, and can't tell."""
        oldest = min(self._unechoed.values(), default=self._loop.time())
        long_ago = self._loop.time() - oldest > 3 * self._timing.ping_s
        return long_ago and len(self._unechoed) >= UNECHOED_MIN

    def _arrived(self, kind: str | None, body: bytes) -> None:
        self.heard_at = self._loop.time()
        if kind == PING:
            self._ping_is_back(body)
            return
        if body in self._unechoed:
            self._unechoed.clear()
        if not self._batch:
            self._loop.call_soon(self._hand_over)
        # Cut, what is too long is still too long for whoever reads it, who refuses and counts it.
        self._batch.append(Delivery(body, self.heard_at))

    def _ping_is_back(self, body: bytes) -> None:
        nonce, number = body[:-PING_NUMBER_BYTES], body[-PING_NUMBER_BYTES:]
        if nonce == self._nonce:
            for echo, least in self._echoes.items():
                if int.from_bytes(number, "big") >= least and not echo.done():
                    echo.set_result(None)

    def _hand_over(self) -> None:
        batch, self._batch = self._batch, []
        if batch:
            self._received(batch)

    # ---- ending
    def _watch(
        self, closing: "asyncio.Future[object]", what: str, *, deafening: bool = False
    ) -> None:
        def closed(future: "asyncio.Future[object]") -> None:
            error = None if future.cancelled() else future.exception()
            self._lose(f"{what}: {explain(error)}", deafening=deafening)

        closing.add_done_callback(closed)

    def _cancelled(self, _: spec.Basic.Cancel) -> None:
        self._lose("the broker has deleted our queue", deafening=True)

    def _lose(self, reason: str, *, deafening: bool) -> None:
        if deafening and not self.deaf.done():
            self.deaf.set_result(reason)
        if not self.lost.done():
            self.lost.set_result(reason)

    async def close(self) -> None:
        """Within a few seconds, whatever state the broker is in. Never raises."""
        self._batch.clear()
        await asyncio.gather(*(self._close(link) for link in self._links))

    async def _close(self, link: Link) -> None:
        with suppress(*LIBRARY_ERRORS):
            async with asyncio.timeout(self._timing.close_s):
                await link.close(ConnectionClosed)


_MESSAGE = spec.Basic.Properties(delivery_mode=1, message_id="-")
_PING = spec.Basic.Properties(delivery_mode=1, message_id="-", message_type=PING)
# The library invents a 32-byte message_id for a message without one, of use only to find
# returned messages again; ours are never returned.


def _library_url(url: AmqpUrl, address: tuple[str, int]) -> str:
    scheme = "amqp" if url.tls is None else "amqps"
    user, password, vhost = (quote(part, safe="") for part in (url.user, url.password, url.vhost))
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    return f"{scheme}://{user}:{password}@{host}:{address[1]}/{vhost}?heartbeat={HEARTBEAT_S}"


async def _end(task: "asyncio.Task[Any]") -> None:
    task.cancel()
    await asyncio.wait({task})


def _first(lost: "asyncio.Future[str]", otherwise: str) -> str:
    return lost.result() if lost.done() else otherwise
