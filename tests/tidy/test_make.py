"""What `make test` calls before anything of ours can run."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder that comes first on PATH, in which we are not root."""
    folder = tmp_path / "bin"
    folder.mkdir()
    write_program(folder / "id", "echo 1000")
    return folder


def write_program(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def run_script(
    name: str, *arguments: str | Path, programs: Path, cwd: Path = ROOT, **env: str
) -> subprocess.CompletedProcess[str]:
    path = f"{programs}:{os.environ.get('PATH', os.defpath)}"
    return subprocess.run(
        ["/bin/sh", ROOT / ".ci" / name, *arguments],
        env=os.environ | {"PATH": path, "CI": ""} | env,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def one_missing(tmp_path: Path) -> Path:
    path = tmp_path / "apt.txt"
    path.write_text("# PROGRAM PACKAGE\n\nsh dash\nno-such-program no-such-package\n")
    return path


def test_servers_that_are_there_are_not_worth_a_word(tmp_path: Path, programs: Path) -> None:
    listed = tmp_path / "apt.txt"
    listed.write_text("# PROGRAM PACKAGE\nsh dash\n")
    done = run_script("servers.sh", listed, programs=programs, CI="true")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_missing_server_is_named_and_tests_go_on(one_missing: Path, programs: Path) -> None:
    done = run_script("servers.sh", one_missing, programs=programs)
    assert done.returncode == 0
    assert done.stdout.split()[-1] == "no-such-program"
    assert "sh" not in done.stdout.split()


def test_missing_server_is_a_failure_in_ci(one_missing: Path, programs: Path) -> None:
    done = run_script("servers.sh", one_missing, programs=programs, CI="true")
    assert done.returncode == 1
    assert "no-such-program" in done.stderr


def test_list_of_servers_has_a_package_for_each_program_that_tests_name() -> None:
    lines = (ROOT / "tests" / "apt.txt").read_text().splitlines()
    listed = [line.split() for line in lines if line and not line.startswith("#")]
    assert all(len(line) == 2 for line in listed)
    sources = [path.read_text() for path in (ROOT / "tests").rglob("test_*.py")]
    named = {n for source in sources for n in re.findall(r'mark\.server\("([a-z-]+)"\)', source)}
    assert named <= {program for program, _ in listed}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("exit 1", "3.11"),
        ('case "$2" in *version_info*) exit 0;; esac; exit 1', "python3-venv"),
    ],
    ids=["too old", "no venv"],
)
def test_unfit_python_is_told_in_one_line(
    body: str, said: str, programs: Path, tmp_path: Path
) -> None:
    write_program(programs / "python-of-the-test", body)
    done = run_script(
        "venv.sh",
        "requirements.lock",
        programs=programs,
        cwd=tmp_path,
        PYTHON="python-of-the-test",
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert said in line
    assert not (tmp_path / ".venv").exists()


def test_absent_python_is_told_in_one_line(programs: Path, tmp_path: Path) -> None:
    done = run_script("venv.sh", "x", programs=programs, cwd=tmp_path, PYTHON="no-such-python")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
