"""What the bus asks of a broker: names, permissions, TLS, and what it says when refused."""

import asyncio
import json
import logging
import re
from pathlib import Path

import aio_pika
import pytest

from beacond.bus.amqp_session import MESSAGE_BYTES_MAX
from beacond.bus.base import BusConfigError, BusState
from beacond.bus.url import open_bus
from tests.support.amqp import running
from tests.support.rabbitmq import RabbitMQ, RabbitMQError, make_certificates

pytestmark = pytest.mark.broker

ROOT = Path(__file__).resolve().parents[2]
DEFINITIONS = ROOT / "deploy" / "rabbitmq" / "definitions.json"
GUIDE = ROOT / "docs" / "rabbitmq.md"
USER = "agent"
PASSWORD = "s3cret-of-the-agent"


async def test_the_queue_is_bounded_and_dies_with_the_agent(rabbitmq: RabbitMQ) -> None:
    async with running(rabbitmq.url(), fleet="bounds", node="web-1", incarnation=42) as (_, heard):
        await heard.reaches(BusState.UP)
        columns = ("name", "durable", "exclusive", "auto_delete", "arguments", "type")
        (queue,) = await rabbitmq.listing("queues", *columns)
        assert queue["name"].startswith("amq.gen-")
        assert (queue["durable"], queue["exclusive"], queue["auto_delete"]) == (False, True, True)
        arguments = {name: value for name, _, value in queue["arguments"]}
        assert arguments == {
            "x-queue-type": "classic",
            "x-message-ttl": 15_000,
            "x-max-length": 20_000,
            "x-max-length-bytes": 32 << 20,
            "x-overflow": "drop-head",
        }
        bindings = await rabbitmq.listing("bindings", "source_name", "routing_key")
        keys = {row["routing_key"] for row in bindings if row["source_name"] == "bcn.bounds"}
        assert keys == {"all", "to.web-1"}
        exchanges = await rabbitmq.listing("exchanges", "name", "type", "durable")
        assert {"name": "bcn.bounds", "type": "direct", "durable": True} in exchanges
        links = await rabbitmq.listing("connections", "client_properties", "timeout")
        properties = [{key: value for key, _, value in link["client_properties"]} for link in links]
        names = {each["connection_name"] for each in properties}
        assert names == {"beacond:web-1:42:pub", "beacond:web-1:42:sub"}
        assert {link["timeout"] for link in links} == {10}
    assert await rabbitmq.listing("queues", "name") == []


async def test_messages_are_transient_and_pings_stay_inside(rabbitmq: RabbitMQ) -> None:
    async with (
        running(rabbitmq.url(), fleet="watched") as (bus, heard),
        await aio_pika.connect(rabbitmq.url()) as admin,
    ):
        await heard.reaches(BusState.UP)
        channel = await admin.channel()
        queue = await channel.declare_queue(exclusive=True)
        for key in ("all", "to.a"):
            await queue.bind("bcn.watched", key)
        bus.broadcast(b"news")
        kinds: dict[str, int | None] = {}
        async with asyncio.timeout(20), queue.iterator(no_ack=True) as messages:
            async for message in messages:
                kinds[message.type or "message"] = message.delivery_mode
                if len(kinds) == 2:
                    break
        assert kinds == {"message": 1, "ping": 1}
        assert heard.bodies == [b"news"]


async def test_a_message_too_long_is_handed_on_cut_to_be_refused_and_counted(
    rabbitmq: RabbitMQ,
) -> None:
    async with (
        running(rabbitmq.url(), fleet="longwinded") as (_, heard),
        await aio_pika.connect(rabbitmq.url()) as admin,
    ):
        await heard.reaches(BusState.UP)
        exchange = await (await admin.channel()).get_exchange("bcn.longwinded")
        await exchange.publish(aio_pika.Message(bytes(3 * MESSAGE_BYTES_MAX)), "all")
        await heard.hears(bytes(MESSAGE_BYTES_MAX + 1))


