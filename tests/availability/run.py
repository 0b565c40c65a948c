"""One system under every fault: a site that is healed between them, or replaced."""

import asyncio
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from tests.availability.asking import Terms, ask
from tests.availability.churn import SERVICES, Population
from tests.availability.faults import Fault, Scene, parts, played, why_not
from tests.availability.systems import System
from tests.availability.tally import Slots, Tally
from tests.peers.base import Site
from tests.peers.processes import Failed
from tests.support.truth import Truth

HEALED_WITHIN_S = 10.0
SETTLED_WITHIN_S = 60.0
STEADY_S = 0.5
"""All has to be in order for so long before it is hurt."""
POLL_S = 0.1

Tell = Callable[[str, Fault, Tally], None]
"""Is told what came of each fault as soon as it is over."""


@dataclass(slots=True)
class Column:
    """What came of one system. `cells`: by the key of the fault; a text says why there is none."""

    name: str
    version: str = ""
    settings: str = ""
    cells: dict[str, Tally | str] = field(default_factory=dict)


@dataclass(slots=True)
class Ground:
    """A site with what runs on it."""

    site: Site
    truth: Truth
    population: Population
    leads: bool
    """One of its servers is a leader."""
    exit: AsyncExitStack

    async def settled(self, within_s: float) -> str:
        """Wait until all is in order, and stays so for a moment. What is not, if it takes too
        long."""
        deadline = time.monotonic() + within_s
        since: float | None = None
        while since is None or time.monotonic() - since < STEADY_S:
            if what := await self.population.wrong():
                since = None
                if time.monotonic() > deadline:
                    return what
            elif since is None:
                since = time.monotonic()
            await asyncio.sleep(POLL_S)
        return ""

    async def heal(self) -> str:
        """Undo what was done to it. What is still wrong, if it has to be replaced."""
        for host in self.site.hosts if self.site.lan is not None else ():
            host.heal()
        for part in parts(self.site):
            part.thaw()
        down = [part for part in parts(self.site) if not part.running]
        await asyncio.gather(*(part.start() for part in down))
        try:
            await self.population.settle_in()
        except Failed as error:
            return str(error)
        return await self.settled(HEALED_WITHIN_S)


async def new_ground(system: System, folder: Path) -> Ground:
    """Raises Failed, TimeoutError: it cannot be brought in order."""
    exit_ = AsyncExitStack()
    try:
        site = await exit_.enter_async_context(system.site(folder))
        truth = Truth()
        leads = await site.leader() is not None
        ground = Ground(site, truth, Population(site, truth), leads, exit_)
        await ground.population.settle_in()
        if what := await ground.settled(SETTLED_WITHIN_S):
            raise Failed(f"not in order within {SETTLED_WITHIN_S:g} s: {what}")
    except BaseException:
        await exit_.aclose()
        raise
    return ground


async def suffer(fault: Fault, scene: Scene, ground: Ground, terms: Terms) -> Tally:
    """Bring the fault about, and ask for as long as it is to last."""
    tally = Tally()
    asked = fault.asked(scene)
    slots = Slots(time.monotonic(), scene.duration_s, terms.per_s)
    async with asyncio.TaskGroup() as group:
        for host in asked:
            group.create_task(ask(host, SERVICES, slots, terms, scene.truth, tally))
        group.create_task(ground.population.churn(asked, scene.duration_s, tally))
        group.create_task(fault.bring(scene))
    return tally


class Course:
    """The way of one system through all faults."""

    def __init__(self, system: System, folder: Path, duration_s: float, terms: Terms) -> None:
        self.column = Column(system.name)
        self._system = system
        self._folder = folder
        self._duration_s = duration_s
        self._terms = terms
        self._ground: Ground | None = None
        self._hurt = False
        self._grounds = count(1)

    async def play(self, fault: Fault) -> Tally | None:
        """None: it is in the column without having been played. Raises Failed, TimeoutError."""
        ground = self._ground or await self._prepared()
        cells, key = self.column.cells, played(fault, ground.site)
        if reason := why_not(fault, ground.site, leads=ground.leads):
            cells[fault.key] = reason
            return None
        if (same := cells.get(key)) is not None:
            cells[fault.key] = same
            return None
        ground = await self._prepared()
        leader = await ground.site.leader()
        scene = Scene(ground.site, ground.truth, leader, self._duration_s)
        self._hurt = True
        tally = cells[fault.key] = cells[key] = await suffer(fault, scene, ground, self._terms)
        return tally

    async def _prepared(self) -> Ground:
        """A ground in order: a new one where there is none, or where it does not heal."""
        if self._ground is not None and self._hurt and await self._ground.heal():
            await self.close()
        if self._ground is None:
            self._ground = await new_ground(self._system, self._folder / str(next(self._grounds)))
            self.column.version = await self._ground.site.version()
            self.column.settings = self._ground.site.settings
        self._hurt = False
        return self._ground

    async def close(self) -> None:
        ground, self._ground = self._ground, None
        if ground is not None:
            await ground.exit.aclose()


async def measure(
    system: System, faults: Sequence[Fault], *, duration_s: float, terms: Terms, tell: Tell
) -> Column:
    """Every fault in turn. Raises Failed, TimeoutError: the system could not be started."""
    with tempfile.TemporaryDirectory(prefix="bcn-avail-") as folder:
        course = Course(system, Path(folder), duration_s, terms)
        try:
            # Servers that were killed are the slowest to heal: last, when there is no need to.
            for fault in sorted(faults, key=lambda fault: fault.kills):
                if (tally := await course.play(fault)) is not None:
                    tell(system.name, fault, tally)
        finally:
            await course.close()
        return course.column
