"""`make availability` in small: a fleet loses its broker, its agents and hosts, and answers all."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.availability.faults import FAULTS

ROOT = Path(__file__).resolve().parents[2]
NO_AGENT = "local-restarted"
"""The only row in which the agent that is asked is away, and asked again until it is back."""

NOBODY_HEARS = ("one-killed", "two-killed", "all-killed", "all-frozen", "cut-off")


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("availability") / "figures.json"
    command = [sys.executable, "-m", "tests.availability", "--quick", "--only", "beacond"]
    with subprocess.Popen(
        [*command, "--json", str(path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            output, _ = process.communicate()
        except BaseException:
            # It ends what it has started; killed, it could not.
            process.terminate()
            raise
    assert process.returncode == 0, output
    figures: dict[str, Any] = json.loads(path.read_text())
    return figures


@pytest.mark.broker
@pytest.mark.timeout(300)
def test_every_lookup_is_answered_whatever_fails(told: dict[str, Any]) -> None:
    (system,) = told["systems"]
    rows = system["faults"]
    assert rows.keys() == {fault.key for fault in FAULTS}
    played = {key: row for key, row in rows.items() if "not_measured" not in row}
    assert rows.keys() - played.keys() == {"leader-killed", "leader-frozen"}
    for key, row in played.items():
        assert row["asked"] >= 100, key
        assert row["answered"] == row["asked"], (key, row)
        assert key == NO_AGENT or not row["retried"], (key, row)


@pytest.mark.broker
@pytest.mark.timeout(300)
def test_losing_the_bus_takes_nothing_out_of_answers(told: dict[str, Any]) -> None:
    for key in NOBODY_HEARS:
        row = told["systems"][0]["faults"][key]
        assert row["right"] == row["asked"], (key, row)


@pytest.mark.broker
@pytest.mark.timeout(300)
def test_registrations_are_accepted_whatever_fails(told: dict[str, Any]) -> None:
    for key, row in told["systems"][0]["faults"].items():
        if "not_measured" not in row and key != NO_AGENT:
            assert row["registrations"], key
            assert row["accepted"] == row["registrations"], (key, row)
