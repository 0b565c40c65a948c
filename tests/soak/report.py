"""What a soak prints: a line for each agent at each quiet point, and the verdict."""

import os
import time
from collections.abc import Sequence

from tests.soak.samples import Sample
from tests.soak.verdict import Finding, violated

COLUMNS = ("at", "agent", "MiB", "fds", "threads", "tasks", "waiters", "streams", "events")
ROW = "{:>7} {:>6} {:>7} {:>5} {:>8} {:>6} {:>8} {:>8} {:>8}"
SAID = {True: "holds", False: "VIOLATED", None: "shown"}


class Report:
    def __init__(self) -> None:
        self._began_at = time.monotonic()

    def say(self, text: str) -> None:
        at_s = time.monotonic() - self._began_at
        print(f"{at_s:6.0f}s {text} (load {os.getloadavg()[0]:.1f})", flush=True)

    def head(self) -> None:
        print(ROW.format(*COLUMNS), flush=True)

    def samples(self, samples: Sequence[Sample]) -> None:
        for each in samples:
            cells = (each.fds, each.threads, each.tasks, each.waiters, each.streams, each.events)
            mib = f"{each.rss_kib / 1024:.2f}"
            print(ROW.format(f"{each.at_s:.0f}s", each.agent, mib, *cells), flush=True)

    def verdict(self, findings: Sequence[Finding]) -> None:
        print()
        for each in findings:
            print(f"{SAID[each.holds]:>9}  {each.agent:>4}  {each.what:<8} {each.text}")
        found = violated(findings)
        print("\nsoak: " + (f"{len(found)} violated" if found else "nothing violated"))
