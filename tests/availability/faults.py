"""The rows of the table: what is done to a site, and at which hosts it is then asked.

A fault takes processes away, by SIGKILL or SIGSTOP, or a host's network; it never touches a
service. So the truth stays what it is, but for the host that crashes with all that runs on it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from tests.peers.base import Host, Part, Site
from tests.support.truth import Truth

RESTART_S = 0.1
"""Before a supervisor starts again what has died; systemd's default."""
OUTAGE_SHARE = 0.4
"""Of a row in which the infrastructure comes back: how long it is away."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A site that is in order, and for how long it is to be hurt."""

    site: Site
    truth: Truth
    leader: Part | None
    duration_s: float

    @property
    def first(self) -> Host:
        return self.site.hosts[0]

    @property
    def victims(self) -> list[Part]:
        """The infrastructure, the leader last."""
        return sorted(self.site.infrastructure, key=lambda part: part is self.leader)

    @property
    def crashing(self) -> Host:
        """The last host that is not the leader's: losing a leader is a row of its own."""
        others = [host for host in self.site.hosts if host.local is not self.leader]
        return others[-1]


Bring = Callable[[Scene], Awaitable[None]]
Asked = Callable[[Scene], Sequence[Host]]


def every(scene: Scene) -> Sequence[Host]:
    return scene.site.hosts


def first(scene: Scene) -> Sequence[Host]:
    return [scene.first]


def but_the_crashing(scene: Scene) -> Sequence[Host]:
    return [host for host in scene.site.hosts if host is not scene.crashing]


@dataclass(frozen=True, slots=True)
class Fault:
    key: str
    title: str
    """As the row is called."""
    bring: Bring
    asked: Asked = every
    needs: str = ""
    """What a system must have for it: "infrastructure" or "leader"."""
    kills: int = 0
    """How many of the infrastructure; for a system that has fewer it is the same as killing all."""


async def nothing(_scene: Scene) -> None:
    pass


async def restart_local(scene: Scene) -> None:
    await scene.first.local.kill()
    await asyncio.sleep(RESTART_S)
    await scene.first.local.start()


async def freeze_infrastructure(scene: Scene) -> None:
    for part in scene.site.infrastructure:
        part.freeze()


async def freeze_leader(scene: Scene) -> None:
    assert scene.leader is not None
    scene.leader.freeze()


async def cut_off(scene: Scene) -> None:
    """Nothing comes or goes any more. On loopback, where nobody can be cut off, whoever could be
    heard is mute. What runs elsewhere may be answered or not: it runs, and can't be reached."""
    others = [host.name for host in scene.site.hosts if host is not scene.first]
    with scene.truth.uncertain(*others):
        if scene.site.lan is not None:
            scene.first.cut()
        else:
            for part in parts(scene.site):
                if part is not scene.first.local:
                    part.freeze()
        await asyncio.sleep(scene.duration_s)


async def kill_local(scene: Scene) -> None:
    await scene.crashing.local.kill()


async def kill_leader(scene: Scene) -> None:
    assert scene.leader is not None
    await scene.leader.kill()


def kill(number: int) -> Bring:
    async def bring(scene: Scene) -> None:
        await asyncio.gather(*(part.kill() for part in scene.victims[:number]))

    return bring


async def kill_and_restart(scene: Scene) -> None:
    """Servers of an ensemble come back with their data, a broker without."""
    await kill(len(scene.victims))(scene)
    if scene.site.broker is not None:
        scene.site.broker.forget()
    await asyncio.sleep(OUTAGE_SHARE * scene.duration_s)
    await asyncio.gather(*(part.start() for part in scene.victims))


async def crash_host(scene: Scene) -> None:
    scene.truth.stopped_node(scene.crashing.name)
    await scene.crashing.crash()


def parts(site: Site) -> list[Part]:
    """All that can be taken away, each once."""
    found = list(site.infrastructure)
    return found + [host.local for host in site.hosts if host.local not in found]


ALL = 3
"""Nobody here has more infrastructure."""
FAULTS = (
    Fault("nothing", "nothing", nothing),
    Fault("one-killed", "one of three servers killed", kill(1), needs="infrastructure", kills=1),
    Fault("leader-killed", "the leader killed", kill_leader, needs="leader"),
    Fault("leader-frozen", "the leader frozen", freeze_leader, needs="leader"),
    Fault("two-killed", "two of three servers killed", kill(2), needs="infrastructure", kills=2),
    Fault("all-killed", "all servers killed", kill(ALL), needs="infrastructure", kills=ALL),
    Fault(
        "all-restarted", "all killed, later started again", kill_and_restart, needs="infrastructure"
    ),
    Fault("all-frozen", "all servers frozen", freeze_infrastructure, needs="infrastructure"),
    Fault("cut-off", "the asked host cut off from all others", cut_off, asked=first),
    Fault(
        "local-restarted",
        "the asked host's own agent or server killed, restarted",
        restart_local,
        first,
    ),
    Fault("local-killed", "another host's agent or server killed", kill_local, but_the_crashing),
    Fault("host-crashed", "another host crashed", crash_host, but_the_crashing),
)


def why_not(fault: Fault, site: Site, *, leads: bool) -> str:
    """Why a system cannot suffer this: what it does not have; empty: it can."""
    if fault.needs == "leader" and not leads:
        return "no leader"
    if fault.needs and not site.infrastructure:
        return "no servers beside its agents"
    return ""


def played(fault: Fault, site: Site) -> str:
    """The key of the fault that is brought about for it: killing the only one is killing all."""
    return "all-killed" if fault.kills >= len(site.infrastructure) > 0 else fault.key
