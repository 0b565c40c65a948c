"""The incarnation always grows: over restarts, early clocks, lost and damaged files."""

import json
from pathlib import Path

import pytest

from beacond.core.model import INCARNATION_MAX
from beacond.store import Identity, IdentityFile, StoreError

NOW = 1_700_000_000


@pytest.fixture
def boot_id(tmp_path: Path) -> Path:
    path = tmp_path / "boot_id"
    path.write_text("aaaa\n")
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "identity.json"


def start(
    path: Path, boot_id: Path, now: int = NOW, *, node: str = "web-1", fleet: str = "default"
) -> Identity:
    file = IdentityFile(path, boot_id)
    identity = file.next_incarnation(now, node=node, fleet=fleet)
    file.persist()
    return identity


def test_the_wall_clock_seeds_the_first_incarnation(path: Path, boot_id: Path) -> None:
    assert start(path, boot_id) == Identity(
        previous_node=None, previous_incarnation=0, incarnation=NOW, rebooted=True
    )


@pytest.mark.parametrize(
    ("now", "expected"), [(NOW + 60, NOW + 60), (NOW, NOW + 1), (0, NOW + 1), (-5, NOW + 1)]
)
def test_the_next_is_greater_whatever_the_clock_says(
    path: Path, boot_id: Path, now: int, expected: int
) -> None:
    start(path, boot_id)
    second = start(path, boot_id, now)
    assert (second.previous_incarnation, second.incarnation) == (NOW, expected)


def test_once_persisted_it_is_on_disk(path: Path, boot_id: Path) -> None:
    identity = start(path, boot_id)
    assert json.loads(path.read_text()) == {
        "format": 1,
        "node": "web-1",
        "fleet": "default",
        "incarnation": identity.incarnation,
        "kernel_boot_id": "aaaa",
    }


def test_a_disk_that_refuses_is_asked_again_until_it_takes_it(path: Path, boot_id: Path) -> None:
    obstacle = path.with_name("identity.json.tmp")
    obstacle.mkdir()
    file = IdentityFile(path, boot_id)
    assert file.next_incarnation(NOW, node="n", fleet="f").incarnation == NOW
    for _ in range(2):
        with pytest.raises(StoreError, match=r"identity\.json"):
            file.persist()
    assert not path.exists()
    obstacle.rmdir()
    file.persist()
    assert start(path, boot_id, node="n", fleet="f").incarnation == NOW + 1


def test_what_was_raised_while_the_disk_refused_is_persisted_later(
    path: Path, boot_id: Path
) -> None:
    obstacle = path.with_name("identity.json.tmp")
    obstacle.mkdir()
    file = IdentityFile(path, boot_id)
    file.next_incarnation(NOW, node="n", fleet="f")
    with pytest.raises(StoreError):
        file.raise_to(NOW + 500)
    obstacle.rmdir()
    file.persist()
    assert start(path, boot_id, node="n", fleet="f").incarnation == NOW + 501


def test_what_is_on_disk_is_not_written_again_unless_to_try_it(path: Path, boot_id: Path) -> None:
    file = IdentityFile(path, boot_id)
    file.next_incarnation(NOW, node="n", fleet="f")
    file.persist()
    path.unlink()
    file.persist()
    file.raise_to(NOW)
    assert not path.exists()
    file.persist(anew=True)
    assert start(path, boot_id, node="n", fleet="f").incarnation == NOW + 1


def test_starts_that_were_never_persisted_may_draw_the_same(path: Path, boot_id: Path) -> None:
    """What the boot id, and others who say so, are for."""
    start(path, boot_id)
    drawn = [
        IdentityFile(path, boot_id).next_incarnation(0, node="web-1", fleet="default")
        for _ in range(2)
    ]
    assert [identity.incarnation for identity in drawn] == [NOW + 1, NOW + 1]


