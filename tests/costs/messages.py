"""Messages of a usual size, as an agent of a fleet with keys sends them."""

from beacond.core.messages import Announce, Envelope, Heartbeat
from beacond.core.model import Body, Mode, Published, Record
from beacond.wire import Codec, Keyring

FLEET = "default"
NODE = "node-0042"
INCARNATION = 1_700_000_000
BOOT_ID = bytes(range(16))
COUNTER = 20_000
"""About a day's."""
PING = bytes(16)
"""Eight bytes drawn for the session, eight of a number."""

KEYS = Keyring([b"a key of 32 bytes for these tests"])
_codec = Codec(fleet=FLEET, node=NODE, keyring=KEYS)


def heartbeat() -> bytes:
    beat = Heartbeat(
        seq=COUNTER,
        version=3,
        digest=bytes(range(8)),
        series=1,
        stamp_ms=COUNTER * 5000,
        next_ms=4800,
        ttl_ms=15_000,
        mode=Mode.NORMAL,
    )
    return _frame(beat)


def announce(instances: int) -> bytes:
    """Of a host with so many instances, with two tags and two pairs of metadata each."""
    published = tuple(_instance(number) for number in range(instances))
    body = Body(zone="zone-1", addresses=("10.0.0.42",), agent_version="0.1.0", instances=published)
    return _frame(Announce(Record(NODE, INCARNATION, BOOT_ID, 3, body)))


def _instance(number: int) -> Published:
    port = 8000 + number
    return Published(
        id=f"svc-042-{port}",
        service="svc-042",
        port=port,
        tags=("blue", "v2"),
        meta=(("team", "payments"), ("version", "2.14.0")),
    )


def _frame(message: Heartbeat | Announce) -> bytes:
    (frame,) = _codec.encode(Envelope(NODE, INCARNATION, BOOT_ID, COUNTER), message)
    return frame
