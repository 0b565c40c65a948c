"""The locks agree with pyproject.toml, pin everything, and name no place to fetch it from."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
RUNTIME, TEST = "requirements.lock", "requirements-test.lock"
ENTRY = re.compile(
    r"(?P<name>[a-z0-9-]+)==(?P<version>[^ ]+)(?P<marker> ; .+?)?(?P<hashes>( --hash=\S+)+)"
)
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def pins(text: str) -> dict[str, str]:
    """Name → version. Raises ValueError on a line that is no exact pin with hashes."""
    found = {}
    for line in text.replace("\\\n", " ").splitlines():
        entry = ENTRY.fullmatch(" ".join(line.split()))
        if entry is None or not all(HASH.fullmatch(h) for h in entry["hashes"].split()):
            raise ValueError(f"not an exact pin with hashes: {line[:100]}")
        found[entry["name"]] = entry["version"]
    return found


def locked(lock: str) -> dict[str, str]:
    return pins((ROOT / lock).read_text())


def wanted(lock: str) -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = project["dependency-groups"]
    texts = project["project"]["dependencies"] + groups["build"]
    return [Requirement(text) for text in texts + (groups["test"] if lock == TEST else [])]


@pytest.mark.parametrize("lock", [RUNTIME, TEST])
def test_lock_holds_every_dependency_at_an_allowed_version(lock: str) -> None:
    versions = locked(lock)
    for requirement in wanted(lock):
        version = versions[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement} is locked at {version}"


def test_build_backend_is_among_what_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    backend = {Requirement(text).name for text in project["build-system"]["requires"]}
    assert backend <= {Requirement(text).name for text in project["dependency-groups"]["build"]}


def test_tests_run_with_the_versions_that_are_shipped() -> None:
    assert locked(RUNTIME).items() <= locked(TEST).items()


@pytest.mark.parametrize("lock", [RUNTIME, TEST])
def test_lock_names_no_address(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert "://" not in text
    assert not re.search(r"^\s*-(?!-hash=)", text, re.MULTILINE), "an option of pip"


@pytest.mark.parametrize(
    "line",
    [
        "click>=8",
        "click==8.5.1",
        "click==8.5.1 --hash=md5:00",
        "click @ file.whl --hash=sha256:" + "0" * 64,
        "--index-url x",
    ],
)
def test_line_without_pin_or_hash_is_found(line: str) -> None:
    with pytest.raises(ValueError, match="not an exact pin"):
        pins(line)
