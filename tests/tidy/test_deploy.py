"""What deploy/ ships is whole and well formed, as far as that shows without a host to deploy to."""

import base64
import configparser
import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from beacond.config import SETTINGS

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
UNIT = DEPLOY / "systemd" / "beacond.service"
DEFAULTS = {setting.key: setting.default for setting in SETTINGS}
EXPOSURE_MAX = 20
"""Tenths of systemd's exposure level: below this it says OK and smiles."""


def unit() -> dict[str, list[str]]:
    """Setting → its values in order, of the [Service] section."""
    section, found = "", {}
    for line in UNIT.read_text().splitlines():
        if line.startswith("["):
            section = line
        elif section == "[Service]" and "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


@pytest.fixture
def installed_unit(tmp_path: Path) -> Path:
    """The unit as on a host where its program and user exist."""
    text = UNIT.read_text()
    text, programs = re.subn(r"^ExecStart=\S+", "ExecStart=/bin/true", text, flags=re.MULTILINE)
    text, users = re.subn(r"^(User|Group)=beacond$", r"\1=daemon", text, flags=re.MULTILINE)
    assert (programs, users) == (1, 2)
    copy = tmp_path / UNIT.name
    copy.write_text(text)
    return copy


def systemd_analyze(*arguments: str | Path) -> str:
    program = shutil.which("systemd-analyze")
    assert program is not None
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.server("systemd-analyze")
def test_systemd_finds_nothing_wrong_with_the_unit(installed_unit: Path) -> None:
    said = systemd_analyze("verify", "--man=no", "--recursive-errors=no", installed_unit)
    assert "beacond.service" not in said


@pytest.mark.server("systemd-analyze")
def test_unit_is_hardened(installed_unit: Path) -> None:
    systemd_analyze(
        "security", "--offline=true", f"--threshold={EXPOSURE_MAX}", "--no-pager", installed_unit
    )


def test_unit_holds_the_host_over_a_restart_and_does_not_retry_a_wrong_configuration() -> None:
    service = unit()
    assert service["Type"] == ["notify"]
    assert service["Environment"] == ["BEACOND_ON_STOP=hold"]
    assert service["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    assert service["Restart"] == ["on-failure"]
    assert service["RestartPreventExitStatus"] == ["2"]
    assert service["StateDirectory"] == ["beacond"]


def test_unit_runs_as_the_user_that_sysusers_makes() -> None:
    (line,) = [
        line
        for line in (DEPLOY / "systemd" / "beacond.sysusers.conf").read_text().splitlines()
        if not line.startswith("#")
    ]
    assert line.split()[:2] == ["u", unit()["User"][0]]


def dockerfile_copies() -> list[str]:
    """Everything the Dockerfile copies out of the project."""
    lines = (DEPLOY / "docker" / "Dockerfile").read_text().splitlines()
    copies = [line.split()[1:-1] for line in lines if line.startswith("COPY ")]
    return [path for paths in copies if not paths[0].startswith("--from") for path in paths]


def test_dockerfile_copies_what_is_there_and_not_ignored() -> None:
    kept = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    copied = dockerfile_copies()
    assert copied
    for path in copied:
        assert (ROOT / path).exists()
        assert path in kept


def test_compose_mounts_what_is_there_and_names_its_volumes() -> None:
    folder = DEPLOY / "docker"
    compose = yaml.safe_load((folder / "compose.yaml").read_text())
    for service in compose["services"].values():
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (folder / source).is_file(), source
            else:
                assert source in compose["volumes"]
        if "build" in service:
            assert (folder / service["build"]["context"] / service["build"]["dockerfile"]).is_file()


def test_compose_gives_each_agent_a_name_a_disk_and_valid_settings() -> None:
    compose = yaml.safe_load((DEPLOY / "docker" / "compose.yaml").read_text())
    agents = [s for s in compose["services"].values() if s["image"] == "beacond"]
    assert len(agents) == 3
    assert len({agent["environment"]["BEACOND_NODE"] for agent in agents}) == 3
    assert len({agent["volumes"][0] for agent in agents}) == 3
    by_env = {setting.env: setting for setting in SETTINGS}
    for agent in agents:
        for name, value in agent["environment"].items():
            by_env[name].parse(value)


def test_compose_can_log_in_at_the_broker_it_starts() -> None:
    compose = yaml.safe_load((DEPLOY / "docker" / "compose.yaml").read_text())
    definitions = json.loads((DEPLOY / "docker" / "definitions.json").read_text())
    url = compose["services"]["agent-a"]["environment"]["BEACOND_BUS"]
    found = re.fullmatch(r"amqp://(\w+):(\w+)@rabbitmq:5672/(\w+)", url)
    assert found is not None
    name, password, vhost = found.groups()
    (user,) = definitions["users"]
    assert (user["name"], definitions["vhosts"]) == (name, [{"name": vhost}])
    salted = base64.b64decode(user["password_hash"])
    assert salted[4:] == hashlib.sha256(salted[:4] + password.encode()).digest()


def test_broker_of_compose_has_the_shipped_permissions_and_exchanges() -> None:
    shipped = json.loads((DEPLOY / "rabbitmq" / "definitions.json").read_text())
    tried = json.loads((DEPLOY / "docker" / "definitions.json").read_text())
    for definitions in (shipped, tried):
        definitions["users"][0].pop("password_hash")
    assert tried == shipped


@pytest.mark.parametrize("name", ["systemd-resolved.conf", "beacond.dns-delegate"])
def test_resolved_asks_the_default_address_about_the_default_domain_only(name: str) -> None:
    parser = configparser.ConfigParser(delimiters="=")
    parser.read_string((DEPLOY / "dns" / name).read_text())
    (section,) = parser.sections()
    assert parser[section]["DNS"] == DEFAULTS["dns"]
    assert parser[section]["Domains"].removeprefix("~") == DEFAULTS["domain"]
    assert (section == "Delegate") != parser[section]["Domains"].startswith("~")
