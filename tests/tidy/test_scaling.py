"""What docs/scaling.md shows of `beacond plan` is what it prints."""

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from beacond.cli import cli, plan
from beacond.cli.fleet_plan import Fleet, hosts_max, reckon
from beacond.spec.durations import parse_duration

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "scaling.md").read_text()
SESSION = re.compile(r"^```console\n\$ beacond (plan [^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ROW = re.compile(r"^\| ([0-9]+[sm]) \| (.*) \|$", re.MULTILINE)


@pytest.mark.parametrize(("command", "shown"), SESSION.findall(PAGE))
def test_a_shown_plan_is_what_is_printed(command, shown):
    done = CliRunner().invoke(cli, shlex.split(command))
    assert done.output == shown


@pytest.mark.parametrize(("interval", "cells"), ROW.findall(PAGE))
def test_the_table_of_full_brokers_is_what_is_reckoned(interval, cells):
    interval_s = parse_duration(interval)
    hosts = plan._rounded(hosts_max(interval_s))
    found = reckon(Fleet(hosts, 10, interval_s, 3 * interval_s))
    seconds = (found.detection.suspect_s, found.detection.gone_s, found.detection.unseen_s)
    broker = plan._bytes(found.broker.memory_bytes)
    assert cells.split(" | ") == [f"{hosts:,}", *map(plan._after, seconds), broker]


def test_plans_and_table_are_found():
    assert len(SESSION.findall(PAGE)) == 2
    assert len(ROW.findall(PAGE)) == 5
