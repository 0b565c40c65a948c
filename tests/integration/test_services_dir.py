"""A folder of service files, changed as people and tools change files."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from beacond.core.local import NotPersisted
from beacond.core.model import InstanceSpec
from beacond.services_dir import ServicesDir, folder, watcher

WITHIN_S = 20.0


class Door:
    """As the driver does it: an id belongs to the origin that had it first."""

    def __init__(self) -> None:
        self.owners: dict[str, str] = {}
        self.offered: dict[str, InstanceSpec] = {}
        self.calls: list[str] = []
        self.disk_full = False
        self._changed = asyncio.Event()

    async def replace_file(self, name: str, specs: Iterable[InstanceSpec]) -> list[str]:
        self.calls.append(name)
        if self.disk_full:
            raise NotPersisted("no space left on device")
        refused, kept = [], set()
        for spec in specs:
            kept.add(spec.id)
            if self.owners.setdefault(spec.id, name) == name:
                self.offered[spec.id] = spec
            else:
                refused.append(f"{spec.id}: belongs to {self.owners[spec.id]}")
        self._drop(lambda i: self.owners[i] == name and i not in kept)
        return refused

    async def files_gone(self, kept: Iterable[str]) -> None:
        if self.disk_full:
            raise NotPersisted("no space left on device")
        names = {*kept, "http"}
        self._drop(lambda i: self.owners[i] not in names)

    def _drop(self, dropped: Callable[[str], bool]) -> None:
        for instance_id in [i for i in self.offered if dropped(i)]:
            del self.offered[instance_id], self.owners[instance_id]
        self._changed.set()

    async def until(self, **ports: int) -> None:
        """Wait until exactly these are offered: id → port, `_` for `-`."""
        wanted = {name.replace("_", "-"): port for name, port in ports.items()}
        async with asyncio.timeout(WITHIN_S):
            while {i: spec.port for i, spec in self.offered.items()} != wanted:
                self._changed.clear()
                await self._changed.wait()


def instances(**ports: int) -> str:
    return "".join(
        f'[[instance]]\nid = "{name.replace("_", "-")}"\nservice = "web"\nport = {port}\n'
        for name, port in ports.items()
    )


def services_dir(path: Path, door: Door, *, reread_s: float = 3600) -> ServicesDir:
    return ServicesDir(path, door, address="127.0.0.1", allow_exec=False, reread_s=reread_s)


@asynccontextmanager
async def watching(path: Path, door: Door, *, reread_s: float = 3600) -> AsyncIterator[ServicesDir]:
    services = services_dir(path, door, reread_s=reread_s)
    task = asyncio.create_task(services.run())
    try:
        yield services
    finally:
        task.cancel()
        [ended] = await asyncio.gather(task, return_exceptions=True)
        assert isinstance(ended, asyncio.CancelledError)


def errors(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [
        (record.message, record.__dict__["reason"])
        for record in caplog.records
        if record.levelname == "ERROR"
    ]


@pytest.fixture
def door() -> Door:
    return Door()


@pytest.fixture(autouse=True)
def quick_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher, "WATCH_RETRY_S", 0.05)
    monkeypatch.setattr(watcher, "WATCH_TURN_MS", 100)


async def test_what_is_there_at_the_start_is_offered(tmp_path: Path, door: Door) -> None:
    (tmp_path / "a.toml").write_text(instances(a_1=1, a_2=2))
    (tmp_path / "b.toml").write_text(instances(b_1=3))
    (tmp_path / "c.txt").write_text(instances(c_1=4))
    (tmp_path / ".hidden.toml").write_text(instances(d_1=5))
    async with watching(tmp_path, door):
        await door.until(a_1=1, a_2=2, b_1=3)


async def test_files_made_changed_and_deleted_are_followed(tmp_path: Path, door: Door) -> None:
    async with watching(tmp_path, door):
        (tmp_path / "a.toml").write_text(instances(a=1))
        await door.until(a=1)
        (tmp_path / "b.toml").write_text(instances(b=2))
        await door.until(a=1, b=2)
        (tmp_path / "a.toml").write_text(instances(a=10, c=3))
        await door.until(a=10, b=2, c=3)
        (tmp_path / "a.toml").unlink()
        await door.until(b=2)


async def test_a_file_renamed_into_place_is_followed(tmp_path: Path, door: Door) -> None:
    (tmp_path / "a.toml").write_text(instances(a=1))
    async with watching(tmp_path, door):
        await door.until(a=1)
        (tmp_path / ".a.toml.swp").write_text(instances(a=2))
        (tmp_path / ".a.toml.swp").rename(tmp_path / "a.toml")
        await door.until(a=2)


async def test_links_swapped_as_kubernetes_does_it_are_followed(tmp_path: Path, door: Door) -> None:
    for version in (1, 2):
        (tmp_path / f"..v{version}").mkdir()
        (tmp_path / f"..v{version}" / "a.toml").write_text(instances(a=version))
    (tmp_path / "..data").symlink_to("..v1")
    (tmp_path / "a.toml").symlink_to("..data/a.toml")
    async with watching(tmp_path, door):
        await door.until(a=1)
        (tmp_path / "..new").symlink_to("..v2")
        (tmp_path / "..new").rename(tmp_path / "..data")
        await door.until(a=2)


async def test_a_file_written_bit_by_bit_is_used_only_when_it_stands_still(
    tmp_path: Path, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each half of this one is a good file: only time tells that it is not all of it."""
    monkeypatch.setattr(watcher, "SETTLE_S", 1.0)
    (tmp_path / "a.toml").write_text(instances(a=1, b=2, c=3))
    async with watching(tmp_path, door):
        await door.until(a=1, b=2, c=3)
        seen = set()
        with (tmp_path / "a.toml").open("w") as file:
            for part in (instances(a=10), instances(b=20), instances(c=30)):
                file.write(part)
                file.flush()
                for _ in range(5):
                    await asyncio.sleep(0.02)
                    seen.add(tuple(sorted((i, s.port) for i, s in door.offered.items())))
        await door.until(a=10, b=20, c=30)
    assert seen == {(("a", 1), ("b", 2), ("c", 3))}


