"""An alert is raised once however often it is seen, told, and resolved."""

import pytest
from sqlalchemy import func, select

from stallwart.core.errors import NotFoundError
from stallwart.store.alerts import (
    Severity,
    close_alert,
    open_alerts,
    past_alerts,
    raise_alert,
    read_event,
    resolve_alert,
)
from stallwart.store.audit import verify
from stallwart.store.database import reading, writing
from stallwart.store.outbox import Outcome, claim, finish
from stallwart.store.tables import audit_log, deliveries
from stallwart.store.webhooks import add_webhook, list_webhooks
from tests.store.rolling import NOW


def raised(database, key="drift/language", severity=Severity.TICKET, now_ms=NOW, **facts):
    given = {"title": "Languages moved", "words": "ru went", "runbook": "monitoring.md#drift", **facts}
    with writing(database) as connection:
        return raise_alert(connection, key=key, severity=severity, now_ms=now_ms, **given)


def said(database):
    with reading(database) as connection:
        told = connection.execute(select(deliveries.c.decision_id).order_by(deliveries.c.seq)).scalars()
        return [read_event(connection, one) for one in told]


def test_what_is_seen_again_is_the_same_alert(database):
    first = raised(database)
    again = raised(database, now_ms=NOW + 5, words="ru and lv went", detail={"share": 0.1})
    assert (first.times, again.times) == (1, 2)
    assert again.alert_id == first.alert_id
    assert (again.words, again.detail, again.first_at_ms, again.last_at_ms) == (
        "ru and lv went",
        {"share": 0.1},
        NOW,
        NOW + 5,
    )
    raised(database, key="drift/photo")
    with reading(database) as connection:
        assert [one.alert_key for one in open_alerts(connection, "drift/l")] == ["drift/language"]
        assert len(open_alerts(connection)) == 2


def test_a_resolved_alert_is_raised_anew_as_another(database):
    first = raised(database)
    with writing(database) as connection:
        gone = resolve_alert(connection, first.alert_key, who="stallwart watch", why="it is over", now_ms=NOW)
        assert gone is not None
        assert not gone.is_open
        assert (
            resolve_alert(connection, first.alert_key, who="stallwart watch", why="again", now_ms=NOW) is None
        )
    assert raised(database, now_ms=NOW + 1).alert_id != first.alert_id
    with reading(database) as connection:
        assert [one.resolved_why for one in past_alerts(connection)] == ["it is over"]


def test_a_person_who_resolves_an_alert_is_in_the_audit_log(database):
    alert = raised(database)
    with writing(database) as connection:
        closed = close_alert(connection, alert.alert_id, who="rita", why="a campaign", now_ms=NOW + 9)
    assert (closed.is_open, closed.resolved_by, closed.resolved_why) == (False, "rita", "a campaign")
    with writing(database) as connection:  # a second time changes nothing
        close_alert(connection, alert.alert_id, who="paul", why="late", now_ms=NOW + 10)
        with pytest.raises(NotFoundError, match="no alert 'al_no'"):
            close_alert(connection, "al_no", who="rita", why="x", now_ms=NOW)
    with reading(database) as connection:
        acts = connection.execute(select(audit_log.c.act, audit_log.c.who)).all()
        assert acts == [("alert.resolve", "rita")]
        assert verify(connection).wrong is None


def test_webhooks_of_alerts_are_told_of_raised_worse_and_resolved_in_order(database):
    hook = add_webhook(database, "https://example.com/a", [], NOW, alerts=True)
    add_webhook(database, "https://example.com/b", ["block"], NOW)
    assert [one.alerts for one in list_webhooks(database)].count(True) == 1
    raised(database)
    raised(database)
    raised(database, severity=Severity.PAGE)
    raised(database, severity=Severity.NOTE)  # it stays as bad as it was
    with writing(database) as connection:
        resolve_alert(connection, "drift/language", who="stallwart watch", why="over", now_ms=NOW)
    events = said(database)
    assert [one["event"] for one in events] == ["raised", "worse", "resolved"]
    assert [one["alert"]["severity"] for one in events] == ["ticket", "page", "page"]
    order = []
    for _ in range(4):  # only the earliest of an alert can be claimed
        taken = claim(database, hook.webhook_id, "me", NOW, 1_000, 10)
        order += [one.decision_id for one in taken]
        finish(database, "me", [Outcome(one.delivery_id, "delivered") for one in taken], NOW)
    assert order == [one["event_id"] for one in events]


def test_an_alert_that_was_not_committed_is_not_told(database):
    add_webhook(database, "https://example.com/a", [], NOW, alerts=True)
    with database.connect() as connection:
        raise_alert(
            connection, key="k", severity=Severity.PAGE, title="t", words="w", runbook="r", now_ms=NOW
        )
        connection.rollback()
    with reading(database) as connection:
        assert connection.execute(select(func.count()).select_from(deliveries)).scalar() == 0
        assert open_alerts(connection) == []
