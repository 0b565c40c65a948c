"""Three Serf agents that know each other, as in Serf's introduction: `serf agent -join`."""

import asyncio
from collections.abc import Sequence
from typing import Any

from tests.peers.base import Host, Part, Site
from tests.peers.places import Place, free_ports
from tests.peers.processes import Server


class SerfSite(Site):
    name = "Serf"
    notices_crashes = False
    settings = (
        "defaults (profile lan), a tags file, agents joined to each other, lookups of alive members"
    )
    infrastructure: Sequence[Part] = ()

    _ports: tuple[int, int] = (0, 0)

    def local_part(self, place: Place) -> Part:
        if self._ports == (0, 0):
            bind, rpc = free_ports(self.places, 2)
            self._ports = (bind, rpc)
        bind, rpc = self._ports
        others = [each for each in self.places if each != place]
        joins = [f"-retry-join={each.address}:{bind}" for each in others]
        command = [
            *("serf", "agent", f"-node={place.name}", f"-bind={place.address}:{bind}"),
            *(f"-rpc-addr={place.local}:{rpc}", "-retry-interval=1s", *joins),
            # Or an agent that is started again has lost the tags it was given.
            f"-tags-file={self.folder / place.name}.tags.json",
        ]
        return Server(f"serf-{place.name}", place, command, self.folder)

    def client_config(self, host: Host) -> dict[str, Any]:
        return {
            "system": "serf",
            "address": host.place.address,
            "local": host.place.local,
            "rpc_port": self._ports[1],
        }

    async def version(self) -> str:
        return await package_version("serf")


async def package_version(package: str) -> str:
    """As the distribution numbers it; "?" where its package manager is another."""
    try:
        asking = await asyncio.create_subprocess_exec(
            *("dpkg-query", "--show", "--showformat=${Version}", package),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except FileNotFoundError:
        return "?"
    told, _ = await asking.communicate()
    return told.decode().strip() or "?"
