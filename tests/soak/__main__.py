"""`python -m tests.soak [--minutes 30] [--json FILE] [--logs FOLDER]`: a fleet under churn and
faults, and what it uses meanwhile. Exit status 1 where anything leaks or a lookup fails."""

import argparse
import asyncio
import json
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from tests.demo.processes import adopt_orphans, end_all_that_is_left
from tests.soak.report import Report
from tests.soak.soak import Soak
from tests.soak.verdict import Finding, violated
from tests.support.rabbitmq import missing_program


def main() -> int:
    asked = _arguments()
    if program := missing_program():
        print(f"soak: {program} is not on this machine", file=sys.stderr)
        return 1
    adopt_orphans()
    report = Report()
    try:
        with tempfile.TemporaryDirectory(prefix="bcn-soak-", ignore_cleanup_errors=True) as folder:
            soak = Soak(Path(folder), report, asked.logs)
            findings = asyncio.run(soak.run(60 * asked.minutes))
    finally:
        end_all_that_is_left()
    report.verdict(findings)
    if asked.json is not None:
        asked.json.write_text(json.dumps(_told(soak, findings), indent=1) + "\n")
    return 1 if violated(findings) else 0


def _told(soak: Soak, findings: list[Finding]) -> dict[str, object]:
    return {
        "load": os.getloadavg()[0],
        "samples": [asdict(sample) for sample in soak.samples],
        "findings": [asdict(finding) for finding in findings],
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--json", type=Path, help="the figures, for a program")
    parser.add_argument("--logs", type=Path, help="a folder for the agents' logs")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