def test_a_reboot_of_the_kernel_is_seen(path: Path, boot_id: Path) -> None:
    start(path, boot_id)
    assert not start(path, boot_id).rebooted
    boot_id.write_text("bbbb\n")
    assert start(path, boot_id).rebooted
    assert not start(path, boot_id).rebooted


def test_a_kernel_that_does_not_tell_its_boot_id_is_no_error(tmp_path: Path, path: Path) -> None:
    start(path, tmp_path / "missing")
    assert not start(path, tmp_path / "missing").rebooted


def test_the_real_kernel_tells_its_boot_id(path: Path) -> None:
    file = IdentityFile(path)
    file.next_incarnation(NOW, node="n", fleet="f")
    file.persist()
    assert len(json.loads(path.read_text())["kernel_boot_id"]) == 36


def test_a_new_name_remembers_the_old_one_once(path: Path, boot_id: Path) -> None:
    start(path, boot_id, node="old")
    renamed = start(path, boot_id, node="new")
    assert (renamed.previous_node, renamed.previous_incarnation) == ("old", NOW)
    assert start(path, boot_id, node="new").previous_node is None


def test_nobody_in_another_fleet_knows_the_old_name(path: Path, boot_id: Path) -> None:
    start(path, boot_id, node="old", fleet="one")
    moved = start(path, boot_id, node="new", fleet="two")
    assert moved.previous_node is None
    assert moved.incarnation == NOW + 1


def test_a_raised_incarnation_is_below_the_next(path: Path, boot_id: Path) -> None:
    file = IdentityFile(path, boot_id)
    file.next_incarnation(NOW, node="n", fleet="f")
    file.raise_to(NOW + 500)
    file.raise_to(NOW + 400)
    assert start(path, boot_id, node="n", fleet="f").incarnation == NOW + 501


def test_raising_before_drawing_one_is_refused(path: Path, boot_id: Path) -> None:
    with pytest.raises(StoreError, match="no incarnation was drawn yet"):
        IdentityFile(path, boot_id).raise_to(5)


def test_the_wires_limit_is_never_passed(
    path: Path, boot_id: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert start(path, boot_id, 2**40).incarnation == INCARNATION_MAX
    assert start(path, boot_id).incarnation == INCARNATION_MAX
    assert [record.message for record in caplog.records] == ["incarnation can't grow any more"]
    file = IdentityFile(path, boot_id)
    file.next_incarnation(NOW, node="n", fleet="f")
    file.raise_to(2**60)
    assert json.loads(path.read_text())["incarnation"] == INCARNATION_MAX


GOOD = {
    "format": 1,
    "node": "n",
    "fleet": "f",
    "incarnation": NOW + 9,
    "kernel_boot_id": "aaaa",
}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        "\x00" * 200,
        "[" * 100_000,
        json.dumps(GOOD | {"format": 2}),
        json.dumps(GOOD | {"incarnation": "7"}),
        json.dumps(GOOD | {"incarnation": True}),
        json.dumps(GOOD | {"incarnation": 0}),
        json.dumps(GOOD | {"incarnation": INCARNATION_MAX + 1}),
        json.dumps(GOOD | {"node": None}),
        json.dumps({key: GOOD[key] for key in GOOD if key != "fleet"}),
        json.dumps(GOOD) + " " * 70_000,
    ],
    ids=range(14),
)
def test_a_damaged_file_is_set_aside_and_the_clock_seeds_again(
    path: Path, boot_id: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_text(content)
    assert start(path, boot_id) == Identity(
        previous_node=None, previous_incarnation=0, incarnation=NOW, rebooted=True
    )
    assert path.with_name("identity.json.damaged-1").read_text() == content
    assert [record.message for record in caplog.records] == ["damaged file set aside"]


def test_the_file_used_to_show_damage_is_good_otherwise(path: Path, boot_id: Path) -> None:
    path.write_text(json.dumps(GOOD))
    assert start(path, boot_id).incarnation == NOW + 10
