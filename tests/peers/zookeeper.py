"""Three ZooKeeper servers, as "Running Replicated ZooKeeper" in its Getting Started has them."""

from collections.abc import Sequence
from typing import Any

from tests.peers.base import Host, Part, Site
from tests.peers.places import Place, free_ports
from tests.peers.processes import Server
from tests.peers.serf import package_version

JAR = "/usr/share/java/zookeeper.jar"
"""Where Debian's libzookeeper-java has it; the package zookeeper needs that one."""
LOGGER = "/usr/share/java/slf4j-simple.jar"
LOG_LEVEL = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
MAIN = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
CONFIG = """\
tickTime=2000
initLimit=5
syncLimit=2
dataDir={data}
clientPort={client}
clientPortAddress={address}
admin.enableServer=false
{servers}
"""


class ZooKeeperSite(Site):
    name = "ZooKeeper"

    _ports: tuple[int, int, int] = (0, 0, 0)

    @property
    def settings(self) -> str:
        ttl = f"{self.timing.ttl_s:g} s"
        return f"3 servers, tickTime 2000, initLimit 5, syncLimit 2; sessions of {ttl} (kazoo)"

    @property
    def infrastructure(self) -> Sequence[Part]:
        return [host.local for host in self.hosts]

    def local_part(self, place: Place) -> Part:
        if self._ports == (0, 0, 0):
            client, quorum, election = free_ports(self.places, 3)
            self._ports = (client, quorum, election)
        client, quorum, election = self._ports
        folder = self.folder / place.name
        data = folder / "data"
        data.mkdir(parents=True)
        (data / "myid").write_text(f"{self.places.index(place) + 1}\n")
        servers = "\n".join(
            f"server.{number}={each.address}:{quorum}:{election}"
            for number, each in enumerate(self.places, 1)
        )
        config = folder / "zoo.cfg"
        config.write_text(
            CONFIG.format(data=data, client=client, address=place.address, servers=servers)
        )
        command = ["java", LOG_LEVEL, "-cp", f"{JAR}:{LOGGER}", MAIN, str(config)]
        return Server(f"zookeeper-{place.name}", place, command, self.folder)

    def client_config(self, host: Host) -> dict[str, Any]:
        own_first = sorted(self.places, key=lambda place: place != host.place)
        return {
            "system": "zookeeper",
            "address": host.place.address,
            "servers": ",".join(f"{place.address}:{self._ports[0]}" for place in own_first),
            "ttl_s": self.timing.ttl_s,
        }

    async def version(self) -> str:
        return await package_version("libzookeeper-java")
