"""The columns of the table, and what each needs on this machine."""

import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from tests.peers.base import Site
from tests.peers.beacond import BeacondSite
from tests.peers.etcd import EtcdSite
from tests.peers.places import Lan, loopback, missing_for_lan
from tests.peers.serf import SerfSite
from tests.peers.zookeeper import JAR, ZooKeeperSite
from tests.support.rabbitmq import missing_program


@dataclass(frozen=True, slots=True)
class System:
    key: str
    name: str
    made: type[Site]
    missing: Callable[[], str | None]
    """What it needs and this machine lacks; None: nothing."""

    @asynccontextmanager
    async def site(self, folder: Path) -> AsyncIterator[Site]:
        """Started, and on a network of its own where this machine lets us have one."""
        if lacks_lan() is not None:
            async with self.made(folder, loopback()) as site:
                yield site
            return
        with Lan() as lan:
            async with self.made(folder, lan.places, lan=lan) as site:
                yield site


lacks_lan = cache(missing_for_lan)


def _missing_zookeeper() -> str | None:
    if shutil.which("java") is None:
        return "java"
    if not Path(JAR).exists():
        return "zookeeper"
    return None if find_spec("kazoo") else "kazoo"


def _missing(program: str) -> Callable[[], str | None]:
    return lambda: None if shutil.which(program) else program


SYSTEMS = (
    System("beacond", BeacondSite.name, BeacondSite, missing_program),
    System("etcd", EtcdSite.name, EtcdSite, _missing("etcd")),
    System("zookeeper", ZooKeeperSite.name, ZooKeeperSite, _missing_zookeeper),
    System("serf", SerfSite.name, SerfSite, _missing("serf")),
)
