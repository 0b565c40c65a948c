"""The sizes that `beacond plan` reckons with are those that are sent."""

import pytest

from beacond.bus.amqp_session import _MESSAGE, _PING, PING, PING_NUMBER_BYTES
from beacond.bus.amqp_topology import BROADCAST_KEY, node_key
from beacond.cli import unit_costs as unit
from beacond.wire import Codec
from tests.costs import messages, sessions

NONCE_BYTES = 8


def around(message: bytes, framed: bytes) -> int:
    return len(framed) - len(message)


def test_a_heartbeat_and_a_ping_have_the_size_reckoned_with():
    assert len(messages.heartbeat()) == unit.HEARTBEAT.value
    assert len(messages.PING) == unit.PING.value == NONCE_BYTES + PING_NUMBER_BYTES


@pytest.mark.parametrize("instances", [0, 1, 10, 100])
def test_an_announce_has_the_size_reckoned_with(instances):
    reckoned = unit.ANNOUNCE.value + instances * unit.INSTANCE.value
    # Lengths and numbers take a byte or two more where they grow.
    assert len(messages.announce(instances)) == pytest.approx(reckoned, rel=0.03)


def test_what_amqp_adds_is_what_is_reckoned_with():
    beat, ping, key = messages.heartbeat(), messages.PING, node_key(messages.NODE)
    assert around(beat, sessions.publication(beat, BROADCAST_KEY)) == unit.PUBLISHED.value
    assert around(beat, sessions.delivery(beat, BROADCAST_KEY)) == unit.DELIVERED.value
    ours = tuple(
        around(ping, framed(ping, key, kind=PING))
        for framed in (sessions.publication, sessions.delivery)
    )
    extra = unit.PING_EXTRA.value
    assert ours == (unit.PUBLISHED.value + extra, unit.DELIVERED.value + extra)


def test_the_measured_messages_are_such_as_agents_send():
    """Read back they are whole, and their AMQP properties are the agent's own."""
    codec = Codec(fleet=messages.FLEET, node="other", keyring=messages.KEYS)
    for frame in (messages.heartbeat(), messages.announce(3)):
        heard = codec.decode(frame)
        assert heard is not None
        assert heard[0].sender == messages.NODE
    assert _MESSAGE.marshal() in sessions.publication(b"", BROADCAST_KEY)
    assert _PING.marshal() in sessions.publication(b"", node_key(messages.NODE), kind=PING)
