"""Flag over environment over file over default; then the rules that span several keys."""

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from beacond.config import sources, values
from beacond.config.model import Config, ConfigError, Problem
from beacond.config.settings import SETTINGS, TTL_MAX_S, TTL_MIN_S, Setting
from beacond.config.sources import Layer
from beacond.core.names import LABEL_RULE
from beacond.spec.durations import format_duration
from beacond.wire.keyring import Keyring, KeyringError

DEFAULT_FILE = Path("/etc/beacond/beacond.toml")
"""Read where it exists and no other is named."""

TTL_DEFAULT_S = 15.0
TTL_PER_HEARTBEAT = 3


def load(
    file: Path | None = None,
    *,
    env: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
) -> Config:
    """Build the configuration.

    `file` None: `DEFAULT_FILE` if that exists. `env` None: this process's. `flags`: raw values by
    key. Raises `ConfigError` with all that is wrong, in any source.
    """
    env = os.environ if env is None else env
    if file is None and DEFAULT_FILE.exists():
        file = DEFAULT_FILE
    layers = [sources.from_flags(flags or {}), sources.from_env(env)]
    if file is not None:
        layers.append(sources.from_file(file))
    return _Merge(layers, env).config(file)


def check(file: Path) -> Config:
    """What `file` alone makes; raises `ConfigError` with all that is wrong with it."""
    return load(file, env={key: os.environ[key] for key in ("HOME",) if key in os.environ})


class _Merge:
    """One pass over the layers, first (strongest) to last, gathering every problem."""

    def __init__(self, layers: list[Layer], env: Mapping[str, str]) -> None:
        self.layers = layers
        self.env = env
        self.problems = [problem for layer in layers for problem in layer.problems]
        self.notes = [note for layer in layers for note in layer.notes]

    def config(self, file: Path | None) -> Config:
        found: dict[str, Any] = {s.target: self.value(s) for s in SETTINGS}
        found["node"] = self.node(found["node"])
        found["bus"] = self.buses(found)
        found["data_dir"] = self.data_dir(found["data_dir"])
        found["ttl_s"] = self.ttl(found["ttl_s"], found["heartbeat_s"])
        found["advertise"] = found["advertise"] or ()
        found["recursors"] = found["recursors"] or ()
        self.check_ports(found)
        self.check_keys(found["keys_file"])
        if self.problems:
            raise ConfigError(self.problems)
        return Config(**found, file=file, notes=tuple(self.notes))

    def value(self, setting: Setting) -> Any:
        for layer in self.layers:
            if setting.key in layer.where:
                # A value that is wrong has been reported, and stops the load in the end.
                return layer.values.get(setting.key, self.default(setting))
        return self.default(setting)

    def default(self, setting: Setting) -> Any:
        return None if setting.default is None else setting.parse(setting.default)

    def rank(self, key: str) -> int:
        """The number of the strongest layer that gives `key`; how many there are if none does."""
        given = (n for n, layer in enumerate(self.layers) if key in layer.where)
        return next(given, len(self.layers))

    def where(self, key: str) -> str:
        rank = self.rank(key)
        return self.layers[rank].where[key] if rank < len(self.layers) else key

    def problem(self, key: str, message: str) -> None:
        self.problems.append(Problem(self.where(key), message))

    def node(self, given: str | None) -> str:
        if given is not None or self.rank("node") < len(self.layers):
            return given or ""
        name = socket.gethostname().partition(".")[0].lower()
        try:
            return values.label(name)
        except ValueError:
            self.problem(
                "node",
                f"this host's name, {name!r}, can't be a node's ({LABEL_RULE}): "
                "set one with --node, BEACOND_NODE or node = in the file",
            )
            return ""

    def buses(self, found: Mapping[str, Any]) -> tuple[str, ...]:
        """`bus` and `bus_file` are two ways to say one thing: the stronger source wins."""
        urls: tuple[str, ...] = found["bus"]
        bus_rank, file_rank = self.rank("bus"), self.rank("bus_file")
        if bus_rank < file_rank or found["bus_file"] is None:
            return urls
        if bus_rank == file_rank:
            self.problem("bus_file", "can't be given together with bus; keep one of them")
            return urls
        return self.read_buses(found["bus_file"]) or urls

    def read_buses(self, path: Path) -> tuple[str, ...]:
        try:
            text = sources.read_text(path, secret=True)
            lines = [line.partition("#")[0] for line in text.splitlines()]
            return values.bus_urls([word for line in lines for word in line.split()])
        except ValueError as error:
            self.problem("bus_file", f"{path}: {error}")
        except OSError as error:
            self.problem("bus_file", f"{path}: {error.strerror}")
        return ()

    def check_keys(self, path: Path | None) -> None:
        if path is not None:
            try:
                Keyring.load(path)
            except KeyringError as error:
                self.problem("keys_file", str(error))

    def data_dir(self, given: Path | None) -> Path:
        if given is not None:
            return given
        # systemd separates several folders by colons; the first is the unit's main one.
        state = self.env.get("STATE_DIRECTORY", "").partition(":")[0]
        if state:
            return Path(state)
        xdg = self.env.get("XDG_STATE_HOME", "")
        if xdg.startswith("/"):  # others are invalid, says the XDG base directory specification
            return Path(xdg) / "beacond"
        home = self.env.get("HOME", "")
        if home.startswith("/"):
            return Path(home) / ".local" / "state" / "beacond"
        self.problem("data_dir", "has no default without a home folder: set it")
        return Path()

    def ttl(self, given: float | None, heartbeat_s: float) -> float:
        least = min(max(TTL_MIN_S, TTL_PER_HEARTBEAT * heartbeat_s), TTL_MAX_S)
        if given is None:
            return max(TTL_DEFAULT_S, least)
        if given < least:
            # Named by the stronger of the two: the change that made them disagree.
            key = min(("ttl", "heartbeat"), key=self.rank)
            self.problem(
                key,
                f"ttl ({format_duration(given)}) must be at least {TTL_PER_HEARTBEAT} × heartbeat "
                f"({format_duration(heartbeat_s)}), so {format_duration(least)} or more",
            )
        return given

    def check_ports(self, found: Mapping[str, Any]) -> None:
        http, dns = found["http"], found["dns"]
        if http is not None and http == dns and http.port:
            key = min(("dns", "http"), key=self.rank)
            self.problem(key, f"http and dns both want TCP port {http.port} of {http.host}")
