"""Configuration: a TOML file, `BEACOND_*` and flags become one frozen `Config`, or one error that
names everything wrong."""

from beacond.config.addresses import advertised, default_addresses
from beacond.config.loader import DEFAULT_FILE, check, load
from beacond.config.model import Config, ConfigError, Problem
from beacond.config.settings import SETTINGS, Setting
from beacond.config.values import Listen

__all__ = [
    "DEFAULT_FILE",
    "SETTINGS",
    "Config",
    "ConfigError",
    "Listen",
    "Problem",
    "Setting",
    "advertised",
    "check",
    "default_addresses",
    "load",
]
