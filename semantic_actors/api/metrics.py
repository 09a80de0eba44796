"""Counters of the HTTP room, and the house's own, in the text format of Prometheus.

Labels are bounded: methods we know, route templates, statuses, kinds of misses. Nothing a
client sends becomes one.
"""

from collections.abc import Iterable, Mapping
from typing import Final, get_args

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from semantic_actors.domain.usage import Miss, MissKind

_PREFIX: Final = "semantic_actors"
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "OPTIONS"})


class HttpMetrics:
    """What one server counts; each has a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "http_requests",
            "HTTP requests answered.",
            ("method", "route", "status"),
            namespace=_PREFIX,
            registry=self._registry,
        )
        self._seconds = Histogram(
            "http_request_seconds",
            "Time from a request's head to the end of its answer.",
            ("route",),
            namespace=_PREFIX,
            registry=self._registry,
            buckets=(0.005, 0.025, 0.1, 0.5, 1, 5, 10, 30, 60, 300),
        )

        self._misses = Counter(
            "prefix_misses",
            "Prompts of which a part was computed again.",
            ("kind",),
            namespace=_PREFIX,
            registry=self._registry,
        )
        for kind in get_args(MissKind):
            self._misses.labels(kind)
        self._missed_tokens = Counter(
            "prefix_missed_tokens",
            "Prompt tokens that a session had computed before and that were computed again.",
            namespace=_PREFIX,
            registry=self._registry,
        )

    def missed(self, miss: Miss) -> None:
        """Count an answer whose prompt was not found as it should have been."""
        self._misses.labels(miss.kind).inc()
        self._missed_tokens.inc(miss.tokens_lost)

    def count(self, method: str, route: str, status: int, duration_s: float) -> None:
        """Count one request. `route` is a template, never a path."""
        known = method if method in _METHODS else "other"
        self._requests.labels(known, route, str(status)).inc()
        self._seconds.labels(route).observe(duration_s)

    def expose(self, counters: Mapping[str, float]) -> bytes:
        """Write everything as text, the house's `counters` included."""
        house = CollectorRegistry(auto_describe=False)
        house.register(_House(counters))
        return generate_latest(self._registry) + generate_latest(house)


class _House(Collector):
    """The house's counters at one instant; what ends in `_total` only grows."""

    def __init__(self, counters: Mapping[str, float]) -> None:
        self._counters = counters

    def collect(self) -> Iterable[Metric]:
        for name, value in self._counters.items():
            family = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            yield family(f"{_PREFIX}_{name}", name.replace("_", " "), value=value)
