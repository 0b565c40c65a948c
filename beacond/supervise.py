"""Keeps the parts of the agent running, each for itself: one that fails takes no other down.

A TaskGroup alone does the opposite: its first failing child cancels the rest.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, MutableMapping

log = logging.getLogger("beacond.agent")

RETRY_MIN_S = 0.5
RETRY_MAX_S = 30.0
STEADY_S = 60.0
"""Having run so long, a part begins again with the shortest delay."""


async def supervise(
    name: str,
    run: Callable[[], Awaitable[None]],
    *,
    count_restart: Callable[[str], None],
    failing: MutableMapping[str, str],
    rng: random.Random,
) -> None:
    """Run until cancelled or `run` returns; begin again, with jitter, when it fails.

    What the environment refuses (OSError) is told in one line, anything else with its traceback.
    The same cause is told once; `failing` holds it, by name, until the next attempt.
    """
    loop = asyncio.get_running_loop()
    delay_s, told = RETRY_MIN_S, ""
    while True:
        started_at = loop.time()
        try:
            await run()
            return
        except OSError as error:
            if str(error) != told:
                log.error("part failed", extra={"part": name, "reason": str(error)})
            told = str(error)
        except Exception as error:  # the one place: whatever it is, the others must go on
            if repr(error) != told:
                log.exception("part failed", extra={"part": name})
            told = repr(error)
        failing[name] = told
        count_restart(name)
        if loop.time() - started_at > STEADY_S:
            delay_s, told = RETRY_MIN_S, ""
        try:
            await asyncio.sleep(rng.uniform(0, delay_s))
        finally:
            del failing[name]
        delay_s = min(2 * delay_s, RETRY_MAX_S)
