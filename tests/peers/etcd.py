"""Three etcd members, as "static" in etcd's clustering guide, each with the defaults."""

from collections.abc import Sequence
from typing import Any

from tests.peers.base import Host, Part, Site
from tests.peers.places import Place, free_ports
from tests.peers.processes import Server
from tests.peers.serf import package_version


class EtcdSite(Site):
    name = "etcd"

    _ports: tuple[int, int] = (0, 0)

    @property
    def settings(self) -> str:
        ttl = f"{self.timing.ttl_s:g} s"
        return f"3 members, defaults; leases of {ttl}, renewed every third; linearizable reads"

    @property
    def infrastructure(self) -> Sequence[Part]:
        return [host.local for host in self.hosts]

    def local_part(self, place: Place) -> Part:
        if self._ports == (0, 0):
            client, peer = free_ports(self.places, 2)
            self._ports = (client, peer)
        client, peer = self._ports
        members = ",".join(f"{each.name}=http://{each.address}:{peer}" for each in self.places)
        client_url, peer_url = (f"http://{place.address}:{port}" for port in (client, peer))
        command = [
            *("etcd", "--name", place.name, "--data-dir", str(self.folder / place.name)),
            *("--initial-advertise-peer-urls", peer_url, "--listen-peer-urls", peer_url),
            *("--listen-client-urls", client_url, "--advertise-client-urls", client_url),
            *("--initial-cluster-token", "peers", "--initial-cluster", members),
            *("--initial-cluster-state", "new"),
        ]
        return Server(f"etcd-{place.name}", place, command, self.folder)

    def client_config(self, host: Host) -> dict[str, Any]:
        own_first = sorted(self.places, key=lambda place: place != host.place)
        return {
            "system": "etcd",
            "address": host.place.address,
            "endpoints": [(place.address, self._ports[0]) for place in own_first],
            "ttl_s": self.timing.ttl_s,
        }

    async def version(self) -> str:
        return await package_version("etcd-server")
