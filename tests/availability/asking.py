"""Lookups at a host, as a program there would make them, each answer judged by the truth."""

import asyncio
import time
from dataclasses import dataclass
from itertools import cycle

from tests.availability.tally import Slots, Tally
from tests.peers.base import Answer, Host, LookupFailed
from tests.support.truth import Key, Truth

RETRY_S = 0.05


@dataclass(frozen=True, slots=True)
class Terms:
    """What is asked of every system alike."""

    per_s: float
    """Lookups a second, at each host that is asked."""
    budget_s: float
    """A lookup may be tried again, and has to be answered, within this."""
    window_s: float
    """An answer is right if it was the truth at some moment this long ago or later."""


@dataclass(frozen=True, slots=True)
class Outcome:
    answer: Answer | None
    attempts: int
    took_s: float
    why_not: str = ""


def key_of(instance_id: str) -> Key:
    """Ids here begin with the name of the host that the instance runs on."""
    return Key(instance_id.partition("-")[0], instance_id)


def wrong(truth: Truth, service: str, outcome: Outcome, window_s: float) -> list[str]:
    """Complaints about an answer; none: it is right."""
    answer = outcome.answer
    assert answer is not None
    begin = answer.answered_at - outcome.took_s - window_s
    return truth.wrong(service, map(key_of, answer.ids), begin, answer.answered_at)


async def look_up(host: Host, service: str, budget_s: float) -> Outcome:
    """Ask until there is an answer or the time is over."""
    began_at = time.monotonic()
    deadline = began_at + budget_s
    attempts, why_not = 0, ""
    while (left_s := deadline - time.monotonic()) > RETRY_S or not attempts:
        attempts += 1
        try:
            answer = await host.lookup(service, left_s)
        except LookupFailed as error:
            why_not = str(error)
            await asyncio.sleep(RETRY_S)
            continue
        took_s = answer.answered_at - began_at
        if took_s > budget_s:
            return Outcome(None, attempts, took_s, f"answered after {took_s:.2f} s")
        return Outcome(answer, attempts, took_s)
    return Outcome(None, attempts, time.monotonic() - began_at, why_not)


async def ask(
    host: Host, services: tuple[str, ...], slots: Slots, terms: Terms, truth: Truth, tally: Tally
) -> None:
    """Returns when the last slot is over and its lookup done."""
    slot = 0
    for service in cycle(services):
        if slot >= slots.total:
            return
        await asyncio.sleep(slots.at(slot) - time.monotonic())
        outcome = await look_up(host, service, terms.budget_s)
        following = slots.following(slot, time.monotonic())
        _count(outcome, following - slot, service, terms, truth, tally)
        slot = following


def _count(
    outcome: Outcome, slots: int, service: str, terms: Terms, truth: Truth, tally: Tally
) -> None:
    if outcome.answer is None:
        tally.lookup(slots, answered=False, attempts=outcome.attempts)
        tally.note(slots, outcome.why_not)
        return
    complaints = wrong(truth, service, outcome, terms.window_s)
    tally.lookup(
        slots,
        answered=True,
        right=not complaints,
        attempts=outcome.attempts,
        took_s=outcome.took_s,
    )
    if complaints:
        tally.note(slots, f"wrong: {complaints[0]}")
