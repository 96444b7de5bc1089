"""What a serving process says of itself once a minute: the watcher's pages show it with a history.

Prometheus has the same and more; these few numbers are there without one.
"""

import os
import resource
import socket
from collections.abc import Callable

from sqlalchemy import Engine as Database
from sqlalchemy import delete, insert

from stallwart.serving.metrics import Metrics, resident_bytes
from stallwart.store.database import store_errors, writing
from stallwart.store.tables import vitals

SECONDS = 60.0
KEPT_MS = 120 * 86_400_000
_ROUTE = "/v1/decisions"


class Vitals:
    """Writes a row of this process's figures, each of the time since the row before.

    Args:
        database: where rows go.
        metrics: of this process.
        oldest_seconds: the wait of the oldest listing in the queue.
        now_ms: milliseconds since 1970.
    """

    def __init__(
        self,
        database: Database,
        metrics: Metrics,
        oldest_seconds: Callable[[], float],
        now_ms: Callable[[], int],
    ) -> None:
        self._database, self._metrics = database, metrics
        self._oldest_seconds, self._now_ms = oldest_seconds, now_ms
        self._process = f"{socket.gethostname()}:{os.getpid()}"
        self._buckets = self._read_buckets()
        self._cpu_s = _cpu_seconds()

    def write(self) -> None:
        """Write the row of now, and delete those that are too old.

        Raises:
            StoreError: the database does not take it; the next row covers this time too.
        """
        buckets, cpu_s, now = self._read_buckets(), _cpu_seconds(), self._now_ms()
        since = {edge: count - self._buckets.get(edge, 0.0) for edge, count in buckets.items()}
        row = {
            "at_ms": now,
            "process": self._process,
            "answered": int(max(since.values(), default=0)),
            "p50_ms": quantile_ms(since, 0.5),
            "p99_ms": quantile_ms(since, 0.99),
            "queue_age_s": self._oldest_seconds(),
            "cpu_s": cpu_s - self._cpu_s,
            "resident_bytes": resident_bytes() or 0,
        }
        with store_errors("vitals cannot be written"), writing(self._database) as connection:
            connection.execute(insert(vitals).values(row))
            connection.execute(delete(vitals).where(vitals.c.at_ms < now - KEPT_MS))
        self._buckets, self._cpu_s = buckets, cpu_s

    def _read_buckets(self) -> dict[float, float]:
        """Answers to requests for decisions up to each edge, in seconds, of this process so far."""
        found: dict[float, float] = {}
        for family in self._metrics.request_seconds.collect():
            for sample in family.samples:
                if sample.name.endswith("_bucket") and sample.labels.get("route") == _ROUTE:
                    found[float(sample.labels["le"])] = sample.value
        return found


def quantile_ms(up_to: dict[float, float], quantile: float) -> float | None:
    """Where a quantile lies, linear within its bucket, in milliseconds; None without values.

    Args:
        up_to: how many values are at most each edge, in seconds; the last edge is inf.
        quantile: in (0, 1).
    """
    total = max(up_to.values(), default=0.0)
    if total <= 0:
        return None
    below, floor = 0.0, 0.0
    for edge in sorted(up_to):
        count = up_to[edge]
        if count >= quantile * total:
            if edge == float("inf"):
                return 1_000 * floor
            return 1_000 * (floor + (edge - floor) * (quantile * total - below) / max(count - below, 1e-12))
        below, floor = count, edge
    return 1_000 * floor


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