async def test_a_file_gone_for_a_moment_costs_nothing(tmp_path: Path, door: Door) -> None:
    """Some editors move the old file away before they write the new one."""
    path = tmp_path / "a.toml"
    path.write_text(instances(a=1))
    services = services_dir(tmp_path, door)
    await services.reload()
    path.rename(tmp_path / "backup")
    await services._look(at_once=False)
    assert set(door.offered) == {"a"}
    path.write_text(instances(a=2))
    await services.reload()
    assert door.offered["a"].port == 2


async def test_a_bad_file_changes_nothing_and_is_told_once(
    tmp_path: Path, door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.toml"
    path.write_text(instances(a=1))
    services = services_dir(tmp_path, door)
    await services.reload()
    path.write_text(instances(a=2, b=99999))
    for _ in range(3):
        await services.reload()
    assert {i: spec.port for i, spec in door.offered.items()} == {"a": 1}
    assert errors(caplog) == [
        ("service file not used", "line 5: instance[1].port: must be at most 65535")
    ]
    assert caplog.records[-1].__dict__["path"] == str(path)
    path.write_text(instances(a=2, b=3))
    await services.reload()
    assert {i: spec.port for i, spec in door.offered.items()} == {"a": 2, "b": 3}


async def test_a_bad_file_does_not_keep_others_back(tmp_path: Path, door: Door) -> None:
    (tmp_path / "a.toml").write_text("[[instance]")
    (tmp_path / "b.toml").write_text(instances(b=1))
    async with watching(tmp_path, door):
        await door.until(b=1)


async def test_a_file_that_was_never_good_may_vanish(tmp_path: Path, door: Door) -> None:
    (tmp_path / "a.toml").write_text("[[instance]")
    services = services_dir(tmp_path, door)
    await services.reload()
    (tmp_path / "a.toml").unlink()
    await services.reload()
    assert services._files == {}
    assert not [key for key in services._told if key[1]]


async def test_a_file_that_can_not_be_read_keeps_what_it_held(
    tmp_path: Path, door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.toml"
    path.write_text(instances(a=1))
    services = services_dir(tmp_path, door)
    await services.reload()
    path.unlink()
    path.symlink_to(path)
    await services.reload()
    path.unlink()
    os.mkfifo(path)
    await services.reload()
    path.unlink()
    path.write_bytes(b"#" * (folder.FILE_SIZE_MAX + 1))
    await services.reload()
    assert set(door.offered) == {"a"}
    assert errors(caplog) == [
        ("service file not used", "Too many levels of symbolic links"),
        ("service file not used", "not a regular file"),
        ("service file not used", "larger than 1048576 bytes"),
    ]


async def test_a_missing_folder_is_no_error_and_is_found_when_it_appears(
    tmp_path: Path, door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "later"
    async with watching(path, door):
        await asyncio.sleep(0.2)
        path.mkdir()
        (path / "a.toml").write_text(instances(a=1))
        await door.until(a=1)
    assert errors(caplog) == []


async def test_a_folder_replaced_by_another_is_followed(tmp_path: Path, door: Door) -> None:
    path = tmp_path / "services"
    path.mkdir()
    (path / "a.toml").write_text(instances(a=1))
    async with watching(path, door):
        await door.until(a=1)
        shutil.rmtree(path)
        await door.until()
        path.mkdir()
        (path / "b.toml").write_text(instances(b=1))
        await door.until(b=1)
        shutil.rmtree(path)
        path.mkdir()
        (path / "b.toml").write_text(instances(b=2))
        await door.until(b=2)
        (path / "c.toml").write_text(instances(c=1))
        await door.until(b=2, c=1)


async def test_a_folder_that_can_not_be_read_keeps_everything(
    tmp_path: Path, door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "services"
    path.mkdir()
    (path / "a.toml").write_text(instances(a=1))
    services = services_dir(path, door)
    await services.reload()
    shutil.rmtree(path)
    path.write_text("a file")
    for _ in range(2):
        await services.reload()
    assert set(door.offered) == {"a"}
    assert errors(caplog) == [("folder not read", "Not a directory")]


async def test_of_two_files_with_one_id_the_first_by_name_has_it(
    tmp_path: Path, door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "b.toml").write_text(instances(x=2, y=2))
    services = services_dir(tmp_path, door)
    await services.reload()
    (tmp_path / "a.toml").write_text(instances(x=1))
    for _ in range(2):
        await services.reload()
    assert {i: spec.port for i, spec in door.offered.items()} == {"x": 1, "y": 2}
    assert errors(caplog) == [("instance refused", "x: a.toml has an instance of this id already")]
    (tmp_path / "a.toml").unlink()
    await services.reload()
    assert {i: spec.port for i, spec in door.offered.items()} == {"x": 2, "y": 2}


async def test_instances_swapped_between_two_files_are_both_there(
    tmp_path: Path, door: Door
) -> None:
    services = services_dir(tmp_path, door)
    for a, b in (("x", "y"), ("y", "x")):
        (tmp_path / "a.toml").write_text(instances(**{a: 1}))
        (tmp_path / "b.toml").write_text(instances(**{b: 2}))
        await services.reload()
    assert {i: spec.port for i, spec in door.offered.items()} == {"y": 1, "x": 2}


async def test_an_id_registered_over_http_is_refused_and_taken_when_free(
    tmp_path: Path, door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    door.owners["x"] = "http"
    (tmp_path / "a.toml").write_text(instances(x=1, y=2))
    async with watching(tmp_path, door, reread_s=0.1):
        await door.until(y=2)
        await asyncio.sleep(0.3)
        del door.owners["x"]
        await door.until(x=1, y=2)
    assert errors(caplog) == [("instance refused", "x: belongs to http")]


async def test_what_the_disk_refuses_is_tried_again(
    tmp_path: Path, door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.toml").write_text(instances(a=1))
    services = services_dir(tmp_path, door)
    door.disk_full = True
    for _ in range(2):
        await services.reload()
    assert door.offered == {}
    door.disk_full = False
    await services.reload()
    assert set(door.offered) == {"a"}
    assert errors(caplog) == [
        ("vanished files not dropped", "no space left on device"),
        ("instance refused", "no space left on device"),
    ]


async def test_nothing_new_asks_nothing_of_the_driver(tmp_path: Path, door: Door) -> None:
    (tmp_path / "a.toml").write_text(instances(a=1))
    services = services_dir(tmp_path, door)
    for _ in range(3):
        await services.reload()
    os.utime(tmp_path / "a.toml")
    await services.reload()
    assert door.calls == ["a.toml"]


async def test_changes_are_found_without_any_notification(
    tmp_path: Path, door: Door, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "OS file watch limit reached")

    monkeypatch.setattr(watcher, "awatch", refuse)
    async with watching(tmp_path, door, reread_s=0.1), asyncio.timeout(WITHIN_S):
        while not errors(caplog):
            await asyncio.sleep(0.01)
        (tmp_path / "a.toml").write_text(instances(a=1))
        await door.until(a=1)
    [(what, reason)] = errors(caplog)
    assert what == "folder not watched"
    assert "OS file watch limit reached" in reason


async def test_files_beyond_the_limit_are_left_out_in_one_line(
    tmp_path: Path, door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(folder.FILES_MAX + 5):
        (tmp_path / f"f-{number:03}.toml").write_text(instances(**{f"i_{number}": 1}))
    services = services_dir(tmp_path, door)
    for _ in range(2):
        await services.reload()
    assert len(door.offered) == folder.FILES_MAX
    assert errors(caplog) == [("folder not read", "5 files beyond the 256 allowed are not read")]


async def test_a_file_pushed_beyond_the_limit_stays_in_force(tmp_path: Path, door: Door) -> None:
    (tmp_path / "z.toml").write_text(instances(z=1))
    services = services_dir(tmp_path, door)
    await services.reload()
    for number in range(folder.FILES_MAX):
        (tmp_path / f"f-{number:03}.toml").write_text("")
    await services.reload()
    assert set(door.offered) == {"z"}


async def test_a_name_that_is_no_text_is_refused(
    tmp_path: Path, door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    bad = os.fsencode(tmp_path) + b"/\xff\n.toml"
    with open(bad, "w") as file:
        file.write(instances(a=1))
    await services_dir(tmp_path, door).reload()
    assert door.offered == {}
    assert errors(caplog) == [("service file not used", "its name is not printable text")]
    assert "\n" not in caplog.records[-1].__dict__["path"]
