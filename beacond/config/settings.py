"""Every key of the configuration, once: the file, the environment, the flags and the docs
(docs/configuration.md, by test) all follow this table."""

from dataclasses import dataclass

from beacond.config import values
from beacond.config.values import Parse

ENV_PREFIX = "BEACOND_"

HEARTBEAT_MIN_S, HEARTBEAT_MAX_S = 0.2, 1200.0
TTL_MIN_S, TTL_MAX_S = 1.0, 3600.0
RELAY_FROM_MIN, RELAY_FROM_MAX = 3, 1_000_000
HOLD_MIN_S, HOLD_MAX_S = 1.0, 3600.0
DRAIN_MAX_S = 600.0
DNS_TTL_MAX_S = 3600.0


@dataclass(frozen=True, slots=True)
class Setting:
    key: str
    parse: Parse
    default: str | None
    """As it would be written; None: derived, see `default_text`."""
    meaning: str
    limits: str
    """What is allowed, for people."""
    metavar: str = "TEXT"
    field: str = ""
    """Of `Config`; the key, with `_s` where it is a duration."""
    many: bool = False
    """A list: in the environment separated by white space, a flag that may be repeated."""
    default_text: str = ""
    """What a derived default is."""

    @property
    def env(self) -> str:
        return ENV_PREFIX + self.key.upper()

    @property
    def flag(self) -> str:
        return "--" + self.key.replace("_", "-")

    @property
    def target(self) -> str:
        return self.field or self.key


def _duration(
    key: str, default: str, limits: tuple[float, float], meaning: str, *, whole: bool = False
) -> Setting:
    return Setting(
        key,
        values.duration(*limits, whole=whole),
        default,
        meaning,
        values.duration_limits(*limits, whole=whole),
        metavar="DURATION",
        field=key + "_s",
    )


def _choice(key: str, words: tuple[str, ...], meaning: str) -> Setting:
    """The first word is the default."""
    limits = ", ".join(words)
    return Setting(key, values.one_of(*words), words[0], meaning, limits, metavar="|".join(words))


