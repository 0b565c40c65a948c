"""Cycles of about a minute: churn and two faults, everything back, a look at a quiet point."""

import asyncio
import time
from pathlib import Path

from tests.soak.churn import Churn, fill_event_log
from tests.soak.faults import Fault, of_cycle
from tests.soak.report import Report
from tests.soak.samples import Sample, take
from tests.soak.site import ANCHOR, LASTING, Site
from tests.soak.verdict import BACK_TO_START, Finding, judge, judge_churn
from tests.support.lookups import Asked

CYCLE_S = 60.0
"""One begins only while there is so much time left."""
CALM_S = 3.0
"""Churn before and after the faults of a cycle."""
AGENT_FAULT_AFTER_S = 4.0
SETTLE_S = 60.0
"""In which a process may close what it no longer needs."""
PER_S = 8.0
"""Lookups a second, to each agent over each of HTTP and DNS."""


class Soak:
    def __init__(self, folder: Path, report: Report, logs: Path | None = None) -> None:
        """`logs`: a folder that gets the agents' logs in the end."""
        self._folder = folder
        self._logs = logs
        self._report = report
        self._began_at = time.monotonic()
        self._failures: list[str] = []
        self._churned = 0
        self._refused: list[str] = []
        self._told = 0
        self.samples: list[Sample] = []

    async def run(self, for_s: float) -> list[Finding]:
        """Raises AssertionError where the fleet does not come back after a fault."""
        async with Site(self._folder, self._logs) as site:
            self._began_at = time.monotonic()
            starts = await self._settled(site, None)
            self._report.say("fleet whole, nothing done yet")
            self._report.head()
            self._report.samples(list(starts.values()))
            await asyncio.gather(*(fill_event_log(site, name) for name in LASTING))
            self._report.say("event logs full")
            asked = await self._soak(site, for_s)
            ends = await self._settled(site, starts)
            self._report.say("everything ended")
            self._report.samples(list(ends.values()))
        quiet = {name: [s for s in self.samples if s.agent == name] for name in LASTING}
        both = {name: (starts[name], ends[name]) for name in LASTING}
        found = judge(quiet, both, asked=asked, failures=self._failures)
        return [*found, judge_churn(self._churned, self._refused)]

    async def _soak(self, site: Site, for_s: float) -> int:
        """How many lookups were answered."""
        cycle = 0
        counts = None
        try:
            async with site.fleet.asking([ANCHOR], per_s=PER_S) as asked:
                counts = asked
                while cycle == 0 or time.monotonic() - self._began_at < for_s - CYCLE_S:
                    await self._cycle(site, cycle)
                    cycle += 1
                    self._report.say(str(asked.counts))
                    self._tell_new(asked)
        except AssertionError as error:
            # The verdict over lookups; what else went wrong has ended the soak, and says so too.
            self._failures.append(str(error))
        return 0 if counts is None else counts.counts.answered.total()

    def _tell_new(self, asked: Asked) -> None:
        """What was wrong with answers, as soon as it is known."""
        for line in asked._told[self._told :]:
            self._report.say(line)
        self._told = len(asked._told)

    async def _cycle(self, site: Site, number: int) -> None:
        bus_fault, agent_fault = of_cycle(number)
        self._report.say(f"cycle {number + 1}: {_name(bus_fault)}, {_name(agent_fault)}")
        async with Churn(site, number) as churn:
            await asyncio.sleep(CALM_S)
            await asyncio.gather(bus_fault(site), _later(agent_fault, site))
            await site.whole()
            await asyncio.sleep(CALM_S)
        self._churned += churn.done
        self._refused += churn.failures
        await site.whole()
        found = [await self._sample(site, name) for name in LASTING]
        self.samples += found
        self._report.samples(found)

    async def _settled(self, site: Site, starts: dict[str, Sample] | None) -> dict[str, Sample]:
        """Samples once they no longer fall, or have come back to those at first."""
        deadline = time.monotonic() + SETTLE_S
        while True:
            before = {name: await self._sample(site, name) for name in LASTING}
            await asyncio.sleep(2.0)
            now = {name: await self._sample(site, name) for name in LASTING}
            back = all(
                getattr(now[name], what) <= getattr((starts or before)[name], what)
                for name in LASTING
                for what in BACK_TO_START
            )
            if back or time.monotonic() > deadline:
                return now

    async def _sample(self, site: Site, name: str) -> Sample:
        metrics = await site.metrics(name)
        newest = (await site.fleet.get(name, "/v1/events"))["next"]
        # The connection that asked is gone at our end, and soon at the agent's.
        await asyncio.sleep(0.1)
        pid = site.fleet[name].process.process.pid
        return take(name, pid, metrics, self._began_at, int(newest.rpartition(".")[2]))


async def _later(fault: Fault, site: Site) -> None:
    await asyncio.sleep(AGENT_FAULT_AFTER_S)
    await fault(site)


def _name(fault: Fault) -> str:
    return fault.__name__.replace("_", " ")
