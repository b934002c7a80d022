"""What `/metrics` tells, in a registry of its own: two services in one process do not add up."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest

__all__ = ["Metrics"]

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SAMPLES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Prometheus' counters of one service. Times are in seconds, as Prometheus has them."""

    def __init__(self, waiting: Callable[[], float], facts: dict[str, str]) -> None:
        """waiting: samples in the queue now; facts: labels that name the model."""
        registry = self._registry = CollectorRegistry()
        self.requests = Counter(
            "edgekit_requests", "Requests to /predict, by HTTP status", ["status"], registry=registry
        )
        self.samples = Counter("edgekit_samples", "Samples that were answered", registry=registry)
        self.request_s = Histogram(
            "edgekit_request_seconds", "From the first byte to the answer", buckets=SECONDS, registry=registry
        )
        self.queued_s = Histogram(
            "edgekit_queued_seconds", "A sample's time in the queue", buckets=SECONDS, registry=registry
        )
        self.inference_s = Histogram(
            "edgekit_inference_seconds", "One run of the network", buckets=SECONDS, registry=registry
        )
        self.batch = Histogram(
            "edgekit_batch_samples", "Samples that shared a run", buckets=SAMPLES, registry=registry
        )
        Gauge("edgekit_queue_samples", "Samples that wait", registry=registry).set_function(waiting)
        Info("edgekit_model", "What is served", registry=registry).info(facts)

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self._registry)
