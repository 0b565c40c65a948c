"""Single runs of checks against real servers and real programs."""

import asyncio
import gzip
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop

from beacond.core.model import Check, CheckType, Status
from beacond.health import programs, tcp_reachable
from beacond.health.outcome import Outcome
from beacond.health.probes import HttpProber, probe_tcp
from beacond.health.programs import probe_exec

Handler = Callable[[bytes, asyncio.StreamWriter], object]

# A certificate for localhost that nobody signed but itself, and its key; good for a century.
SELF_SIGNED = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgmMUwsyr+JhA1YGdr
MXX9TH9hr2fcXjjBKNWQ9SGo74ShRANCAASRetUK9wb64kFHYXd7sHdi03SkIexF
UUH2EHq2J73ZSr6ZkqYdJStzIVdiyH6aXQ/8eyOo2dlJ1W5zeI/ROsCu
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBlTCCATugAwIBAgIURpGaE2/YV2SBfnw59dwxRoNjPTowCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMjEzMDMzOVoYDzIxMjYxMDI5
MTMwMzM5WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAASRetUK9wb64kFHYXd7sHdi03SkIexFUUH2EHq2J73ZSr6ZkqYdJStz
IVdiyH6aXQ/8eyOo2dlJ1W5zeI/ROsCuo2kwZzAdBgNVHQ4EFgQU5UVtej/9D5Q/
BVObohbo9nc0H6AwHwYDVR0jBBgwFoAU5UVtej/9D5Q/BVObohbo9nc0H6AwDwYD
VR0TAQH/BAUwAwEB/zAUBgNVHREEDTALgglsb2NhbGhvc3QwCgYIKoZIzj0EAwID
SAAwRQIhALx9daGraccWmRuTisQFMh2q+Cc8+eCx18KTlK3y0qGCAiAdbTgrRXWh
gwu4YeVe2kVb4DTrg6ZabTd9uhXhy2OcfQ==
-----END CERTIFICATE-----
"""


@asynccontextmanager
async def server(handle: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Reads one request head per connection and lets `handle` answer it."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        try:
            handle(await reader.readuntil(b"\r\n\r\n"), writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        for writer in writers:
            writer.close()
        await asyncio.gather(*(w.wait_closed() for w in writers), return_exceptions=True)


def answer(data: bytes) -> Handler:
    """The same to every request, then close."""

    def handle(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        writer.close()

    return handle


def head(status: str, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode()


async def probe_http(port: int, *, path: str = "/", timeout_s: float = 5, **url: str) -> Outcome:
    address = f"{url.get('scheme', 'http')}://{url.get('host', '127.0.0.1')}:{port}{path}"
    async with HttpProber() as prober:
        return await prober.probe(Check(CheckType.HTTP, "c", url=address, timeout_s=timeout_s))


def closed_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


# ---- http


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("200 OK", Status.PASSING),
        ("204 No Content", Status.PASSING),
        ("299 Odd", Status.PASSING),
        ("301 Moved Permanently", Status.CRITICAL),
        ("404 Not Found", Status.CRITICAL),
        ("429 Too Many Requests", Status.WARNING),
        ("503 Service Unavailable", Status.CRITICAL),
    ],
)
async def test_the_status_decides(status: str, expected: Status) -> None:
    async with server(answer(head(status))) as port:
        assert await probe_http(port) == Outcome(expected, status)


async def test_the_beginning_of_the_body_is_the_output() -> None:
    body = "größe ".encode() * 1000
    async with server(answer(head("200 OK", f"Content-Length: {len(body)}") + body)) as port:
        outcome = await probe_http(port)
    assert outcome.output.startswith("200 OK: größe größe")
    assert 400 < len(outcome.output.encode()) <= 525


async def test_a_redirect_is_not_followed() -> None:
    asked: list[bytes] = []

    def handle(request: bytes, writer: asyncio.StreamWriter) -> None:
        asked.append(request)
        writer.write(head("302 Found", "Location: /other"))
        writer.close()

    async with server(handle) as port:
        assert await probe_http(port) == Outcome(Status.CRITICAL, "302 Found")
    assert len(asked) == 1


async def test_the_request_is_plain_and_carries_nothing_over() -> None:
    asked: list[bytes] = []

    def handle(request: bytes, writer: asyncio.StreamWriter) -> None:
        asked.append(request)
        writer.write(head("200 OK", "Set-Cookie: a=b; Path=/", "Content-Length: 0"))

    async with server(handle) as port, HttpProber() as prober:
        check = Check(CheckType.HTTP, "c", url=f"http://127.0.0.1:{port}/a%2Fb?x=%20y")
        for _ in range(2):
            assert (await prober.probe(check)).status is Status.PASSING
    assert asked[0].startswith(b"GET /a%2Fb?x=%20y HTTP/1.1\r\n")
    assert f"Host: 127.0.0.1:{port}\r\n".encode() in asked[0]
    assert b"User-Agent: beacond/" in asked[0]
    assert asked[1] == asked[0]


async def test_a_proxy_in_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed_port()}")
    async with server(answer(head("200 OK"))) as port:
        assert (await probe_http(port)).status is Status.PASSING


async def test_a_packed_body_is_not_unpacked() -> None:
    bomb = gzip.compress(bytes(10_000_000))
    headers = ("Content-Encoding: gzip", f"Content-Length: {len(bomb)}")
    async with server(answer(head("200 OK", *headers) + bomb)) as port:
        outcome = await probe_http(port)
    assert outcome.status is Status.PASSING
    assert len(outcome.output) < 600


async def test_a_server_that_never_answers_times_out() -> None:
    async with server(lambda _, writer: None) as port:
        outcome = await probe_http(port, timeout_s=0.2)
    assert outcome == Outcome(Status.CRITICAL, "timed out after 0.2 s")


async def test_a_head_that_drips_times_out() -> None:
    def handle(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nX: ")

    async with server(handle) as port:
        outcome = await probe_http(port, timeout_s=0.2)
    assert outcome == Outcome(Status.CRITICAL, "timed out after 0.2 s")


async def test_a_body_that_never_ends_does_not_change_the_status() -> None:
    def handle(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(head("200 OK", "Content-Type: text/event-stream") + b"data: x\n\n")

    async with server(handle) as port:
        outcome = await probe_http(port, timeout_s=0.3)
    assert outcome == Outcome(Status.PASSING, "200 OK: data: x")


async def test_a_body_that_breaks_off_does_not_change_the_status() -> None:
    async with server(answer(head("200 OK", "Content-Length: 100") + b"half")) as port:
        assert (await probe_http(port)).status is Status.PASSING


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "closed the connection without an answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "not an HTTP answer"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", "not an HTTP answer"),
        (os.urandom(500) + b"\r\n\r\n", "not an HTTP answer"),
    ],
    ids=["nothing", "ssh", "huge head", "noise"],
)
async def test_what_is_no_http_is_critical_with_a_short_reason(data: bytes, reason: str) -> None:
    async with server(answer(data)) as port:
        outcome = await probe_http(port)
    assert outcome.status is Status.CRITICAL
    assert reason in outcome.output
    assert len(outcome.output) <= 600


async def test_nobody_listening_is_critical() -> None:
    outcome = await probe_http(closed_port())
    assert outcome == Outcome(Status.CRITICAL, "cannot connect: Connection refused")


async def test_a_name_is_resolved() -> None:
    async with server(answer(head("200 OK"))) as port:
        assert (await probe_http(port, host="localhost")).status is Status.PASSING


async def test_a_name_that_does_not_exist_is_critical() -> None:
    outcome = await probe_http(80, host="no-such-host.invalid")
    assert outcome.status is Status.CRITICAL
    assert outcome.output.startswith("cannot connect: ")


async def test_a_certificate_that_can_not_be_trusted_is_critical(tmp_path: Path) -> None:
    pem = tmp_path / "pem"
    pem.write_text(SELF_SIGNED)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(pem)
    async with server(answer(head("200 OK")), tls) as port:
        outcome = await probe_http(port, scheme="https", host="localhost")
    assert outcome.status is Status.CRITICAL
    assert outcome.output.startswith("bad certificate: ")
    assert "self-signed certificate" in outcome.output


async def test_tls_towards_a_plain_server_is_critical() -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        outcome = await probe_http(listening.sockets[0].getsockname()[1], scheme="https")
    assert outcome.status is Status.CRITICAL
    assert outcome.output.startswith("cannot connect: ")


@pytest.mark.parametrize("url", [None, "", "http://", "nonsense", "http://127.0.0.1:99999/"])
async def test_an_unusable_url_is_critical_and_no_exception(url: str | None) -> None:
    async with HttpProber() as prober:
        outcome = await prober.probe(Check(CheckType.HTTP, "c", url=url))
    assert outcome.status is Status.CRITICAL
    assert outcome.output


# ---- tcp


async def test_a_port_that_accepts_is_passing() -> None:
    async with server(lambda _, writer: None) as port:
        assert await probe_tcp("127.0.0.1", port, 5) == Outcome(Status.PASSING, "connected")


async def test_a_port_that_refuses_is_critical() -> None:
    outcome = await probe_tcp("127.0.0.1", closed_port(), 5)
    assert outcome == Outcome(Status.CRITICAL, "cannot connect: Connection refused")


def full_backlog() -> tuple[socket.socket, list[socket.socket]]:
    """A listener whose queue is full: the kernel drops further SYNs, so connecting hangs."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    waiting = []
    for _ in range(4):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(listener.getsockname())
        waiting.append(client)
    return listener, waiting


