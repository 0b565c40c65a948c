"""What an agent declares on the broker, as little as it can.

A queue of its own, named by the broker, that dies with the connection; the exchange only where it
is missing. So an operator who made the exchange beforehand need not let agents declare any.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from aiormq import spec
from aiormq.abc import AbstractChannel, DeliveredMessage
from aiormq.abc import AbstractConnection as Link
from aiormq.exceptions import ChannelNotFoundEntity

from beacond.bus.amqp_reason import failing

EXCHANGE_TYPE = "direct"
"""Enough, as no key is a pattern. A topic exchange counts the bindings of a key, and where a
partition of the cluster has spoiled the count, ending one session takes the next one's bindings."""
BROADCAST_KEY = "all"
QUEUE_TTL_S = 15
QUEUE_MESSAGES_MAX = 20_000
QUEUE_BYTES_MAX = 32 << 20
QUEUE_ARGUMENTS: dict[str, str | int] = {
    # Said outright: a vhost's default kind may be another.
    "x-queue-type": "classic",
    "x-message-ttl": QUEUE_TTL_S * 1000,
    "x-max-length": QUEUE_MESSAGES_MAX,
    "x-max-length-bytes": QUEUE_BYTES_MAX,
    "x-overflow": "drop-head",
}


def node_key(node: str) -> str:
    return f"to.{node}"


@dataclass(frozen=True, slots=True)
class Identity:
    exchange: str
    node: str
    name: str
    """How the connections are called in the broker's lists, before `:pub` and `:sub`."""

    @property
    def own_key(self) -> str:
        return node_key(self.node)


async def subscribe(
    link: Link,
    identity: Identity,
    *,
    cancelled: Callable[[spec.Basic.Cancel], None],
    rpc_s: float,
) -> AbstractChannel:
    """Listen to the fleet and to what is for our node. `cancelled` is called when the broker ends
    it. Raises SessionError."""
    with failing("open a channel"):
        channel = await open_channel(link, rpc_s, confirms=False)
    with failing("declare a queue"):
        declared = await channel.queue_declare(
            exclusive=True, auto_delete=True, arguments={**QUEUE_ARGUMENTS}, timeout=rpc_s
        )
    queue = declared.queue or ""
    with failing(f"bind the queue to exchange {identity.exchange}"):
        try:
            await _bind(channel, queue, identity, rpc_s)
        except ChannelNotFoundEntity:
            # The refusal closed the channel; the queue belongs to the connection.
            channel = await open_channel(link, rpc_s, confirms=False)
            await _declare_exchange(channel, identity.exchange, rpc_s)
            await _bind(channel, queue, identity, rpc_s)
    channel.on_consumer_cancel_callbacks.add(cancelled)
    with failing("consume"):
        await channel.basic_consume(queue, _taken_before, no_ack=True, timeout=rpc_s)
    return channel


async def _taken_before(message: DeliveredMessage) -> None:
    """The library has no message to call this with; but it wants to know who consumes."""


async def open_channel(link: Link, rpc_s: float, *, confirms: bool) -> AbstractChannel:
    async with asyncio.timeout(rpc_s):
        return await link.channel(publisher_confirms=confirms)


async def _bind(channel: AbstractChannel, queue: str, identity: Identity, rpc_s: float) -> None:
    for key in (identity.own_key, BROADCAST_KEY):
        await channel.queue_bind(queue, identity.exchange, key, timeout=rpc_s)


async def _declare_exchange(channel: AbstractChannel, exchange: str, rpc_s: float) -> None:
    with failing(f"exchange {exchange} is missing; declare it"):
        await channel.exchange_declare(
            exchange, exchange_type=EXCHANGE_TYPE, durable=True, timeout=rpc_s
        )
