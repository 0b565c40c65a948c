"""A private RabbitMQ server for tests, the demo and benchmarks.

Each `RabbitMQ` has its own folder, node name, Erlang cookie, port mapper (epmd) and ports, listens
on loopback only, and leaves no process behind. It works as root and as an ordinary user, because
it starts the server's own script and not the distribution's wrapper, which changes the user.
"""

import asyncio
import base64
import hashlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 30.0
CTL_TIMEOUT_S = 60.0
NOT_YET = "requires the 'rabbit' app to be running"
SCRIPT_DIRS = ("/usr/lib/rabbitmq/bin", "/opt/rabbitmq/sbin", "/usr/local/opt/rabbitmq/sbin")

DEFAULT_USER = "beacond"
GREET = """\
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 2) as broker:
    broker.sendall(b"AMQP\\x00\\x00\\x09\\x01")
    sys.exit(broker.recv(1) != b"\\x01")
"""


class RabbitMQError(Exception):
    """The server did not start, or rabbitmqctl refused; the text carries its output."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    cafile: Path
    certfile: Path
    keyfile: Path


def hash_password(password: str) -> str:
    """RabbitMQ's own form: base64 of a 4-byte salt and the SHA-256 of salt and password."""
    salt = secrets.token_bytes(4)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def find_script(name: str) -> str | None:
    """The path of a RabbitMQ program, the distribution's user-changing wrapper last."""
    for folder in SCRIPT_DIRS:
        path = Path(folder) / name
        if os.access(path, os.X_OK):
            return str(path)
    return shutil.which(name)


def missing_program() -> str | None:
    """The first program that this launcher needs and this machine lacks; None: all are here."""
    for name in ("rabbitmq-server", "rabbitmqctl"):
        if find_script(name) is None:
            return name
    return None if shutil.which("epmd") else "epmd"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True, slots=True)
class Membership:
    """What a server of a cluster shares with the others; see `rabbitmq_cluster`."""

    node: str
    """Its name, `NAME@localhost`."""
    cookie: str
    epmd_port: int
    """Of a port mapper that runs already and outlives the server."""
    password: str
    settings: tuple[str, ...]
    """Lines for rabbitmq.conf."""
    net_ticktime_s: int
    """A server is given up for lost after 0.75 to 1.25 times this of silence."""


