"""A service file's text: the instances it declares, or every problem where it is."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beacond.core.model import Check, CheckType, InstanceSpec
from beacond.services_dir import FileError, parse_file

GOOD = """
# A comment.
[[instance]]
id = "web-80"
service = "web"
port = 80
tags = ["blue"]

[[instance.checks]]
type = "http"
path = "/health"
interval = "5s"

[[instance]]
id = "db-1"
service = "db"
port = 5432
"""


def parse(text: str, *, allow_exec: bool = False) -> tuple[InstanceSpec, ...]:
    return parse_file(text.encode(), default_address="192.0.2.7", allow_exec=allow_exec)


def problems(text: str) -> tuple[str, ...]:
    with pytest.raises(FileError) as caught:
        parse(text)
    return tuple(caught.value.lines)


def test_the_instances_come_in_the_files_order() -> None:
    check = Check(CheckType.HTTP, "http", url="http://192.0.2.7:80/health", interval_s=5.0)
    assert parse(GOOD) == (
        InstanceSpec("web-80", "web", 80, tags=("blue",), checks=(check,)),
        InstanceSpec("db-1", "db", 5432),
    )


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "instance = []"])
def test_an_empty_file_declares_nothing(text: str) -> None:
    assert parse(text) == ()


def test_every_problem_is_told_with_line_and_field() -> None:
    text = GOOD.replace("port = 80", 'port = "80"').replace('service = "db"', 'servcie = "db"')
    assert problems(text) == (
        "line 3: instance[0].port: must be a whole number",
        "line 14: instance[1].service: is required",
        "line 14: instance[1].servcie: is not a known field here",
    )


def test_an_id_twice_in_one_file_is_an_error() -> None:
    text = GOOD.replace("db-1", "web-80")
    assert problems(text) == ("line 14: instance[1].id: 'web-80' is there twice",)


def test_broken_toml_is_told_with_its_line() -> None:
    [line] = problems("[[instance]]\nid = \nport = 1")
    assert line.startswith("not TOML: ")
    assert "line 2" in line


def test_no_line_is_told_where_it_would_be_a_guess() -> None:
    text = 'meta = 1\n[[instance]]\nid = """\n[[instance]]\n"""\n'
    [line] = problems(text.removeprefix("meta = 1\n"))[:1]
    assert line.startswith("instance[0].id")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\xff\xfe", "not UTF-8 at byte 0"),
        (b"x = " + b"[" * 5000, "not TOML: nested too deeply"),
        (b"port = 1", "'port': only [[instance]] tables belong here"),
        (b"[instance]\nid = 'x'", "must be [[instance]] tables, in double brackets"),
        (b"instance = [1]", "instance[0]: must be an object"),
        (b"instance = [" + b"{}," * 2049 + b"]", "2049 instances, of at most 2048"),
    ],
)
def test_what_is_no_service_file_is_said_in_a_line(data: bytes, reason: str) -> None:
    with pytest.raises(FileError) as caught:
        parse_file(data, default_address="192.0.2.7")
    assert reason in caught.value.lines[0]
    assert len(caught.value.lines) == 1


def test_a_thousand_problems_are_not_a_thousand_lines() -> None:
    lines = problems("[[instance]]\n" * 1000)
    assert len(lines) == 11
    assert lines[-1].startswith("and ")


def test_an_exec_check_needs_the_configs_leave() -> None:
    text = GOOD.replace('type = "http"', 'type = "exec"').replace(
        'path = "/health"', 'command = ["/bin/true"]'
    )
    assert "exec checks" in problems(text)[0]
    assert parse(text, allow_exec=True)[0].checks[0].command == ("/bin/true",)


def parses(data: bytes) -> bool:
    try:
        parse_file(data, default_address="192.0.2.7")
    except FileError:
        return False
    return True


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_only_the_one_error_escapes_whatever_the_bytes(data: bytes) -> None:
    parses(data)


@given(cut=st.integers(0, len(GOOD)), flip=st.integers(0, len(GOOD) - 1), to=st.characters())
@settings(max_examples=200, deadline=None)
def test_only_the_one_error_escapes_from_a_file_damaged_anywhere(
    cut: int, flip: int, to: str
) -> None:
    parses((GOOD[:flip] + to + GOOD[flip + 1 :])[:cut].encode("utf-8", "surrogatepass"))
