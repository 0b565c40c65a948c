"""The client commands, against a real agent."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.support.agent_process import BEACOND, AgentProcess, environment, rows, until


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    agent = AgentProcess(tmp_path_factory.mktemp("agent"), "--zone", "north")
    yield agent
    assert agent.stop() == 0


@pytest.fixture
def web(agent: AgentProcess) -> Iterator[str]:
    """The service `web` with one instance."""
    done = agent.beacond(
        *("register", "web", "--port", "8080", "--address", "2001:db8::1", "--tag", "blue"),
        *("--meta", "version=1.4", "--ports", "admin=9000", "--weight", "3"),
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "registered web-8080\n", "")
    yield "web"
    agent.beacond("deregister", "web-8080")


def test_what_is_registered_is_what_was_said(agent, web):
    (instance,) = agent.instances(web)
    assert instance["id"] == "web-8080"
    assert instance["address"] == "2001:db8::1"
    assert (instance["port"], instance["ports"]) == (8080, {"admin": 9000})
    assert (instance["tags"], instance["meta"]) == (["blue"], {"version": "1.4"})
    assert (instance["weight"], instance["zone"]) == (3, "north")


def test_registering_again_replaces(agent, web):
    done = agent.beacond("register", "web", "--port", "8080")
    assert (done.returncode, done.stdout) == (0, "replaced web-8080\n")


def test_a_refused_registration_is_told_field_by_field(agent):
    done = agent.beacond("register", "Not_A_Name", "--port", "80", "--address", "0.0.0.0")
    assert (done.returncode, done.stdout) == (1, "")
    first, *fields = done.stderr.splitlines()
    assert first.startswith("beacond: Unprocessable")
    assert sorted(line.split(":")[0] for line in fields) == ["  address", "  service"]


def test_deregistering_what_is_not_there_is_refused(agent):
    done = agent.beacond("deregister", "a/b c")
    assert (done.returncode, done.stdout) == (1, "")
    assert "Not Found" in done.stderr
    assert "a/b c" in done.stderr


def test_services_and_instances_are_tables(agent, web):
    assert rows(agent.beacond("services").stdout) == [
        ["NAME", "INSTANCES", "PASSING", "TAGS", "ZONES"],
        ["web", "1", "1", "blue", "north"],
    ]
    head, line = rows(agent.beacond("instances", web).stdout)
    shown = dict(zip(head, line, strict=True))
    assert shown["ADDRESS"] == "[2001:db8::1]:8080"
    assert (shown["STATUS"], shown["MODE"]) == ("passing", "normal")


def test_an_empty_table_says_so_on_standard_error(agent):
    done = agent.beacond("instances", "nobody")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "none\n")


def test_agents_and_status_tell_of_the_agent(agent):
    head, line = rows(agent.beacond("agents").stdout)
    shown = dict(zip(head, line, strict=True))
    assert (shown["NODE"], shown["STATE"], shown["ZONE"]) == ("test", "alive", "north")
    status = dict(row for row in rows(agent.beacond("status").stdout) if len(row) == 2)
    assert status["node"] == "test"
    assert status["bus"].startswith("url=local:// ")
    assert status["mode"] == "mode=normal"
    assert re.fullmatch(r"\d+s", status["uptime"])
    assert agent.json("status")["node"] == "test"


def test_draining_and_maintenance_take_an_instance_out_and_put_it_back(agent, web):
    def mode() -> str:
        (instance,) = agent.instances(web)
        return str(instance["mode"])

    assert agent.beacond("drain", "web-8080", "--for", "5m").stdout == "web-8080: draining\n"
    assert mode() == "draining"
    done = agent.beacond("maintenance", "on", "web-8080", "--reason", "new disk")
    assert (done.stdout, mode()) == ("web-8080: maintenance\n", "maintenance")
    assert agent.json("instances", web, "--passing")["instances"] == []
    agent.beacond("maintenance", "off", "web-8080")
    assert mode() == "normal"
    assert agent.beacond("drain").stdout == "this host: draining\n"
    assert mode() == "draining"
    agent.beacond("maintenance", "off")
    assert mode() == "normal"


def test_a_wrong_duration_is_refused_by_the_agent(agent, web):
    done = agent.beacond("drain", "--for", "25h")
    assert (done.returncode, done.stdout) == (1, "")
    assert "for" in done.stderr


def test_events_tell_what_happened_so_far(agent, web):
    lines = agent.beacond("events", "--service", web).stdout.splitlines()
    assert any(" instance.started web web-8080@test " in line for line in lines)
    page = agent.json("events", "--service", web)
    assert len(page["events"]) == len(lines)
    assert agent.json("events", "--since", page["next"])["events"] == []


class Following:
    """A client command that goes on, its lines read as they come."""

    def __init__(self, agent: AgentProcess, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [*BEACOND, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(BEACOND_AGENT=agent.url),
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def interrupt(self) -> tuple[int, str]:
        self.process.send_signal(signal.SIGINT)
        _, err = self.process.communicate(timeout=20)
        return self.process.returncode, err.strip()


def test_followed_events_begin_with_the_state_and_end_with_ctrl_c(agent, web):
    following = Following(agent, "events", "--follow", "--service", web, "--json")
    first = json.loads(following.line())
    assert first["kind"] == "reset"
    agent.beacond("maintenance", "on", "web-8080")
    kinds = {json.loads(following.line())["kind"] for _ in range(2)}
    assert "instance.stopped" in kinds
    assert following.interrupt() == (130, "")


def test_followed_events_go_on_after_the_agent_was_away(tmp_path):
    agent = AgentProcess(tmp_path)
    port = agent.url.rpartition(":")[2]
    following = Following(agent, "events", "--follow")
    assert "reset" in following.line()
    assert agent.stop() == 0
    again = AgentProcess(tmp_path, http=f"127.0.0.1:{port}")
    try:
        line = ""
        while "reset" not in line:  # another life of the agent, so the state anew
            line = following.line()
            assert line
        again.beacond("register", "late", "--port", "1")
        while "late" not in line:
            line = following.line()
            assert line
    finally:
        code, err = following.interrupt()
        again.stop()
    assert code == 130
    assert err.count("trying again") == 1


def test_a_reader_that_hangs_up_is_no_error(agent, web):
    following = Following(agent, "watch", "--json")
    assert json.loads(following.line())["services"][0]["name"] == web
    assert following.process.stdout is not None
    following.process.stdout.close()
    agent.beacond("deregister", "web-8080")
    assert following.process.wait(20) == 0
    assert following.process.stderr is not None
    assert following.process.stderr.read() == ""
    following.process.stderr.close()


def test_a_watch_into_a_pipe_prints_each_change(agent, web):
    following = Following(agent, "watch", web)
    assert following.line().startswith("ID")
    assert "web-8080" in following.line()
    assert following.line() == "\n"
    agent.beacond("maintenance", "on", "web-8080")
    until(lambda: agent.instances(web)[0]["mode"] == "maintenance")
    seen = ""
    while "maintenance" not in seen:
        seen = following.line()
        assert seen
    assert following.interrupt() == (130, "")


def test_a_watch_on_a_terminal_is_redrawn_in_place(agent, web):
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [*BEACOND, "watch", web],
        stdout=theirs,
        stderr=subprocess.PIPE,
        env=environment(BEACOND_AGENT=agent.url, TERM="xterm"),
    )
    os.close(theirs)
    with closing(os.fdopen(ours, "rb", buffering=0)) as terminal:
        seen = b""
        while b"web-8080" not in seen:
            seen += terminal.read(4096)
        agent.beacond("maintenance", "on", "web-8080")
        while b"maintenance" not in seen:
            seen += terminal.read(4096)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    assert b"\x1b[1A" in seen  # one line up
    assert process.stderr is not None
    assert process.stderr.read().strip() == b""
    process.stderr.close()


def test_a_watch_whose_agent_is_gone_says_so_on_one_line_below_the_table(tmp_path):
    agent = AgentProcess(tmp_path)
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [*BEACOND, "watch"],
        stdout=theirs,
        env=environment(BEACOND_AGENT=agent.url, TERM="xterm", COLUMNS="200"),
    )
    os.close(theirs)
    with closing(os.fdopen(ours, "rb", buffering=0)) as terminal:
        seen = terminal.read(4096)
        agent.beacond("register", "late", "--port", "1")
        while b"late" not in seen:
            seen += terminal.read(4096)
        url = agent.url
        assert agent.stop() == 0
        while f"no agent answers at {url} (connection refused): start one".encode() not in seen:
            seen += terminal.read(4096)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130


def test_leaving_stops_the_agent(tmp_path):
    agent = AgentProcess(tmp_path)
    done = agent.beacond("leave")
    assert (done.returncode, done.stdout) == (0, "leaving\n")
    assert agent.process.wait(20) == 0
    agent.stop()
