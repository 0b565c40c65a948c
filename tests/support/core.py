"""A core moved by hand, and other agents' words put together for it. Nothing here reads a clock."""

import random
from collections.abc import Iterable
from dataclasses import dataclass, replace

from beacond.core.effects import Changed, Dropped, Effect, Emit, Probe, Publish, Send
from beacond.core.local import Change, ModeState
from beacond.core.messages import Announce, Envelope, Goodbye, Heartbeat, Message
from beacond.core.model import Body, InstanceSpec, Mode, Published, Record
from beacond.core.node import Node
from beacond.core.settings import Settings
from beacond.core.view import InstanceView, Selection, select

INTERVAL_S, TTL_S = 5.0, 15.0
WALL = 1_800_000_000.0

Said = tuple[Envelope, Message]


def spec(service: str, port: int = 80, **fields: object) -> InstanceSpec:
    return replace(InstanceSpec(id=f"{service}-{port}", service=service, port=port), **fields)


def published(service: str, port: int = 80, **fields: object) -> Published:
    return replace(Published(id=f"{service}-{port}", service=service, port=port), **fields)


@dataclass
class Peer:
    """Another agent: says what it is told to say, right or wrong."""

    name: str
    incarnation: int = 1
    boot_id: bytes = b"\x01" * 16
    started_at: float = 0.0
    address: str = "10.9.0.1"
    zone: str = ""
    seq: int = 0
    version: int = 1
    counter: int = 0
    relays: bool = False
    """Its agent takes the word of relays."""

    def envelope(self, to: str = "") -> Envelope:
        self.counter += 1
        return Envelope(self.name, self.incarnation, self.boot_id, self.counter, to)

    def heartbeat(self, now: float, **changes: object) -> Said:
        self.seq += 1
        beat = Heartbeat(
            seq=self.seq,
            version=self.version,
            digest=b"\0" * 8,
            series=1,
            stamp_ms=round((now - self.started_at) * 1000),
            next_ms=int(INTERVAL_S * 1000),
            ttl_ms=int(TTL_S * 1000),
            mode=Mode.NORMAL,
        )
        return self.envelope(), replace(beat, **changes)

    def record(self, *instances: Published, mode: Mode = Mode.NORMAL) -> Record:
        ordered = tuple(sorted(instances, key=lambda i: i.id))
        body = Body(self.zone, (self.address,), "1.0", mode, ordered, self.relays)
        return Record(self.name, self.incarnation, self.boot_id, self.version, body)

    def announce(self, *instances: Published, mode: Mode = Mode.NORMAL) -> Said:
        return self.envelope(), Announce(self.record(*instances, mode=mode))

    def goodbye(self, hold_s: float = 0.0) -> Said:
        return self.envelope(), Goodbye(self.seq, int(hold_s * 1000))

    def reboot(self, now: float = 0.0) -> None:
        self.incarnation += 1
        self.boot_id = bytes([self.incarnation % 256]) * 16
        self.seq, self.version, self.counter, self.started_at = 0, 1, 0, now


class Hand:
    """One real node whose time is moved by hand, on a bus that brings its own words back."""

    def __init__(self, name: str = "me", *, seed: int = 1, **settings: object) -> None:
        self.now = 100.0
        given = Settings(
            node=name,
            incarnation=7,
            boot_id=b"\x80" * 16,
            addresses=("10.0.0.1",),
            interval_s=INTERVAL_S,
            ttl_s=TTL_S,
        )
        given = replace(given, **settings)
        self.node = Node(given, random.Random(seed), self.now, WALL)
        self.echoes = True
        self.echoing = ["b"]
        """The buses that do."""
        self.effects: list[Effect] = []
        """Of all calls since `take`."""

    def start(self, **past: object) -> "Hand":
        nothing = {
            "registrations": (),
            "host_mode": ModeState(),
            "statuses": {},
            "rebooted": False,
            "records": (),
            "tombstones": (),
            "saved_at": None,
        }
        self.did(self.node.restore(**(nothing | past)))
        return self

    def up(self, *, bus: str = "b", can_publish: bool = True) -> "Hand":
        self.did(
            self.node.bus_changed(bus, up=True, can_publish=can_publish, reason="", now=self.now)
        )
        return self

    def down(self, *, bus: str = "b") -> None:
        self.did(self.node.bus_changed(bus, up=False, can_publish=False, reason="", now=self.now))

    def hear(self, *said: Said, waited_s: float = 0.0, bus: str = "b") -> None:
        for envelope, message in said:
            self._receive(envelope, message, bus, self.now - waited_s)

    def _receive(self, envelope: Envelope, message: Message, bus: str, at: float) -> None:
        self.did(self.node.receive(envelope, message, bus=bus, received_at=at, now=self.now))

    def offer(self, *specs: InstanceSpec) -> None:
        self.did(self.node.change(Change("http", specs), self.now))

    def did(self, effects: list[Effect]) -> list[Effect]:
        self.effects += effects
        if self.echoes:
            for effect in effects:
                if isinstance(effect, Publish):
                    for bus in self.echoing:
                        if effect.bus in ("", bus):
                            self._receive(effect.envelope, effect.message, bus, self.now)
        return effects

    def run(self, seconds: float, *peers: Peer) -> None:
        """Let time pass; these peers believe what we do, and beat every interval from one on."""
        end = self.now + seconds
        beats_at = {peer.name: self.now + INTERVAL_S for peer in peers}
        while True:
            tick_at = self.node.next_deadline()
            beat_at = min(beats_at.values(), default=float("inf"))
            if min(tick_at, beat_at) > end:
                break
            self.now = max(self.now, min(tick_at, beat_at))
            if tick_at <= beat_at:
                self.did(self.node.tick(self.now))
                after = self.node.next_deadline()
                assert after > self.now or tick_at > self.now or after > tick_at, "it spins"
                continue
            for peer in peers:
                if beats_at[peer.name] == beat_at:
                    beats_at[peer.name] += INTERVAL_S
                    self.hear(peer.heartbeat(self.now, digest=self.node._catalog.digest))
        self.now = end

    def sleep(self, seconds: float) -> None:
        """Our process does not run."""
        self.now += seconds

    # ---- looking

    def take(self) -> list[Effect]:
        effects, self.effects = self.effects, []
        return effects

    def sent(self, kind: type) -> list[Message]:
        """Messages of this kind among the effects, whoever they are for."""
        said = [e.message for e in self.effects if isinstance(e, Publish | Send)]
        return [message for message in said if isinstance(message, kind)]

    def kinds(self, about: str | None = None) -> list[str]:
        events = [e.event for e in self.effects if isinstance(e, Emit)]
        return [
            e.kind.value
            for e in events
            if about is None
            or (e.agent is not None and e.agent.node == about)
            or (e.instance is not None and e.instance.node == about)
        ]

    def dropped(self) -> list[str]:
        return [e.reason for e in self.effects if isinstance(e, Dropped)]

    def changed(self) -> list[tuple[str, ...]]:
        return [e.services for e in self.effects if isinstance(e, Changed)]

    def probes(self) -> list[Probe]:
        return [e for e in self.effects if isinstance(e, Probe)]

    def instances(self, service: str) -> tuple[InstanceView, ...]:
        return self.node.view.instances_of(service)

    def answer(self, service: str) -> list[str]:
        return [i.node for i in select(self.instances(service), Selection())]


def nodes(instances: Iterable[InstanceView]) -> list[str]:
    return [instance.node for instance in instances]
