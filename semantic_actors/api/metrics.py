"""Counters of the HTTP room, and the house's own, in the text format of Prometheus.

Labels are bounded: methods we know, route templates, statuses. Nothing a client sends becomes one.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

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
