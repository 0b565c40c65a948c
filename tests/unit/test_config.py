import re
import socket
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beacond import config
from beacond.config import SETTINGS, Config, ConfigError, Listen
from beacond.config.settings import BY_KEY
from beacond.config.sources import line_of

ENV = {"HOME": "/home/somebody", "BEACOND_NODE": "web-1"}


@pytest.fixture(autouse=True)
def _no_default_file(monkeypatch, tmp_path):
    monkeypatch.setattr("beacond.config.loader.DEFAULT_FILE", tmp_path / "none.toml")


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "beacond.toml"
    path.write_text(text)
    return path


def problems(*args, **kwargs) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config.load(*args, **{"env": ENV, **kwargs})
    return [str(problem) for problem in caught.value.problems]


def of_file(tmp_path: Path, text: str) -> list[str]:
    return [line.removeprefix(f"{tmp_path}/") for line in problems(write(tmp_path, text))]


# ---- sources and their order


def test_without_any_source_the_defaults_are_those_of_the_contract():
    made = config.load(env=ENV)
    assert made == Config(
        node="web-1",
        fleet="default",
        zone="",
        domain="beacon.internal",
        advertise=(),
        bus=("local://",),
        bus_file=None,
        keys_file=None,
        http=Listen("127.0.0.1", 8650),
        http_writes="local",
        dns=Listen("127.0.0.1", 8653),
        dns_ttl_s=0,
        recursors=(),
        data_dir=Path("/home/somebody/.local/state/beacond"),
        services_dir=None,
        heartbeat_s=5.0,
        ttl_s=15.0,
        relay_from=100,
        on_stop="leave",
        hold_for_s=60.0,
        drain_s=0.0,
        allow_exec=False,
        log_level="info",
        log_format="text",
        file=None,
        notes=(),
    )


def test_a_flag_beats_the_environment_which_beats_the_file(tmp_path):
    file = write(tmp_path, 'fleet = "of-file"\nzone = "of-file"\nlog_level = "error"\n')
    env = ENV | {"BEACOND_FLEET": "of-env", "BEACOND_ZONE": "of-env"}
    made = config.load(file, env=env, flags={"fleet": "of-flag"})
    assert (made.fleet, made.zone, made.log_level) == ("of-flag", "of-env", "error")
    assert made.file == file


EXAMPLES = {
    "node": "db-1",
    "fleet": "blue",
    "zone": "eu-1",
    "domain": "svc.example.org",
    "advertise": "192.0.2.7 2001:db8::7",
    "bus": "local://a local://b",
    "http": "[::1]:80",
    "http_writes": "any",
    "dns": "off",
    "dns_ttl": "30s",
    "recursors": "192.0.2.53 [2001:db8::53]:5353",
    "data_dir": "/var/lib/x",
    "services_dir": "/etc/x",
    "heartbeat": "2s",
    "ttl": "1m",
    "relay_from": "50",
    "on_stop": "hold",
    "hold_for": "90s",
    "drain": "3s",
    "allow_exec": "yes",
    "log_level": "debug",
    "log_format": "json",
}


@pytest.mark.parametrize("key", EXAMPLES)
def test_file_environment_and_flag_mean_the_same(key, tmp_path):
    setting, text = BY_KEY[key], EXAMPLES[key]
    words = text.split()
    toml = f"{key} = {words!r}" if setting.many else f'{key} = "{text}"'
    if key == "allow_exec":
        toml = "allow_exec = true"
    env = {name: value for name, value in ENV.items() if name != setting.env}
    env.setdefault("BEACOND_NODE", "web-1")
    if key == "node":
        del env["BEACOND_NODE"]
    of_file = config.load(write(tmp_path, toml), env=env)
    of_env = config.load(env=env | {setting.env: text})
    of_flag = config.load(env=env, flags={key: tuple(words) if setting.many else text})
    values = {getattr(made, setting.target) for made in (of_file, of_env, of_flag)}
    assert len(values) == 1
    assert values != {getattr(config.load(env=ENV), setting.target)}


def test_every_setting_has_an_example_above_or_a_test_of_its_own():
    assert {s.key for s in SETTINGS} - EXAMPLES.keys() == {"bus_file", "keys_file"}


def test_an_empty_variable_counts_as_not_set():
    assert config.load(env=ENV | {"BEACOND_FLEET": ""}).fleet == "default"


