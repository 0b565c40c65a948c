"""`beacond run`, with real programs, a real terminal and a real agent."""

import fcntl
import os
import signal
import socket
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.agent_process import BEACOND, WITHIN_S, AgentProcess, call, environment, until

NOBODY = "http://127.0.0.1:1"
COUNT_SIGNALS = """
import signal, sys, time
seen = []
for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"):
    signal.signal(getattr(signal, name), lambda number, frame: seen.append(number))
print("ready", flush=True)
while signal.SIGTERM not in seen:
    time.sleep(0.01)
time.sleep(0.2)
print(*map(int, sorted(seen)), flush=True)
sys.exit(42)
"""

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    agent = AgentProcess(tmp_path_factory.mktemp("agent"))
    yield agent
    assert agent.stop() == 0


@pytest.fixture
def start() -> Iterator[Start]:
    """`beacond run` in the background, ended at the latest with the test."""
    running: list[subprocess.Popen[str]] = []

    def begin(agent_url: str, name: str, *command: str, port: str = "80") -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*BEACOND, "run", "--name", name, "--port", port, "--", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(BEACOND_AGENT=agent_url),
        )
        running.append(process)
        return process

    yield begin
    for process in running:
        process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str], say: str | None = None) -> tuple[int, str, str]:
    out, err = process.communicate(say, timeout=WITHIN_S)
    return process.returncode, out, err


# ---- the program comes first


def test_without_an_agent_the_program_runs_all_the_same(start):
    process = start(NOBODY, "web", "sh", "-c", "cat; echo bye >&2; exit 7")
    code, out, err = ended(process, "hello")
    assert (code, out) == (7, "hello")
    assert sorted(err.splitlines(), key=lambda line: line != "bye")[0] == "bye"
    assert err.count("no agent answers") <= 1


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (["true"], 0),
        (["sh", "-c", "exit 255"], 255),
        (["sh", "-c", "kill -KILL $$"], 128 + signal.SIGKILL),
        (["sh", "-c", "kill -TERM $$"], 128 + signal.SIGTERM),
    ],
)
def test_the_exit_status_is_the_programs(command, status):
    assert call("run", "--name", "web", "--port", "80", "--", *command).returncode == status


def test_a_program_that_cannot_be_started_is_told_as_a_shell_would(tmp_path):
    plain = tmp_path / "plain"
    plain.write_text("no program")
    for program, status, why in (
        ("no-such-program", 127, "no such file or directory"),
        (str(plain), 126, "permission denied"),
    ):
        done = call("run", "--name", "web", "--port", "80", "--", program)
        assert (done.returncode, done.stdout) == (status, "")
        assert done.stderr == f"beacond: {program} can't be started: {why}\n"


def test_the_programs_own_options_need_no_dashes_before_them():
    done = call("run", "--name", "web", "--port", "80", "sh", "-c", "echo $1", "--name", "--port")
    assert (done.returncode, done.stdout) == (0, "--port\n")


def test_the_program_starts_with_no_signal_blocked_and_pipes_that_break():
    done = call("run", "--name", "web", "--port", "80", "--", "cat", "/proc/self/status")
    sets = dict(line.split(":\t") for line in done.stdout.splitlines() if line[:3] == "Sig")
    assert int(sets["SigBlk"], 16) == 0
    python_ignores = 1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1
    assert int(sets["SigIgn"], 16) & python_ignores == 0


def test_signals_are_handed_on_and_do_not_end_run_itself(start):
    process = start(NOBODY, "web", sys.executable, "-c", COUNT_SIGNALS)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    sent = [signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2]
    for number in (*sent, signal.SIGTERM):
        process.send_signal(number)
    code, out, _ = ended(process)
    assert code == 42
    assert out.split() == [str(int(number)) for number in sorted((*sent, signal.SIGTERM))]


TELL_SIGNALS = """
import signal, sys
wanted = {signal.SIGINT, signal.SIGTERM}
signal.pthread_sigmask(signal.SIG_BLOCK, wanted)
print("ready" if sys.stdin.isatty() else "no terminal", flush=True)
number = 0
while number != signal.SIGTERM:
    number = signal.sigwait(wanted)
    print("signal", int(number), flush=True)
sys.exit(42)
"""


def test_ctrl_c_reaches_the_program_once_and_the_terminal_is_its_own():
    ours, theirs = os.openpty()

    def take_terminal() -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(
        [*BEACOND, "run", "--name", "w", "--port", "80", sys.executable, "-c", TELL_SIGNALS],
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        env=environment(BEACOND_AGENT=NOBODY),
        start_new_session=True,
        preexec_fn=take_terminal,
    )
    os.close(theirs)
    with closing(os.fdopen(ours, "rb", buffering=0)) as terminal:
        seen = b""

        def read_until(end: bytes) -> None:
            nonlocal seen
            while not seen.endswith(end):
                seen += terminal.read(1024)

        read_until(b"ready\r\n")
        # `run` is slow: the program takes the terminal's signal before `run` could hand it on.
        process.send_signal(signal.SIGSTOP)
        os.write(ours, b"\x03")
        read_until(b"signal 2\r\n")
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGCONT)
        read_until(b"signal 15\r\n")
        assert process.wait(WITHIN_S) == 42
    assert seen.count(b"signal 2\r\n") == 1


