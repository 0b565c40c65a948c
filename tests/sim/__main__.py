"""Run fleets under random faults: one seed with all that happened, or many with a summary.

python -m tests.sim --seed 7
python -m tests.sim --seeds 2000 --first 1 --jobs 2
python -m tests.sim --fleet 100 --minutes 10
"""

import argparse
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from tests.sim.crowd import crowd
from tests.sim.trial import drawn, run_seed
from tests.sim.watch import Violation

SHOWN_MAX = 10
"""Violations told in full."""


@dataclass(frozen=True, slots=True)
class Outcome:
    seed: int
    violation: str
    busiest: float
    virtual_s: float
    received: int


def outcome(seed: int) -> Outcome:
    try:
        world = run_seed(seed).world
    except Violation as violation:
        return Outcome(seed, str(violation), 0.0, 0.0, 0)
    except Exception as error:
        error.add_note(f"seed {seed}, again: python -m tests.sim --seed {seed}")
        raise
    received = sum(host.received for host in world.hosts.values())
    return Outcome(seed, "", world.watch.busiest, world.now, received)


def one(seed: int) -> int:
    setup, program = drawn(seed)
    print(setup, *program, "", sep="\n")
    try:
        trial = run_seed(seed)
    except Violation as violation:
        print(violation)
        return 1
    print(*trial.world.history, sep="\n")
    print(f"\nseed {seed}: no violation; history {trial.world.watch.history.digest()}")
    return 0


def outcomes(seeds: range, jobs: int) -> Iterator[Outcome]:
    if jobs == 1:
        yield from map(outcome, seeds)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(outcome, seeds, chunksize=4)


def many(seeds: range, jobs: int) -> int:
    began = time.perf_counter()
    found: list[Outcome] = []
    virtual_s, received, busiest = 0.0, 0, (0.0, 0)
    for each in outcomes(seeds, jobs):
        virtual_s, received = virtual_s + each.virtual_s, received + each.received
        busiest = max(busiest, (each.busiest, each.seed))
        if each.violation:
            found.append(each)
            print(f"seed {each.seed}: {each.violation.splitlines()[0]}", flush=True)
    took_s = time.perf_counter() - began
    for each in found[:SHOWN_MAX]:
        print(f"\n======== seed {each.seed}\n{each.violation}")
    print(
        f"\n{len(seeds)} seeds in {took_s:.0f} s: {virtual_s / 3600:.1f} hours of virtual time,"
        f" {received} messages received, at most {busiest[0]:.1f} messages an agent and interval"
        f" (seed {busiest[1]}); {len(found)} violations"
    )
    return 1 if found else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__.split("\n")[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--seed", type=int, help="run this one and print its history")
    what.add_argument("--seeds", type=int, help="run so many")
    what.add_argument("--fleet", type=int, help="time so many agents at rest")
    parser.add_argument("--first", type=int, default=1, help="the first of the seeds (1)")
    parser.add_argument("--jobs", type=int, default=1, help="processes (1)")
    parser.add_argument("--minutes", type=float, default=10.0, help="virtual, with --fleet (10)")
    given = parser.parse_args()
    if given.seed is not None:
        return one(given.seed)
    if given.seeds is not None:
        return many(range(given.first, given.first + given.seeds), given.jobs)
    print(crowd(given.fleet, given.minutes))
    return 0


if __name__ == "__main__":
    sys.exit(main())
