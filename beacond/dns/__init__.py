"""Service names as DNS names: the view, answered over UDP and TCP."""

from beacond.dns.server import DnsConfig, DnsMetrics, DnsServer

__all__ = ["DnsConfig", "DnsMetrics", "DnsServer"]
