"""What the agent is told to be: built once, never changed; a reload builds another."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from beacond.config.values import Listen


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All settings, checked; docs/configuration.md says what each means."""

    node: str
    fleet: str
    zone: str
    """Empty: none."""
    domain: str
    """Lower case, without the final dot."""
    advertise: tuple[str, ...]
    """Canonical IP literals; empty: to be found out, see `default_addresses`."""
    bus: tuple[str, ...] = field(repr=False)
    """At least one; from `bus_file` where that is given. May hold passwords."""
    bus_file: Path | None
    keys_file: Path | None
    http: Listen | None
    """None: off."""
    http_writes: Literal["local", "any"]
    dns: Listen | None
    """None: off."""
    dns_ttl_s: int
    recursors: tuple[Listen, ...]
    data_dir: Path
    services_dir: Path | None
    heartbeat_s: float
    ttl_s: float
    relay_from: int
    on_stop: Literal["leave", "hold"]
    hold_for_s: float
    drain_s: float
    allow_exec: bool
    log_level: Literal["debug", "info", "warning", "error"]
    log_format: Literal["text", "json"]
    file: Path | None
    """The file that was read."""
    notes: tuple[str, ...]
    """What is allowed and may yet be a mistake: to be logged as warnings."""


@dataclass(frozen=True, slots=True)
class Problem:
    where: str
    """`FILE:LINE: key`, `FILE: key`, an environment variable, a flag, or a key."""
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


class ConfigError(Exception):
    """All that is wrong with a configuration, a line each."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)
