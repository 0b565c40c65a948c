"""What the samples of a soak prove: a pure function of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.soak.samples import LOG_EVENTS, Sample

WARM_UP_S = 300.0
"""Until then an agent's memory may grow: caches fill, the allocator finds its size."""
WARM_EVENTS = 2 * LOG_EVENTS
"""Until then, too: the event log is first filled with events of the agent's own, and those that
come from others, which share nothing with each other, then take their place."""
WINDOW_S = 600.0
RISE_PERCENT_MAX = 1.0
"""Of resident memory, in one window."""
JUDGED_FOR_S = 600.0
"""A rise over less time than that says nothing of ten minutes."""
POINTS_MIN = 5
BACK_TO_START = ("tasks", "fds", "waiters", "streams")


@dataclass(frozen=True, slots=True)
class Finding:
    agent: str
    what: str
    holds: bool | None
    """None: not judged."""
    text: str


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Of the straight line with the least squares; 0 where all points have one x."""
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    if spread == 0:
        return 0.0
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread


def rise_percent(samples: Sequence[Sample]) -> float:
    """How much memory grows in a window, of its mean."""
    mean = sum(sample.rss_kib for sample in samples) / len(samples)
    per_s = slope([(sample.at_s, sample.rss_kib) for sample in samples])
    return 100 * per_s * WINDOW_S / mean


def judge_memory(samples: Sequence[Sample]) -> Finding:
    """Of one agent that lived through it all, at quiet points, in order."""
    warm = [s for s in samples if s.at_s >= WARM_UP_S and s.events >= WARM_EVENTS]
    long_enough = len(warm) >= POINTS_MIN and warm[-1].at_s - warm[0].at_s >= JUDGED_FOR_S
    judged = warm if long_enough else samples
    rise = rise_percent(judged)
    over_s = judged[-1].at_s - judged[0].at_s
    text = (
        f"{judged[0].rss_kib / 1024:.1f} to {judged[-1].rss_kib / 1024:.1f} MiB over "
        f"{over_s:.0f} s, {rise:+.2f} % in 10 min by {len(judged)} samples"
    )
    if not long_enough:
        text += f"; not judged: needs 10 min after the fifth and {WARM_EVENTS} events"
    return Finding(
        samples[0].agent, "memory", rise < RISE_PERCENT_MAX if long_enough else None, text
    )


def judge_return(start: Sample, end: Sample) -> list[Finding]:
    """After everything has ended, nothing is more than before it began."""
    found = []
    for what in BACK_TO_START:
        before, after = getattr(start, what), getattr(end, what)
        found.append(Finding(end.agent, what, after <= before, f"{before} at first, {after} last"))
    # A pool of threads grows to its size and stays; it is shown, and bounded by itself.
    found.append(Finding(end.agent, "threads", None, f"{start.threads} at first, {end.threads}"))
    return found


def judge(
    quiet: Mapping[str, Sequence[Sample]],
    ends: Mapping[str, tuple[Sample, Sample]],
    *,
    asked: int,
    failures: Sequence[str],
) -> list[Finding]:
    """`quiet`: of each agent that lived through it all, samples at quiet points; `ends`: its
    samples before everything and after it; `failures`: what was wrong with answers."""
    found = [judge_memory(samples) for samples in quiet.values()]
    for start, end in ends.values():
        found += judge_return(start, end)
    text = f"{asked} asked, {len(failures)} failed" + (
        f"; first: {failures[0]}" if failures else ""
    )
    found.append(Finding("all", "lookups", asked > 0 and not failures, text))
    return found


def judge_churn(done: int, refused: Sequence[str]) -> Finding:
    """`refused`: what agents that nothing was done to did not do as asked."""
    text = f"{done} changes, waits and streams, {len(refused)} refused"
    first = f"; first: {refused[0]}" if refused else ""
    return Finding("all", "churn", done > 0 and not refused, text + first)


def violated(findings: Sequence[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.holds is False]
