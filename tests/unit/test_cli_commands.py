import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from beacond import __version__, cli
from beacond.config import SETTINGS
from tests.support.canned import Canned

ROOT = Path(__file__).resolve().parents[2]
NOBODY = "http://127.0.0.1:1"

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def beacond(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Call the command line; its exit code, standard output and standard error."""
    monkeypatch.delenv("BEACOND_AGENT", raising=False)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["beacond", *arguments])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        out, err = capsys.readouterr()
        assert isinstance(caught.value.code, int)
        return caught.value.code, out, err

    return run


def commands() -> dict[str, click.Command]:
    context = click.Context(cli.cli, **cli.cli.context_settings)
    found = {name: cli.cli.get_command(context, name) for name in cli.COMMANDS}
    return {name: command for name, command in found.items() if command is not None}


def test_every_command_is_there_and_has_its_own_name():
    assert [command.name for command in commands().values()] == list(cli.COMMANDS)


def test_help_and_version_need_no_agent(beacond):
    assert beacond("--version") == (0, f"beacond {__version__}\n", "")
    code, out, _ = beacond("--help")
    assert code == 0
    assert all(f"\n  {name} " in out for name in cli.COMMANDS)
    assert "..." not in out.partition("Commands:")[2], "a summary that is cut off"
    assert beacond("agent", "-h")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["registr"], "beacond: No such command 'registr'"),
        (["register"], "beacond register: Missing argument 'NAME'"),
        (["register", "web"], "beacond register: Missing option '--port'"),
        (["register", "web", "--port", "0"], "0 is not in the range 1<=x<=65535"),
        (["register", "web", "--port", "1", "--meta", "x"], "'x' is not KEY=VALUE"),
        (["register", "web", "--port", "1", "--ports", "a=b"], "'a=b' is not NAME=PORT"),
        (["register", "web", "--port", "1", "--check", "udp:1"], "'udp:1' is no check"),
        (["maintenance", "up"], "'up' is not one of 'on', 'off'"),
        (["maintenance", "off", "--for", "1h"], "--for and --reason go with on"),
        (["run", "--name", "web", "--port", "80"], "Missing argument"),
        (["services", "--agent", "https://127.0.0.1"], "'https://127.0.0.1' is no agent's URL"),
        (["check-config", "/nonexistent/beacond.toml"], "No such file or directory"),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_2(arguments, complaint, beacond):
    code, out, err = beacond(*arguments)
    assert (code, out) == (2, "")
    assert complaint in err
    assert err.count("\n") == 1


def test_without_a_command_the_help_is_shown_as_an_error(beacond):
    code, out, err = beacond()
    assert (code, out) == (2, "")
    assert "Commands:" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["register", "web", "--port", "80"],
        ["deregister", "web-80"],
        ["services"],
        ["instances", "web"],
        ["agents"],
        ["status"],
        ["events"],
        ["events", "--follow"],
        ["watch"],
        ["drain"],
        ["maintenance", "on"],
        ["leave"],
    ],
)
def test_without_an_agent_each_client_command_says_so_with_exit_code_3(arguments, beacond):
    code, out, err = beacond(*arguments, "--agent", NOBODY)
    assert (code, out) == (3, "")
    assert err.startswith(f"beacond: no agent answers at {NOBODY} (connection refused)")
    assert err.count("\n") == 1


def test_the_agent_to_talk_to_can_come_from_the_environment(beacond, monkeypatch):
    monkeypatch.setenv("BEACOND_AGENT", NOBODY)
    assert NOBODY in beacond("services")[2]


def test_an_answer_of_a_blind_agent_says_how_old_it_is(beacond):
    canned = Canned()
    canned.body = b'{"services": []}'
    canned.headers = {"X-Beacond-Stale": "42"}
    code, out, err = beacond("services", "--json", "--agent", canned.url)
    canned.close()
    assert (code, out) == (0, '{"services": []}\n')
    assert err == "beacond: the bus is not heard; this is 42 s old\n"


# ---- configuration


def test_check_config_tells_all_problems_with_line_and_key(beacond, tmp_path):
    file = tmp_path / "a.toml"
    file.write_text('node = "A_B"\nheartbeat = 5\n')
    code, out, err = beacond("check-config", str(file))
    assert (code, out) == (2, "")
    first, second = err.splitlines()
    assert first.startswith(f"beacond: {file}:1: node: must be")
    assert second.startswith(f"beacond: {file}:2: heartbeat: must be")


def test_check_config_looks_at_the_file_alone(beacond, tmp_path, monkeypatch):
    monkeypatch.setenv("BEACOND_TTL", "nonsense")
    file = tmp_path / "a.toml"
    file.write_text('node = "a"\n')
    assert beacond("check-config", str(file)) == (0, f"{file}: no problems\n", "")


def test_the_example_that_is_shipped_is_right_and_names_every_key(beacond):
    example = ROOT / "deploy" / "beacond.toml"
    assert beacond("check-config", str(example))[0] == 0
    shown = re.findall(r"^#? ?([a-z_]+) = ", example.read_text(), re.MULTILINE)
    assert sorted(shown) == sorted(setting.key for setting in SETTINGS)


def test_the_example_is_right_with_every_line_in_force(beacond, tmp_path):
    text = (ROOT / "deploy" / "beacond.toml").read_text()
    lines = [re.sub(r"^# ?(?=[a-z_]+ = )", "", line) for line in text.splitlines()]
    # Files of secrets are not there yet, and bus and bus_file exclude each other.
    kept = [line for line in lines if not line.startswith(("bus_file", "keys_file"))]
    file = tmp_path / "beacond.toml"
    file.write_text("\n".join(kept))
    assert beacond("check-config", str(file)) == (0, f"{file}: no problems\n", "")


def test_the_agent_does_not_start_with_a_wrong_configuration(beacond, tmp_path, monkeypatch):
    monkeypatch.setenv("BEACOND_TTL", "nonsense")
    file = tmp_path / "a.toml"
    file.write_text('nodes = "a"\n')
    code, out, err = beacond("agent", "--config", str(file), "--http", "80", "--node", "a")
    assert (code, out) == (2, "")
    assert [line.split(": ")[1] for line in err.splitlines()] == [
        "--http",
        "BEACOND_TTL",
        f"{file}:1",
    ]


def test_the_agent_has_a_flag_for_every_setting():
    agent = commands()["agent"]
    flags = {option for parameter in agent.params for option in parameter.opts}
    assert flags == {setting.flag for setting in SETTINGS} | {"--config"}


# ---- starting fast


@pytest.mark.parametrize("command", ["services", "status", "register", "run", "events"])
def test_a_client_command_does_not_load_what_only_the_agent_needs(command):
    code = (
        "import sys\n"
        "from beacond import cli\n"
        f"sys.argv = ['beacond', {command!r}, '--help']\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "print(*sorted(sys.modules), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    loaded = {module.partition(".")[0] for module in done.stderr.split()}
    heavy = {"asyncio", "aiohttp", "aio_pika", "pydantic", "uvloop", "prometheus_client", "rich"}
    assert "beacond" in loaded
    assert not loaded & heavy


# ---- docs


def test_the_docs_tell_every_command_with_every_option():
    text = (ROOT / "docs" / "cli.md").read_text()
    sections = dict(
        re.findall(r"^## `beacond ([a-z-]+)[^\n]*\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    )
    assert list(sections) == list(cli.COMMANDS)
    everywhere = {"--agent", "--json", "--help"}
    for name, command in commands().items():
        if name == "agent":
            continue  # its options are those of docs/configuration.md
        options = {
            max(parameter.opts, key=len)
            for parameter in command.params
            if isinstance(parameter, click.Option)
        }
        shown = set(re.findall(r"--[a-z][a-z-]*", sections[name]))
        assert shown - everywhere == options - everywhere, name


def test_the_docs_tell_which_commands_print_json():
    text = (ROOT / "docs" / "cli.md").read_text()
    (listed,) = re.findall(r"^- `--json` [^:]*: (.*?)\.$", text, re.M)
    with_json = [n for n, c in commands().items() if any("--json" in p.opts for p in c.params)]
    assert re.findall(r"`([a-z-]+)`", listed) == with_json


def test_the_docs_tell_every_setting_as_it_is():
    text = (ROOT / "docs" / "configuration.md").read_text()
    rows = dict(re.findall(r"^\| `([a-z_]+)` \| (.*) \|$", text, re.M))
    assert list(rows) == [setting.key for setting in SETTINGS]
    for setting in SETTINGS:
        default = setting.default_text if setting.default is None else f"`{setting.default}`"
        default = "empty" if default == "``" else default
        cells = [setting.meaning, default, setting.limits, f"`{setting.env}`", f"`{setting.flag}`"]
        assert rows[setting.key] == " | ".join(cells), setting.key
