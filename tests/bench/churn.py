"""DNS lookups at an agent whose view changes all the time, beside itself when nothing changes."""

import re
import urllib.request
from pathlib import Path

from tests.bench.fleet import fleet
from tests.bench.looked_up import Agent, agent
from tests.bench.population import LOOKED_UP
from tests.bench.process import missing
from tests.bench.questions import MOVING_A
from tests.bench.report import Section
from tests.bench.rounds import Load, Side, alternate, report
from tests.support.rabbitmq import RabbitMQ

CHANGES_PER_S = 100
INTERVAL_S = 5.0
_INDEX = re.compile(r"^beacond_index (\S+)$", re.MULTILINE)


def measure(broker: RabbitMQ, folder: Path, seconds: int, rounds: int) -> Section:
    section = Section(
        f"DNS over UDP, A, while {CHANGES_PER_S} instances a second move to another address, "
        "told over RabbitMQ"
    )
    if absent := missing("dnsperf"):
        section.skipped.append(absent)
        return section
    folder.mkdir()
    flags = ("--bus", broker.url(), "--heartbeat", f"{INTERVAL_S:g}s")
    with (
        fleet(broker, LOOKED_UP, INTERVAL_S) as others,
        agent(folder / "agent", *flags, ttl="15s") as ours,
    ):

        def load(number: int) -> Load:
            return MOVING_A.load(ours.dns, folder, seconds, number)

        before = _index(ours)
        sides = [
            Side("churn", load, lambda: others.changing(CHANGES_PER_S)),
            Side("no change", load),
        ]
        tallies = alternate(sides, rounds)
        changes = _index(ours) - before
    report(section, "A", tallies, ["at least 0.7"])
    section.notes.append(
        f"{others.changes:,} changes were told, the agent's index grew {changes:,}"
    )
    return section


def _index(ours: Agent) -> int:
    """The agent's counter of changes."""
    with urllib.request.urlopen(f"{ours.running.url}/metrics") as told:
        found = _INDEX.search(told.read().decode())
    assert found is not None
    return int(float(found[1]))