class RabbitMQ:
    """One server. `async with RabbitMQ() as broker:` starts it and ends it with its folder."""

    def __init__(
        self,
        *,
        tls: TlsFiles | None = None,
        member: Membership | None = None,
        address: str = "127.0.0.1",
        enter: tuple[str, ...] = (),
    ) -> None:
        """`address`: where it listens. `enter`: a command that starts its programs elsewhere, in a
        network of their own."""
        self.folder = Path(tempfile.mkdtemp(prefix="bcn-mq-"))
        self.password = member.password if member else secrets.token_hex(8)
        self.port = free_port()
        self.tls_port = free_port() if tls else None
        self._tls = tls
        self._member = member
        self._address = address
        self._enter = enter
        self._node = member.node if member else f"bcn{secrets.token_hex(4)}@localhost"
        self._epmd_port = member.epmd_port if member else free_port()
        self._dist_port = free_port()
        self._epmd: subprocess.Popen[bytes] | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._write_files()

    # ---- life
    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def start(self, *, wiped: bool = False) -> None:
        """Start the server and return once it answers on its AMQP port.

        `wiped`: it has forgotten everything (vhosts, users, exchanges) but its default user.
        """
        if wiped:
            shutil.rmtree(self.folder / "mnesia", ignore_errors=True)
        self._spawn()
        deadline = time.monotonic() + START_TIMEOUT_S
        while not await self._answers():
            assert self._server is not None
            if self._server.poll() is not None or time.monotonic() > deadline:
                raise RabbitMQError(f"the server did not start:\n{self.log()[-3000:]}")
            await asyncio.sleep(0.1)

    async def revive(self) -> None:
        """Start the server where a test has left it ended."""
        if self._server is None or self._server.poll() is not None:
            await self.start()

    async def stop(self) -> None:
        """End the server as an operator would: it closes every connection with a reason."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """End the server without a word, as a power cut would."""
        await self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Stop the server's processes: its sockets stay open and mute."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    async def close(self) -> None:
        """End the server and its port mapper, and remove the folder."""
        await self._end(signal.SIGKILL)
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait()
            self._epmd = None
        shutil.rmtree(self.folder, ignore_errors=True)

    # ---- use
    def url(
        self,
        *,
        user: str = DEFAULT_USER,
        password: str | None = None,
        vhost: str = "",
        port: int | None = None,
    ) -> str:
        """An `amqp://` URL as an operator would write it; `port`: a proxy's, say."""
        address = f"{self._address}:{self.port if port is None else port}"
        return f"amqp://{user}:{password or self.password}@{address}/{vhost}"

    async def rabbitmqctl(self, *args: str) -> str:
        """What `rabbitmqctl ARGS` prints. Raises RabbitMQError where it fails.

        The server takes connections a moment before it calls itself running: that is waited for.
        """
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while True:
            try:
                return await self._rabbitmqctl(*args)
            except RabbitMQError as error:
                if NOT_YET not in str(error) or time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.2)

    async def _rabbitmqctl(self, *args: str) -> str:
        script = find_script("rabbitmqctl")
        assert script is not None
        process = await asyncio.create_subprocess_exec(
            *(*self._enter, script, "-q", "-n", self._node, *args),
            env=self._environment(),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(CTL_TIMEOUT_S):
                output, _ = await process.communicate()
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            raise
        text = output.decode(errors="replace")
        if process.returncode != 0:
            raise RabbitMQError(f"rabbitmqctl {' '.join(args)}:\n{text}")
        return text

    async def listing(self, what: str, *columns: str, vhost: str = "/") -> list[dict[str, Any]]:
        """`rabbitmqctl list_WHAT` as rows, e.g. `listing("queues", "name", "arguments")`."""
        scope = () if what in {"connections", "users", "vhosts"} else ("-p", vhost)
        text = await self.rabbitmqctl(f"list_{what}", *scope, *columns, "--formatter=json")
        rows: list[dict[str, Any]] = json.loads(text)
        return rows

    async def declare(
        self,
        *,
        vhost: str = "/",
        exchange: str | None = None,
        user: str = DEFAULT_USER,
        password: str | None = None,
        configure: str = ".*",
        write: str = ".*",
        read: str = ".*",
    ) -> None:
        """Make what is missing of vhost, direct exchange and user, and set the permissions.

        A user given no password must be there already. One import, as rabbitmqctl is slow.
        """
        rights = {"configure": configure, "write": write, "read": read}
        definitions: dict[str, list[dict[str, Any]]] = {
            "vhosts": [{"name": vhost}],
            "permissions": [{"user": user, "vhost": vhost, **rights}],
        }
        if password is not None:
            hashed = hash_password(password)
            definitions["users"] = [{"name": user, "password_hash": hashed, "tags": ""}]
        if exchange is not None:
            made = {"name": exchange, "vhost": vhost, "type": "direct", "arguments": {}}
            flags = {"durable": True, "auto_delete": False, "internal": False}
            definitions["exchanges"] = [made | flags]
        path = self.folder / f"declare-{secrets.token_hex(4)}.json"
        path.write_text(json.dumps(definitions))
        await self.rabbitmqctl("import_definitions", str(path))

    def log(self) -> str:
        path = self.folder / "console.log"
        return path.read_text(errors="replace") if path.exists() else ""

    # ---- inside
    def _write_files(self) -> None:
        (self.folder / "home").mkdir()
        cookie = self.folder / "home" / ".erlang.cookie"
        cookie.write_text(self._member.cookie if self._member else secrets.token_hex(16))
        cookie.chmod(0o400)
        (self.folder / "enabled_plugins").write_text("[].\n")
        (self.folder / "rabbitmq.conf").write_text("\n".join(self._settings()) + "\n")

    def _settings(self) -> Iterator[str]:
        yield f"listeners.tcp.1 = {self._address}:{self.port}"
        yield "num_acceptors.tcp = 2"
        yield "vm_memory_high_watermark.absolute = 400MiB"
        yield "disk_free_limit.absolute = 1MB"
        yield "collect_statistics_interval = 30000"
        yield "log.file = false"
        yield "log.console = true"
        yield "log.console.level = warning"
        yield f"default_user = {DEFAULT_USER}"
        yield f"default_pass = {self.password}"
        if self._tls is not None:
            yield f"listeners.ssl.1 = 127.0.0.1:{self.tls_port}"
            yield f"ssl_options.cacertfile = {self._tls.cafile}"
            yield f"ssl_options.certfile = {self._tls.certfile}"
            yield f"ssl_options.keyfile = {self._tls.keyfile}"
        yield from self._member.settings if self._member else ()

    def _environment(self) -> dict[str, str]:
        folder = self.folder
        tick = f" -kernel net_ticktime {self._member.net_ticktime_s}" if self._member else ""
        keep = {key: os.environ[key] for key in ("PATH", "LANG") if key in os.environ}
        return keep | {
            "HOME": str(folder / "home"),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": self._node,
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "no-such-env.conf"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "no-such-advanced.config"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(folder / "generated"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            # No spinning schedulers: several servers share a small machine with the tests.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "-start_epmd false +S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none"
                " -kernel inet_dist_use_interface {127,0,0,1}" + tick
            ),
            # The script then becomes the Erlang machine instead of waiting beside it.
            "RUNNING_UNDER_SYSTEMD": "true",
        }

    def _spawn(self) -> None:
        if self._epmd is None and self._member is None:
            self._epmd = start_epmd(self._epmd_port, self._enter)
        script = find_script("rabbitmq-server")
        if script is None:
            raise RabbitMQError("rabbitmq-server is not installed")
        with (self.folder / "console.log").open("ab") as output:
            self._server = subprocess.Popen(
                [*self._enter, script],
                env=self._environment(),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    async def _answers(self) -> bool:
        """Does the AMQP port greet a client? The server listens last of all when it boots."""
        if self._enter:
            return await self._answers_there()
        try:
            async with asyncio.timeout(2):
                reader, writer = await asyncio.open_connection(self._address, self.port)
                try:
                    writer.write(b"AMQP\x00\x00\x09\x01")
                    return await reader.read(1) == b"\x01"
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return False

    async def _answers_there(self) -> bool:
        asking = await asyncio.create_subprocess_exec(
            *(*self._enter, sys.executable, "-S", "-c", GREET, self._address, str(self.port)),
            stderr=subprocess.DEVNULL,
        )
        return await asking.wait() == 0

    def _signal(self, number: signal.Signals) -> None:
        if self._server is not None:
            os.killpg(self._server.pid, number)

    async def _end(self, number: signal.Signals) -> None:
        """Signal the server; return when it and all that it started are gone."""
        server, self._server = self._server, None
        if server is None:
            return
        family = descendants(server.pid)
        with suppress(ProcessLookupError):
            if number is signal.SIGKILL:
                os.killpg(server.pid, number)
            else:
                server.send_signal(number)
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while server.poll() is None:
            if time.monotonic() > deadline:
                os.killpg(server.pid, signal.SIGKILL)
            await asyncio.sleep(0.02)
        # Its helpers notice a closed pipe and end by themselves; those that do not are ended.
        grace = time.monotonic() + 5
        while family := [pid for pid in family if is_alive(pid)]:
            if time.monotonic() > grace:
                for pid in family:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(0.02)


def start_epmd(port: int, enter: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
    """Erlang's port mapper, on loopback; whoever starts it ends it."""
    return subprocess.Popen(
        [*enter, "epmd", "-port", str(port), "-address", "127.0.0.1"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _parents() -> Iterator[tuple[int, int]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                # The command name in brackets may hold spaces and brackets itself.
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                yield int(entry.name), int(fields[1])


def descendants(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for pid, parent in _parents():
        children.setdefault(parent, []).append(pid)
    found: list[int] = []
    pending = [root]
    while pending:
        pending.extend(more := children.get(pending.pop(), []))
        found.extend(more)
    return found


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def make_certificates(folder: Path) -> tuple[TlsFiles, TlsFiles]:
    """A throw-away authority with a server's and a client's certificate, made by openssl.

    The server's is good for 127.0.0.1 and localhost. Returns (server, client).
    """
    ca_key, ca_cert = folder / "ca.key", folder / "ca.pem"
    _openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
        *("-keyout", str(ca_key), "-out", str(ca_cert), "-days", "2", "-subj", "/CN=test ca"),
        *("-addext", "basicConstraints=critical,CA:TRUE"),
        *("-addext", "keyUsage=critical,keyCertSign"),
    )
    names = "subjectAltName=IP:127.0.0.1,DNS:localhost"
    made: list[TlsFiles] = []
    for name in ("server", "client"):
        key, request, cert = (folder / f"{name}.{end}" for end in ("key", "csr", "pem"))
        _openssl(
            *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-keyout", str(key), "-out", str(request), "-subj", f"/CN={name}"),
        )
        extensions = folder / f"{name}.ext"
        extensions.write_text(
            f"{names}\nbasicConstraints=CA:FALSE\nauthorityKeyIdentifier=keyid\n"
            "subjectKeyIdentifier=hash\n"
        )
        _openssl(
            *("x509", "-req", "-in", str(request), "-CA", str(ca_cert), "-CAkey", str(ca_key)),
            *("-CAcreateserial", "-out", str(cert), "-days", "2", "-extfile", str(extensions)),
        )
        made.append(TlsFiles(cafile=ca_cert, certfile=cert, keyfile=key))
    return made[0], made[1]


def _openssl(*args: str) -> None:
    command: Sequence[str] = ("openssl", *args)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RabbitMQError(f"openssl {args[0]}: {done.stderr}")
