"""Registrations on disk: all of them back after a crash, and bad entries harm nobody else."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from beacond.core.local import ModeState, Registration
from beacond.core.model import Check, CheckType, InstanceSpec, Mode, Status
from beacond.store import Registrations, RegistrationsFile, StoreError

DRAINING = ModeState(Mode.DRAINING, 1_700_000_600.5, "deploy ä")
WEB = Registration(
    InstanceSpec(
        id="web-80",
        service="web",
        port=80,
        ports=(("admin", 8080),),
        address="2001:db8::1",
        tags=("canary", "größe"),
        meta=(("k", "v"),),
        weight=5,
        checks=(
            Check(CheckType.HTTP, "http", url="http://127.0.0.1:80/health", interval_s=2.5),
            Check(CheckType.TTL, "ttl", ttl_s=30.0, deregister_after_s=60.0),
            Check(CheckType.TCP, "tcp", port=80, initial=Status.PASSING, failures=1, passes=2),
        ),
    ),
    "http",
    DRAINING,
)
PLAIN = Registration(InstanceSpec("db-1", "db", 5432), "run")


@pytest.fixture
def file(tmp_path: Path) -> RegistrationsFile:
    return RegistrationsFile(tmp_path / "registrations.json")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "registrations.json"


def edit(path: Path, **changes: Any) -> None:
    """Change the file by hand."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_nothing_saved_is_nothing_registered(file: RegistrationsFile) -> None:
    assert file.load() == Registrations()


def test_all_that_was_saved_comes_back(file: RegistrationsFile) -> None:
    saved = Registrations((WEB, PLAIN), ModeState(Mode.MAINTENANCE, 1e9, "disk"))
    file.save(saved)
    assert file.load() == saved


def test_the_file_is_for_people_to_read(file: RegistrationsFile, path: Path) -> None:
    file.save(Registrations((WEB,)))
    text = path.read_text()
    assert text.startswith('{\n  "format": 1,\n')
    assert '"deploy ä"' in text


def test_of_a_files_instance_only_its_mode_is_saved(file: RegistrationsFile) -> None:
    drained = Registration(InstanceSpec("f-1", "f", 1), "file:a.toml", DRAINING)
    normal = Registration(InstanceSpec("f-2", "f", 2), "file:a.toml")
    file.save(Registrations((drained, normal, PLAIN)))
    assert file.load() == Registrations((PLAIN,), file_modes=(("f-1", DRAINING),))


def test_a_mode_whose_file_was_not_read_yet_is_kept(file: RegistrationsFile) -> None:
    file.save(Registrations((PLAIN,), file_modes=(("f-1", DRAINING),)))
    assert file.load().file_modes == (("f-1", DRAINING),)


