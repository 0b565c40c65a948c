"""What a crash, a damaged disk or a dead bus leaves of an agent: real processes, real files."""

import json
import signal
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.agent_process import AgentProcess, until
from tests.support.rabbitmq import RabbitMQ, free_port

FAST = ("--heartbeat", "1s", "--ttl", "3s")


def registered(agent: AgentProcess) -> list[str]:
    return [i["id"] for i in agent.get("/v1/instances")["instances"]]


def crash(agent: AgentProcess) -> None:
    agent.process.send_signal(signal.SIGKILL)
    agent.stop()


@pytest.fixture
def dead_bus() -> Iterator[str]:
    """A bus that nobody serves, on a port that nobody else can take meanwhile."""
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"amqp://user:secret@127.0.0.1:{taken.getsockname()[1]}/"


def test_what_was_registered_is_there_after_kill_9(tmp_path):
    agent = AgentProcess(tmp_path)
    assert agent.beacond("register", "web", "--port", "8080", "--tag", "v1").returncode == 0
    assert agent.beacond("drain", "web-8080", "--for", "10m").returncode == 0
    before = agent.get("/v1/status")["incarnation"]
    crash(agent)
    again = AgentProcess(tmp_path)
    try:
        (instance,) = again.instances("web")
        assert (instance["tags"], instance["mode"]) == (["v1"], "draining")
        assert again.get("/v1/status")["incarnation"] > before
    finally:
        again.stop()


def test_a_damaged_file_is_set_aside_and_said_and_the_agent_starts(tmp_path):
    agent = AgentProcess(tmp_path)
    assert agent.beacond("register", "web", "--port", "8080").returncode == 0
    crash(agent)
    for name in ("registrations.json", "identity.json", "snapshot"):
        (tmp_path / "data" / name).write_bytes(b"\x00 not what it was")
    again = AgentProcess(tmp_path)
    try:
        assert registered(again) == []
        told = {Path(line["path"]).name for line in again.log if "damaged" in line["event"]}
        assert {"registrations.json", "identity.json"} <= told
        kept = sorted(p.name for p in (tmp_path / "data").iterdir() if "damaged" in p.name)
        assert any(name.startswith("registrations") for name in kept)
    finally:
        again.stop()


def test_two_agents_cannot_share_a_data_folder(tmp_path):
    agent = AgentProcess(tmp_path)
    try:
        assert agent.url
        other = AgentProcess(tmp_path)
        assert other.process.wait(20) == 1
        other.stop()
        (line,) = other.logged("cannot start")
        assert f"pid {agent.process.pid}" in line["reason"]
    finally:
        agent.stop()


def test_a_port_in_use_takes_nothing_else_down_and_is_taken_once_it_is_free(tmp_path):
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        agent = AgentProcess(tmp_path, http=address)
        try:
            until(lambda: agent.logged("listening", "beacond.dns"))
            (line,) = until(lambda: agent.logged("part failed"))
            assert line["part"] == "http"
            assert "in use" in line["reason"]
            taken.close()
            assert agent.url == f"http://{address}"
            assert agent.get("/healthz")
        finally:
            agent.stop()


def test_a_part_that_fails_is_named_by_the_status_until_it_works(tmp_path):
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        agent = AgentProcess(tmp_path, "--dns", f"127.0.0.1:{taken.getsockname()[1]}")
        try:
            (failing,) = until(lambda: agent.get("/v1/status")["failing"])
            assert failing["part"] == "dns"
            assert "in use" in failing["reason"]
            assert "in use" in agent.beacond("status").stdout
            taken.close()
            until(lambda: not agent.get("/v1/status")["failing"])
            until(lambda: agent.logged("listening", "beacond.dns"))
        finally:
            agent.stop()


def test_an_agent_without_its_bus_starts_serves_and_says_that_it_is_blind(tmp_path, dead_bus):
    agent = AgentProcess(tmp_path, "--bus", dead_bus, "--advertise", "127.0.0.1")
    try:
        assert agent.beacond("register", "web", "--port", "8080").returncode == 0
        answer = agent.get("/v1/services/web")
        assert [i["id"] for i in answer["instances"]] == ["web-8080"]
        assert answer["stale_since"] is not None
        (bus,) = agent.get("/v1/status")["bus"]
        assert (bus["state"], "secret" in bus["url"]) == ("down", False)
        assert not any("secret" in json.dumps(line) for line in agent.log)
    finally:
        agent.stop()


