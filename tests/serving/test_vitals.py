"""A serving process writes what it did since its last word."""

import pytest
from sqlalchemy import select

from stallwart.serving.metrics import Metrics
from stallwart.serving.vitals import KEPT_MS, Vitals, quantile_ms
from stallwart.store.database import reading
from stallwart.store.tables import vitals

NOW = 1_800_000_000_000


def test_a_row_holds_what_was_answered_since_the_row_before(database):
    metrics, clock = Metrics(), [NOW]
    writing = Vitals(database, metrics, lambda: 0.25, lambda: clock[0])
    for _ in range(99):
        metrics.request_seconds.labels("/v1/decisions").observe(0.02)
    metrics.request_seconds.labels("/v1/decisions").observe(0.9)
    metrics.request_seconds.labels("/metrics").observe(5.0)
    writing.write()
    clock[0] += 60_000
    writing.write()
    with reading(database) as connection:
        first, second = connection.execute(select(vitals).order_by(vitals.c.at_ms)).all()
    assert (first.answered, second.answered) == (100, 0)
    assert 10 <= first.p50_ms <= 25
    assert (second.p50_ms, second.queue_age_s) == (None, 0.25)
    assert second.cpu_s >= 0
    assert second.resident_bytes > 1_000_000
    clock[0] += KEPT_MS
    writing.write()
    with reading(database) as connection:
        assert len(connection.execute(select(vitals)).all()) == 2, "the oldest is deleted"


def test_quantiles_come_from_buckets():
    up_to = {0.01: 50.0, 0.02: 100.0, float("inf"): 100.0}
    assert quantile_ms(up_to, 0.5) == pytest.approx(10.0)
    assert quantile_ms(up_to, 0.75) == pytest.approx(15.0)
    assert quantile_ms({0.01: 0.0, float("inf"): 4.0}, 0.5) == pytest.approx(10.0)
    assert quantile_ms({}, 0.5) is None