def test_orphans_that_run_inherits_as_first_process_do_not_pile_up():
    become_first = (
        "import ctypes, os, sys\n"
        "subreaper = 36  # PR_SET_CHILD_SUBREAPER, kept over exec\n"
        "assert ctypes.CDLL(None).prctl(subreaper, 1, 0, 0, 0) == 0\n"
        "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    )
    orphans = "for _ in 1 2 3; do (sleep 0.1 &) ; done; echo ready; exec cat"
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", become_first, *BEACOND[1:]),
            *("run", "--name", "w", "--port", "80", "sh", "-c", orphans),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment(BEACOND_AGENT=NOBODY),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    until(lambda: len(children(process.pid)) == 1)
    process.communicate(b"", WITHIN_S)
    assert process.returncode == 0


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


# ---- registered while it lives


def test_the_instance_is_there_while_the_program_runs_and_gone_before_run_ends(agent, start):
    process = start(agent.url, "while", "cat")
    (instance,) = until(lambda: agent.instances("while"))
    assert (instance["id"], instance["port"], instance["status"]) == ("while-80", 80, "passing")
    code, _, err = ended(process, "")
    assert (code, err) == (0, "")
    assert agent.instances("while") == []


def test_an_agent_that_comes_later_is_told(tmp_path, start):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    process = start(f"http://127.0.0.1:{port}", "early", "cat")
    assert process.stderr is not None
    assert "no agent answers" in process.stderr.readline()
    agent = AgentProcess(tmp_path, http=f"127.0.0.1:{port}")
    try:
        until(lambda: agent.instances("early"))
        assert process.stderr.readline() == "beacond run: early-80: registered\n"
        assert ended(process, "") == (0, "", "")
        assert agent.instances("early") == []
    finally:
        agent.stop()


def test_an_agent_that_forgot_is_told_again(agent, start):
    process = start(agent.url, "again", "cat")
    until(lambda: agent.instances("again"))
    assert agent.beacond("deregister", "again-80").returncode == 0
    until(lambda: agent.instances("again"))
    assert ended(process, "") == (0, "", "")


def test_a_restart_of_the_agent_does_not_matter(tmp_path, start):
    first = AgentProcess(tmp_path)
    port = first.url.rpartition(":")[2]
    process = start(first.url, "through", "cat")
    until(lambda: first.instances("through"))
    assert first.stop() == 0
    second = AgentProcess(tmp_path, http=f"127.0.0.1:{port}")
    try:
        (instance,) = until(lambda: second.instances("through"))
        assert instance["status"] == "passing"
        assert ended(process, "")[0] == 0
        assert second.instances("through") == []
    finally:
        second.stop()


def test_a_refused_registration_is_told_once_and_touches_nothing(agent, start):
    process = start(agent.url, "Not_A_Name", "cat")
    assert process.stderr is not None
    told = process.stderr.readline()
    assert "Unprocessable" in told
    assert "service" in told
    assert ended(process, "still here") == (0, "still here", "")


def test_an_id_that_another_owns_is_not_taken_from_it(agent, start):
    agent.beacond("register", "owned", "--port", "80", "--tag", "kept")
    process = start(agent.url, "owned", "cat")
    assert process.stderr is not None
    assert "Conflict" in process.stderr.readline()
    assert ended(process, "")[0] == 0
    (instance,) = agent.instances("owned")
    assert instance["tags"] == ["kept"]


def test_a_killed_run_leaves_a_check_behind_that_will_clean_up(agent, start):
    process = start(agent.url, "killed", "sleep", "1000")
    until(lambda: agent.instances("killed"))
    (child,) = map(int, children(process.pid))
    process.kill()
    os.kill(child, signal.SIGKILL)
    local = agent.get("/v1/instances/killed-80")
    (check,) = local["checks"]
    assert (check["name"], check["type"]) == ("run", "ttl")
    assert (check["ttl"], check["deregister_after"]) == ("10s", "30s")
    agent.beacond("deregister", "killed-80")


def test_checks_of_the_command_line_stand_beside_the_implicit_one(agent, start):
    process = subprocess.Popen(
        [*BEACOND, "run", "--name", "checked", "--port", "1", "--check", "tcp,name=port", "cat"],
        stdin=subprocess.PIPE,
        env=environment(BEACOND_AGENT=agent.url),
    )
    (instance,) = until(lambda: agent.instances("checked"))
    assert instance["status"] == "critical"
    names = [each["name"] for each in agent.get("/v1/instances/checked-1")["checks"]]
    assert sorted(names) == ["port", "run"]
    process.communicate(b"", WITHIN_S)
    assert process.returncode == 0
