"""What an agent tells Prometheus about itself.

Counters and timings are told here by whoever sees them happen; what can be read off the view is
computed at scrape. Labels are bounded: there is none per service, node or caller.
"""

import asyncio
import platform
from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from beacond import __version__
from beacond.core.model import AgentState, Status
from beacond.core.view import View

if TYPE_CHECKING:
    from beacond.status import AgentStatus

# A second series for each counter that tells when it began; nothing here asks for it.
disable_created_metrics()  # type: ignore[no-untyped-call]

DNS_TYPES = frozenset(("A", "AAAA", "ANY", "CNAME", "HTTPS", "NS", "PTR", "SOA", "SRV", "TXT"))
HTTP_METHODS = frozenset(("GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS"))
OTHER = "other"
"""The label of whatever is not among those known."""

SECONDS_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Readable(Protocol):
    """What is read at scrape: a `beacond.driver.Driver`."""

    @property
    def view(self) -> View: ...

    def status(self) -> "AgentStatus": ...


class Metrics:
    """All metrics of one agent, on a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        Info("beacond_build", "What runs here.", registry=self.registry).info(
            {"version": __version__, "python": platform.python_version()}
        )
        # `collections.Counter` takes almost twice as long for a count.
        self._dns_queries: defaultdict[tuple[str, str], int] = defaultdict(int)
        self.registry.register(_DnsCollector(self._dns_queries))
        self._http_seconds = Histogram(
            "beacond_http_request_duration_seconds",
            "From a request's head to the end of its answer; time spent blocking on purpose "
            "is under routes of its own.",
            ("method", "route", "status"),
            buckets=SECONDS_BUCKETS,
            registry=self.registry,
        )
        self._bus_messages = Counter(
            "beacond_bus_messages",
            "Messages sent to and received from the bus.",
            ("direction", "kind"),
            registry=self.registry,
        )
        self._dropped = Counter(
            "beacond_dropped",
            "Messages not applied or not sent.",
            ("reason",),
            registry=self.registry,
        )
        self._echo_seconds = Histogram(
            "beacond_echo_seconds",
            "From sending our own heartbeat to hearing it.",
            buckets=SECONDS_BUCKETS,
            registry=self.registry,
        )
        self._restarts = Counter(
            "beacond_shell_restarts",
            "Parts of the agent that failed and were started again.",
            ("shell",),
            registry=self.registry,
        )
        self._waiters = Gauge(
            "beacond_http_waiters", "Blocking queries that wait now.", registry=self.registry
        )
        self._streams = Gauge(
            "beacond_http_event_streams", "Event streams open now.", registry=self.registry
        )

    def watch(self, source: Readable) -> None:
        """Read the gauges off this agent from now on. Once."""
        self.registry.register(_ViewCollector(source))

    def dns_query(self, qtype: str, rcode: str) -> None:
        self._dns_queries[qtype, rcode] += 1

    def http_observer(self, method: str, route: str, status: int) -> Callable[[float], None]:
        """`http_request` for requests that differ in nothing but seconds."""
        known = method if method in HTTP_METHODS else OTHER
        return self._http_seconds.labels(known, route, str(status)).observe

    def http_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """`route` is a pattern of ours, never a path as asked for."""
        self.http_observer(method, route, status)(seconds)

    def http_waiters(self, now: int) -> None:
        self._waiters.set(now)

    def event_streams(self, now: int) -> None:
        self._streams.set(now)

    def bus_message(self, direction: str, kind: str) -> None:
        """`direction`: `in` or `out`."""
        self._bus_messages.labels(direction, kind).inc()

    def dropped(self, reason: str) -> None:
        self._dropped.labels(reason).inc()

    def echo(self, seconds: float) -> None:
        self._echo_seconds.observe(seconds)

    def shell_restarted(self, shell: str) -> None:
        self._restarts.labels(shell).inc()

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """All of it in the format that an `Accept` header asks for, and its content type."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type


class _DnsCollector(Collector):
    """A plain count, a tenth of what a metric's own takes: it is on the path of every packet."""

    def __init__(self, queries: Mapping[tuple[str, str], int]) -> None:
        self._queries = queries

    def collect(self) -> Iterator[Metric]:
        found = CounterMetricFamily(
            "beacond_dns_queries", "DNS queries answered.", labels=("type", "rcode")
        )
        shown: Tally[tuple[str, str]] = Tally()
        for (qtype, rcode), count in self._queries.items():
            shown[qtype if qtype in DNS_TYPES else OTHER, rcode] += count
        for labels, count in shown.items():
            found.add_metric(labels, count)
        yield found


class _ViewCollector(Collector):
    def __init__(self, source: Readable) -> None:
        self._source = source

    def describe(self) -> Iterator[Metric]:
        # Registering must not read a view that is not there yet.
        return iter(())

    def collect(self) -> Iterator[Metric]:
        view, status = self._source.view, self._source.status()
        yield _gauge("beacond_ready", "1 once the first view is there.", int(status.ready))
        yield _gauge(
            "beacond_blind",
            "1 while the bus tells us nothing.",
            int(view.sight.stale_since is not None),
        )
        yield _gauge("beacond_mute", "1 while we hear and can't publish.", int(view.sight.mute))
        yield _gauge("beacond_index", "The agent's change counter.", view.index)
        yield _gauge("beacond_services", "Services known.", len(view.services))
        yield _gauge("beacond_tasks", "asyncio tasks, this scrape's too.", len(asyncio.all_tasks()))
        yield _gauge("beacond_held_nodes", "Silent nodes kept on purpose.", len(status.held))
        yield _gauge("beacond_relayed", "1 while our heartbeats go to relays.", int(status.relayed))
        yield _gauge(
            "beacond_relay_shards", "Shards that we are a relay for.", len(status.relay_for)
        )
        bus_up = GaugeMetricFamily(
            "beacond_bus_up", "1 while this bus is connected and heard.", labels=("bus",)
        )
        bus_agents = GaugeMetricFamily(
            "beacond_bus_agents", "Other agents heard on this bus lately.", labels=("bus",)
        )
        for bus in status.bus:
            bus_up.add_metric((bus.url,), int(bus.state == "up"))
            bus_agents.add_metric((bus.url,), bus.agents)
        yield bus_up
        yield bus_agents
        yield _counted(
            "beacond_instances",
            "Instances known, by the worst of their checks.",
            "status",
            [s.value for s in Status],
            Tally(i.status.value for s in view.services.values() for i in s.instances),
        )
        yield _counted(
            "beacond_agents",
            "Agents known, ourselves included.",
            "state",
            [s.value for s in AgentState],
            Tally(agent.state.value for agent in view.agents.values()),
        )


def _gauge(name: str, documentation: str, value: float) -> Metric:
    return GaugeMetricFamily(name, documentation, value=value)


def _counted(
    name: str, documentation: str, label: str, values: list[str], counted: "Tally[str]"
) -> Metric:
    """One sample for every value, the zeros too: a series that vanishes can't be alerted on."""
    family = GaugeMetricFamily(name, documentation, labels=(label,))
    for value in values:
        family.add_metric((value,), counted[value])
    return family
