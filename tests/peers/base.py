"""What every system here can do, so that one script drives them all.

A site is three hosts. On each runs what the system's documentation puts there (an agent, or a
server of the ensemble), the programs that offer services, each a process, and an asker: a process
that looks services up as a program of that host would, at its host first.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from tests.peers.places import Lan, Place
from tests.peers.processes import Failed, Talker, until

READY_WITHIN_S = 90.0
LOOKUP_TIMEOUT_S = 1.0
ACT_WITHIN_S = 10.0


class LookupFailed(Exception):
    """No answer, or an error for one."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How soon the dead are noticed, as far as a system lets one choose."""

    heartbeat_s: float
    ttl_s: float


EVEN = Timing(heartbeat_s=1.0, ttl_s=5.0)
DEFAULTS = Timing(heartbeat_s=5.0, ttl_s=15.0)
"""beacond's own."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Instance ids. Times are `time.monotonic()`, the same clock in all processes."""

    ids: frozenset[str]
    suspect: frozenset[str]
    """Of these, those said to be in doubt; only beacond says so."""
    asked_at: float
    answered_at: float


@dataclass(frozen=True, slots=True)
class Done:
    """When a program asked for a change and when that was confirmed."""

    asked_at: float
    answered_at: float


class Part(Protocol):
    """A server, broker or agent that can be taken away and brought back with its data."""

    name: str

    @property
    def running(self) -> bool: ...
    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    async def kill(self) -> None: ...
    def freeze(self) -> None: ...
    def thaw(self) -> None: ...


class Broker(Part, Protocol):
    async def close(self) -> None:
        """End it, and leave nothing of it."""

    def forget(self) -> None:
        """Lose its data, while it is down."""


@dataclass(slots=True)
class Host:
    """One of three hosts. `local` is what of the system runs there."""

    site: "Site"
    place: Place
    local: Part
    asker: Talker
    programs: dict[str, Talker] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.place.name

    # ---- services

    async def register(self, service: str, instance_id: str, *, way: str = "") -> Done:
        """Start a program that offers the service. Raises Failed.

        `way`: for systems that know several; see there.
        """
        program = await self.prepare(instance_id)
        return await self.announce(program, service, instance_id, way)

    async def prepare(self, instance_id: str) -> Talker:
        """A program that runs, and has told nobody yet."""
        program = Talker("program", self.place, self.site.folder / f"{self.name}-program.log")
        await program.start(self.site.client_config(self))
        self.programs[instance_id] = program
        return program

    async def announce(
        self, program: Talker, service: str, instance_id: str, way: str = ""
    ) -> Done:
        told = await program.ask(
            ACT_WITHIN_S, do="register", service=service, id=instance_id, way=way
        )
        return Done(told["asked_at"], told["answered_at"])

    async def deregister(self, instance_id: str) -> Done:
        """Gracefully: the program takes itself out, then ends. Raises Failed."""
        program = self.programs.pop(instance_id)
        try:
            told = await program.ask(ACT_WITHIN_S, do="deregister", id=instance_id)
        finally:
            await program.kill()
        return Done(told["asked_at"], told["answered_at"])

    async def crash_service(self, instance_id: str) -> None:
        """kill -9 of the program; nothing else on the host notices by itself."""
        await self.programs.pop(instance_id).kill()

    # ---- lookups

    async def lookup(self, service: str, timeout_s: float = LOOKUP_TIMEOUT_S) -> Answer:
        """Ask as a program of this host would. Raises LookupFailed."""
        try:
            told = await self.asker.ask(timeout_s + 1.0, service=service, timeout_s=timeout_s)
        except Failed as error:
            raise LookupFailed(f"{self.site.name} at {self.name}: {error}") from None
        ids, suspect = frozenset(told["ids"]), frozenset(told["suspect"])
        return Answer(ids, suspect, told["asked_at"], told["answered_at"])

    # ---- the whole host

    async def crash(self) -> None:
        """Power cut: everything that runs on it is killed at once, and in a `Lan` its address is
        mute from then on. The asker outlives it, as it is not the host's but ours; what it is told
        is then of no interest."""
        if self.site.lan is not None:
            self.site.lan.cut(self.place)
        programs, self.programs = list(self.programs.values()), {}
        await asyncio.gather(self.local.kill(), *(program.kill() for program in programs))

    async def stop(self) -> None:
        """Shut down: programs take themselves out first, then the agent or server stops."""
        await asyncio.gather(*(self.deregister(each) for each in list(self.programs)))
        await self.local.stop()

    async def start(self) -> None:
        """What of the system runs here, again, with its data; programs are to be registered."""
        if self.site.lan is not None:
            self.site.lan.heal(self.place)
        await self.local.start()

    def cut(self) -> None:
        """Nothing goes to or from it any more, and nobody is told; only in a `Lan`."""
        assert self.site.lan is not None
        self.site.lan.cut(self.place)

    def heal(self) -> None:
        assert self.site.lan is not None
        self.site.lan.heal(self.place)

    def freeze(self) -> None:
        """SIGSTOP for all that runs here, the asker excepted."""
        self.local.freeze()
        for program in self.programs.values():
            program.freeze()

    def thaw(self) -> None:
        self.local.thaw()
        for program in self.programs.values():
            program.thaw()


