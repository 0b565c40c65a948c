"""The data dir: made, tried and locked before anything relies on it."""

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from beacond.store import DataDir, StoreError

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


def test_a_failed_open_keeps_no_lock(tmp_path: Path) -> None:
    obstacle = tmp_path / "writable.tmp"
    obstacle.mkdir()
    with pytest.raises(StoreError, match=r"cannot write .*writable: Is a directory"):
        DataDir.open(tmp_path)
    obstacle.rmdir()
    DataDir.open(tmp_path).close()


def test_a_file_in_the_way_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError) as caught:
        DataDir.open(tmp_path / "file" / "data")
    assert str(caught.value) == (f"cannot make the data dir {tmp_path}/file/data: Not a directory")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_the_right_to_write_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StoreError, match="Permission denied"):
            DataDir.open(tmp_path)
    finally:
        tmp_path.chmod(0o700)


def test_a_link_in_place_of_the_lock_file_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("kept")
    (tmp_path / "agent.lock").symlink_to(target)
    with pytest.raises(StoreError, match=r"agent\.lock"):
        DataDir.open(tmp_path)
    assert target.read_text() == "kept"
