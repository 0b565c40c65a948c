"""`beacond plan`, for which no agent is needed."""

import json
import math
import re

import pytest

from beacond.cli import unit_costs
from beacond.cli.fleet_plan import FULL, Fleet, hosts_max, reckon
from beacond.spec.durations import format_duration
from tests.support.agent_process import call, rows


def plan(*arguments: str) -> str:
    done = call("plan", *arguments, BEACOND_AGENT="http://127.0.0.1:1")
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_what_is_printed_is_what_is_reckoned():
    found = rows(plan("--hosts", "300", "--instances", "20", "--interval", "10s"))
    cells = {row[0]: list(row[1:]) for row in found}
    assert found[0][0].startswith("300 hosts of 20 instances, one RabbitMQ, heartbeats every 10s")
    reckoned = reckon(Fleet(300, 20, 10.0, 30.0))
    assert cells["messages in"] == ["130", "30.3"]
    assert cells["messages out"] == ["9,100", "0.433"]
    assert cells["CPU, of one core"][0] == f"{100 * reckoned.broker.cpu_cores:.3g} %"
    assert cells["memory"][1] == f"{reckoned.agent.memory_bytes / 1e6:.3g} MB"
    assert cells["a host dies: suspect, still answered"] == ["after 22s"]
    assert cells["… gone: nobody can look"] == ["after 40s"]


def test_json_has_every_figure_and_where_it_comes_from():
    found = json.loads(plan("--hosts", "1000", "--interval", "1m", "--bus", "amqp", "--json"))
    assert found["fleet"] == {"hosts": 1000, "instances": 10, "interval_s": 60.0, "ttl_s": 180.0}
    assert found["broker"]["messages_out"] == pytest.approx(1000 * 1000 / 60 + 1000 / 3)
    assert found["hosts_max"] == hosts_max(60.0)
    assert found["unit_costs"].keys() == unit_costs.named().keys()
    assert found["unit_costs"]["delivery_cpu"]["origin"]["command"]


def test_the_verdict_tells_at_how_many_hosts_a_broker_is_full():
    most = hosts_max(5.0)
    fits, full = plan("--hosts", str(most)), plan("--hosts", str(most + 1))
    about = f"one broker of 2 cores is full (60 % of them) at about {most // 10 * 10} hosts"
    assert f"Fits: {about}" in fits
    assert f"TOO MUCH: {about}" in full


def test_the_verdict_tells_what_would_carry_the_fleet():
    reckoned = reckon(Fleet(1000, 10, 5.0, 15.0))
    cores = math.ceil(reckoned.broker.cpu_cores / FULL)
    ways = f"a broker of {cores} cores or an interval of {format_duration(reckoned.interval_min_s)}"
    assert f"1,000 hosts take {ways}." in plan("--hosts", "1000")


def test_an_interval_that_no_agent_takes_is_not_offered():
    assert reckon(Fleet(9000, 10, 5.0, 15.0)).interval_min_s == float("inf")
    (way,) = (line for line in plan("--hosts", "9000").splitlines() if " take " in line)
    assert re.fullmatch(r"9,000 hosts take a broker of [0-9,]+ cores\.", way)


def test_no_interval_is_told_as_none_in_json():
    found = json.loads(plan("--hosts", "20000", "--json"))
    assert (found["fits"], found["interval_min_s"]) == (False, None)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "Missing option '--hosts'"),
        (["--hosts", "0"], "0 is not in the range"),
        (["--hosts", "3", "--interval", "5"], "'--interval': must be a duration with a unit"),
        (["--hosts", "3", "--interval", "1h"], "200ms to 20m"),
        (["--hosts", "3", "--ttl", "14s"], "'--ttl': must be at least 3 × the interval, so 15s"),
        (["--hosts", "3", "--bus", "nats"], "'nats' is not 'amqp'"),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_2(arguments, complaint):
    done = call("plan", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert complaint in done.stderr
    assert done.stderr.count("\n") == 1
