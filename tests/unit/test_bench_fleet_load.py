"""The process that speaks for a fleet: what it changes, and what its hosts say of it."""

from collections.abc import Iterator
from random import Random

from beacond.bus.amqp_topology import BROADCAST_KEY, node_key
from beacond.core.effects import Publish, Send
from beacond.core.entry import SUSPECT_BEATS
from beacond.core.hashing import share_of
from beacond.core.messages import SHARDS, Announce, Envelope, Heartbeat, Message
from beacond.wire import Codec
from tests.bench.fleet_load import FleetLoad
from tests.bench.fleet_relays import Relays
from tests.bench.fleet_state import State
from tests.bench.following import ranked
from tests.bench.population import FLEET, population
from tests.support.core import INTERVAL_S, TTL_S, Hand

STEP_S = 0.05


class Hosts:
    """A fleet, and all that it says."""

    def __init__(self, hosts: int, *, relayed: bool) -> None:
        self.now = 100.0
        self.fleet = population(hosts)
        self.state = State(self.fleet, INTERVAL_S, self.now, relays=relayed)
        self.relays = Relays(self.state, INTERVAL_S, Random(3), self.now) if relayed else None
        self.load = FleetLoad(self._send, self.state, self.relays, INTERVAL_S, lambda: self.now)
        self._said: list[tuple[str, bytes]] = []

    def _send(self, _: str, key: str, data: bytes) -> None:
        self._said.append((key, data))

    def take(self, node: str = "listener") -> Iterator[tuple[str, Envelope, Message]]:
        """What has come for that one since the last time, each with its key."""
        said, self._said = self._said, []
        codec = Codec(fleet=FLEET, node=node, keyring=None)
        for key, data in said:
            heard = codec.decode(data) if key in (BROADCAST_KEY, node_key(node)) else None
            if heard is not None:
                yield key, *heard


def test_changes_are_announced_one_instance_each_and_the_digest_agrees() -> None:
    hosts = Hosts(3, relayed=False)
    known = {record.node: record for record in hosts.fleet.records()}
    moved = 0
    for _ in range(50):
        node = hosts.state.change()
        hosts.load.announce(node)
        ((key, _, told),) = hosts.take()
        assert key == BROADCAST_KEY
        assert isinstance(told, Announce)
        before, after = known[node], told.record
        assert after.version == before.version + 1
        pairs = zip(before.body.instances, after.body.instances, strict=True)
        assert sum(one != other for one, other in pairs) == 1
        known[node] = after
        moved += any(each.address for each in after.body.instances)
        hosts.load.beat(node, INTERVAL_S)
        ((key, _, beat),) = hosts.take()
        assert key == BROADCAST_KEY
        assert isinstance(beat, Heartbeat)
        assert beat.version == after.version
        digest = 0
        for record in known.values():
            digest ^= share_of(record)
        assert beat.digest == digest.to_bytes(8, "big")
    assert moved


class Followed:
    """A real core that follows a fleet which relays, both in a time that is moved by hand."""

    def __init__(self, agent: str, hosts: int) -> None:
        self.hosts = Hosts(hosts, relayed=True)
        assert self.hosts.relays is not None
        self.relays = self.hosts.relays
        self.agent = Hand(agent, interval_s=INTERVAL_S, ttl_s=TTL_S).start().up()
        self._mouth = Codec(fleet=FLEET, node=agent, keyring=None)
        random = Random(4)
        due = {node: random.uniform(0, INTERVAL_S) for node in self.hosts.state.records}
        self._due: dict[str | int, float] = {**due, **dict.fromkeys(range(SHARDS), 1.0)}
        self._due = {whom: self.hosts.now + after_s for whom, after_s in self._due.items()}

    def run(self, seconds: float) -> None:
        end = self.hosts.now + seconds
        while self.hosts.now < end:
            self.hosts.now += STEP_S
            for whom, at in self._due.items():
                if at <= self.hosts.now:
                    self._due[whom] = self._turn(whom)
            self.agent.run(self.hosts.now - self.agent.now)
            for _, envelope, message in list(self.hosts.take(self.agent.node.settings.node)):
                self.agent.hear((envelope, message))
            self._listen()

    def _turn(self, whom: str | int) -> float:
        if isinstance(whom, int):
            return self.hosts.load.speak(whom)
        if whom not in self.relays.dead:
            self.hosts.load.beat(whom, INTERVAL_S)
        return self.hosts.now + INTERVAL_S

    def _listen(self) -> None:
        for effect in self.agent.take():
            if isinstance(effect, Publish | Send):
                for frame in self._mouth.encode(effect.envelope, effect.message):
                    self.hosts.load.heard(frame)

    def happened(self) -> list[str]:
        """Of what tells of a loss: kind and node, of all since the start."""
        return [
            f"{event.kind} {event.agent.node if event.agent else ''}"
            for event in self.agent.node.log.retained()
            if event.kind in ("agent.suspect", "agent.expired", "view.blind", "view.held")
        ]

    @property
    def instances(self) -> int:
        services = self.agent.node.view.services.values()
        return sum(len(service.instances) for service in services)

    def sent(self) -> dict[str, int]:
        """What it has said until now, and to whom, by the fleet's own count."""
        return dict(self.hosts.load.agents[self.agent.node.settings.node])


def test_a_real_core_follows_the_fleet_by_its_relays_and_loses_nobody_when_relays_die() -> None:
    followed = Followed("follower", 120)
    followed.run(6 * INTERVAL_S)
    before = followed.sent()
    followed.run(10 * INTERVAL_S)
    after = followed.sent()
    assert followed.instances == 1200
    assert not followed.happened()
    assert after["Heartbeat to relay"] - before["Heartbeat to relay"] >= 2 * 9
    # Nothing else: nobody is asked for what is known, and no heartbeat goes to all.
    assert {what for what in after if after[what] != before.get(what)} == {"Heartbeat to relay"}
    dead = followed.relays.die(5)
    followed.run(SUSPECT_BEATS * INTERVAL_S)
    for node in dead:
        followed.relays.believe(node, False)
    followed.run(6 * INTERVAL_S)
    assert len(dead) == 5
    lost = {f"agent.{what} {node}" for node in dead for what in ("suspect", "expired")}
    assert set(followed.happened()) == lost
    assert followed.instances == 1150


def test_an_agent_that_ranks_first_of_all_is_sent_heartbeats_and_speaks() -> None:
    followed = Followed(ranked("relay", 1, population(120)), 120)
    followed.run(6 * INTERVAL_S)
    before = followed.sent()
    followed.run(10 * INTERVAL_S)
    after = followed.sent()
    assert 9 <= after["ShardDigest to all"] - before["ShardDigest to all"] <= 12
    assert {what for what in after if after[what] != before.get(what)} == {
        "Heartbeat to relay",
        "ShardDigest to all",
    }
    assert not followed.happened()
    assert followed.instances == 1200


def test_of_relays_that_die_together_each_shard_keeps_one() -> None:
    relays = Hosts(120, relayed=True).relays
    assert relays is not None
    pairs = [relays.of(f"no-{number}") for number in range(200)]
    dead = set(relays.die(SHARDS))
    assert len(dead) > SHARDS / 2
    assert all(not dead.issuperset(pair) for pair in pairs)