async def test_a_connection_that_hangs_times_out() -> None:
    listener, waiting = full_backlog()
    try:
        outcome = await probe_tcp("127.0.0.1", listener.getsockname()[1], 0.2)
        reached = await tcp_reachable([listener.getsockname()], 0.2)
    finally:
        for each in (listener, *waiting):
            each.close()
    assert outcome == Outcome(Status.CRITICAL, "timed out after 0.2 s")
    assert not reached


async def test_a_socket_connected_to_itself_is_nobody_listening(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    port = closed_port()
    loop = asyncio.get_running_loop()
    connect = loop.create_connection

    async def from_the_same_port(factory: object, host: str, to: int) -> object:
        # The kernel does this by chance, once in some ten thousand tries.
        return await connect(factory, host, to, local_addr=(host, to))  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "create_connection", from_the_same_port)
    outcome = await probe_tcp("127.0.0.1", port, 5)
    assert outcome == Outcome(Status.CRITICAL, "cannot connect: Connection refused")


async def test_those_that_accept_are_told_and_one_that_hangs_costs_the_time_allowed() -> None:
    listener, waiting = full_backlog()
    try:
        async with server(lambda _, writer: None) as port:
            targets = [
                listener.getsockname(),
                ("127.0.0.1", closed_port()),
                ("127.0.0.1", port),
            ]
            assert await tcp_reachable(targets, 0.5) == {("127.0.0.1", port)}
    finally:
        for each in (listener, *waiting):
            each.close()


