"""The data dir: made, tried and locked before anything relies on it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from beacond.core.local import Registration
from beacond.core.model import InstanceSpec
from beacond.store import DataDir, Registrations, Snapshot, StoreError

ONE = Registrations((Registration(InstanceSpec("web-80", "web", 80), "http"),))
NOBODY = 65534


@pytest.fixture
def folder() -> Iterator[Path]:
    """Ours, while we are somebody whom rights can stop: not root."""
    with TemporaryDirectory() as path:
        was_root = os.geteuid() == 0
        if was_root:
            os.chown(path, NOBODY, NOBODY)
            os.seteuid(NOBODY)
        try:
            yield Path(path)
        finally:
            if was_root:
                os.seteuid(0)
            Path(path).chmod(0o700)


HOLDER = """
import sys
from pathlib import Path
from beacond.store import DataDir
held = DataDir.open(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_the_folder_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    with closing(DataDir.open(path)):
        assert path.stat().st_mode & 0o777 == 0o700
        assert (path / "agent.lock").stat().st_mode & 0o777 == 0o600
        assert [entry.name for entry in path.iterdir()] == ["agent.lock"]


def test_a_second_agent_is_told_who_holds_the_folder(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(StoreError, match=rf"in use by another agent \(pid {holder.pid}\)"):
            DataDir.open(tmp_path)
        holder.kill()
    with closing(DataDir.open(tmp_path)) as opened:
        assert (opened.path / "agent.lock").read_text() == f"{os.getpid()}\n"


def test_closing_gives_the_lock_back_and_may_be_repeated(tmp_path: Path) -> None:
    first = DataDir.open(tmp_path)
    first.close()
    first.close()
    DataDir.open(tmp_path).close()


def draw(data_dir: DataDir) -> int:
    return data_dir.identity.next_incarnation(1, node="n", fleet="f").incarnation


def test_this_starts_incarnation_is_on_disk_before_anything_else(tmp_path: Path) -> None:
    obstacle = tmp_path / "identity.json.tmp"
    obstacle.mkdir()
    with closing(DataDir.open(tmp_path)) as data_dir:
        draw(data_dir)
        data_dir.registrations.load()
        with pytest.raises(StoreError, match=r"identity\.json: Is a directory"):
            data_dir.registrations.save(ONE)
        with pytest.raises(StoreError, match=r"identity\.json: Is a directory"):
            data_dir.snapshot.save(Snapshot((), (), 1, {}, 0.0))
        assert {entry.name for entry in tmp_path.iterdir()} == {"agent.lock", obstacle.name}
        obstacle.rmdir()
        data_dir.registrations.save(ONE)
    with closing(DataDir.open(tmp_path)) as again:
        assert draw(again) == 2
        assert again.registrations.load() == ONE


def test_what_changes_no_byte_needs_no_disk(tmp_path: Path) -> None:
    (tmp_path / "identity.json.tmp").mkdir()
    with closing(DataDir.open(tmp_path)) as data_dir:
        draw(data_dir)
        of_a_file = Registration(InstanceSpec("f-1", "f", 1), "file:a.toml")
        data_dir.registrations.load()
        data_dir.registrations.save(Registrations((of_a_file,)))


def test_a_trial_write_changes_nothing_and_says_what_the_disk_says(tmp_path: Path) -> None:
    with closing(DataDir.open(tmp_path)) as data_dir:
        draw(data_dir)
        data_dir.ready()
        before = (tmp_path / "identity.json").read_text()
        data_dir.try_write()
        assert (tmp_path / "identity.json").read_text() == before
        (tmp_path / "identity.json.tmp").mkdir()
        data_dir.ready()
        with pytest.raises(StoreError, match="Is a directory"):
            data_dir.try_write()


def test_a_file_in_the_way_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError) as caught:
        DataDir.open(tmp_path / "file" / "data")
    assert str(caught.value) == (f"cannot make the data dir {tmp_path}/file/data: Not a directory")


def test_a_folder_we_may_not_write_is_read_and_locked_all_the_same(folder: Path) -> None:
    with closing(DataDir.open(folder)) as before:
        draw(before)
        before.registrations.save(ONE)
    folder.chmod(0o500)
    (folder / "agent.lock").chmod(0o400)
    with closing(DataDir.open(folder)) as data_dir:
        assert draw(data_dir) == 2
        assert data_dir.registrations.load() == ONE
        with pytest.raises(StoreError, match="Permission denied"):
            data_dir.ready()
        with pytest.raises(StoreError, match=r"in use by another agent \(pid unknown\)"):
            DataDir.open(folder)
        folder.chmod(0o700)
        data_dir.ready()


def test_a_folder_that_was_never_locked_is_used_without_until_it_can_be(folder: Path) -> None:
    folder.chmod(0o500)
    with closing(DataDir.open(folder)) as data_dir:
        with pytest.raises(StoreError, match=r"cannot make .*agent\.lock: Permission denied"):
            data_dir.ready()
        folder.chmod(0o700)
        data_dir.ready()
        with pytest.raises(StoreError, match="in use by another agent"):
            DataDir.open(folder)


def test_a_lock_file_we_may_not_open_is_refused_for_others_may_hold_it(folder: Path) -> None:
    DataDir.open(folder).close()
    (folder / "agent.lock").chmod(0)
    with pytest.raises(StoreError, match=r"cannot open .*agent\.lock: Permission denied"):
        DataDir.open(folder)


def test_a_file_we_may_not_read_is_set_aside_or_where_it_can_not_be_refused(
    folder: Path,
) -> None:
    path = folder / "registrations.json"
    path.touch(0)
    folder.chmod(0o500)
    with closing(DataDir.open(folder)) as data_dir:
        with pytest.raises(StoreError, match=r"cannot read .*: Permission denied"):
            data_dir.registrations.load()
        folder.chmod(0o700)
        assert data_dir.registrations.load() == Registrations()
        assert path.with_name("registrations.json.damaged-1").exists()


def test_a_link_in_place_of_the_lock_file_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("kept")
    (tmp_path / "agent.lock").symlink_to(target)
    with pytest.raises(StoreError, match=r"agent\.lock"):
        DataDir.open(tmp_path)
    assert target.read_text() == "kept"
