"""Registrations are read strictly: what is meant comes out, all that is wrong is named."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beacond.core.model import Check, CheckType, InstanceSpec, Mode, Status
from beacond.spec.problems import PROBLEMS_MAX, Problem, SpecError
from beacond.spec.registration import (
    OUTPUT_CHARS_MAX,
    parse_health,
    parse_instance,
    parse_mode,
    parse_registration,
)

AGENT = "192.0.2.9"


def read(**fields: Any) -> InstanceSpec:
    body = {"service": "web", "port": 8080, **fields}
    return parse_registration("web-1", body, default_address=AGENT)


def check(**fields: Any) -> Check:
    (only,) = read(checks=[fields]).checks
    return only


def problems(data: object, *, allow_exec: bool = False) -> dict[str, str]:
    with pytest.raises(SpecError) as caught:
        parse_registration("web-1", data, default_address=AGENT, allow_exec=allow_exec)
    return {problem.field: problem.message for problem in caught.value.problems}


def wrong(**fields: Any) -> dict[str, str]:
    return problems({"service": "web", "port": 8080, **fields})


def test_shortest_registration_has_the_documented_defaults() -> None:
    assert read() == InstanceSpec(id="web-1", service="web", port=8080)


def test_full_registration_comes_out_sorted_and_canonical() -> None:
    spec = read(
        service="Web",
        ports={"metrics": 9100, "Admin": 9000},
        address="2001:DB8:0::1",
        tags=["b", "a", "b"],
        meta={"z": "1", "a": ""},
        weight=0,
    )
    assert spec.service == "web"
    assert spec.ports == (("admin", 9000), ("metrics", 9100))
    assert spec.address == "2001:db8::1"
    assert spec.tags == ("a", "b")
    assert spec.meta == (("a", ""), ("z", "1"))
    assert spec.weight == 0


def test_number_written_as_a_float_is_the_same_number() -> None:
    assert read(port=8080.0).port == 8080
    assert wrong(port=8080.5) == {"port": "must be a whole number"}


def test_table_of_a_file_has_its_id_inside() -> None:
    table = {"id": "web/1", "service": "web", "port": 1}
    assert parse_instance(table, default_address=AGENT).id == "web/1"
    with pytest.raises(SpecError, match="id: is required"):
        parse_instance({"service": "web", "port": 1}, default_address=AGENT)


def test_id_in_the_body_of_a_put_is_refused() -> None:
    assert wrong(id="other") == {"id": "is given by the path"}


@pytest.mark.parametrize("bad", ["", " a", "a ", "a\n", "ä", "a" * 256])
def test_id_that_is_no_id_is_refused(bad: str) -> None:
    with pytest.raises(SpecError, match="id: must be 1 to 255 printable ASCII"):
        parse_registration(bad, {"service": "web", "port": 1}, default_address=AGENT)


@pytest.mark.parametrize("bad", ["web_api", "web.api", "-web", "web-", "", "a" * 63, "wéb", "a\n"])
def test_service_that_dns_cannot_carry_is_refused_with_the_rule(bad: str) -> None:
    message = wrong(service=bad)["service"]
    assert "1 to 62 of a-z, 0-9 and '-'" in message
    assert "DNS" in message


@pytest.mark.parametrize(
    ("fields", "field", "said"),
    [
        ({"port": 0}, "port", "at least 1"),
        ({"port": 65536}, "port", "at most 65535"),
        ({"port": True}, "port", "whole number"),
        ({"port": "80"}, "port", "whole number"),
        ({"port": 10**400}, "port", "at most 65535"),
        ({"weight": -1}, "weight", "at least 0"),
        ({"weight": 65536}, "weight", "at most 65535"),
        ({"colour": "blue"}, "colour", "is not a known field here"),
        ({"address": "localhost"}, "address", "IPv4 or IPv6 literal"),
        ({"address": "0.0.0.0"}, "address", "IPv4 or IPv6 literal"),
        ({"address": "fe80::1%eth0"}, "address", "IPv4 or IPv6 literal"),
        ({"tags": ["ok", ""]}, "tags[1]", "1 to 255 bytes"),
        ({"tags": ["ä" * 128]}, "tags[0]", "1 to 255 bytes"),
        ({"tags": ["\ud800"]}, "tags[0]", "valid Unicode"),
        ({"tags": [str(n) for n in range(65)]}, "tags", "at most 64 entries"),
        ({"tags": "blue"}, "tags", "must be a list"),
        ({"meta": {"k": "v" * 513}}, "meta.k", "at most 512 bytes"),
        ({"meta": {"k" * 129: "v"}}, "meta." + "k" * 114 + "…", "at most 128 bytes"),
        ({"meta": {"": "v"}}, "meta.", "must not be empty"),
        ({"meta": {"k": 1}}, "meta.k", "must be a string"),
        ({"meta": {str(n): "" for n in range(65)}}, "meta", "at most 64 entries"),
        ({"ports": {"tcp": 1}}, "ports.tcp", "neither 'tcp' nor 'udp'"),
        ({"ports": {"a": 0}}, "ports.a", "at least 1"),
        ({"ports": {"A": 1, "a": 2}}, "ports", "differ only in the case"),
        ({"ports": {f"p{n}": 1 for n in range(33)}}, "ports", "at most 32 entries"),
        ({"checks": [{"type": "tcp"}] * 17}, "checks", "at most 16 entries"),
        ({"checks": [{}]}, "checks[0].type", "is required"),
        ({"checks": [7]}, "checks[0]", "must be an object"),
        ({"checks": [{"type": "icmp"}]}, "checks[0].type", "'http'"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], field: str, said: str) -> None:
    found = wrong(**fields)
    assert list(found) == [field]
    assert said in found[field]


def test_every_problem_is_told_at_once() -> None:
    found = problems({"port": 0, "x": 1, "checks": [{"type": "ttl", "interval": "1s"}]})
    assert set(found) == {"service", "port", "x", "checks[0].ttl", "checks[0].interval"}


def test_problems_are_limited_in_number_and_size() -> None:
    found = problems({"x" * 10_000 + str(n): n for n in range(1000)})
    assert len(found) <= PROBLEMS_MAX
    assert all(len(field) <= 120 for field in found)


@pytest.mark.parametrize("data", [None, [], "x", 1, True])
def test_what_is_no_object_is_refused(data: object) -> None:
    assert problems(data) == {"": "must be an object"}


def test_http_check_with_a_path_goes_to_the_instance() -> None:
    own = read(address="2001:db8::1", checks=[{"type": "http", "path": "/h"}])
    assert own.checks[0].url == "http://[2001:db8::1]:8080/h"
    assert check(type="http", path="/h", port=9).url == f"http://{AGENT}:9/h"
    assert check(type="http", url="https://a.example/h").url == "https://a.example/h"


def test_checks_have_the_documented_defaults() -> None:
    assert check(type="tcp") == Check(CheckType.TCP, "tcp", port=8080)
    assert check(type="ttl", ttl="30s") == Check(CheckType.TTL, "ttl", ttl_s=30.0)


def test_check_takes_all_its_fields() -> None:
    assert check(
        type="tcp", name="db", port=5432, interval="1m", timeout="250ms", failures=1, passes=2,
        deregister_after="10m", status="passing",
    ) == Check(
        CheckType.TCP, "db", port=5432, interval_s=60.0, timeout_s=0.25, failures=1, passes=2,
        deregister_after_s=600.0, initial=Status.PASSING,
    )  # fmt: skip


def test_unnamed_checks_get_names_that_differ_also_from_given_ones() -> None:
    checks = [{"type": "tcp"}, {"type": "tcp", "name": "tcp-2"}, {"type": "tcp"}]
    assert [each.name for each in read(checks=checks).checks] == ["tcp", "tcp-2", "tcp-3"]


def test_second_check_of_one_name_is_refused() -> None:
    checks = [
        {"type": "tcp"},
        {"type": "tcp", "name": "a"},
        {"type": "ttl", "ttl": "1s", "name": "a"},
    ]
    assert list(wrong(checks=checks)) == ["checks[2].name"]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"type": "http"}, ""),
        ({"type": "http", "url": "http://a", "path": "/"}, ""),
        ({"type": "http", "url": "http://a", "port": 1}, ".port"),
        ({"type": "http", "url": "ftp://a"}, ".url"),
        ({"type": "http", "url": "http:///x"}, ".url"),
        ({"type": "http", "url": "http://[::1"}, ".url"),
        ({"type": "http", "url": "http://a:99999"}, ".url"),
        ({"type": "http", "url": "http://a/\r\nX: y"}, ".url"),
        ({"type": "http", "path": "health"}, ".path"),
        ({"type": "http", "path": "/a b"}, ".path"),
        ({"type": "http", "path": "/", "ttl": "1s"}, ".ttl"),
        ({"type": "tcp", "interval": "999ms"}, ".interval"),
        ({"type": "tcp", "interval": 10}, ".interval"),
        ({"type": "tcp", "timeout": "0s"}, ".timeout"),
        ({"type": "tcp", "timeout": "6m"}, ".timeout"),
        ({"type": "tcp", "failures": 0}, ".failures"),
        ({"type": "tcp", "passes": 101}, ".passes"),
        ({"type": "tcp", "name": ""}, ".name"),
        ({"type": "tcp", "name": "a\tb"}, ".name"),
        ({"type": "tcp", "status": "ok"}, ".status"),
        ({"type": "tcp", "deregister_after": "500ms"}, ".deregister_after"),
        ({"type": "ttl"}, ".ttl"),
        ({"type": "ttl", "ttl": "999ms"}, ".ttl"),
    ],
)
def test_wrong_check_is_refused(fields: dict[str, Any], field: str) -> None:
    assert list(wrong(checks=[fields])) == [f"checks[0]{field}"]


def test_exec_check_comes_from_files_only_and_only_where_allowed() -> None:
    table = {
        "id": "a",
        "service": "a",
        "port": 1,
        "checks": [{"type": "exec", "command": ["/bin/true", ""]}],
    }
    allowed = parse_instance(table, default_address=AGENT, allow_exec=True)
    assert allowed.checks[0].command == ("/bin/true", "")
    with pytest.raises(SpecError, match=r"checks\[0\].type: .*services_dir.*allow_exec = true"):
        parse_instance(table, default_address=AGENT)


@pytest.mark.parametrize("command", [[], [""], ["a\0b"], "ls", [1], ["a"] * 65])
def test_command_that_cannot_run_is_refused(command: object) -> None:
    body = {"service": "a", "port": 1, "checks": [{"type": "exec", "command": command}]}
    assert all(f.startswith("checks[0].command") for f in problems(body, allow_exec=True))


def test_health_is_read_and_its_output_cut() -> None:
    report = parse_health({"status": "warning", "output": "x" * 50_000, "check": "ttl"})
    assert (report.status, report.check) == (Status.WARNING, "ttl")
    assert len(report.output) == OUTPUT_CHARS_MAX
    with pytest.raises(SpecError, match="status: must be 'passing', 'warning' or 'critical'"):
        parse_health({"status": "ok"})


def test_mode_is_read_with_its_end() -> None:
    asked = parse_mode({"mode": "draining", "for": "10m", "reason": "deploy"})
    assert (asked.mode, asked.for_s, asked.reason) == (Mode.DRAINING, 600.0, "deploy")
    assert parse_mode({"mode": "normal"}).for_s is None


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"mode": "off"}, "mode"),
        ({"mode": "draining", "for": "25h"}, "for"),
        ({"mode": "draining", "for": "0s"}, "for"),
        ({"mode": "draining", "for_": "1h"}, "for_"),
        ({"mode": "normal", "for": "1h"}, "for"),
        ({"mode": "draining", "reason": "a\nb"}, "reason"),
        ({"mode": "draining", "reason": "ä" * 128}, "reason"),
        ({}, "mode"),
    ],
)
def test_wrong_mode_is_refused(body: dict[str, Any], field: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_mode(body)
    assert [problem.field for problem in caught.value.problems] == [field]


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)
fields = st.sampled_from(
    ["service", "port", "ports", "address", "tags", "meta", "weight", "checks"]
)


@given(st.dictionaries(fields, json_like) | json_like)
def test_any_json_is_a_registration_or_a_spec_error_that_can_be_sent(data: object) -> None:
    told: tuple[Problem, ...] = ()
    try:
        parse_registration("a", data, default_address=AGENT)
    except SpecError as error:
        told = error.problems or (Problem("", "\ud800"),)
    for problem in told:
        (problem.field + problem.message).encode()