async def test_no_target_that_accepts_is_not_reachable() -> None:
    assert not await tcp_reachable([], 1)
    assert not await tcp_reachable([("127.0.0.1", closed_port()), ("::1", closed_port())], 5)


async def test_only_the_first_targets_are_tried() -> None:
    async with server(lambda _, writer: None) as port:
        closed = [("127.0.0.1", closed_port())] * 64
        assert await tcp_reachable([*closed[1:], ("127.0.0.1", port)], 5)
        assert not await tcp_reachable([*closed, ("127.0.0.1", port)], 5)


# ---- exec


async def run(*command: str, timeout_s: float = 10) -> Outcome:
    return await probe_exec(Check(CheckType.EXEC, "c", command=command, timeout_s=timeout_s))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("echo fine", Outcome(Status.PASSING, "fine")),
        ("true", Outcome(Status.PASSING, "")),
        ("echo so-so; exit 1", Outcome(Status.WARNING, "so-so")),
        ("exit 1", Outcome(Status.WARNING, "exit 1")),
        ("echo broken >&2; exit 2", Outcome(Status.CRITICAL, "exit 2: broken")),
        ("exit 255", Outcome(Status.CRITICAL, "exit 255")),
        ("kill -9 $$", Outcome(Status.CRITICAL, "ended by signal 9")),
        ("echo out; echo err >&2", Outcome(Status.PASSING, "out\nerr")),
    ],
)
async def test_the_exit_code_decides(text: str, expected: Outcome) -> None:
    assert await run("/bin/sh", "-c", text) == expected


@pytest.mark.parametrize(
    ("command", "output"),
    [
        ((), "the check has no command"),
        (("/no/such/program",), "cannot run '/no/such/program': No such file or directory"),
        (("/etc/passwd",), "cannot run '/etc/passwd': Permission denied"),
        (("/bin/true\0x",), "cannot run '/bin/true\\x00x': NUL in an argument"),
        (("/bin/true", "a\0b"), "cannot run '/bin/true': NUL in an argument"),
    ],
)
async def test_what_can_not_be_run_is_critical(command: tuple[str, ...], output: str) -> None:
    assert await run(*command) == Outcome(Status.CRITICAL, output)


