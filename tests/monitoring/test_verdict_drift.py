"""Verdicts show what listings alone do not: scores that no longer mean what they say."""

import numpy as np
from sqlalchemy import select

from stallwart.core.decision import Action
from stallwart.core.settings import Settings
from stallwart.monitoring.step import Around
from stallwart.monitoring.verdict_drift import VerdictDrift
from stallwart.store.alerts import open_alerts
from stallwart.store.database import reading, writing
from stallwart.store.draws import Draw, add_draws
from stallwart.store.registry import register, set_champion
from stallwart.store.tables import drift_looks
from stallwart.store.verdicts import Answer, Source, add_verdict
from tests.monitoring.watched import decided
from tests.store.rolling import NOW

MINUTE = 60_000


def judged(database, share, n=160, after=0, seed=1):
    """Decisions that all say 0.5 of tobacco, of which a share breaks it."""
    rng = np.random.default_rng(seed)
    for number in range(after, after + n):
        at = NOW + number * 150 * MINUTE
        decision_id = decided(database, number, at, Action.REVIEW)
        answer = Answer.YES if rng.random() < share else Answer.NO
        with writing(database) as connection:
            add_draws(connection, [Draw(decision_id, 0.5, "review", None, None, at)])
            add_verdict(
                connection, decision_id=decision_id, answers={"tobacco": answer}, who="rita",
                source=Source.AUDIT, now_ms=at,
            )  # fmt: skip


def looked(database, now_ms):
    with writing(database) as connection:
        register(connection, digest="b" * 64, place="/b", card={}, who="ana", now_ms=NOW - 1)
        set_champion(connection, "b" * 64, who="ana", why="the first", now_ms=NOW - 1)
    step = VerdictDrift(Around(database, Settings(), lambda: now_ms))
    told = step.run()
    assert step.run() == {"looked": 0}, "once an hour is enough"
    with reading(database) as connection:
        return told, {one.alert_key: one for one in open_alerts(connection, "drift/")}


def test_scores_that_mean_what_they_say_raise_nothing(database):
    judged(database, 0.5)
    told, raised = looked(database, NOW + 500 * 60 * MINUTE)
    assert (told["verdicts"], raised) == (160, {})
    with reading(database) as connection:
        (row,) = connection.execute(select(drift_looks)).all()
    assert (row.detector, row.evidence < row.limit) == ("calibration/tobacco", True)


def test_scores_that_say_too_much_are_an_alert_that_shows_the_listings(database):
    judged(database, 0.02)
    _, raised = looked(database, NOW + 500 * 60 * MINUTE)
    alert = raised["drift/calibration/tobacco"]
    assert "fewer violations than its scores say" in alert.words
    assert alert.title == "Drift: calibration of tobacco"
    assert alert.detail["decisions"]


def test_labels_that_change_are_an_alert(database):
    judged(database, 0.3, n=200)
    judged(database, 0.8, n=110, after=200, seed=2)
    _, raised = looked(database, NOW + 900 * 60 * MINUTE)
    assert "tobacco has" in raised["drift/labels"].words
