"""`python -m tests.availability [--quick] [--only SYSTEM]... [--json FILE]`."""

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from beacond import __version__
from tests.availability import table
from tests.availability.asking import Terms
from tests.availability.churn import CHANGE_BUDGET_S, CHANGE_EVERY_S, SERVICES
from tests.availability.faults import FAULTS, Fault
from tests.availability.run import Column, measure
from tests.availability.systems import SYSTEMS, System, lacks_lan
from tests.availability.tally import Tally, percent
from tests.demo.processes import adopt_orphans, end_all_that_is_left
from tests.peers.base import EVEN
from tests.peers.processes import Failed
from tests.support import machine


@dataclass(frozen=True, slots=True)
class Extent:
    duration_s: float
    """Of each fault."""
    terms: Terms


WINDOW_S = EVEN.ttl_s + 3
# A lookup has as long as a resolver waits by default.
FULL = Extent(20.0, Terms(per_s=20.0, budget_s=5.0, window_s=WINDOW_S))
# A machine that is busy with tests starts an agent in seconds; the budget has to be longer.
QUICK = Extent(5.0, Terms(per_s=20.0, budget_s=20.0, window_s=WINDOW_S))


def main() -> None:
    asked = _arguments()
    extent = QUICK if asked.quick else FULL
    told = _about(extent, quick=asked.quick)
    adopt_orphans()
    try:
        run = asyncio.run(_measured(asked.only or [s.key for s in SYSTEMS], extent))
    except asyncio.CancelledError:
        sys.exit(128 + signal.SIGTERM)
    finally:
        end_all_that_is_left()
    told["load_at_end"] = machine.load()
    print("\n".join(_report(told, run)))
    if asked.json is not None:
        told |= {"systems": table.figures(FAULTS, run.columns)}
        told |= {"missing": run.missing, "failed": run.failed}
        asked.json.write_text(json.dumps(told, indent=1) + "\n")
    sys.exit(1 if run.failed else 0)


@dataclass(slots=True)
class Run:
    """The columns, and why other systems are not among them."""

    columns: list[Column] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    """Not installed here."""
    failed: list[str] = field(default_factory=list)
    """Could not be brought in order."""


async def _measured(keys: Sequence[str], extent: Extent) -> Run:
    """One system after the other, so that each has the machine to itself."""
    run = Run()
    if task := asyncio.current_task():
        # What was started is ended as well.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    for system in (each for each in SYSTEMS if each.key in keys):
        if lacks := system.missing():
            run.missing.append(f"{system.name}: {lacks} is not installed")
            continue
        try:
            run.columns.append(await _column(system, extent))
        except* (Failed, TimeoutError) as errors:
            run.failed.append(f"{system.name}: {errors.exceptions[0]}")
    return run


async def _column(system: System, extent: Extent) -> Column:
    def tell(name: str, fault: Fault, tally: Tally) -> None:
        shares = (tally.answered_share, tally.right_share, tally.accepted_share)
        answered, right, accepted = map(percent, shares)
        line = f"{name}, {fault.title}: {answered} answered, {right} rightly, {accepted} accepted"
        why_not = "".join(f"\n  {why} ({n})" for why, n in tally.why_not.most_common(3))
        print(line + why_not, file=sys.stderr, flush=True)

    return await measure(
        system, FAULTS, duration_s=extent.duration_s, terms=extent.terms, tell=tell
    )


def _report(told: dict[str, Any], run: Run) -> list[str]:
    made_on, terms = told["machine"], told["terms"]
    return [
        f"Measured on {told['time'][:10]} by `{told['command']}`, beacond {__version__}, on"
        f" {made_on['cores']} cores, Linux {made_on['kernel']}, Python {made_on['python']};"
        f" load average {told['load_at_begin']} at the beginning, {told['load_at_end']} at the"
        " end.",
        f"Each fault lasts {told['duration_s']:g} s. Each host that is asked makes"
        f" {terms['per_s']:g} lookups a second, each of which may be tried again for"
        f" {terms['budget_s']:g} s. Right is what was true at some moment of the last"
        f" {terms['window_s']:g} s. {len(SERVICES)} services, an instance of each on three hosts;"
        f" every {CHANGE_EVERY_S:g} s one is replaced by a new one, which may try to register for"
        f" {CHANGE_BUDGET_S:g} s.",
        "",
        table.lookups(FAULTS, run.columns),
        "",
        table.registrations(FAULTS, run.columns),
        "",
        *(f"- {note}" for note in table.notes(FAULTS, run.columns)),
        *(f"- Not measured: {reason}." for reason in run.missing + run.failed),
        f"- The hosts are {told['places']}.",
    ]


def _about(extent: Extent, *, quick: bool) -> dict[str, Any]:
    return {
        "beacond": __version__,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": "python -m tests.availability --quick" if quick else "make availability",
        "machine": machine.facts(),
        "load_at_begin": machine.load(),
        "duration_s": extent.duration_s,
        "places": "addresses of loopback" if lacks_lan() else "network namespaces",
        "terms": asdict(extent.terms),
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.availability", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="each fault for 5 s only")
    parser.add_argument(
        "--only", action="append", choices=[s.key for s in SYSTEMS], help="this system; repeatable"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    return parser.parse_args()


if __name__ == "__main__":
    main()
