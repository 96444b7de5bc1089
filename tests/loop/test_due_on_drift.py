"""What monitoring raises as drift is what retraining looks for."""

import pytest

from stallwart.loop.due import due, parse_when
from stallwart.monitoring.detect import SHARES, Finding
from stallwart.monitoring.drift import raise_finding
from stallwart.store.alerts import Severity, raise_alert
from stallwart.store.database import reading, writing

NOW = 1_800_000_000_000


def reason(database):
    with reading(database) as connection:
        return due(connection, parse_when("drift"), NOW + 1)


@pytest.mark.parametrize("detector", [*SHARES, "scores/tobacco", "calibration/tobacco"])
def test_every_detector_of_drift_makes_a_retraining_due(database, detector):
    assert reason(database) is None
    found = Finding(detector, 1e-9, 1e-3, 400, "it moved", 0.1, 0.5, ())
    with writing(database) as connection:
        raise_finding(connection, found, "b" * 64, NOW)
    assert reason(database) == f"drift was raised: Drift: {detector.replace('/', ' of ')}"


def test_an_alert_of_something_else_makes_none_due(database):
    with writing(database) as connection:
        raise_alert(
            connection, key="watch/drift", severity=Severity.PAGE, title="A step fails", words="x",
            runbook="monitoring.md#a-step-fails", now_ms=NOW,
        )  # fmt: skip
    assert reason(database) is None
