"""Replacing a file as one, and setting a damaged one aside."""

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from beacond.store import durable
from beacond.store.durable import (
    DAMAGED_KEPT,
    Damaged,
    StoredFile,
    StoreError,
    keep_copy,
    read_bounded,
    set_aside,
    write_durably,
)


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """A real refusal by the kernel in the middle of a write (EFBIG after a partial one)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_write_replaces_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_durably(path, b"one")
    write_durably(path, b"two")
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_leftover_of_a_crash_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "file.tmp").write_bytes(b"half of something longer")
    write_durably(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"


def test_a_write_the_disk_refuses_half_way_leaves_the_old_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_durably(path, b"old")
    with file_size_limit(1000), pytest.raises(StoreError) as caught:
        write_durably(path, bytes(5000))
    assert str(caught.value) == f"cannot write {path}: File too large"
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_vanished_is_a_store_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No such file or directory"):
        write_durably(tmp_path / "gone" / "file", b"")


def test_what_is_not_there_reads_as_none(tmp_path: Path) -> None:
    assert read_bounded(tmp_path / "file", 10) is None


def test_reading_stops_at_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(10))
    assert read_bounded(path, 10) == bytes(10)
    with pytest.raises(Damaged, match="larger than 9 bytes"):
        read_bounded(path, 9)


def test_a_folder_or_pipe_in_the_files_place_is_damage_and_never_blocks(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("folder", "pipe"):
        with pytest.raises(Damaged, match="not a regular file"):
            read_bounded(tmp_path / name, 10)
        set_aside(tmp_path / name, "test")
        assert read_bounded(tmp_path / name, 10) is None


def test_damaged_files_are_kept_but_only_the_newest_few(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for number in range(1, DAMAGED_KEPT + 3):
        path.write_text(str(number))
        set_aside(path, "test")
        assert not path.exists()
    kept = {entry.name: entry.read_text() for entry in tmp_path.iterdir()}
    assert kept == {"file.damaged-3": "3", "file.damaged-4": "4", "file.damaged-5": "5"}


def test_names_that_only_look_like_set_aside_files_are_left_alone(tmp_path: Path) -> None:
    for name in ("file.damaged-x", "file.damaged-1.txt", "other.damaged-1"):
        (tmp_path / name).write_text("mine")
    for _ in range(DAMAGED_KEPT + 2):
        (tmp_path / "file").write_text("")
        set_aside(tmp_path / "file", "test")
    assert (tmp_path / "file.damaged-x").read_text() == "mine"
    assert (tmp_path / "file.damaged-1.txt").read_text() == "mine"
    assert (tmp_path / "other.damaged-1").read_text() == "mine"


def test_a_copy_is_kept_once_for_the_same_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"hand-edited")
    for _ in range(3):
        keep_copy(path, b"hand-edited", "test")
    keep_copy(path, b"edited again", "test")
    assert {entry.name for entry in tmp_path.iterdir()} == {
        "file",
        "file.damaged-1",
        "file.damaged-2",
    }


def test_a_copy_that_the_disk_refuses_is_a_store_error(tmp_path: Path) -> None:
    with file_size_limit(10), pytest.raises(StoreError, match="File too large"):
        keep_copy(tmp_path / "file", bytes(100), "test")
    assert list(tmp_path.iterdir()) == []


def test_setting_aside_what_can_not_be_moved_is_a_store_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot set aside"):
        set_aside(tmp_path / "gone", "test")


def damaged(_: bytes) -> str:
    raise Damaged("not what it was")


def names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def test_a_file_that_can_not_be_used_is_set_aside_when_it_is_read(tmp_path: Path) -> None:
    file = StoredFile(tmp_path / "file")
    file.path.write_text("junk")
    assert file.load(100, damaged) is None
    assert names(tmp_path) == {"file.damaged-1"}
    file.replace(b"new")
    assert file.load(100, bytes.decode) == "new"


def test_where_it_can_not_be_moved_it_is_before_it_is_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    file = StoredFile(tmp_path / "file")
    file.path.write_text("junk")

    def refuse(self: Path, target: Path) -> Path:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as read_only:
        read_only.setattr(Path, "rename", refuse)
        assert file.load(100, damaged) is None
        with pytest.raises(StoreError, match="cannot set aside"):
            file.replace(b"new")
    assert names(tmp_path) == {"file"}
    assert "damaged file stays until" in caplog.records[0].message
    file.replace(b"new")
    assert (tmp_path / "file.damaged-1").read_text() == "junk"
    assert file.path.read_text() == "new"


def test_a_damaged_file_that_somebody_took_away_stops_no_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = StoredFile(tmp_path / "file")
    file.path.mkdir()
    (tmp_path / "file.damaged-1").mkdir()
    (tmp_path / "file.damaged-1" / "in the way").touch()
    monkeypatch.setattr(durable, "_next_aside", lambda _: tmp_path / "file.damaged-1")
    assert file.load(100, bytes.decode) is None
    file.path.rmdir()
    file.replace(b"new")
    assert file.path.read_text() == "new"


def test_a_copy_that_could_not_be_kept_is_before_the_next_write(tmp_path: Path) -> None:
    file = StoredFile(tmp_path / "file")
    file.path.write_bytes(bytes(100))
    with file_size_limit(10):
        file.keep_copy(bytes(100), "test")
        with pytest.raises(StoreError):
            file.replace(b"new")
    assert file.path.read_bytes() == bytes(100)
    file.replace(b"new")
    assert (tmp_path / "file.damaged-1").read_bytes() == bytes(100)
    assert file.path.read_bytes() == b"new"


def test_nothing_is_written_before_all_is_ready(tmp_path: Path) -> None:
    def refuse() -> None:
        raise StoreError("not yet")

    file = StoredFile(tmp_path / "file", refuse)
    with pytest.raises(StoreError, match="not yet"):
        file.replace(b"new")
    assert names(tmp_path) == set()
