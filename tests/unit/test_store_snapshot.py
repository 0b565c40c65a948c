"""The snapshot: loaded equal, or set aside; never an exception, never half."""

import struct
from pathlib import Path

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beacond.core.model import Status
from beacond.core.view import INDEX_MAX
from beacond.store import Snapshot, SnapshotFile, StoreError, snapshot

SMALL = Snapshot(
    records=(b"one", b"", bytes(range(256))),
    tombstones=(("gone-1", 1_700_000_000), ("gone-2", 2**33 - 1)),
    index=INDEX_MAX,
    own_checks={"web-80": (("http", Status.WARNING, "429"), ("ttl", Status.PASSING, ""))},
    saved_at=1_700_000_000.25,
)
EMPTY = Snapshot(records=(), tombstones=(), index=0, own_checks={}, saved_at=0.0)

snapshots = st.builds(
    Snapshot,
    records=st.lists(st.binary(max_size=300)).map(tuple),
    tombstones=st.lists(st.tuples(st.text(), st.integers(0, 2**33 - 1))).map(tuple),
    index=st.integers(0, INDEX_MAX),
    own_checks=st.dictionaries(
        st.text(),
        st.lists(st.tuples(st.text(), st.sampled_from(Status), st.text())).map(tuple),
    ),
    saved_at=st.floats(allow_nan=False),
)


@pytest.fixture
def file(tmp_path: Path) -> SnapshotFile:
    return SnapshotFile(tmp_path / "snapshot")


def test_without_a_file_there_is_no_snapshot(file: SnapshotFile) -> None:
    assert file.load() is None


@pytest.mark.parametrize("saved", [SMALL, EMPTY])
def test_what_was_saved_is_loaded(file: SnapshotFile, saved: Snapshot) -> None:
    file.save(saved)
    assert file.load() == saved


@given(snapshots)
@settings(max_examples=100, deadline=None)
def test_every_snapshot_survives_encoding(saved: Snapshot) -> None:
    assert snapshot.decode(snapshot.encode(saved)) == saved


@given(
    cut=st.integers(0, len(snapshot.encode(SMALL))),
    flips=st.lists(st.integers(0, len(snapshot.encode(SMALL)) * 8 - 1), max_size=3),
)
@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_torn_or_flipped_file_is_loaded_equal_or_set_aside(
    tmp_path: Path, cut: int, flips: list[int]
) -> None:
    path = tmp_path / "snapshot"
    data = bytearray(snapshot.encode(SMALL))
    for flip in flips:
        data[flip // 8] ^= 1 << flip % 8
    path.write_bytes(data[:cut])
    loaded = SnapshotFile(path).load()
    if data[:cut] == snapshot.encode(SMALL):
        assert loaded == SMALL
    else:
        assert loaded is None
        assert not path.exists()


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_garbage_behind_a_good_head_is_damage(payload: bytes) -> None:
    head = struct.pack(">8sHQ16s", b"beacond\0", 1, len(payload), snapshot._checksum(payload))
    with pytest.raises(snapshot.Damaged):
        snapshot.decode(head + payload)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "too short"),
        (b"\0" * 4096, "not a snapshot"),
        (snapshot.encode(SMALL) + b"x", "bytes instead of"),
        (b"beacond\0\0\2" + snapshot.encode(SMALL)[10:], "format 2, not 1"),
    ],
)
def test_a_damaged_file_is_set_aside_with_the_reason(
    file: SnapshotFile,
    tmp_path: Path,
    data: bytes,
    reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "snapshot").write_bytes(data)
    assert file.load() is None
    assert (tmp_path / "snapshot.damaged-1").read_bytes() == data
    assert [record.message for record in caplog.records] == ["damaged file set aside"]
    assert reason in caplog.records[0].__dict__["reason"]


@pytest.mark.parametrize(
    "change",
    [
        {"index": -1},
        {"index": INDEX_MAX + 1},
        {"records": [1]},
        {"tombstones": [["only a name"]]},
        {"own_checks": {"web": [["http", "asleep", ""]]}},
        {"saved_at": "yesterday"},
    ],
)
def test_content_of_another_shape_is_damage(change: dict[str, object]) -> None:
    good = msgpack.unpackb(snapshot.encode(SMALL)[34:])
    payload = msgpack.packb(good | change)
    head = struct.pack(">8sHQ16s", b"beacond\0", 1, len(payload), snapshot._checksum(payload))
    with pytest.raises(snapshot.Damaged, match="unexpected content"):
        snapshot.decode(head + payload)


def test_half_a_character_in_an_output_does_not_cost_the_snapshot(file: SnapshotFile) -> None:
    file.save(Snapshot((), (), 1, {"web": (("ttl", Status.PASSING, "ok \ud800"),)}, saved_at=1.0))
    loaded = file.load()
    assert loaded is not None
    assert loaded.own_checks == {"web": (("ttl", Status.PASSING, "ok ?"),)}


def test_a_disk_that_refuses_leaves_the_snapshot_before(file: SnapshotFile, tmp_path: Path) -> None:
    file.save(SMALL)
    (tmp_path / "snapshot.tmp").mkdir()
    with pytest.raises(StoreError, match="Is a directory"):
        file.save(EMPTY)
    assert file.load() == SMALL


def test_a_snapshot_above_the_limit_is_refused_on_both_ways(
    file: SnapshotFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.save(SMALL)
    monkeypatch.setattr(snapshot, "SIZE_MAX", 100)
    with pytest.raises(StoreError, match="more than the 100 allowed"):
        file.save(SMALL)
    assert file.load() is None
    assert (tmp_path / "snapshot.damaged-1").exists()
