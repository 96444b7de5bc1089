import pytest

from stallwart.core.errors import ConfigError
from stallwart.loop.due import When, due, parse_when
from stallwart.store import audit
from stallwart.store.alerts import Severity, raise_alert
from stallwart.store.database import reading, writing

NOW, DAY = 1_800_000_000_000, 86_400_000


def retrained(database, at_ms, until_ms=None):
    with writing(database) as connection:
        audit.append(
            connection, who="ana", act="retrain.passed", subject="retrain", why="test",
            detail={"until_ms": at_ms if until_ms is None else until_ms}, now_ms=at_ms,
        )  # fmt: skip


def reason(database, text, now_ms=NOW):
    with reading(database) as connection:
        return due(connection, parse_when(text), now_ms)


def test_reasons_are_read_as_they_are_written():
    assert parse_when("every=7d, labels=500,drift") == When(7.0, 500, True)
    assert parse_when("drift") == When(None, None, True)


@pytest.mark.parametrize("text", ["", "every=7", "labels=many", "rain"])
def test_what_is_no_reason_is_told_what_there_is(text):
    with pytest.raises(ConfigError, match="every=7d, labels=500, drift"):
        parse_when(text)


def test_time_alone_makes_it_due(database):
    assert reason(database, "every=7d") == "there was no retraining yet"
    retrained(database, NOW - 3 * DAY)
    assert reason(database, "every=7d") is None
    assert reason(database, "every=3d") == "the last retraining was 3.0 days ago"


def test_drift_makes_it_due_once(database):
    retrained(database, NOW - 3 * DAY)
    assert reason(database, "drift") is None
    with writing(database) as connection:
        raise_alert(
            connection, key="drift/language", severity=Severity.TICKET, title="languages moved",
            words="more Portuguese", runbook="monitoring.md#drift", detail={}, now_ms=NOW - DAY,
        )  # fmt: skip
    assert reason(database, "drift") == "drift was raised: languages moved"
    retrained(database, NOW)
    assert reason(database, "drift", NOW + DAY) is None


def test_new_verdicts_make_it_due(database):
    from tests.dataset.test_stored import judge, stored
    from tests.store.listings import draft

    ids = stored(database, draft("a"), draft("b"))
    assert reason(database, "labels=2") is None
    for decision_id in ids:
        judge(database, decision_id, {"tobacco": "yes"}, now_ms=NOW + 5)
    assert reason(database, "labels=2") == "2 verdicts are new"
    retrained(database, NOW + 6)
    assert reason(database, "labels=2") is None