async def test_long_output_is_cut_and_the_verdict_stays() -> None:
    outcome = await run("/bin/sh", "-c", "yes | head -c 300000")
    assert outcome.status is Status.PASSING
    assert len(outcome.output) in (4095, 4096)


async def test_endless_output_is_stopped() -> None:
    outcome = await run("yes", timeout_s=60)
    assert outcome == Outcome(Status.CRITICAL, f"killed: wrote more than {programs.READ_MAX} bytes")


async def test_when_the_time_is_up_the_whole_group_is_killed(tmp_path: Path) -> None:
    text = f"sleep 3600 & echo $! > {tmp_path}/child; echo $$ > {tmp_path}/self; echo so far; wait"
    outcome = await run("/bin/sh", "-c", text, timeout_s=0.5)
    assert outcome == Outcome(Status.CRITICAL, "timed out after 0.5 s: so far")
    assert gone(tmp_path / "self")
    assert gone(tmp_path / "child")


async def test_a_program_that_ignores_signals_is_killed_too() -> None:
    outcome = await run("/bin/sh", "-c", "trap '' TERM INT HUP; while :; do sleep 1; done",
                        timeout_s=0.3)  # fmt: skip
    assert outcome == Outcome(Status.CRITICAL, "timed out after 0.3 s")


async def test_a_child_left_behind_does_not_hold_the_check_up(tmp_path: Path) -> None:
    """It keeps the output open; the program itself has ended, and that counts."""
    started_at = time.monotonic()
    outcome = await run("/bin/sh", "-c", f"sleep 60 & echo $! > {tmp_path}/child; echo done")
    try:
        assert outcome == Outcome(Status.PASSING, "done")
        assert time.monotonic() - started_at < 5
    finally:
        os.kill(int((tmp_path / "child").read_text()), 9)


async def test_the_environment_holds_no_setting_of_the_agent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BEACOND_KEYS", "secret")
    monkeypatch.setenv("LC_TIME", "C")
    monkeypatch.setenv("OTHER_SECRET", "secret")
    outcome = await run("/usr/bin/env")
    names = {line.partition("=")[0] for line in outcome.output.splitlines()}
    assert {"PATH", "LC_TIME"} <= names
    assert not names & {"BEACOND_KEYS", "OTHER_SECRET"}


async def test_a_program_starts_in_the_root_folder_with_empty_input() -> None:
    assert await run("/bin/sh", "-c", "pwd; cat") == Outcome(Status.PASSING, "/")


async def test_no_file_of_the_agent_is_open_in_a_program(tmp_path: Path) -> None:
    with (tmp_path / "secret").open("w"):
        outcome = await run("/bin/sh", "-c", "ls -l /proc/$$/fd")
    assert str(tmp_path) not in outcome.output


async def test_runs_leave_no_open_files() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        await run("/bin/sh", "-c", "exit 2")
        await run("/no/such/program")
    assert len(os.listdir("/proc/self/fd")) == before


def test_programs_are_run_the_same_in_the_loop_that_agents_use(tmp_path: Path) -> None:
    left_behind = f"sleep 60 & echo $! > {tmp_path}/left; echo done"
    hanging = f"sleep 3600 & echo $! > {tmp_path}/child; echo so far; wait"

    async def all_of_them() -> list[Outcome]:
        return [
            await run("/bin/sh", "-c", left_behind),
            await run("/bin/sh", "-c", hanging, timeout_s=0.5),
            await run("/bin/sh", "-c", "yes | head -c 300000 >&2; exit 3"),
            await run("yes", timeout_s=60),
            await run("/no/such/program"),
        ]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        outcomes = runner.run(all_of_them())
    os.kill(int((tmp_path / "left").read_text()), 9)
    assert gone(tmp_path / "child")
    assert [outcome.output[:25] for outcome in outcomes] == [
        "done",
        "timed out after 0.5 s: so",
        "exit 3: " + "y\n" * 8 + "y",
        "killed: wrote more than 1",
        "cannot run '/no/such/prog",
    ]


def gone(pid_file: Path) -> bool:
    """No such process, or a dead one whose new parent has not looked yet."""
    stat = Path(f"/proc/{int(pid_file.read_text())}/stat")
    ends_at = time.monotonic() + 5
    while time.monotonic() < ends_at:
        try:
            if stat.read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.01)
    return False
