"""A real agent under what the shipped unit promises systemd: Type, watchdog, reload, exit codes."""

import os
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.agent_process import WITHIN_S, AgentProcess, call

UNIT = Path(__file__).resolve().parents[2] / "deploy" / "systemd" / "beacond.service"
WATCHDOG_US = 400_000


def units_environment() -> dict[str, str]:
    lines = re.findall(r"^Environment=(\w+)=(.*)$", UNIT.read_text(), re.MULTILINE)
    assert lines
    return dict(lines)


class Manager:
    """systemd's end of the notification socket."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.settimeout(WITHIN_S)
        self.socket.bind(str(path))

    def next_state(self, *, but: str = "") -> str:
        """The first line of the next message that is not `but`."""
        while (said := self.socket.recv(4096).decode().partition("\n")[0]) == but:
            pass
        return said


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path / "notify")
    try:
        yield manager
    finally:
        manager.socket.close()


@pytest.fixture
def agent(manager: Manager, tmp_path: Path) -> Iterator[AgentProcess]:
    agent = AgentProcess(
        tmp_path,
        **units_environment(),
        NOTIFY_SOCKET=manager.socket.getsockname(),
        WATCHDOG_USEC=str(WATCHDOG_US),
    )
    try:
        yield agent
    finally:
        agent.stop()


def test_ready_means_that_http_answers_and_then_the_watchdog_is_fed(
    manager: Manager, agent: AgentProcess
) -> None:
    assert manager.next_state() == "READY=1"
    assert agent.get("/v1/status")["node"] == "test"
    for _ in range(3):
        assert manager.next_state() == "WATCHDOG=1"


def test_reload_is_announced_and_its_end_too(manager: Manager, agent: AgentProcess) -> None:
    assert manager.next_state() == "READY=1"
    os.kill(agent.process.pid, signal.SIGHUP)
    assert manager.next_state(but="WATCHDOG=1") == "RELOADING=1"
    assert manager.next_state(but="WATCHDOG=1") == "READY=1"


def test_stop_is_announced_holds_the_host_and_is_no_failure(
    manager: Manager, agent: AgentProcess
) -> None:
    assert manager.next_state() == "READY=1"
    assert agent.stop() == 0
    assert manager.next_state(but="WATCHDOG=1") == "STOPPING=1"
    (stopping,) = agent.logged("stopping")
    assert stopping["goodbye"] == "hold"


def test_goodbye_for_good_is_no_failure_either(manager: Manager, agent: AgentProcess) -> None:
    assert manager.next_state() == "READY=1"
    assert agent.beacond("leave").returncode == 0
    assert agent.process.wait(WITHIN_S) == 0


def test_wrong_configuration_exits_with_the_status_that_prevents_a_restart() -> None:
    (status,) = re.findall(r"^RestartPreventExitStatus=(\d+)$", UNIT.read_text(), re.MULTILINE)
    assert call("agent", "--heartbeat", "soon").returncode == int(status)
