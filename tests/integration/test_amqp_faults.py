"""What the bus does when its broker dies, stands still, forgets or blocks."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator

import aio_pika
import pytest

from beacond.bus.amqp import BLOCKED, SILENT, UNCONFIRMED, UNECHOED, AmqpBus
from beacond.bus.amqp_outbox import IN_HAND_MAX
from beacond.bus.base import BusState
from tests.support.amqp import QUICK, running
from tests.support.listener import Listener
from tests.support.proxy import Proxy
from tests.support.rabbitmq import RabbitMQ

pytestmark = pytest.mark.broker

BOOT_S = 60.0


@pytest.fixture
async def broker(rabbitmq: RabbitMQ) -> AsyncIterator[RabbitMQ]:
    """The shared broker, put right again afterwards."""
    yield rabbitmq
    rabbitmq.thaw()
    await rabbitmq.revive()


@pytest.fixture(autouse=True)
def nothing_is_left_unsaid(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """asyncio complains of exceptions that nobody looked at; the libraries have many tasks."""
    yield
    assert not [r.getMessage() for r in caplog.get_records("call") if r.name == "asyncio"]


@pytest.fixture
def fleet(request: pytest.FixtureRequest) -> str:
    name: str = request.node.name
    return name.replace("_", "-")[:60]


async def speaks(bus: AmqpBus, heard: Listener, word: bytes, timeout_s: float = 20.0) -> None:
    """Wait until the bus is up and hears itself."""
    await heard.reaches(BusState.UP, timeout_s)
    assert bus.broadcast(word)
    await heard.hears(word)


async def test_starts_without_a_broker_and_finds_it_later(broker: RabbitMQ, fleet: str) -> None:
    await broker.kill()
    async with running(broker.url(), fleet=fleet) as (bus, heard):
        await heard.until(lambda: bool(heard.states))
        assert heard.states[0][0] is BusState.DOWN
        assert "refused" in heard.reasons[0]
        assert not bus.broadcast(b"too early")
        await broker.start()
        await speaks(bus, heard, b"at last", BOOT_S)
        assert b"too early" not in heard.bodies
        # Many attempts, few causes: each is told once.
        told = list(zip(heard.states, heard.states[1:], strict=False))
        assert all(before != after for before, after in told)
        assert len(heard.states) < 6


async def test_a_killed_broker_that_comes_back_empty_is_used_again(
    broker: RabbitMQ, fleet: str
) -> None:
    async with (
        running(broker.url(), fleet=fleet) as (a, heard_a),
        running(broker.url(), fleet=fleet, node="b") as (b, heard_b),
    ):
        await speaks(a, heard_a, b"before")
        await speaks(b, heard_b, b"before too")
        await broker.kill()
        await heard_a.reaches(BusState.DOWN)
        await heard_b.reaches(BusState.DOWN)
        assert not a.broadcast(b"while it was away")
        await broker.start(wiped=True)
        await speaks(a, heard_a, b"after", BOOT_S)
        await speaks(b, heard_b, b"after too", BOOT_S)
        assert a.send("b", b"to b")
        await heard_b.hears(b"to b")
        assert b"while it was away" not in heard_a.bodies + heard_b.bodies


async def test_a_stopping_broker_says_why(broker: RabbitMQ, fleet: str) -> None:
    async with running(broker.url(), fleet=fleet) as (bus, heard):
        await speaks(bus, heard, b"before")
        await broker.stop()
        await heard.until(lambda: any("CONNECTION_FORCED" in reason for reason in heard.reasons))


async def test_cut_connections_are_made_again(broker: RabbitMQ, fleet: str) -> None:
    async with (
        Proxy("127.0.0.1", broker.port) as proxy,
        running(broker.url(port=proxy.port), fleet=fleet) as (bus, heard),
    ):
        await speaks(bus, heard, b"one")
        proxy.cut()
        await heard.reaches(BusState.DOWN)
        await speaks(bus, heard, b"two")
        assert proxy.accepted == 4
        proxy.refuse()
        proxy.cut()
        await heard.reaches(BusState.DOWN)
        proxy.refuse(False)
        await speaks(bus, heard, b"three")


async def test_a_broker_that_stands_still_is_noticed_and_found_again(
    broker: RabbitMQ, fleet: str
) -> None:
    async with running(broker.url(), fleet=fleet) as (bus, heard):
        await speaks(bus, heard, b"before")
        broker.freeze()
        bus.broadcast(b"into the void")
        await heard.until(lambda: bus.state is not BusState.UP)
        await heard.until(lambda: bus.state is BusState.DOWN)
        assert SILENT in heard.reasons
        assert not bus.broadcast(b"refused")
        broker.thaw()
        await speaks(bus, heard, b"after")
        assert b"refused" not in heard.bodies


async def test_a_mute_path_is_left_for_another_host(broker: RabbitMQ, fleet: str) -> None:
    """No error is ever seen on the frozen connections; only silence."""
    async with Proxy("127.0.0.1", broker.port) as first, Proxy("127.0.0.1", broker.port) as second:
        credentials = broker.url().partition("@")[0]
        url = f"{credentials}@127.0.0.1:{first.port},127.0.0.1:{second.port}/"
        async with running(url, fleet=fleet) as (bus, heard):
            await speaks(bus, heard, b"before")
            used, other = (first, second) if first.accepted else (second, first)
            used.freeze_down()
            await heard.until(lambda: SILENT in heard.reasons)
            await speaks(bus, heard, b"after")
            assert other.accepted >= 2


async def test_a_session_that_still_hears_is_kept_until_there_is_another(
    broker: RabbitMQ, fleet: str
) -> None:
    async with (
        Proxy("127.0.0.1", broker.port) as proxy,
        running(broker.url(port=proxy.port), fleet=fleet) as (bus, heard),
        running(broker.url(), fleet=fleet, node="b") as (other, heard_other),
    ):
        await speaks(bus, heard, b"before")
        await heard_other.reaches(BusState.UP)
        proxy.freeze_up()
        count = iter(range(10**6))

        def talk() -> None:
            other.broadcast(b"b %d" % next(count))

        await _repeat(talk, lambda: any("no answer" in reason for reason in heard.reasons))
        assert SILENT in heard.reasons
        assert {state for state, _ in heard.states} == {BusState.UP, BusState.TX_BLOCKED}
        other.broadcast(b"still heard")
        await heard.hears(b"still heard")
        proxy.refuse()
        proxy.cut()
        await heard.reaches(BusState.DOWN)
        proxy.refuse(False)
        proxy.thaw()
        await speaks(bus, heard, b"after")


async def test_an_alarm_blocks_sending_only_and_nothing_stale_comes_out(
    broker: RabbitMQ, fleet: str
) -> None:
    async with running(broker.url(), fleet=fleet) as (bus, heard):
        await speaks(bus, heard, b"before")
        await broker.rabbitmqctl("set_vm_memory_high_watermark", "0.00000001")
        try:
            accepted: set[bytes] = set()
            refused: set[bytes] = set()

            def offer() -> None:
                word = b"during %d" % (len(accepted) + len(refused))
                (accepted if bus.broadcast(word) else refused).add(word)

            await _repeat(offer, lambda: bus.state is BusState.TX_BLOCKED)
            await heard.until(lambda: heard.states[-1] == (BusState.TX_BLOCKED, BLOCKED))
            sent_before = set(heard.bodies)
            await _repeat(offer, lambda: len(refused) >= 20)
            await _deliver_from_inside(broker, fleet, b"from the broker itself")
            await heard.hears(b"from the broker itself")
            assert bus.state is BusState.TX_BLOCKED
        finally:
            await broker.rabbitmqctl("set_vm_memory_high_watermark", "absolute", "400MiB")
        await speaks(bus, heard, b"after")
        late = set(heard.bodies) & accepted - sent_before
        assert len(late) <= IN_HAND_MAX
        assert not refused & set(heard.bodies)
        # The same session all along.
        assert BusState.DOWN not in [state for state, _ in heard.states]


async def test_a_session_made_during_an_alarm_listens_and_speaks_when_it_ends(
    broker: RabbitMQ, fleet: str
) -> None:
    await broker.rabbitmqctl("set_vm_memory_high_watermark", "0.00000001")
    try:
        async with running(broker.url(), fleet=fleet) as (bus, heard):
            await heard.reaches(BusState.TX_BLOCKED)
            assert heard.states == [(BusState.TX_BLOCKED, BLOCKED)]
            await _deliver_from_inside(broker, fleet, b"news")
            await heard.hears(b"news")
            await broker.rabbitmqctl("set_vm_memory_high_watermark", "absolute", "400MiB")
            await speaks(bus, heard, b"after")
    finally:
        await broker.rabbitmqctl("set_vm_memory_high_watermark", "absolute", "400MiB")


async def test_a_blocked_bus_closes_in_a_few_seconds(broker: RabbitMQ, fleet: str) -> None:
    await broker.rabbitmqctl("set_vm_memory_high_watermark", "0.00000001")
    try:
        async with asyncio.timeout(20):
            async with running(broker.url(), fleet=fleet) as (_, heard):
                await heard.reaches(BusState.TX_BLOCKED)
    finally:
        await broker.rabbitmqctl("set_vm_memory_high_watermark", "absolute", "400MiB")


async def test_a_queue_deleted_by_an_operator_is_replaced(broker: RabbitMQ, fleet: str) -> None:
    async with running(broker.url(), fleet=fleet) as (bus, heard):
        await speaks(bus, heard, b"before")
        (queue,) = await broker.listing("queues", "name")
        await broker.rabbitmqctl("delete_queue", queue["name"])
        await heard.until(lambda: "the broker has deleted our queue" in heard.reasons)
        await speaks(bus, heard, b"after")


async def test_forgotten_bindings_are_noticed_by_the_ping(broker: RabbitMQ, fleet: str) -> None:
    """An exchange deleted and made again tells nobody, and loses every binding."""
    async with (
        running(broker.url(), fleet=fleet) as (bus, heard),
        await aio_pika.connect(broker.url()) as admin,
    ):
        await speaks(bus, heard, b"before")
        channel = await admin.channel()
        await channel.exchange_delete(f"bcn.{fleet}")
        await channel.declare_exchange(f"bcn.{fleet}", "direct", durable=True)
        await heard.until(lambda: SILENT in heard.reasons)
        await speaks(bus, heard, b"after")


# By these it routes; what it believes of a queue's bindings is in another table.
ROUTES = (
    "rabbit_route",
    "rabbit_topic_trie_node",
    "rabbit_topic_trie_edge",
    "rabbit_topic_trie_binding",
)


async def test_bindings_that_the_broker_lost_are_made_again_once(
    broker: RabbitMQ, fleet: str
) -> None:
    """As after a partition of a cluster: the broker believes in bindings by which it does not
    route. That the old sessions end must not harm the new ones, as it does with a topic exchange,
    where the end of a binding that is not there takes another one of the same key along."""
    async with (
        running(broker.url(), fleet=fleet) as (a, heard_a),
        running(broker.url(), fleet=fleet, node="b") as (b, heard_b),
    ):
        await speaks(a, heard_a, b"before")
        await speaks(b, heard_b, b"before too")
        for table in ROUTES:
            await broker.rabbitmqctl("eval", f"mnesia:clear_table({table}).")
        for heard in (heard_a, heard_b):
            await heard.until(lambda heard=heard: SILENT in heard.reasons)
            await heard.reaches(BusState.UP)
        told = len(heard_a.states), len(heard_b.states)
        await asyncio.sleep(5 * QUICK.ping_s)
        await speaks(a, heard_a, b"after")
        await heard_b.hears(b"after")
        assert (len(heard_a.states), len(heard_b.states)) == told


async def test_a_lost_broadcast_binding_is_noticed_though_pings_come_back(
    broker: RabbitMQ, fleet: str
) -> None:
    async with running(broker.url(), fleet=fleet) as (bus, heard):
        await speaks(bus, heard, b"before")
        (queue,) = await broker.listing("queues", "name")
        source = f'{{resource, <<"/">>, exchange, <<"bcn.{fleet}">>}}'
        target = f'{{resource, <<"/">>, queue, <<"{queue["name"]}">>}}'
        binding = f'{{binding, {source}, <<"all">>, {target}, []}}'
        await broker.rabbitmqctl("eval", f'ok = rabbit_binding:remove({binding}, <<"test">>).')
        number = iter(range(10**6))
        await _repeat(
            lambda: bus.broadcast(b"unheard %d" % next(number)),
            lambda: UNECHOED in heard.reasons,
        )
        await speaks(bus, heard, b"after")


async def test_a_deleted_exchange_is_declared_again(broker: RabbitMQ, fleet: str) -> None:
    async with (
        running(broker.url(), fleet=fleet) as (bus, heard),
        await aio_pika.connect(broker.url()) as admin,
    ):
        await speaks(bus, heard, b"before")
        channel = await admin.channel()
        await channel.exchange_delete(f"bcn.{fleet}")
        bus.broadcast(b"nowhere to go")
        await heard.until(lambda: any("NOT_FOUND" in reason for reason in heard.reasons))
        assert UNCONFIRMED not in heard.reasons
        await speaks(bus, heard, b"after")


async def test_a_port_where_no_broker_answers_gives_a_reason(fleet: str) -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.org ESMTP\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, running(f"amqp://u:p@127.0.0.1:{port}/", fleet=fleet) as (_, heard):
        await heard.until(lambda: bool(heard.states))
        assert heard.states[0][0] is BusState.DOWN
        assert heard.reasons[0].startswith(f"127.0.0.1:{port}: connect: ")


async def test_a_port_that_accepts_and_stays_mute_times_out(fleet: str) -> None:
    mute = asyncio.Event()

    async def hold(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await mute.wait()
        writer.close()

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, running(f"amqp://u:p@127.0.0.1:{port}/", fleet=fleet) as (_, heard):
        await heard.until(lambda: bool(heard.states))
        assert heard.reasons == [f"127.0.0.1:{port}: connect: no answer in time"]
        mute.set()


async def _repeat(action: Callable[[], None], until: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not until():
            action()
            await asyncio.sleep(0.005)


async def _deliver_from_inside(broker: RabbitMQ, fleet: str, body: bytes) -> None:
    """Publish within the broker, past the connections that it blocks."""
    exchange = f'{{resource, <<"/">>, exchange, <<"bcn.{fleet}">>}}'
    await broker.rabbitmqctl(
        "eval", f'rabbit_basic:publish({exchange}, <<"all">>, [], <<"{body.decode()}">>).'
    )
