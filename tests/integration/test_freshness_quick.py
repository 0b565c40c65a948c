"""The measurement of `make freshness`, as short as it can be, with two of its systems at once."""

import asyncio

import pytest

from tests.availability.systems import SYSTEMS
from tests.freshness import table
from tests.freshness.run import Extent, measure
from tests.freshness.table import Column

SHORT = Extent(cycles=1, crashes=1, host_crashes=1, churn_s=2.0)
HOSTS = 3
OBSERVATIONS = HOSTS * (HOSTS - 1)
"""What happens once at each host, seen by each other."""


@pytest.mark.broker
@pytest.mark.server("serf")
@pytest.mark.timeout(300)
async def test_everything_that_happens_is_seen_by_all_others_and_no_lookup_fails() -> None:
    systems = {system.key: system for system in SYSTEMS}
    beacond, serf = await asyncio.gather(
        measure(systems["beacond"], SHORT), measure(systems["serf"], SHORT)
    )
    for column in (beacond, serf):
        assert not column.failed
        times = column.times
        for happened in (times.visible, times.second_visible, times.stopped):
            assert len(happened) == OBSERVATIONS
            assert min(happened) > 0
        assert len(times.host_gone) == HOSTS - 1
        assert column.replaced is not None
        assert column.replaced.asked > 0
        assert column.replaced.changes > 0
        assert column.replaced.failed == 0
    for happened in (
        beacond.times.checked_visible,
        beacond.times.crashed,
        beacond.times.run_crashed,
    ):
        assert len(happened) == OBSERVATIONS
    assert not serf.times.crashed
    _doubted_before_it_is_gone(beacond)
    _wrong_until_noticed(beacond)
    told = table.markdown([beacond, serf])
    assert told.startswith("|  | beacond | Serf |")


def _doubted_before_it_is_gone(column: Column) -> None:
    suspected, gone = column.times.suspected, column.times.host_gone
    assert len(suspected) == len(gone) == HOSTS - 1
    assert all(first <= last for first, last in zip(suspected, gone, strict=True))


def _wrong_until_noticed(column: Column) -> None:
    """Crashed programs are answered until their checks have failed often enough: that counts."""
    assert column.crashing is not None
    assert 0 < column.crashing.wrong <= column.crashing.asked
    assert column.crashing.failed == 0
