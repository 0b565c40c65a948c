"""The process that speaks for a fleet: what it changes, and what its nodes say of it."""

from typing import Any

from beacond.core.entry import share_of
from beacond.core.messages import Announce, Heartbeat
from beacond.wire import Codec
from tests.bench.fleet_load import FleetLoad
from tests.bench.population import FLEET, population


class Exchange:
    """Where the load speaks."""

    def __init__(self) -> None:
        self.said: list[Any] = []

    async def publish(self, message: Any, key: str) -> None:
        assert key == "all"
        heard = Codec(fleet=FLEET, node="listener", keyring=None).decode(message.body)
        assert heard is not None
        self.said.append(heard[1])


async def test_changes_are_announced_one_instance_each_and_the_digest_agrees() -> None:
    exchange: Any = Exchange()
    fleet = population(3)
    load = FleetLoad(exchange, fleet, 5.0)
    known = {record.node: record for record in fleet.records()}
    moved = 0
    for _ in range(50):
        node = load.change()
        await load.announce(node)
        (told,) = exchange.said
        exchange.said.clear()
        assert isinstance(told, Announce)
        before, after = known[node], told.record
        assert after.version == before.version + 1
        pairs = zip(before.body.instances, after.body.instances, strict=True)
        assert sum(one != other for one, other in pairs) == 1
        known[node] = after
        moved += any(each.address for each in after.body.instances)
        await load.beat(node, seq=1)
        beat = exchange.said.pop()
        assert isinstance(beat, Heartbeat)
        assert beat.version == after.version
        digest = 0
        for record in known.values():
            digest ^= share_of(record)
        assert beat.digest == digest.to_bytes(8, "big")
    assert moved
