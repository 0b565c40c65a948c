"""An agent whose disk is lost, damaged, full or read-only, under lookups without pause."""

import asyncio
import json
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.conftest import IN_CI
from tests.support.agent_process import AgentProcess
from tests.support.fleet_of_agents import FleetOfAgents, Member, eventually
from tests.support.rabbitmq import RabbitMQ
from tests.support.small_disk import SmallDisk, SmallDiskError

pytestmark = pytest.mark.broker

FILES = ("identity.json", "registrations.json", "snapshot")
NO_ROOM, READ_ONLY = "No space left on device", "Read-only file system"


@pytest.fixture
async def fleet(rabbitmq: RabbitMQ, tmp_path: Path) -> AsyncIterator[FleetOfAgents]:
    """Agents a and c, with an instance of web each; b is each test's own."""
    async with FleetOfAgents(tmp_path, rabbitmq.url(), "a c") as fleet:
        for node in ("a", "c"):
            await fleet.register("web", node, listening=True)
        yield fleet


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        disk = SmallDisk(folder)
    except SmallDiskError as error:
        if IN_CI:
            pytest.fail(f"a file system can't be mounted here: {error}", pytrace=False)
        pytest.skip(f"a file system can't be mounted here: {error}")
    with disk:
        yield disk


async def asked_to(
    member: Member, method: str, path: str, body: object = None
) -> tuple[int, str, Any]:
    """Status, kind of body, body."""
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, member.url + path, json=body) as response,
    ):
        text = await response.text()
        return response.status, response.content_type, json.loads(text) if text else None


async def offered(fleet: FleetOfAgents, name: str) -> list[tuple[str, str]]:
    """(id, mode) of what that host says of itself."""
    found = (await fleet.get(name, "/v1/instances"))["instances"]
    return [(instance["id"], instance["mode"]) for instance in found]


async def refused(fleet: FleetOfAgents, instance_id: str, reason: str) -> None:
    """Whatever would have to be on disk is 503, and changes nothing."""
    before = await offered(fleet, "b")
    for method, path, body in (
        ("PUT", "/v1/instances/refused-9", {"service": "refused", "port": 9}),
        ("PUT", f"/v1/instances/{instance_id}", {"service": "web", "port": 9}),
        ("PUT", f"/v1/instances/{instance_id}/mode", {"mode": "draining"}),
        ("PUT", "/v1/mode", {"mode": "maintenance"}),
        ("DELETE", f"/v1/instances/{instance_id}", None),
    ):
        status, kind, problem = await asked_to(fleet["b"], method, path, body)
        assert (status, kind) == (503, "application/problem+json"), (method, path, problem)
        assert reason in problem["detail"]
    # What is so already needs no disk.
    same = {"service": "web", "port": int(instance_id.rpartition("-")[2])}
    assert (await asked_to(fleet["b"], "PUT", f"/v1/instances/{instance_id}", same))[0] == 200
    assert await offered(fleet, "b") == before


async def failing(fleet: FleetOfAgents, reason: str) -> None:
    """The status of b, and the command line, say what is wrong; with "" that nothing is."""

    async def said_otherwise() -> str:
        parts = {p["part"]: p["reason"] for p in (await fleet.get("b", "/v1/status"))["failing"]}
        told = parts.get("data_dir", "")
        return "" if reason in told and bool(reason) == bool(told) else f"failing: {parts}"

    await eventually(said_otherwise)
    if reason:
        printed = await asyncio.to_thread(fleet["b"].process.beacond, "status")
        assert "data_dir" in printed.stdout
        assert reason in printed.stdout


def trouble(disk: SmallDisk, reason: str) -> tuple[Callable[[], None], Callable[[], None]]:
    """(what brings it about, what ends it)"""
    if reason == NO_ROOM:
        return disk.fill, disk.make_room
    return disk.make_read_only, disk.make_writable


async def a_little_churn(fleet: FleetOfAgents) -> None:
    """Something to learn, by each of them."""
    added = await fleet.register("web", "a", listening=True)
    await fleet.agree()
    await fleet.deregister(added, "a")
    await fleet.agree()


@pytest.mark.parametrize("reason", [NO_ROOM, READ_ONLY])
async def test_on_a_disk_that_takes_nothing_lookups_go_on_and_it_recovers_by_itself(
    fleet: FleetOfAgents, disk: SmallDisk, reason: str
) -> None:
    begin, end = trouble(disk, reason)
    data = ("--data-dir", str(disk.path / "data"))
    await fleet.start("b", flags=data)
    own = await fleet.register("web", "b", listening=True)
    await fleet.agree()
    async with fleet.asking():
        begin()
        await refused(fleet, own, reason)
        await failing(fleet, reason)
        await a_little_churn(fleet)
        end()
        # Nobody asks for anything to be written: it finds out.
        await failing(fleet, "")
        await fleet.deregister(own, "b")
        await fleet.register("web", "b", listening=True)
        await fleet.agree()


async def second_after(incarnation: int) -> None:
    """Where the disk remembers nothing, only the clock's seconds tell two starts apart."""

    async def early() -> str:
        return "" if int(time.time()) > incarnation else f"still the second of {incarnation}"

    await eventually(early)


