"""DNS over UDP beside unbound and dnsmasq: answers for their CPU, and the time that each takes."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from tests.bench import dnsperf
from tests.bench.looked_up import agent
from tests.bench.population import LOOKED_UP
from tests.bench.process import missing
from tests.bench.questions import SRV, UNKNOWN_A, A, Questions
from tests.bench.reference_dns import dnsmasq, unbound
from tests.bench.report import Section, quantile
from tests.bench.rounds import Side, Tally, Target, alternate, report

AIMS = {"A": "at least 1.0", "SRV": "at least 0.8", "unknown names": "at least 1.0"}


def measure(folder: Path, seconds: int, rounds: int) -> list[Section]:
    folder.mkdir()
    section = Section(
        f"DNS over UDP, {LOOKED_UP.services} services of {LOOKED_UP.per_service} instances"
    )
    latency = Section("DNS over UDP, from question to answer at half of what unbound can")
    if absent := missing("dnsperf"):
        section.skipped.append(absent)
        return [section]
    with ExitStack() as stack:
        ours = stack.enter_context(agent(folder / "agent")).dns
        peers = []
        for name, peer in (("unbound", unbound), ("dnsmasq", dnsmasq)):
            if absent := missing(name):
                section.skipped.append(f"{name} beside it: {absent}")
            else:
                peers.append(stack.enter_context(peer(folder)))
        unbounds = [peer for peer in peers if peer.name == "unbound"]
        tallies = _compare(section, A, [ours, *peers], folder, seconds, rounds)
        _compare(section, SRV, [ours, *unbounds], folder, seconds, rounds)
        _compare(section, UNKNOWN_A, [ours, *unbounds], folder, seconds, rounds)
        section.notes.append("SRV: the others add no addresses to their answers, the agent does")
        for tally in tallies:
            if tally.name == "unbound":
                per_s = round(median(tally.per_wall_s) / 2)
                _latencies(latency, per_s, [ours, *unbounds], folder, seconds, rounds)
    return [section, latency] if latency.rows else [section]


def _compare(
    section: Section,
    asked: Questions,
    targets: Sequence[Target],
    folder: Path,
    seconds: int,
    rounds: int,
) -> list[Tally]:
    def side(target: Target) -> Side:
        return Side(target.name, lambda number: asked.load(target, folder, seconds, number))

    tallies = alternate([side(target) for target in targets], rounds)
    aims = [AIMS[asked.title] if target.name == "unbound" else "" for target in targets[1:]]
    report(section, asked.title, tallies, aims)
    return tallies


def _latencies(
    section: Section,
    per_s: int,
    targets: Sequence[Target],
    folder: Path,
    seconds: int,
    rounds: int,
) -> None:
    """At the same rate for both."""
    times: dict[str, list[list[float]]] = {target.name: [] for target in targets}
    unanswered = dict.fromkeys(times, 0)
    for number in range(rounds):
        for target in targets if number % 2 == 0 else reversed(targets):
            A.check(target)
            questions, output = A.file(folder, number), folder / "dnsperf"
            told = dnsperf.run(target.port, questions, seconds, output, per_s=per_s)
            times[target.name].append(told.latencies_s)
            unanswered[target.name] += told.sent - told.rcodes.get(A.rcode, 0)
    for share, name, aim in ((0.5, "median", ""), (0.99, "p99", "at most 1.5")):
        ours, others = (
            [1000 * quantile(each, share) for each in rounds_of] for rounds_of in times.values()
        )
        what = f"A, {per_s:,} a second: {name}"
        section.add_rounds(what, "ms", ours, beside=targets[1].name, others=others, aim=aim)
    if any(unanswered.values()):
        counts = ", ".join(f"{count:,} of {name}" for name, count in unanswered.items())
        section.notes.append(f"answers lost or wrong: {counts}")