async def test_the_least_permissions_suffice_where_the_exchange_was_made_before(
    rabbitmq: RabbitMQ,
) -> None:
    least = json.loads(DEFINITIONS.read_text())["permissions"][0]
    rights = {right: least[right] for right in ("configure", "write", "read")}
    await rabbitmq.declare(
        vhost="least", exchange="bcn.default", user=USER, password=PASSWORD, **rights
    )
    url = rabbitmq.url(user=USER, password=PASSWORD, vhost="least")
    async with running(url, fleet="default") as (bus, heard):
        await heard.reaches(BusState.UP)
        assert bus.send("a", b"to myself")
        await heard.hears(b"to myself")
        assert heard.states == [(BusState.UP, "")]


QUEUE, BOTH = "^amq\\.gen-.*$", "^(amq\\.gen-.*|bcn\\.default)$"


@pytest.mark.parametrize(
    ("configure", "write", "read", "reason"),
    [
        ("^$", BOTH, BOTH, "declare a queue: ACCESS_REFUSED - access to queue 'amq.gen-*'"),
        (QUEUE, "^bcn", BOTH, "bind the queue to exchange bcn.default: ACCESS_REFUSED - access"),
        (QUEUE, BOTH, "^amq", "bind the queue to exchange bcn.default: ACCESS_REFUSED - access"),
        (QUEUE, BOTH, "^bcn", "consume: ACCESS_REFUSED - access to queue 'amq.gen-*'"),
        (QUEUE, QUEUE, BOTH, "publish: ACCESS_REFUSED - access to exchange 'bcn.default'"),
    ],
    ids=["configure", "write-queue", "read-exchange", "read-queue", "write-exchange"],
)
async def test_a_missing_permission_is_told_once_and_clearly(
    rabbitmq: RabbitMQ, configure: str, write: str, read: str, reason: str
) -> None:
    await rabbitmq.declare(
        **{"vhost": "refusing", "exchange": "bcn.default", "user": USER, "password": PASSWORD},
        **{"configure": configure, "write": write, "read": read},
    )
    url = rabbitmq.url(user=USER, password=PASSWORD, vhost="refusing")
    async with running(url, fleet="default") as (_, heard):
        await heard.reaches(BusState.DOWN)
        assert heard.reasons[0].startswith(f"127.0.0.1:{rabbitmq.port}: {reason}")
        # While this runs the bus is refused again, and says nothing new.
        await rabbitmq.declare(vhost="refusing", user=USER, configure=QUEUE, write=BOTH, read=BOTH)
        await heard.reaches(BusState.UP)
        assert [state for state, _ in heard.states] == [BusState.DOWN, BusState.UP]


async def test_a_missing_exchange_that_may_not_be_declared_is_named(rabbitmq: RabbitMQ) -> None:
    await rabbitmq.declare(
        **{"vhost": "bare", "exchange": "bcn.default", "user": USER, "password": PASSWORD},
        configure=QUEUE,
    )
    url = rabbitmq.url(user=USER, password=PASSWORD, vhost="bare")
    async with running(url, fleet="other") as (_, heard):
        await heard.reaches(BusState.DOWN)
        assert "exchange bcn.other is missing; declare it: ACCESS_REFUSED" in heard.reasons[0]


