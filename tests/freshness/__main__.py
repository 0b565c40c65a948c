"""`python -m tests.freshness [--quick] [--only SYSTEM]... [--json FILE]`."""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.availability.systems import SYSTEMS, lacks_lan
from tests.demo.processes import adopt_orphans, end_all_that_is_left
from tests.freshness import table
from tests.freshness.churn import CHANGE_EVERY_S, SERVICES
from tests.freshness.run import FULL, QUICK, SEED, Extent, measure
from tests.freshness.table import Column
from tests.peers.base import EVEN
from tests.support import machine

LOOPBACK = "addresses of loopback (a crashed host's ports refuse connections)"


def main() -> None:
    asked = _arguments()
    extent = QUICK if asked.quick else FULL
    about = _about(extent, quick=asked.quick)
    adopt_orphans()
    try:
        columns, missing = asyncio.run(_measured(asked.only or [s.key for s in SYSTEMS], extent))
    finally:
        end_all_that_is_left()
    about["load_at_end"] = machine.load()
    print("\n".join(_report(about, columns, missing)))
    if asked.json is not None:
        about |= {"systems": table.figures(columns), "missing": missing}
        asked.json.write_text(json.dumps(about, indent=1) + "\n")


async def _measured(keys: Sequence[str], extent: Extent) -> tuple[list[Column], list[str]]:
    """The columns, and why others are not among them. One system after the other, so that each has
    the machine to itself."""
    columns, missing = [], []
    for system in (each for each in SYSTEMS if each.key in keys):
        if lacks := system.missing():
            missing.append(f"{system.name}: {lacks} is not installed")
            continue
        began_at = time.monotonic()
        columns.append(await measure(system, extent))
        took_s = time.monotonic() - began_at
        print(f"{system.name}: {took_s:.0f} s", file=sys.stderr, flush=True)
    return columns, missing


def _report(about: dict[str, Any], columns: Sequence[Column], missing: Sequence[str]) -> list[str]:
    made_on, extent = about["machine"], about["extent"]
    return [
        f"Measured on {about['time'][:10]} by `{about['command']}` on {made_on['cores']} cores,"
        f" Linux {made_on['kernel']}, Python {made_on['python']}; load average"
        f" {about['load_at_begin']} at the beginning, {about['load_at_end']} at the end.",
        "In brackets: times beacond's. One system at a time, on three hosts that are"
        f" {about['hosts']}. What happens at one host is looked up at the two others, each lookup"
        " 1 ms (10 ms where seconds are measured) after the one before.",
        f"Wrong: at no moment between question and answer the truth. {len(SERVICES)} services, an"
        f" instance of each at each host; every {CHANGE_EVERY_S:g} s one is replaced, for"
        f" {extent['churn_s']:g} s.",
        "",
        *([table.markdown(columns), ""] if columns else []),
        *(f"- {note}" for note in table.notes(columns)),
        *(f"- Not measured: {reason}." for reason in missing),
    ]


def _about(extent: Extent, *, quick: bool) -> dict[str, Any]:
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": "python -m tests.freshness --quick" if quick else "make freshness",
        "machine": machine.facts(),
        "load_at_begin": machine.load(),
        "extent": asdict(extent),
        "timing": asdict(EVEN),
        "seed": SEED,
        "hosts": "network namespaces on a bridge" if lacks_lan() is None else LOOPBACK,
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.freshness", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="once or twice each, seconds")
    parser.add_argument(
        "--only", action="append", choices=[s.key for s in SYSTEMS], help="this system; repeatable"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    return parser.parse_args()


if __name__ == "__main__":
    main()
