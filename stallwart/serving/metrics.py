"""What the service counts, for Prometheus.

One registry for each process; where several processes share a port, prometheus_client adds them up through
files in PROMETHEUS_MULTIPROC_DIR, which `stallwart serve` sets.
"""

import os
import resource
import threading
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
STAGES = ("photos", "find", "queue", "text", "photo", "head", "evidence", "commit")
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Metrics:
    """Counters, histograms and gauges of one process."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.requests = Counter(
            "stallwart_requests", "Requests by route and status", ("route", "status"), registry=registry
        )
        self.request_seconds = Histogram(
            "stallwart_request_seconds",
            "Time from the first byte in to the last one out",
            ("route",),
            buckets=_SECONDS,
            registry=registry,
        )
        stage = Histogram(
            "stallwart_stage_seconds", "Time by stage", ("stage",), buckets=_SECONDS, registry=registry
        )
        self.stages = {name: stage.labels(name) for name in STAGES}  # looked up once, not on every request
        self.decisions = Counter(
            "stallwart_decisions",
            "Decisions by action, the policy that called for it, and bundle",
            ("action", "policy", "bundle"),
            registry=registry,
        )
        self.failures = Counter(
            "stallwart_failures",
            "Listings sent to review or refused, by reason",
            ("reason",),
            registry=registry,
        )
        self.errors = Counter(
            "stallwart_errors",
            "Errors answered, by code; those of the rows of a batch too",
            ("code",),
            registry=registry,
        )
        self.shed = Counter("stallwart_shed", "Listings refused for want of room", registry=registry)
        self.repeats = Counter(
            "stallwart_repeats", "Listings answered with a decision that was stored before", registry=registry
        )
        self.shadow = Counter(
            "stallwart_shadow",
            "Listings given to a model that does not decide, by what became of them",
            ("result",),
            registry=registry,
        )
        self.exposures = Counter(
            "stallwart_exposures", "Listings that count in a rollout, by arm", ("arm",), registry=registry
        )
        embeddings = Counter(
            "stallwart_embeddings", "Embeddings by where they came from", ("source",), registry=registry
        )
        self.computed, self.cached = embeddings.labels("computed"), embeddings.labels("cached")
        self.commit_rows = Histogram(
            "stallwart_commit_rows",
            "Decisions in one transaction",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
            registry=registry,
        )
        self.webhook_deliveries = Counter(
            "stallwart_webhook_deliveries", "Deliveries by result", ("result",), registry=registry
        )
        self.bundle = Gauge(
            "stallwart_bundle_loaded_timestamp_seconds",
            "When the bundle that decides was loaded",
            ("bundle",),
            registry=registry,
            multiprocess_mode="mostrecent",
        )
        self.share = self._gauge(
            "stallwart_challenger_share", "Of units that the challenger decides about", "max"
        )
        self.pending = self._gauge("stallwart_pending", "Listings that were taken and are not done")
        self.oldest = self._gauge(
            "stallwart_queue_age_seconds", "Wait of the oldest listing in the queue", "max"
        )
        self.resident = self._gauge("stallwart_resident_bytes", "Memory held", "all")
        self.cpu = self._gauge("stallwart_cpu_seconds", "Processor time used", "all")
        self._lock = threading.Lock()

    def _gauge(self, name: str, what: str, mode: str = "sum") -> Gauge:
        return Gauge(name, what, registry=self.registry, multiprocess_mode=f"live{mode}")  # type: ignore[arg-type]

    def read_process(self) -> None:
        """Set the gauges of this process's memory and processor time."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        self.cpu.set(usage.ru_utime + usage.ru_stime)
        if (held := resident_bytes()) is not None:
            self.resident.set(held)

    def text(self) -> bytes:
        """All figures of all processes of this service, in Prometheus' text format."""
        with self._lock:
            self.read_process()
            if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
                _forget_dead(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]))
                together = CollectorRegistry()
                MultiProcessCollector(together)  # type: ignore[no-untyped-call]
                return generate_latest(together)
            return generate_latest(self.registry)


def resident_bytes() -> int | None:
    """Memory that this process holds now; None where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES
    except (OSError, ValueError, IndexError):  # not Linux
        return None


def _forget_dead(folder: Path) -> None:
    """What a killed process counted stays; what it held or had waiting is no more."""
    for pid in {int(file.stem.rpartition("_")[2]) for file in folder.glob("gauge_live*.db")}:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            mark_process_dead(pid)  # type: ignore[no-untyped-call]
