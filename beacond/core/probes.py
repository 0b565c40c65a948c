"""Numbers the probes that are out, and knows where a node's instances may be tried."""

from collections.abc import Iterable

from beacond.core.effects import Probe, Target
from beacond.core.names import is_loopback
from beacond.core.outbox import Outbox


class Probes:
    """One count for all who probe, so that an answer finds who asked."""

    def __init__(self, out: Outbox, own_addresses: tuple[str, ...]) -> None:
        self._out = out
        self._own = frozenset(own_addresses)
        self._local_fleet = all(is_loopback(address) for address in own_addresses)
        self._number = 0

    def send(self, targets: Iterable[Target]) -> int:
        """Try these; the number that comes back with the answer."""
        self._number += 1
        self._out.add(Probe(self._number, tuple(targets)))
        return self._number

    def targets(self, addresses: Iterable[str], port: int) -> tuple[Target, ...]:
        """Where an instance listens; never ourselves under another's name."""
        return tuple(
            (address, port)
            for address in addresses
            if address not in self._own and (self._local_fleet or not is_loopback(address))
        )
