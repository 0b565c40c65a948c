"""What a person reads: numbered steps, what was done, and statements that turn out true or not."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable

POLL_S = 0.05
WITHIN_S = 20.0

Complaint = Callable[[], Awaitable[str]]
"""Looks, and says what is not as stated; empty: nothing."""


class UntrueError(Exception):
    """A statement that did not turn out true; the text says which, and what was seen instead."""


class Report:
    def __init__(self) -> None:
        self.began_at = time.monotonic()
        self.true = 0
        self._steps = 0
        self._colour = sys.stdout.isatty()

    def step(self, title: str) -> None:
        self._steps += 1
        at_s = time.monotonic() - self.began_at
        print(f"\n{self._bold(f'{self._steps}. {title}')}  (at {at_s:.0f} s)", flush=True)

    def did(self, text: str) -> None:
        print(f"   {text}", flush=True)

    def seen(self, statement: str, true: bool, otherwise: str = "it is not so") -> None:
        """A statement about something that was already seen. Raises UntrueError."""
        if not true:
            raise UntrueError(f"{statement}\n  but: {otherwise}")
        self._tell(statement)

    async def sees(
        self, statement: str, complaint: Complaint, *, within_s: float = WITHIN_S
    ) -> float:
        """A statement that comes true in time; the seconds it took. Raises UntrueError."""
        began_at = time.monotonic()
        while what := await complaint():
            if time.monotonic() - began_at > within_s:
                raise UntrueError(f"{statement}\n  but, after {within_s:.0f} s: {what}")
            await asyncio.sleep(POLL_S)
        took_s = time.monotonic() - began_at
        self._tell(f"{statement}  {took_s:.1f} s")
        return took_s

    def _tell(self, statement: str) -> None:
        self.true += 1
        mark = "\x1b[32m✓\x1b[0m" if self._colour else "✓"
        print(f"   {mark} {statement}", flush=True)

    def _bold(self, text: str) -> str:
        return f"\x1b[1m{text}\x1b[0m" if self._colour else text