def test_variables_that_a_cluster_sets_are_no_error_and_a_slip_is_noted():
    env = ENV | {"BEACOND_SERVICE_HOST": "192.0.2.1", "BEACOND_HEARBEAT": "1s"}
    env |= {"BEACOND_AGENT": "http://127.0.0.1:1", "BEACOND_PORT_8650_TCP": "tcp://192.0.2.1:1"}
    assert config.load(env=env).notes == (
        "BEACOND_HEARBEAT has no effect; did you mean 'BEACOND_HEARTBEAT'?",
    )


def test_the_default_file_is_read_where_it_exists(tmp_path, monkeypatch):
    monkeypatch.setattr("beacond.config.loader.DEFAULT_FILE", write(tmp_path, 'fleet = "blue"'))
    assert config.load(env=ENV).fleet == "blue"


def test_a_named_file_that_is_missing_is_an_error(tmp_path):
    missing = tmp_path / "missing.toml"
    assert problems(missing) == [f"{missing}: cannot be read: No such file or directory"]


# ---- errors


def test_all_problems_of_all_sources_are_told_at_once(tmp_path):
    file = write(
        tmp_path,
        '# about this host\nnode = "Web_1"\n\nheartbeet = "5s"\nhttp = 8650\ndns = "1.2.3.4"\n',
    )
    env = {"HOME": "/home/somebody", "BEACOND_TTL": "15"}
    found = problems(file, env=env, flags={"log_level": "infos", "advertise": ("0.0.0.0",)})
    assert [line.removeprefix(f"{tmp_path}/") for line in found] == [
        "--log-level: must be debug or info or warning or error; did you mean 'info'?",
        "--advertise: '0.0.0.0' is refused: must be an IPv4 or IPv6 literal that another host "
        "can connect to",
        'BEACOND_TTL: must be a duration with a unit, such as "5s" or "1m30s" (1s to 1h)',
        "beacond.toml:2: node: must be 1 to 62 of a-z, 0-9 and '-', beginning and ending with a "
        "letter or digit",
        "beacond.toml:4: heartbeet: is not a key; did you mean 'heartbeat'?",
        "beacond.toml:5: http: must be a string, not a number",
        'beacond.toml:6: dns: must be HOST:PORT or "off", such as 127.0.0.1:8650 or [::1]:8650',
    ]


def test_a_toml_syntax_error_is_told_with_its_line(tmp_path):
    (found,) = of_file(tmp_path, 'node = "a"\nfleet = = "b"\n')
    assert re.fullmatch(r"beacond\.toml:2: \w.*", found)
    assert "line" not in found


def test_a_file_that_is_not_text_or_huge_is_refused(tmp_path):
    path = tmp_path / "beacond.toml"
    path.write_bytes(b'node = "\xff"')
    assert problems(path) == [f"{path}: is not UTF-8 text"]
    path.write_bytes(b"#" * (1024 * 1024 + 1))
    assert problems(path) == [f"{path}: is larger than 1048576 bytes"]


def test_a_file_that_is_nested_without_end_is_refused(tmp_path):
    assert of_file(tmp_path, "node = " + "[" * 100_000) == ["beacond.toml: is nested too deeply"]


def test_a_table_is_not_a_key(tmp_path):
    assert of_file(tmp_path, '\n[agent]\nnode = "a"\n') == ["beacond.toml:2: agent: is not a key"]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("heartbeat = 5", "must be a duration with a unit"),
        ('heartbeat = "100ms"', "must be 200ms to 20m"),
        ('heartbeat = "21m"', "must be 200ms to 20m"),
        ('ttl = "61m"', "must be 1s to 1h"),
        ('dns_ttl = "1500ms"', "whole seconds"),
        ('hold_for = "0s"', "must be 1s to 1h"),
        ("relay_from = 2", "must be a whole number from 3 to 1000000"),
        ("relay_from = true", "must be a string, not a boolean"),
        ('relay_from = "-7"', "must be a whole number from 3 to 1000000"),
        ('relay_from = "1e3"', "must be a whole number from 3 to 1000000"),
        ('drain = "11m"', "must be 0s to 10m"),
        ('fleet = ""', "must be 1 to 62"),
        ('zone = "eu west"', "must be 1 to 62"),
        ('domain = "a..b"', "must be a DNS name"),
        ('domain = ""', "must be a DNS name"),
        (f'domain = "{"a." * 50}com"', "must be a DNS name of at most 100"),
        ('advertise = "::"', "'::' is refused"),
        ('advertise = ["192.0.2.1", "192.0.2.2"]', "at most one IPv4 and one IPv6"),
        ("advertise = [1]", "must be a list of strings"),
        ("bus = []", "must be 1 to 8 URLs"),
        ('bus = "ampq://u:secret@h"', "did you mean amqp://"),
        ('bus = ["local://", "amqp://h"]', "URL 2: amqp: user and password are needed"),
        ('bus = ["local://", "local://"]', "names the same bus twice"),
        ('bus = ["amqp://u:secret@h", "amqp://u:secret2@h"]', "URL 2: names the same bus twice"),
        ('http = "localhost"', "must be HOST:PORT"),
        ('http = "example.org:80"', "HOST is an IP address"),
        ('http = "127.0.0.1:65536"', "PORT is 0 to 65535"),
        ('http_writes = "all"', "must be local or any"),
        ('dns = "127.0.0.1:8650"', "http and dns both want TCP port 8650"),
        ('recursors = ["192.0.2.53:0"]', "a port of 1 to 65535"),
        ('recursors = ["dns.example.org"]', "must be IP addresses"),
        ('data_dir = ""', "must be a path"),
        ("allow_exec = 1", "must be true or false"),
        ('on_stop = "stay"', "must be leave or hold"),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_allowed(line, complaint, tmp_path):
    (found,) = of_file(tmp_path, line)
    key = line.partition(" ")[0]
    assert found.startswith(f"beacond.toml:1: {key}: ")
    assert complaint in found
    assert "secret" not in found