async def test_a_wrong_password_is_said_and_no_password_is_shown(
    rabbitmq: RabbitMQ, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    url = rabbitmq.url(password="wr0ng-s3cret")
    async with running(url, fleet="wrong") as (bus, heard):
        await heard.reaches(BusState.DOWN)
        expected = f"127.0.0.1:{rabbitmq.port}: connect: the broker refuses user or password"
        assert heard.reasons == [expected]
        assert bus.url == f"amqp://beacond@127.0.0.1:{rabbitmq.port}"
    shown = caplog.text + repr(heard.states) + repr(vars(bus)) + bus.url
    assert "wr0ng-s3cret" not in shown
    (record,) = [record for record in caplog.records if record.name == "beacond.bus"]
    assert (record.message, record.__dict__["state"]) == ("bus state", "down")
    assert record.levelno == logging.WARNING


async def test_an_unknown_vhost_is_named(rabbitmq: RabbitMQ) -> None:
    async with running(rabbitmq.url(vhost="no-such"), fleet="vhost") as (bus, heard):
        await heard.reaches(BusState.DOWN)
        assert "the broker refuses the vhost" in heard.reasons[0]
        assert bus.url.endswith("/no-such")


async def test_the_vhost_may_be_written_with_a_slash_or_encoded(rabbitmq: RabbitMQ) -> None:
    await rabbitmq.declare(vhost="a/b")
    base = rabbitmq.url().rstrip("/")
    for path in ("", "/", "/%2F", "/a%2Fb"):
        async with running(base + path, fleet="slash") as (_, heard):
            await heard.reaches(BusState.UP)
    exchanges = await rabbitmq.listing("exchanges", "name", vhost="a/b")
    assert {"name": "bcn.slash"} in exchanges


async def test_a_dead_host_in_the_url_does_no_harm(rabbitmq: RabbitMQ) -> None:
    credentials, _, _ = rabbitmq.url().rpartition("@")
    url = f"{credentials}@127.0.0.1:1,127.0.0.1:{rabbitmq.port}/"
    for _ in range(3):
        async with running(url, fleet="dead") as (_, heard):
            await heard.reaches(BusState.UP)
            assert heard.states == [(BusState.UP, "")]


async def test_every_host_s_reason_is_told(rabbitmq: RabbitMQ) -> None:
    url = f"amqp://u:wrong@127.0.0.1:1,127.0.0.1:{rabbitmq.port}/"
    async with running(url, fleet="dead") as (_, heard):
        await heard.reaches(BusState.DOWN)
        assert heard.reasons == [
            "127.0.0.1:1: connect: connection refused; "
            f"127.0.0.1:{rabbitmq.port}: connect: the broker refuses user or password"
        ]


async def test_tls_verifies_the_broker_and_shows_a_client_certificate(tmp_path: Path) -> None:
    server, client = make_certificates(tmp_path)
    async with RabbitMQ(tls=server) as broker:
        base = broker.url(port=broker.tls_port).replace("amqp://", "amqps://")
        files = f"?cafile={client.cafile}&certfile={client.certfile}&keyfile={client.keyfile}"
        async with running(base + files, fleet="tls") as (bus, heard):
            await heard.reaches(BusState.UP)
            bus.broadcast(b"sealed")
            await heard.hears(b"sealed")
            assert str(tmp_path) not in bus.url
        async with running(base, fleet="tls") as (_, heard):
            await heard.reaches(BusState.DOWN)
            assert "the broker's certificate is not accepted" in heard.reasons[0]
        plain = base.replace("amqps://", "amqp://")
        async with running(plain, fleet="tls") as (_, heard):
            await heard.reaches(BusState.DOWN)


def test_unusable_tls_files_are_a_config_error(tmp_path: Path) -> None:
    missing = tmp_path / "ca.pem"
    with pytest.raises(BusConfigError, match="cafile"):
        open_bus(f"amqps://u:p@h/?cafile={missing}", fleet="f", node="n", incarnation=1)


async def test_the_shipped_definitions_make_a_broker_ready() -> None:
    """As docs/rabbitmq.md says: import, give the user a password, run."""
    async with RabbitMQ() as broker:
        await broker.rabbitmqctl("import_definitions", str(DEFINITIONS))
        for password in (PASSWORD, ""):
            with pytest.raises(RabbitMQError):
                await broker.rabbitmqctl("authenticate_user", "beacond", password)
        await broker.rabbitmqctl("change_password", "beacond", PASSWORD)
        url = broker.url(password=PASSWORD, vhost="beacond")
        async with running(url, fleet="default") as (bus, heard):
            await heard.reaches(BusState.UP)
            bus.broadcast(b"ready")
            await heard.hears(b"ready")
            assert heard.states == [(BusState.UP, "")]
        async with running(url, fleet="another") as (_, heard):
            await heard.reaches(BusState.DOWN)


async def test_the_guide_s_commands_give_the_shipped_permissions() -> None:
    permission = json.loads(DEFINITIONS.read_text())["permissions"][0]
    found = re.search(r"set_permissions -p (\S+) (\S+) '(.*)' '(.*)' '(.*)'", GUIDE.read_text())
    assert found is not None
    order = ("vhost", "user", "configure", "write", "read")
    assert found.groups() == tuple(permission[key] for key in order)
