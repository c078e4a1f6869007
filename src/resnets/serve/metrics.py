"""What the server counts, for GET /metrics."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_SIZES = (1, 2, 4, 8, 16)


class Metrics:
    """Requests by route and status; seconds of decoding, waiting and inference; batches, queues, decoders."""

    def __init__(self, routes: frozenset[str]) -> None:
        self.registry = here = CollectorRegistry()
        self.routes, model = routes, ["model"]
        self.requests = Counter("resnets_requests", "Requests answered", ["route", "status"], registry=here)
        self.decoding = Histogram("resnets_decoding_seconds", "Decoding a picture", buckets=_SECONDS, registry=here)
        self.waiting = Histogram(
            "resnets_waiting_seconds", "Waiting to be served", model, buckets=_SECONDS, registry=here
        )
        self.inference = Histogram(
            "resnets_inference_seconds", "Time of a batch", model, buckets=_SECONDS, registry=here
        )
        self.batches = Histogram("resnets_batch_size", "Pictures of a batch", model, buckets=_SIZES, registry=here)
        self.restarts = Counter("resnets_decoder_restarts", "Decoders that were ended or died", registry=here)
        self._queues = Gauge("resnets_queue_length", "Pictures accepted and not answered", model, registry=here)

    def watch(self, model: str, length: Callable[[], int]) -> None:
        """Tell LENGTH() as the queue of MODEL."""
        self._queues.labels(model).set_function(length)

    def count(self, route: str, status: int) -> None:
        """A request was answered; what is no route counts as one."""
        self.requests.labels(route if route in self.routes else "other", str(status)).inc()

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)