@pytest.mark.parametrize(
    ("text", "listen"),
    [
        ("127.0.0.1:0", Listen("127.0.0.1", 0)),
        ("localhost:80", Listen("127.0.0.1", 80)),
        ("[2001:DB8:0::1]:80", Listen("2001:db8::1", 80)),
        ("OFF", None),
    ],
)
def test_where_to_listen_is_read_in_one_spelling(text, listen):
    made = config.load(env=ENV, flags={"http": text})
    assert made.http == listen


def test_a_listening_address_is_shown_as_it_is_written():
    assert str(Listen("2001:db8::1", 80)) == "[2001:db8::1]:80"
    assert str(Listen("192.0.2.1", 80)) == "192.0.2.1:80"


@given(st.text() | st.lists(st.text()) | st.integers() | st.floats() | st.booleans() | st.none())
def test_no_value_makes_a_setting_raise_anything_but_value_error(raw):
    for setting in SETTINGS:
        with suppress(ValueError):
            setting.parse(raw)


# ---- rules over several keys


def test_ttl_must_be_three_heartbeats_and_follows_a_slower_one():
    assert config.load(env=ENV, flags={"heartbeat": "10s"}).ttl_s == 30.0
    assert config.load(env=ENV, flags={"heartbeat": "1s"}).ttl_s == 15.0
    assert config.load(env=ENV, flags={"heartbeat": "5s", "ttl": "15s"}).ttl_s == 15.0
    assert problems(flags={"ttl": "14999ms"}) == [
        "--ttl: ttl (14s999ms) must be at least 3 × heartbeat (5s), so 15s or more"
    ]
    assert problems(env=ENV | {"BEACOND_TTL": "20s"}, flags={"heartbeat": "10s"}) == [
        "--heartbeat: ttl (20s) must be at least 3 × heartbeat (10s), so 30s or more"
    ]


def test_the_node_defaults_to_the_host_names_first_label(monkeypatch):
    env = {"HOME": "/home/somebody"}
    monkeypatch.setattr(socket, "gethostname", lambda: "Web-7.example.org")
    assert config.load(env=env).node == "web-7"
    monkeypatch.setattr(socket, "gethostname", lambda: "web_7")
    (found,) = problems(env=env)
    assert "'web_7'" in found
    assert "--node" in found
    assert config.load(env=env, flags={"node": "web-7"}).node == "web-7"


@pytest.mark.parametrize(
    ("env", "folder"),
    [
        ({"STATE_DIRECTORY": "/var/lib/beacond:/var/lib/other"}, "/var/lib/beacond"),
        ({"XDG_STATE_HOME": "/state", "HOME": "/home/a"}, "/state/beacond"),
        ({"XDG_STATE_HOME": "relative", "HOME": "/home/a"}, "/home/a/.local/state/beacond"),
    ],
)
def test_the_data_folder_has_the_customary_default(env, folder):
    assert config.load(env=env, flags={"node": "a"}).data_dir == Path(folder)


def test_without_a_home_the_data_folder_must_be_set():
    assert problems(env={"BEACOND_NODE": "a"}) == [
        "data_dir: has no default without a home folder: set it"
    ]


