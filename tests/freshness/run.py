"""One system, from its start to its end."""

import random
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.availability.systems import System
from tests.freshness import changes, crashes
from tests.freshness.churn import Churn
from tests.freshness.table import Column
from tests.freshness.watch import NotSeen
from tests.peers.base import Site
from tests.peers.processes import Failed

SEED = 1
"""Of the moments at which things change: the same for all systems."""


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is measured."""

    cycles: int
    """Of registrations and stops, at each host."""
    crashes: int
    """Of programs, at each host."""
    host_crashes: int
    churn_s: float


FULL = Extent(cycles=17, crashes=3, host_crashes=3, churn_s=12.0)
QUICK = Extent(cycles=1, crashes=1, host_crashes=1, churn_s=3.0)


async def measure(system: System, extent: Extent) -> Column:
    """What could be measured, and in `failed` what could not."""
    column = Column(system.name)
    try:
        with tempfile.TemporaryDirectory(prefix="bcn-fresh-") as folder:
            async with system.site(Path(folder)) as site:
                column.version, column.settings = await site.version(), site.settings
                await _measure(site, extent, column)
    except* (Failed, NotSeen, TimeoutError) as errors:
        column.failed = "; ".join(_texts(errors))
    return column


async def _measure(site: Site, extent: Extent, column: Column) -> None:
    rng = random.Random(SEED)
    await changes.measure(site, column.times, extent.cycles)
    column.replaced = await Churn(site, crashing=False, rng=rng).run(extent.churn_s)
    if site.notices_crashes:
        await crashes.programs(site, column.times, extent.crashes, rng)
        column.crashing = await Churn(site, crashing=True, rng=rng).run(extent.churn_s)
    await crashes.hosts(site, column.times, extent.host_crashes, rng)


def _texts(errors: BaseExceptionGroup[BaseException]) -> Iterator[str]:
    for error in errors.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _texts(error)
        else:
            yield str(error)
