"""Finds out how this host's instances are doing. Start with :mod:`beacond.health.runner`."""

from beacond.health.probes import tcp_reachable
from beacond.health.runner import ChecksDoor, HealthRunner

__all__ = ["ChecksDoor", "HealthRunner", "tcp_reachable"]
