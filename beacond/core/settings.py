"""What a node is told once, at its start."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    node: str
    incarnation: int
    """Greater than at any start before."""
    boot_id: bytes
    """16 random bytes, new at every start."""
    addresses: tuple[str, ...]
    zone: str = ""
    agent_version: str = ""
    interval_s: float = 5.0
    ttl_s: float = 15.0
    former: tuple[str, int] | None = None
    """The name this agent ran under before, and its last incarnation, where that was another."""
    relay_from: int = 100
    """Agents from which on heartbeats go to relays."""
    event_log_max: int = 10_000
