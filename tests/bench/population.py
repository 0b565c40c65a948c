"""A made-up fleet: as records that its nodes would publish, and as a snapshot that holds them."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from beacond.core.model import Body, Published, Record
from beacond.store.snapshot import Snapshot, SnapshotFile
from beacond.wire import Codec

FLEET = "bench"
DOMAIN = "beacon.internal"
INCARNATION = 1_700_000_000
FIRST_PORT = 8000


@dataclass(frozen=True, slots=True)
class Population:
    """`nodes` hosts with `per_node` instances each, spread evenly over the services."""

    nodes: int
    per_node: int
    services: int

    @property
    def instances(self) -> int:
        return self.nodes * self.per_node

    @property
    def per_service(self) -> int:
        return self.instances // self.services

    def service_names(self) -> list[str]:
        return [service_name(number) for number in range(self.services)]

    def dns_names(self) -> list[str]:
        return [f"{name}.service.{DOMAIN}" for name in self.service_names()]

    def dns_records(self) -> Iterator[tuple[str, str, str]]:
        """Name, type and data of what answers A and SRV, names without a final dot in front."""
        for record in self.records():
            (ip,) = record.body.addresses
            target = bytes(map(int, ip.split("."))).hex() + f".addr.{DOMAIN}"
            yield target, "A", ip
            for instance in record.body.instances:
                name = f"{instance.service}.service.{DOMAIN}"
                yield name, "A", ip
                yield name, "SRV", f"1 {instance.weight} {instance.port} {target}."

    def records(self) -> Iterator[Record]:
        """As their owners publish them, sealed without a key."""
        codec = Codec(fleet=FLEET, node="load", keyring=None)
        rng = Random(1)
        for number in range(self.nodes):
            body = Body(
                zone=f"zone-{number % 3}",
                addresses=(address(number),),
                agent_version="0.1.0",
                instances=tuple(self._instances(number)),
            )
            record = Record(node_name(number), INCARNATION, rng.randbytes(16), 1, body)
            yield codec.seal(record)

    def _instances(self, node: int) -> list[Published]:
        made = []
        for place in range(self.per_node):
            service = service_name((node * self.per_node + place) % self.services)
            port = FIRST_PORT + place
            made.append(
                Published(
                    id=f"{service}-{port}",
                    service=service,
                    port=port,
                    tags=("blue", "v2"),
                    meta=(("team", "payments"), ("version", "2.14.0")),
                )
            )
        return sorted(made, key=lambda instance: instance.id)

    def write_snapshot(self, folder: Path) -> None:
        """Where an agent whose tests' folder this is finds it at its start."""
        data = folder / "data"
        data.mkdir(mode=0o700, parents=True)
        raw = tuple(record.raw for record in self.records() if record.raw is not None)
        SnapshotFile(data / "snapshot").save(Snapshot(raw, (), 1, {}, time.time()))


def service_name(number: int) -> str:
    return f"svc-{number:03}"


def node_name(number: int) -> str:
    return f"node-{number:04}"


def address(number: int) -> str:
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def population(nodes: int) -> Population:
    return Population(nodes=nodes, per_node=10, services=100)


LOOKED_UP = population(100)
FOLLOWED = population(1000)
