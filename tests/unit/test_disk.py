"""A disk that refuses is told of and tried again; one that takes everything is never mentioned."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from beacond import disk as module
from beacond.core.local import ModeState, NotPersisted, Registration
from beacond.core.model import InstanceSpec
from beacond.disk import PART, Disk, Past
from beacond.store import DataDir

WEB = Registration(InstanceSpec("web-80", "web", 80), "http")
WITHIN_S = 10.0


class Minded:
    """A data dir under a `Disk`; `failing` is what the agent's status would say."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = DataDir.open(folder)
        self.past = Past.load(self.data, node="n", fleet="f")
        self.disk = Disk(self.data, self.past.refused)
        self.failing: dict[str, str] = {}
        self.minding = asyncio.create_task(self.disk.mind(self.failing))

    async def register(self, *registrations: Registration) -> None:
        await asyncio.to_thread(self.disk.save_registrations, registrations, ModeState(), ())

    async def until_failing(self, reason: str) -> None:
        async with asyncio.timeout(WITHIN_S):
            while reason not in self.failing.get(PART, "") or bool(reason) != bool(self.failing):
                await asyncio.sleep(0.01)

    @property
    def stored_incarnation(self) -> int:
        found: int = json.loads((self.folder / "identity.json").read_text())["incarnation"]
        return found


@pytest.fixture
async def refusing(tmp_path: Path) -> AsyncIterator[Minded]:
    """From its start on, until the obstacle is taken away."""
    (tmp_path / "identity.json.tmp").mkdir()
    minded = Minded(tmp_path)
    yield minded
    await end(minded)


@pytest.fixture
async def taking(tmp_path: Path) -> AsyncIterator[Minded]:
    minded = Minded(tmp_path)
    yield minded
    await end(minded)


async def end(minded: Minded) -> None:
    minded.minding.cancel()
    with suppress(asyncio.CancelledError):
        await minded.minding
    minded.data.close()


async def test_a_start_that_could_not_be_written_is_told_until_it_could(
    refusing: Minded, caplog: pytest.LogCaptureFixture
) -> None:
    assert "Is a directory" in refusing.past.refused
    await refusing.until_failing("identity.json: Is a directory")
    (refusing.folder / "identity.json.tmp").rmdir()
    await refusing.until_failing("")
    assert refusing.stored_incarnation == refusing.past.identity.incarnation
    told = [(record.levelname, record.message) for record in caplog.get_records("setup")]
    assert told == [("ERROR", "data dir refuses")]


async def test_nothing_is_registered_before_the_start_is_written(refusing: Minded) -> None:
    await refusing.until_failing("Is a directory")
    with pytest.raises(NotPersisted, match="Is a directory"):
        await refusing.register(WEB)
    (refusing.folder / "identity.json.tmp").rmdir()
    await refusing.register(WEB)
    assert refusing.stored_incarnation == refusing.past.identity.incarnation


async def test_a_raised_incarnation_that_was_refused_is_written_later(taking: Minded) -> None:
    obstacle = taking.folder / "identity.json.tmp"
    obstacle.mkdir()
    raised = taking.past.identity.incarnation + 500
    with pytest.raises(NotPersisted):
        await asyncio.to_thread(taking.disk.save_incarnation, raised)
    await taking.until_failing("Is a directory")
    obstacle.rmdir()
    await taking.until_failing("")
    assert taking.stored_incarnation == raised


async def test_a_refused_registration_is_told_until_the_disk_takes_something(
    taking: Minded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_MIN_S", 0.01)
    obstacles = [taking.folder / f"{name}.tmp" for name in ("registrations.json", "identity.json")]
    for obstacle in obstacles:
        obstacle.mkdir()
    with pytest.raises(NotPersisted, match=r"registrations\.json: Is a directory"):
        await taking.register(WEB)
    await taking.until_failing("Is a directory")
    for obstacle in obstacles:
        obstacle.rmdir()
    await taking.until_failing("")
    await taking.register(WEB)


async def test_a_disk_that_takes_everything_is_never_mentioned(
    taking: Minded, caplog: pytest.LogCaptureFixture
) -> None:
    assert taking.past.refused == ""
    await taking.register(WEB)
    await asyncio.to_thread(taking.disk.save_incarnation, 5)
    await asyncio.sleep(0)
    assert taking.failing == {}
    assert not caplog.records