@pytest.mark.broker
def test_the_last_known_view_is_served_at_once_after_a_restart_without_a_broker(
    tmp_path, rabbitmq: RabbitMQ, dead_bus
):
    flags = (*FAST, "--fleet", f"restart-{free_port()}", "--advertise", "127.0.0.1")
    url = rabbitmq.url()
    one = AgentProcess(tmp_path / "one", "--bus", url, *flags, "--node", "one")
    two = AgentProcess(tmp_path / "two", "--bus", url, *flags, "--node", "two")
    again = None
    try:
        assert one.beacond("register", "web", "--port", "8080").returncode == 0
        until(lambda: two.instances("web"))
        snapshot = tmp_path / "two" / "data" / "snapshot"
        until(lambda: snapshot.exists() and b"web-8080" in snapshot.read_bytes())
        crash(two)
        crash(one)
        again = AgentProcess(tmp_path / "two", "--bus", dead_bus, *flags, "--node", "two")
        (instance,) = again.instances("web")
        assert (instance["node"], instance["freshness"]) == ("one", "stale")
        assert again.get("/v1/services/web")["stale_since"] is not None
        assert again.get("/readyz")
    finally:
        for agent in (one, two, again):
            if agent is not None:
                agent.stop()


@pytest.mark.broker
def test_stopping_holds_or_leaves_as_configured(tmp_path, rabbitmq: RabbitMQ):
    flags = (*FAST, "--fleet", f"stop-{free_port()}", "--advertise", "127.0.0.1")
    url = rabbitmq.url()
    watcher = AgentProcess(tmp_path / "watcher", "--bus", url, *flags, "--node", "watcher")
    agents = {
        name: AgentProcess(
            tmp_path / name, "--bus", url, *flags, "--node", name, BEACOND_ON_STOP=on_stop
        )
        for name, on_stop in (("leaves", "leave"), ("holds", "hold"))
    }
    try:
        for name, agent in agents.items():
            assert agent.beacond("register", name, "--port", "8080").returncode == 0
            until(lambda service=name: watcher.instances(service))
        agents["leaves"].stop()
        until(lambda: not watcher.instances("leaves"))
        agents["holds"].stop()
        until(lambda: watcher.instances("holds")[0]["freshness"] == "suspect")
        agents["holds"] = AgentProcess(
            tmp_path / "holds", "--bus", url, *flags, "--node", "holds", BEACOND_ON_STOP="leave"
        )
        until(lambda: watcher.instances("holds")[0]["freshness"] == "fresh")
        stopped = watcher.get("/v1/events?kind=instance.stopped")["events"]
        assert [e["instance"]["service"] for e in stopped] == ["leaves"]
    finally:
        for agent in (watcher, *agents.values()):
            agent.stop()


@pytest.mark.broker
def test_with_keys_what_is_unsigned_is_dropped_and_counted(tmp_path, rabbitmq: RabbitMQ):
    keys = tmp_path / "keys"
    keys.write_text("00112233445566778899aabbccddeeff\n")
    keys.chmod(0o600)
    flags = (*FAST, "--fleet", f"keys-{free_port()}", "--advertise", "127.0.0.1")
    url = rabbitmq.url()
    names = {"signed": str(keys), "checks": str(keys), "unsigned": ""}
    agents = {
        name: AgentProcess(
            tmp_path / name, "--bus", url, *flags, "--node", name,
            *(("--keys-file", file) if file else ()),
        )
        for name, file in names.items()
    }  # fmt: skip
    try:
        for name in ("signed", "unsigned"):
            assert agents[name].beacond("register", name, "--port", "80").returncode == 0
        until(lambda: agents["checks"].instances("signed"))
        until(lambda: _dropped(agents["checks"], "unsigned") > 0)
        assert agents["checks"].instances("unsigned") == []
        (told,) = agents["checks"].logged("messages refused")
        assert told["reason"] == "unsigned"
    finally:
        for agent in agents.values():
            agent.stop()


def _dropped(agent: AgentProcess, reason: str) -> float:
    import urllib.request

    with urllib.request.urlopen(agent.url + "/metrics") as answer:
        text = answer.read().decode()
    for line in text.splitlines():
        if line.startswith(f'beacond_dropped_total{{reason="{reason}"}}'):
            return float(line.split()[-1])
    return 0.0
