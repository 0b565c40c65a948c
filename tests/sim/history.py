"""What happened, a line each: the same for the same seed, and readable where something broke."""

import hashlib

from beacond.core.events import Event


class History:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, at: float, where: str, text: str) -> None:
        self.lines.append(f"{at:9.3f}  {where:<8} {text}")

    def digest(self) -> str:
        return hashlib.sha256("\n".join(self.lines).encode()).hexdigest()

    def last(self, count: int) -> str:
        return "\n".join(self.lines[-count:])


def line_of(event: Event) -> str:
    """One event in words: what, of whom, why."""
    about = ""
    if event.instance is not None:
        about = f" {event.instance.id}@{event.instance.node}"
    elif event.agent is not None:
        about = f" {event.agent.node}"
    elif event.nodes:
        about = f" {' '.join(event.nodes)}"
    elif event.bus:
        about = f" {event.bus}"
    return f"{event.kind.value}{about}{f' ({event.reason})' if event.reason else ''}"
