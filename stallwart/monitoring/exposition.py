"""What the watcher tells Prometheus: its own health, open alerts, precision, drift, what waits for people.

The service's own /metrics has requests, latency and decisions; here is what only the database knows.
"""

from collections import Counter
from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Gauge, start_http_server
from sqlalchemy import Connection, Engine, func, select

from stallwart.core.errors import ConfigError
from stallwart.monitoring.online import oldest_task_ms, online
from stallwart.monitoring.watcher import StepState
from stallwart.store.alerts import Severity, open_alerts
from stallwart.store.database import reading
from stallwart.store.novelties import read_novelties
from stallwart.store.tables import drift_looks

HOURS = 28 * 24
"""Span of the figures."""
_DAY_MS = 86_400_000


class Exposition:
    """Gauges that are set after each round."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()

        def gauge(name: str, what: str, *labels: str) -> Gauge:
            return Gauge(name, what, labels, registry=registry)

        self.round = gauge("stallwart_watch_round_timestamp_seconds", "When the last round ended")
        self.failures = gauge("stallwart_watch_step_failures", "Failures in a row of each step", "step")
        self.seconds = gauge(
            "stallwart_watch_step_seconds", "How long the last run of each step took", "step"
        )
        self.alerts = gauge("stallwart_alerts_open", "Open alerts by severity", "severity")
        self.precision = gauge(
            "stallwart_precision",
            "Share of right ones among audited blocks of 28 days, with its 95 % interval",
            "policy",
            "bound",
        )
        self.judged = gauge("stallwart_blocks_judged", "Audited blocks of 28 days behind it", "policy")
        self.overturned = gauge(
            "stallwart_overturned", "Decisions of 28 days that an appeal overturned", "policy"
        )
        self.drift = gauge(
            "stallwart_drift_evidence",
            "Evidence of the last look over its alarm limit; 1 is an alarm",
            "detector",
        )
        self.novel = gauge("stallwart_novel_listings", "Listings in open groups unlike the training set")
        self.oldest = gauge("stallwart_task_age_seconds", "Wait of the open review task that waits longest")

    def serve(self, host: str, port: int) -> None:
        """Answer Prometheus on a port of its own, in a thread.

        Raises:
            ConfigError: the port cannot be listened on.
        """
        try:
            start_http_server(port, host, self.registry)
        except OSError as err:
            raise ConfigError(f"{host}:{port}: cannot be listened on ({err.strerror or err})") from None

    def update(self, database: Engine, states: Mapping[str, StepState], now_ms: int) -> None:
        """Set all gauges by what the database says now."""
        with reading(database) as connection:
            self._figures(connection, now_ms)
            self._drift(connection, now_ms)
            counts = Counter(one.severity for one in open_alerts(connection))
            self.novel.set(sum(one.stands_for for one in read_novelties(connection)))
            self.oldest.set((oldest_task_ms(connection, now_ms) or 0) / 1_000)
        for severity in Severity:
            self.alerts.labels(severity.value).set(counts[severity])
        for name, state in states.items():
            self.failures.labels(name).set(state.failures)
            self.seconds.labels(name).set(state.took_ms / 1_000)
        self.round.set(now_ms / 1_000)

    def _figures(self, connection: Connection, now_ms: int) -> None:
        for one in online(connection, now_ms, HOURS, HOURS).policies:
            rate = one.precision
            self.judged.labels(one.name).set(rate.of)
            self.overturned.labels(one.name).set(one.count("overturned"))
            if rate.value is not None and rate.interval is not None:
                bounds = {"value": rate.value, "lower": rate.interval.lower, "upper": rate.interval.upper}
                for bound, value in bounds.items():
                    self.precision.labels(one.name, bound).set(value)

    def _drift(self, connection: Connection, now_ms: int) -> None:
        last = (
            select(drift_looks.c.detector, func.max(drift_looks.c.at_ms).label("at_ms"))
            .where(drift_looks.c.at_ms > now_ms - 60 * _DAY_MS)
            .group_by(drift_looks.c.detector)
            .subquery()
        )
        query = select(drift_looks.c.detector, drift_looks.c.evidence, drift_looks.c.limit).join(
            last, (drift_looks.c.detector == last.c.detector) & (drift_looks.c.at_ms == last.c.at_ms)
        )
        for detector, evidence, limit in connection.execute(query):
            self.drift.labels(detector).set(evidence / max(limit, 1e-9))