@pytest.mark.parametrize("reason", [NO_ROOM, READ_ONLY])
async def test_started_on_a_disk_that_takes_nothing_it_serves_what_it_knew(
    fleet: FleetOfAgents, disk: SmallDisk, reason: str
) -> None:
    begin, end = trouble(disk, reason)
    data = ("--data-dir", str(disk.path / "data"))
    await fleet.start("b", flags=data)
    own = await fleet.register("web", "b", listening=True)
    await fleet.agree()
    before = (await fleet.get("b", "/v1/status"))["incarnation"]
    await fleet.saved("b", disk.path / "data")
    async with fleet.asking():
        begin()
        drawn = [before]
        # The second time nothing remembers that there was a first.
        for _ in range(2):
            await fleet.kill("b", host=False)
            await second_after(drawn[-1])
            await fleet.start("b", flags=data)
            assert await offered(fleet, "b") == [(own, "normal")]
            found = (await fleet.get("b", "/v1/services/web"))["instances"]
            assert {each["node"] for each in found} == {"a", "b", "c"}
            drawn.append((await fleet.get("b", "/v1/status"))["incarnation"])
            await refused(fleet, own, reason)
            await failing(fleet, reason)
            (line,) = fleet["b"].process.logged("data dir refuses")
            assert (line["level"], reason in line["reason"]) == ("ERROR", True)
            await fleet.agree()
        await a_little_churn(fleet)
        assert drawn == sorted(set(drawn))
        assert stored_incarnation(disk.path / "data") == before
        end()
        await failing(fleet, "")
        assert stored_incarnation(disk.path / "data") >= drawn[-1]
        await fleet.register("web", "b", listening=True)
        await fleet.agree()


@pytest.mark.parametrize("reason", [NO_ROOM, READ_ONLY])
async def test_a_first_start_on_a_disk_that_takes_nothing_is_a_start(
    fleet: FleetOfAgents, disk: SmallDisk, reason: str
) -> None:
    begin, end = trouble(disk, reason)
    data = disk.path / "data"
    data.mkdir()
    begin()
    async with fleet.asking():
        await fleet.start("b", flags=("--data-dir", str(data)))
        await fleet.agree()
        await failing(fleet, reason)
        end()
        await failing(fleet, "")
        assert stored_incarnation(data) > 0
        # Only one may hold it, from the moment that there is something to hold.
        other = AgentProcess(data.parent, "--data-dir", str(data))
        assert await asyncio.to_thread(other.process.wait, 20) == 1
        await asyncio.to_thread(other.stop)
        assert "in use by another agent" in other.logged("cannot start")[0]["reason"]
        await fleet.register("web", "b", listening=True)
        await fleet.agree()


async def test_a_place_that_can_never_be_a_data_folder_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "data", Path("/proc/none/data")):
        agent = AgentProcess(tmp_path, "--data-dir", str(path))
        assert await asyncio.to_thread(agent.process.wait, 20) == 1
        await asyncio.to_thread(agent.stop)
        (line,) = agent.logged("cannot start")
        assert f"cannot make the data dir {path}" in line["reason"]


async def test_with_its_folder_lost_it_is_another_that_offers_nothing(
    fleet: FleetOfAgents, tmp_path: Path
) -> None:
    await fleet.start("b")
    own = await fleet.register("web", "b", listening=True)
    await fleet.agree()
    async with fleet.asking():
        await fleet.kill("b", host=False)
        shutil.rmtree(tmp_path / "b" / "data")
        fleet.truth.stopped("web", "b", own)
        await fleet.start("b")
        assert await offered(fleet, "b") == []
        await fleet.agree()
        await fleet.register("web", "b", listening=True)
        await fleet.agree()


async def test_with_its_folder_damaged_it_sets_aside_what_it_can_not_use_and_serves(
    fleet: FleetOfAgents, tmp_path: Path
) -> None:
    await fleet.start("b")
    folder = tmp_path / "b" / "data"
    async with fleet.asking():
        for damage in (halve, empty, overwrite, *([] if os.geteuid() == 0 else [lock_away])):
            own = await fleet.register("web", "b", listening=True)
            await fleet.agree()
            if damage is halve:
                await fleet.saved("b")
            await fleet.kill("b", host=False)
            for name in FILES:
                damage(folder / name)
            fleet.truth.stopped("web", "b", own)
            await fleet.start("b")
            told = {line["path"] for line in fleet["b"].process.logged("damaged file set aside")}
            assert told == {str(folder / name) for name in FILES}
            assert await offered(fleet, "b") == []
            await fleet.agree()
    kept = {entry.name for entry in folder.iterdir() if ".damaged-" in entry.name}
    assert kept >= {f"{name}.damaged-{number}" for name in FILES for number in (1, 2, 3)}


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def overwrite(path: Path) -> None:
    path.write_bytes(os.urandom(300))


def lock_away(path: Path) -> None:
    path.touch()
    path.chmod(0)


def stored_incarnation(data: Path) -> int:
    found: int = json.loads((data / "identity.json").read_text())["incarnation"]
    return found