def test_relative_paths_count_from_the_file_or_from_where_the_agent_starts(tmp_path, monkeypatch):
    file = write(tmp_path, 'data_dir = "state"\n')
    monkeypatch.chdir("/")
    assert config.load(file, env=ENV).data_dir == tmp_path / "state"
    assert config.load(env=ENV, flags={"data_dir": "state"}).data_dir == Path("/state")


# ---- secrets


def secret(tmp_path: Path, text: str, mode: int = 0o600) -> Path:
    path = tmp_path / "secret"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_bus_urls_can_come_from_a_file(tmp_path):
    path = secret(tmp_path, "# two\nlocal://a  # first\n\nlocal://b\n")
    assert config.load(env=ENV, flags={"bus_file": str(path)}).bus == ("local://a", "local://b")


def test_the_stronger_source_decides_between_bus_and_bus_file(tmp_path):
    path = secret(tmp_path, "local://of-file")
    env = ENV | {"BEACOND_BUS_FILE": str(path)}
    assert config.load(env=env, flags={"bus": ("local://flag",)}).bus == ("local://flag",)
    flags = {"bus_file": str(path)}
    assert config.load(env=ENV | {"BEACOND_BUS": "local://e"}, flags=flags).bus == (
        "local://of-file",
    )
    assert problems(flags=flags | {"bus": ("local://",)}) == [
        "--bus-file: can't be given together with bus; keep one of them"
    ]


def test_a_file_of_secrets_that_others_may_read_is_refused(tmp_path):
    path = secret(tmp_path, "local://", mode=0o644)
    for key in ("bus_file", "keys_file"):
        (found,) = problems(flags={key: str(path)})
        assert f"chmod o-rwx {path}" in found


def test_a_file_of_secrets_is_checked_and_never_shown(tmp_path):
    path = secret(tmp_path, "amqp://user:hunter2@h:99999/")
    (found,) = problems(flags={"bus_file": str(path)})
    assert "hunter2" not in found
    path = secret(tmp_path, "hunter2")
    (found,) = problems(flags={"keys_file": str(path)})
    assert f"{path}:1: " in found
    assert "hunter2" not in found
    missing = tmp_path / "missing"
    for key in ("bus_file", "keys_file"):
        (found,) = problems(flags={key: str(missing)})
        assert "No such file" in found


def test_a_password_is_not_in_the_repr():
    made = config.load(env=ENV, flags={"bus": ("amqp://user:hunter2@h/",)})
    assert "hunter2" not in repr(made)


# ---- addresses


def test_addresses_that_are_given_are_the_ones_advertised():
    made = config.load(env=ENV, flags={"advertise": ("2001:db8::1", "192.0.2.1")})
    assert config.advertised(made) == ("2001:db8::1", "192.0.2.1")


def test_on_the_embedded_bus_the_address_is_loopback():
    assert config.advertised(config.load(env=ENV)) == ("127.0.0.1",)
    assert config.advertised(config.load(env=ENV, flags={"bus": ("local://g",)})) == ("127.0.0.1",)


def test_else_it_is_the_source_address_towards_the_first_bus_host():
    made = config.load(env=ENV, flags={"bus": ("amqp://u:p@127.0.0.1:1,192.0.2.1/",)})
    assert config.advertised(made) == ("127.0.0.1",)
    assert config.default_addresses(["127.0.0.5"]) == ("127.0.0.1",)


def test_a_bus_host_whose_name_is_unknown_leaves_the_default_route(monkeypatch):
    def unknown(*_args, **_kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    by_default_route = config.default_addresses(["broker.example.org"])
    assert len(by_default_route) == 1
    assert by_default_route[0] not in ("0.0.0.0", "::")
    # An address is the same with a name server that never answers, and the start goes on.
    released = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kwargs: released.wait(60) and [])
    monkeypatch.setattr("beacond.config.addresses.RESOLVE_MAX_S", 0.01)
    assert config.default_addresses(["broker.example.org"]) == by_default_route
    released.set()


# ---- lines


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a = 1\nnode = 2", 2),
        ('"node" = 2', 1),
        ("\n\n  node=2", 3),
        ("nodes = 1\n# node = 1\n[node]", 3),
        ("[[ node ]]", 1),
        ("node.x = 1", 1),
        ("nothing = 1", None),
    ],
)
def test_the_line_of_a_key_is_found(text, line):
    assert line_of(text, "node") == line
