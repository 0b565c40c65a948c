"""Bus URLs: what is allowed, what is refused in which words, and that no password is shown."""

import ssl
import sys
from subprocess import run
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beacond.bus.amqp import AmqpBus
from beacond.bus.amqp_url import parse_amqp
from beacond.bus.base import BusConfigError
from beacond.bus.local import LocalBus
from beacond.bus.url import HOSTS_MAX, open_bus, parse, redact


@pytest.mark.parametrize(
    ("url", "hosts", "vhost"),
    [
        ("amqp://u:p@mq", (("mq", 5672),), "/"),
        ("amqp://u:p@mq/", (("mq", 5672),), "/"),
        ("amqp://u:p@mq/%2F", (("mq", 5672),), "/"),
        ("amqp://u:p@mq:1234/shop", (("mq", 1234),), "shop"),
        ("amqp://u:p@mq/a%2Fb%20c", (("mq", 5672),), "a/b c"),
        ("amqp://u:p@h1:5672,h2,h3:7/v", (("h1", 5672), ("h2", 5672), ("h3", 7)), "v"),
        ("amqp://u:p@[::1]:99,[fe80::1],10.0.0.1/v",
         (("::1", 99), ("fe80::1", 5672), ("10.0.0.1", 5672)), "v"),
        ("AMQP://u:p@mq", (("mq", 5672),), "/"),
        ("amqps://u:p@mq", (("mq", 5671),), "/"),
    ],
)  # fmt: skip
def test_amqp_urls_say_where_to_connect(
    url: str, hosts: tuple[tuple[str, int], ...], vhost: str
) -> None:
    parsed = parse_amqp(url)
    assert (parsed.hosts, parsed.vhost, parsed.user, parsed.password) == (hosts, vhost, "u", "p")
    assert (parsed.tls is not None) == url.startswith("amqps")


def test_user_and_password_are_decoded() -> None:
    parsed = parse_amqp("amqp://a%40b:p%3A%2F%25@mq/v")
    assert (parsed.user, parsed.password) == ("a@b", "p:/%")
    assert parsed.shown == "amqp://a%40b@mq/v"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "looks like"),
        ("mq:5672", "looks like"),
        ("ampq://u:p@mq", "did you mean amqp://?"),
        ("rabbitmq://u:p@mq", "known are local://, amqp://, amqps://"),
        ("amqp://mq", "user and password are needed"),
        ("amqp://@mq", "user and password are needed"),
        ("amqp://guest@mq", "user and password are needed"),
        ("amqp://u:@mq", "user and password are needed"),
        ("amqp://:p@mq", "user and password are needed"),
        ("amqp://u:p@", "a host is needed"),
        ("amqp://u:p@mq:0", "ports from 1 to 65535"),
        ("amqp://u:p@mq:65536", "ports from 1 to 65535"),
        ("amqp://u:p@mq:99999999", "ports from 1 to 65535"),
        ("amqp://u:p@mq:http", "ports from 1 to 65535"),
        ("amqp://u:p@mq,", "host:port,host:port"),
        ("amqp://u:p@::1", "IPv6 in brackets"),
        ("amqp://u:p@" + ",".join(["mq"] * (HOSTS_MAX + 1)), f"at most {HOSTS_MAX} hosts"),
        ("amqp://u:p@mq/a/b", "%2F"),
        ("amqp://u:p@mq//", "%2F"),
        ("amqp://u:p@mq/v#w", "%23"),
        ("amqp://u:p@mq/v w", "no spaces"),
        ("amqp://u:p@mq/v\n", "no spaces"),
        ("amqp://u:p@mq/" + "v" * 256, "at most 255 bytes"),
        ("amqp://u:p@mq/" + "v" * 3000, "at most 2048 characters"),
        ("amqp://u:p@mq/v?heartbeat=5", "unknown option 'heartbeat'; known: none"),
        ("amqps://u:p@mq/v?verify=no", "known: cafile, certfile, keyfile"),
        ("amqps://u:p@mq/v?cafile", "?name=value"),
        ("amqps://u:p@mq/v?keyfile=/k.pem", "keyfile without certfile"),
        ("amqps://u:p@mq/v?cafile=/no/such/file.pem", "unusable cafile"),
        ("local://group:80", "local://GROUP"),
        ("local://user@group", "local://GROUP"),
        ("local:///path", "local://GROUP"),
        ("local://?a=b", "local://GROUP"),
    ],
)
def test_what_can_t_work_is_refused_with_what_is_allowed(url: str, says: str) -> None:
    with pytest.raises(BusConfigError) as refused:
        open_bus(url, fleet="default", node="a", incarnation=1)
    assert says in str(refused.value)


@pytest.mark.parametrize("secret", ["s3cret-of-the-fleet", "54321"])
@pytest.mark.parametrize(
    "url",
    [
        "amqp://u:{}@mq:5672/v",
        "amqp://u:{}@mq:bad/v",
        "amqp://u:{}@@mq",
        "amqp://u:x@{}@mq",
        "amqp://u:{}/x@mq/v",
        "amqp://u:{}?x@mq/v",
        "amqp://u:{}#x@mq/v",
        "amqp://u:{} @mq/v",
        "amqp:u:{}@mq/v",
        "nats://u:{}@mq",
        "amqps://u:{}@mq?cafile=/no/such",
    ],
)
def test_a_password_is_never_shown_however_badly_it_is_written(url: str, secret: str) -> None:
    url = url.format(secret)
    shown = [redact(url)]
    try:
        shown += [str(parse(url)), repr(parse(url)), repr(parse_amqp(url))]
    except BusConfigError as error:
        shown.append(str(error))
    assert not any(secret in text for text in shown)


@given(st.text(min_size=1, max_size=40), st.text(min_size=1, max_size=40))
def test_encoded_credentials_survive(user: str, password: str) -> None:
    url = f"amqp://{quote(user, safe='')}:{quote(password, safe='')}@mq/v"
    parsed = parse_amqp(url)
    assert (parsed.user, parsed.password) == (user, password)
    assert parsed.shown == f"amqp://{quote(user, safe='')}@mq/v"


@given(st.text(max_size=200))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    for url in (text, "amqp://" + text, "local://" + text):
        try:
            shown = str(parse(url))
        except BusConfigError:
            shown = redact(url)
        assert "\n" not in shown


def test_each_scheme_opens_its_bus() -> None:
    context = {"fleet": "default", "node": "a", "incarnation": 1}
    assert isinstance(open_bus("local://", **context), LocalBus)  # type: ignore[arg-type]
    assert isinstance(open_bus("amqp://u:p@mq", **context), AmqpBus)  # type: ignore[arg-type]
    assert isinstance(open_bus("amqps://u:p@mq", **context), AmqpBus)  # type: ignore[arg-type]


def test_a_bus_that_is_not_used_costs_no_import() -> None:
    script = (
        "import sys; from beacond.bus.url import open_bus;"
        "open_bus('local://', fleet='f', node='n', incarnation=1);"
        "print([name for name in ('aio_pika', 'aiormq', 'pamqp') if name in sys.modules])"
    )
    done = run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_tls_always_verifies() -> None:
    tls = parse_amqp("amqps://u:p@mq").tls
    assert tls is not None
    context = tls.context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