def test_an_instances_own_mode_replaces_the_one_kept_for_it(file: RegistrationsFile) -> None:
    read = Registration(InstanceSpec("f-1", "f", 1), "file:a.toml")
    over_http = Registration(InstanceSpec("f-2", "f", 1), "http")
    kept = (("f-1", DRAINING), ("f-2", DRAINING))
    file.save(Registrations((read, over_http), file_modes=kept))
    assert file.load().file_modes == ()


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"format": 2}', b"{}", b"9" * 9999]
)
def test_a_damaged_file_is_set_aside_and_nothing_registered(
    file: RegistrationsFile, path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_bytes(content)
    assert file.load() == Registrations()
    assert path.with_name("registrations.json.damaged-1").read_bytes() == content
    assert [record.message for record in caplog.records] == ["damaged file set aside"]


def as_json(registration: Registration, **changes: Any) -> Any:
    """One entry as the file has it, its spec changed."""
    spec = registration.spec
    entry: dict[str, Any] = {"spec": {"id": spec.id, "service": spec.service, "port": spec.port}}
    entry["origin"] = registration.origin
    entry["spec"] |= changes
    return entry


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (None, "instances[0]"),
        ("text", "instances[0]"),
        ({}, "instances[0]: spec: is required"),
        (as_json(PLAIN, port="5432"), "spec.port"),
        (as_json(PLAIN, port=0), "bad port"),
        (as_json(PLAIN, port=65536), "bad port"),
        (as_json(PLAIN, port=10**400), "bad port"),
        (as_json(PLAIN, ports=[["tcp", 1]]), "bad port name"),
        (as_json(PLAIN, ports={"a": 1}), "spec.ports"),
        (as_json(PLAIN, id="two\nlines"), "bad id"),
        (as_json(PLAIN, service="Not_A_Label"), "bad service name 'Not_A_Label'"),
        (as_json(PLAIN, address="0.0.0.0"), "bad address '0.0.0.0'"),
        (as_json(PLAIN, address="host.example"), "bad address"),
        (as_json(PLAIN, tags=["\n"]), "bad tag"),
        (as_json(PLAIN, tags=["\ud800"]), "instances[0]"),
        (as_json(PLAIN, weight=-1), "bad weight"),
        (as_json(PLAIN, checks=[{"type": "smoke", "name": "c"}]), "spec.checks.0.type"),
        (as_json(PLAIN, checks=[{"type": "tcp", "name": "c"}] * 2), "two checks of one name"),
        (
            as_json(PLAIN, checks=[{"type": "tcp", "name": "c", "interval_s": 0}]),
            "check 'c': bad duration",
        ),
        (
            as_json(PLAIN, checks=[{"type": "tcp", "name": "c", "timeout_s": float("inf")}]),
            "check 'c': bad duration",
        ),
        (
            as_json(PLAIN, checks=[{"type": "ttl", "name": "c", "ttl_s": float("nan")}]),
            "check 'c': bad duration",
        ),
        (as_json(PLAIN, checks=[{"type": "tcp", "name": "c", "passes": 0}]), "bad threshold"),
        (as_json(replace(PLAIN, origin="file:a.toml")), "what a file in services_dir holds"),
        (as_json(PLAIN) | {"mode": {"mode": "asleep"}}, "mode.mode"),
        (as_json(PLAIN) | {"mode": {"mode": "draining", "until": float("inf")}}, "until"),
    ],
    ids=range(25),
)
def test_one_bad_entry_is_dropped_with_a_line_and_the_rest_kept(
    file: RegistrationsFile,
    path: Path,
    entry: Any,
    reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    file.save(Registrations((WEB,)))
    good = json.loads(path.read_text())["instances"]
    edit(path, instances=[entry, *good])
    edited = path.read_text()
    assert file.load().instances == (WEB,)
    assert path.with_name("registrations.json.damaged-1").read_text() == edited
    lines = [record for record in caplog.records if record.message == "bad entry dropped"]
    assert len(lines) == 1
    assert reason in lines[0].__dict__["reason"]


def test_an_entry_with_only_what_is_needed_is_good(file: RegistrationsFile, path: Path) -> None:
    file.save(Registrations())
    edit(path, instances=[as_json(PLAIN)])
    assert file.load().instances == (PLAIN,)
    assert list(path.parent.iterdir()) == [path]


def test_fields_of_a_newer_version_are_passed_over(file: RegistrationsFile, path: Path) -> None:
    file.save(Registrations())
    edit(path, instances=[as_json(PLAIN, colour="green")], also={"new": 1})
    assert file.load().instances == (PLAIN,)


def test_of_two_entries_with_one_id_the_first_stays(file: RegistrationsFile, path: Path) -> None:
    file.save(Registrations())
    edit(path, instances=[as_json(PLAIN), as_json(PLAIN, port=1)])
    assert file.load().instances == (PLAIN,)


@pytest.mark.parametrize(
    "change",
    [
        {"instances": {}},
        {"host_mode": "draining"},
        {"host_mode": {"mode": "draining", "until": float("nan")}},
        {"file_modes": []},
        {"file_modes": {"x": 5}},
    ],
)
def test_a_bad_part_is_empty_and_costs_no_other(
    file: RegistrationsFile, path: Path, change: dict[str, Any]
) -> None:
    saved = Registrations((PLAIN,), DRAINING, (("f-1", DRAINING),))
    file.save(saved)
    edit(path, **change)
    [part] = change
    assert file.load() == replace(saved, **{part: getattr(Registrations(), part)})
    assert path.with_name("registrations.json.damaged-1").exists()


def test_a_thousand_bad_entries_are_not_a_thousand_lines(
    file: RegistrationsFile, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file.save(Registrations())
    edit(path, instances=[{}] * 1000)
    assert file.load() == Registrations()
    assert len(caplog.records) == 11


def test_what_can_not_be_written_as_text_is_refused_and_changes_nothing(
    file: RegistrationsFile,
) -> None:
    file.save(Registrations((WEB,)))
    broken = Registration(InstanceSpec("x", "x", 1, tags=("\ud800",)), "http")
    with pytest.raises(StoreError, match=r"registrations\.json"):
        file.save(Registrations((WEB, broken)))
    assert file.load().instances == (WEB,)


def test_a_disk_that_refuses_changes_nothing(file: RegistrationsFile, path: Path) -> None:
    file.save(Registrations((WEB,)))
    obstacle = path.with_name("registrations.json.tmp")
    obstacle.mkdir()
    with pytest.raises(StoreError, match="Is a directory"):
        file.save(Registrations())
    assert file.load().instances == (WEB,)


def test_what_is_on_disk_already_is_not_written_again(file: RegistrationsFile, path: Path) -> None:
    from_file = Registration(InstanceSpec("f-1", "f", 1), "file:a.toml")
    file.save(Registrations((PLAIN,)))
    before = path.stat().st_ino
    file.save(Registrations((PLAIN, from_file)))
    assert path.stat().st_ino == before
    file.save(Registrations((WEB, PLAIN)))
    file.save(Registrations((PLAIN,)))
    assert file.load().instances == (PLAIN,)


def test_a_write_that_failed_is_tried_again(file: RegistrationsFile, path: Path) -> None:
    obstacle = path.with_name("registrations.json.tmp")
    obstacle.mkdir()
    with pytest.raises(StoreError):
        file.save(Registrations((PLAIN,)))
    obstacle.rmdir()
    file.save(Registrations((PLAIN,)))
    assert file.load().instances == (PLAIN,)
