"""Looking until something is so, at the hosts where it did not happen."""

import asyncio
import time
from collections.abc import Callable, Sequence

from tests.peers.base import Answer, Host, LookupFailed

Seen = Callable[[Answer], bool]

EAGERLY_S = 0.001
"""Between two lookups at one host, for what takes milliseconds."""
PATIENTLY_S = 0.01
"""For what takes seconds."""
GIVEN_UP_AFTER_S = 60.0


class NotSeen(Exception):
    """It did not come to be within `GIVEN_UP_AFTER_S`."""


async def when(host: Host, service: str, seen: Seen, pause_s: float) -> float:
    """The moment of the first answer that shows it. Raises NotSeen."""
    deadline = time.monotonic() + GIVEN_UP_AFTER_S
    last = ""
    while time.monotonic() < deadline:
        try:
            answer = await host.lookup(service)
        except LookupFailed as error:
            last = str(error)
            await asyncio.sleep(PATIENTLY_S)
            continue
        if seen(answer):
            return answer.answered_at
        last = f"the answer is {sorted(answer.ids)}"
        await asyncio.sleep(pause_s)
    raise NotSeen(f"{host.site.name} at {host.name}, {service}: {last}")


async def each(hosts: Sequence[Host], service: str, seen: Seen, pause_s: float) -> list[float]:
    return await asyncio.gather(*(when(host, service, seen, pause_s) for host in hosts))


def has(instance_id: str) -> Seen:
    return lambda answer: instance_id in answer.ids


def lacks(instance_id: str) -> Seen:
    return lambda answer: instance_id not in answer.ids


def doubts(instance_id: str) -> Seen:
    """Suspect, or gone already."""
    return lambda answer: instance_id in answer.suspect or instance_id not in answer.ids


def others(host: Host) -> list[Host]:
    return [each for each in host.site.hosts if each is not host]