class Site(ABC):
    """One system on three hosts. `async with SerfSite(folder, places) as site:`."""

    name: str
    """As in tables: "Serf"."""
    host_class = Host
    notices_crashes = True
    """That a program on a living host has died."""
    broker: Broker | None = None
    """Beside the hosts, where there is one."""

    def __init__(
        self,
        folder: Path,
        places: Sequence[Place],
        timing: Timing = EVEN,
        *,
        lan: Lan | None = None,
    ) -> None:
        """`lan`: where the places are, if they are not on loopback."""
        self.folder = folder
        self.places = tuple(places)
        self.lan = lan
        self.timing = timing
        self.hosts: list[Host] = []
        folder.mkdir(parents=True, exist_ok=True)

    # ---- to be told by each system

    @property
    @abstractmethod
    def settings(self) -> str:
        """What was chosen, in one line for the table's reader."""

    @property
    @abstractmethod
    def infrastructure(self) -> Sequence[Part]:
        """What the hosts need beyond themselves: servers of an ensemble, a broker; maybe nothing.
        In an ensemble these are the hosts' `local` too."""

    @abstractmethod
    def local_part(self, place: Place) -> Part: ...

    @abstractmethod
    def client_config(self, host: Host) -> dict[str, Any]:
        """For `tests.peers.clients`, in a process of this host."""

    @abstractmethod
    async def version(self) -> str: ...

    async def leader(self) -> Part | None:
        """Who of the infrastructure decides now; None: nobody, or nobody does here."""
        told = await self.hosts[0].asker.ask(ACT_WITHIN_S, do="leader")
        local = {host.place.address: host.local for host in self.hosts}
        return local.get(told["leader"])

    # ---- life

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Returns when an instance registered at any host is found at every other."""
        for place in self.places:
            asker = Talker("asker", place, self.folder / f"{place.name}-asker.log")
            self.hosts.append(self.host_class(self, place, self.local_part(place), asker))
        if self.broker is not None:
            await self.broker.start()
        await asyncio.gather(*(host.start() for host in self.hosts))
        for host in self.hosts:
            await host.asker.start(self.client_config(host))
        await self.ready()

    async def ready(self) -> None:
        """Wait until an instance registered at any host is found at every other. Raises
        TimeoutError, and Failed where an agent or server has ended."""
        try:
            await until(self._is_ready, READY_WITHIN_S, f"{self.name} is ready")
        except TimeoutError as error:
            ends = (path.read_text(errors="replace")[-400:] for path in self._logs())
            raise TimeoutError("\n".join([str(error), *ends])) from None

    async def close(self) -> None:
        for host in self.hosts:
            host.thaw()
            await host.asker.kill()
            await host.crash()
        if self.broker is not None:
            await self.broker.close()

    def _logs(self) -> list[Path]:
        """Of what runs on the hosts, our own programs left out."""
        return [self.folder / f"{host.local.name}.log" for host in self.hosts]

    async def _is_ready(self) -> bool:
        if ended := [host.local.name for host in self.hosts if not host.local.running]:
            raise Failed(f"ended while it started: {', '.join(ended)}")
        try:
            for host in self.hosts:
                await host.register("ready", f"ready-{host.name}")
            return await self._see_each_other()
        except Failed:
            return False
        finally:
            for host in self.hosts:
                if f"ready-{host.name}" in host.programs:
                    await _quietly(host.deregister(f"ready-{host.name}"))

    async def _see_each_other(self) -> bool:
        wanted = frozenset(f"ready-{host.name}" for host in self.hosts)

        async def seen() -> bool:
            try:
                return all([(await host.lookup("ready")).ids == wanted for host in self.hosts])
            except LookupFailed:
                return False

        try:
            await until(seen, 10.0, "all are seen")
        except TimeoutError:
            return False
        return True


async def _quietly(awaitable: Any) -> None:
    with suppress(Failed):
        await awaitable
