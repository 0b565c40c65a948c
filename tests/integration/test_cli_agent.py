"""`beacond agent` as a process: how it starts, refuses to, reloads and stops."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.agent_process import AgentProcess, call, until


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "beacond.toml"
    path.write_text('zone = "north"\nlog_level = "info"\n')
    return path


@pytest.fixture
def agent(tmp_path: Path, config: Path) -> Iterator[AgentProcess]:
    agent = AgentProcess(tmp_path, "--config", str(config), "--log-format", "json")
    yield agent
    agent.stop()


def test_it_serves_what_file_and_flags_say_and_stops_with_status_0(agent):
    assert agent.url.startswith("http://127.0.0.1:")
    status = agent.json("status")
    assert (status["node"], status["zone"], status["addresses"]) == ("test", "north", ["127.0.0.1"])
    assert agent.stop() == 0


def test_a_wrong_configuration_is_status_2_and_a_line_for_each_problem(config):
    config.write_text("ttl = 15\nnodes = 1\n")
    done = call("agent", "--config", str(config), "--http", "80")
    assert (done.returncode, done.stdout) == (2, "")
    places = [line.removeprefix(f"beacond: {config}") for line in done.stderr.splitlines()]
    assert [place.split()[0] for place in places] == ["beacond:", ":1:", ":2:"]


def test_a_data_folder_that_cannot_be_written_is_status_1_and_one_line(tmp_path):
    (tmp_path / "file").touch()
    done = call(
        *("agent", "--node", "test", "--http", "127.0.0.1:0", "--dns", "127.0.0.1:0"),
        *("--data-dir", str(tmp_path / "file" / "data")),
    )
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert " ERROR agent cannot start " in line
    assert str(tmp_path / "file") in line


def test_sighup_takes_over_what_can_change_and_names_what_has_to_wait(agent, config):
    assert agent.url
    config.write_text('zone = "south"\ndrain = "1s"\nlog_level = "debug"\n')
    agent.process.send_signal(signal.SIGHUP)
    (late,) = until(lambda: agent.logged("settings wait for the next start"))
    assert late["keys"].split() == ["zone", "drain"]
    assert len(agent.logged("reloaded", "beacond.agent")) == 1
    assert agent.json("status")["zone"] == "north"


def test_sighup_takes_over_another_list_of_buses(agent, config):
    def shown() -> dict[str, str]:
        return {bus["url"]: bus["state"] for bus in agent.json("status")["bus"]}

    until(lambda: shown() == {"local://": "up"})
    config.write_text('zone = "north"\nbus = ["local://", "local://two"]\n')
    agent.process.send_signal(signal.SIGHUP)
    until(lambda: shown() == {"local://": "up", "local://two": "up"})
    config.write_text('zone = "north"\nbus = ["local://two"]\n')
    agent.process.send_signal(signal.SIGHUP)
    until(lambda: shown() == {"local://two": "up"})
    told = [line["bus"] for line in agent.logged("buses changed", "beacond.agent")]
    assert told == ["local:// local://two", "local://two"]
    assert agent.logged("settings wait for the next start") == []


def test_sighup_with_a_mistake_changes_nothing_and_says_where_it_is(agent, config):
    assert agent.url
    config.write_text('log_level = "eror"\n')
    agent.process.send_signal(signal.SIGHUP)
    (failed,) = until(lambda: agent.logged("not reloaded", "beacond.agent"))
    assert failed["reason"].startswith(f"{config}:1: log_level: must be ")
    assert agent.json("status")["zone"] == "north"


def test_a_variable_that_looks_like_a_slip_is_told_at_start(tmp_path):
    agent = AgentProcess(tmp_path, BEACOND_HEARBEAT="1s")
    try:
        assert agent.url
        (note,) = agent.logged("configuration", "beacond.agent")
        assert "BEACOND_HEARTBEAT" in note["note"]
    finally:
        assert agent.stop() == 0