SETTINGS: tuple[Setting, ...] = (
    Setting(
        "node",
        values.label,
        None,
        "Name of this host among all agents.",
        "1 to 62 of `a-z`, `0-9`, `-`",
        metavar="NAME",
        default_text="the host name's first label",
    ),
    Setting(
        "fleet",
        values.label,
        "default",
        "Agents with the same fleet hear each other on a bus.",
        "1 to 62 of `a-z`, `0-9`, `-`",
        metavar="NAME",
    ),
    Setting(
        "zone",
        values.label_or_nothing,
        "",
        "Availability zone of this host; `pick` prefers its own.",
        "1 to 62 of `a-z`, `0-9`, `-`, or empty",
        metavar="NAME",
    ),
    Setting(
        "domain",
        values.domain,
        "beacon.internal",
        "DNS domain under which names are answered.",
        f"a DNS name of at most {values.DOMAIN_MAX} characters",
        metavar="NAME",
    ),
    Setting(
        "advertise",
        values.advertise,
        None,
        "Addresses at which other hosts reach this one.",
        "IP literals, at most one a family; not `0.0.0.0` or `::`",
        metavar="IP",
        many=True,
        default_text="the source address towards the first bus host, else of the default route",
    ),
    Setting(
        "bus",
        values.bus_urls,
        "local://",
        "Buses to speak on, all at once. With a password in it, prefer `bus_file`.",
        f"1 to {values.BUSES_MAX} URLs: `local://`, `amqp://USER:PASS@HOST[,HOST]/VHOST`, `amqps://…`",
        metavar="URL",
        many=True,
    ),
    Setting(
        "bus_file",
        values.path,
        None,
        "File with the bus URLs, one a line; instead of `bus`.",
        "a file that others on this host may not read; `#` begins a comment",
        metavar="FILE",
        default_text="none",
    ),
    Setting(
        "keys_file",
        values.path,
        None,
        "File with the fleet's shared keys, which authenticate every message.",
        "a file that others on this host may not read: 1 to 16 keys in base64 or hex, one a line",
        metavar="FILE",
        default_text="none: messages are not authenticated",
    ),
    Setting(
        "http",
        values.listen_or_off,
        "127.0.0.1:8650",
        "Where the HTTP API listens.",
        "`IP:PORT` (port 0: any free one) or `off`",
        metavar="HOST:PORT|off",
    ),
    _choice(
        "http_writes",
        ("local", "any"),
        "Who may write over HTTP: loopback only, or any address that can connect.",
    ),
    Setting(
        "dns",
        values.listen_or_off,
        "127.0.0.1:8653",
        "Where DNS listens, UDP and TCP.",
        "`IP:PORT` (port 0: any free one) or `off`",
        metavar="HOST:PORT|off",
    ),
    _duration(
        "dns_ttl",
        "0s",
        (0.0, DNS_TTL_MAX_S),
        "TTL of DNS answers about services (30 while blind).",
        whole=True,
    ),
    Setting(
        "recursors",
        values.recursors,
        None,
        "DNS servers to which questions outside `domain` are forwarded.",
        f"at most {values.RECURSORS_MAX} of `IP` or `IP:PORT`",
        metavar="IP[:PORT]",
        many=True,
        default_text="none: such questions are refused",
    ),
    Setting(
        "data_dir",
        values.path,
        None,
        "Folder for registrations and the last known view.",
        "a folder the agent may write",
        metavar="DIR",
        default_text="`$STATE_DIRECTORY`, else `beacond` in `$XDG_STATE_HOME` (`~/.local/state`)",
    ),
    Setting(
        "services_dir",
        values.path,
        None,
        "Folder whose `*.toml` files hold `[[instance]]` tables.",
        "a folder",
        metavar="DIR",
        default_text="none",
    ),
    _duration(
        "heartbeat",
        "5s",
        (HEARTBEAT_MIN_S, HEARTBEAT_MAX_S),
        "Time between two heartbeats of this agent.",
    ),
    Setting(
        "ttl",
        values.duration(TTL_MIN_S, TTL_MAX_S),
        None,
        "How long others keep this host after a heartbeat.",
        values.duration_limits(TTL_MIN_S, TTL_MAX_S) + ", at least 3 × `heartbeat`",
        metavar="DURATION",
        field="ttl_s",
        default_text="15s, or 3 × `heartbeat` where that is more",
    ),
    Setting(
        "relay_from",
        values.whole_number(RELAY_FROM_MIN, RELAY_FROM_MAX),
        "100",
        "Agents in the fleet from which on heartbeats go by relays.",
        f"{RELAY_FROM_MIN} to {RELAY_FROM_MAX}",
        metavar="AGENTS",
    ),
    _choice(
        "on_stop",
        ("leave", "hold"),
        "At a stop: gone at once, or kept by the others for `hold_for`.",
    ),
    _duration(
        "hold_for",
        "60s",
        (HOLD_MIN_S, HOLD_MAX_S),
        'With `on_stop = "hold"`: how long others keep this host\'s instances.',
    ),
    _duration(
        "drain",
        "0s",
        (0.0, DRAIN_MAX_S),
        "At a stop with `leave`: how long this host is announced as draining before the goodbye.",
    ),
    Setting(
        "allow_exec",
        values.boolean,
        "false",
        "Whether `services_dir` may hold `exec` checks, which run programs.",
        "true, false",
        metavar="BOOLEAN",
    ),
    Setting(
        "log_level",
        values.one_of("debug", "info", "warning", "error"),
        "info",
        "The least severe lines that are written.",
        "debug, info, warning, error",
        metavar="debug|info|warning|error",
    ),
    _choice("log_format", ("text", "json"), "How log lines are written to standard error."),
)

BY_KEY = {setting.key: setting for setting in SETTINGS}
