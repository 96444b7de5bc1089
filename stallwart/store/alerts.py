"""Alerts: what somebody should know, raised once however often it is seen, until it is resolved.

Of one key at most one alert is open. Raising it again counts; raising it worse, and resolving it, is told as
the first time was. What is told is written with the alert, in one transaction, as deliveries of the outbox:
signed, in order, at least once.
"""

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, Select, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from stallwart.core.errors import NotFoundError
from stallwart.store import audit
from stallwart.store.tables import alert_events, alerts, deliveries, webhooks
from stallwart.store.webhooks import ALERTS

_LONGEST = {"alert_key": 200, "title": 200, "words": 2_000, "runbook": 200}
DRIFT = "drift/"
"""How the keys of alerts of drift begin; retraining looks for them, and monitoring raises them."""
EVENT_PREFIX = "ae_"
"""How the id of what is told of an alert begins; a decision's begins otherwise."""


class Severity(StrEnum):
    """Who should look when."""

    PAGE = "page"  # a person now
    TICKET = "ticket"  # a person this week
    NOTE = "note"  # whoever looks


_ORDER = (Severity.NOTE, Severity.TICKET, Severity.PAGE)


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert as it is.

    Attributes:
        alert_id: `al_` and hexadecimal characters that sort by time.
        alert_key: what it is about, as `drift/language`; of one key at most one is open.
        severity: the worst with which it was raised.
        title: a few words.
        words: what was seen, when it was last raised; no content of any listing.
        runbook: page and anchor below `docs/`, as `monitoring.md#drift`.
        detail: figures and ids behind it.
        times: how often it was raised.
        first_at_ms: when it was raised first, milliseconds since 1970.
        last_at_ms: when it was raised last.
        is_open: whether nobody and nothing has resolved it.
        resolved_at_ms: when it was resolved, or None.
        resolved_by: a person or a program, or None.
        resolved_why: in words, or None.
    """

    alert_id: str
    alert_key: str
    severity: Severity
    title: str
    words: str
    runbook: str
    detail: dict[str, Any]
    times: int
    first_at_ms: int
    last_at_ms: int
    is_open: bool
    resolved_at_ms: int | None
    resolved_by: str | None
    resolved_why: str | None


_COLUMNS = [alerts.c[name] for name in Alert.__slots__]


def raise_alert(
    connection: Connection,
    *,
    key: str,
    severity: Severity,
    title: str,
    words: str,
    runbook: str,
    now_ms: int,
    detail: Mapping[str, Any] | None = None,
) -> Alert:
    """The open alert of this key, raised now in the caller's transaction; `times` is 1 where it is new.

    Args:
        connection: in a transaction of `database.writing`.
        key: what it is about: raised again under the same key it is the same alert.
        severity: who should look when.
        title: a few words.
        words: what was seen and what to do; no content of any listing.
        runbook: page and anchor below `docs/`.
        now_ms: milliseconds since 1970.
        detail: figures and ids, what JSON can hold.
    """
    said = _cut({"alert_key": key, "title": title, "words": words, "runbook": runbook})
    kept = json.loads(json.dumps(detail or {}, allow_nan=False))
    insert_ = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    row = {
        **said, "alert_id": f"al_{now_ms:012x}{secrets.token_hex(10)}", "severity": severity.value,
        "detail": kept, "times": 1, "first_at_ms": now_ms, "last_at_ms": now_ms, "is_open": 1,
    }  # fmt: skip
    new = insert_(alerts).values(row).on_conflict_do_nothing().returning(*_COLUMNS)
    first = connection.execute(new).one_or_none()
    if first is not None:
        return _told(connection, _alert(first), "raised", now_ms)
    before = _alert(connection.execute(_open(said["alert_key"]).with_for_update()).one())
    worse = _ORDER.index(severity) > _ORDER.index(before.severity)
    change = (
        update(alerts)
        .where(alerts.c.alert_id == before.alert_id)
        .values(
            title=said["title"], words=said["words"], runbook=said["runbook"], detail=kept,
            severity=(severity if worse else before.severity).value, times=alerts.c.times + 1,
            last_at_ms=now_ms,
        )
        .returning(*_COLUMNS)
    )  # fmt: skip
    now = _alert(connection.execute(change).one())
    return _told(connection, now, "worse", now_ms) if worse else now


def resolve_alert(connection: Connection, key: str, *, who: str, why: str, now_ms: int) -> Alert | None:
    """The alert of this key, resolved now by a program; None where none is open."""
    row = connection.execute(_open(key).with_for_update()).one_or_none()
    return None if row is None else _resolve(connection, _alert(row), who, why, now_ms)


def close_alert(connection: Connection, alert_id: str, *, who: str, why: str, now_ms: int) -> Alert:
    """The alert with this id, resolved by a person, with an entry in the audit log.

    One that is resolved already stays as it is.

    Raises:
        NotFoundError: there is none.
        ConfigError: who or why cannot be written to the audit log.
    """
    audit.lock(connection)
    found = read_alert(connection, alert_id)
    if not found.is_open:
        return found
    audit.append(
        connection, who=who, act="alert.resolve", subject=alert_id, why=why,
        detail={"key": found.alert_key, "severity": found.severity.value}, now_ms=now_ms,
    )  # fmt: skip
    return _resolve(connection, found, who, why, now_ms)


def read_alert(connection: Connection, alert_id: str) -> Alert:
    """The alert with this id.

    Raises:
        NotFoundError: there is none.
    """
    row = connection.execute(select(*_COLUMNS).where(alerts.c.alert_id == alert_id)).one_or_none()
    if row is None:
        raise NotFoundError(f"there is no alert {alert_id[:64]!r}")
    return _alert(row)


def open_alerts(connection: Connection, prefix: str = "") -> list[Alert]:
    """Open alerts whose key begins so, the worst first, then the latest raised."""
    query = select(*_COLUMNS).where(
        alerts.c.is_open == 1, alerts.c.alert_key.startswith(prefix, autoescape=True)
    )
    found = [_alert(row) for row in connection.execute(query)]
    return sorted(found, key=lambda one: (-_ORDER.index(one.severity), -one.last_at_ms, one.alert_id))


def past_alerts(connection: Connection, limit: int = 100) -> list[Alert]:
    """Resolved alerts, the latest first."""
    query = select(*_COLUMNS).where(alerts.c.is_open.is_(None)).order_by(alerts.c.last_at_ms.desc())
    return [_alert(row) for row in connection.execute(query.limit(limit))]


def read_event(connection: Connection, event_id: str) -> dict[str, Any] | None:
    """What a webhook is told under this id; None where there is none."""
    body = connection.execute(select(alert_events.c.body).where(alert_events.c.event_id == event_id)).scalar()
    return None if body is None else dict(body)


def _open(key: str) -> Select[Any]:
    return select(*_COLUMNS).where(alerts.c.alert_key == key, alerts.c.is_open == 1)


def _resolve(connection: Connection, found: Alert, who: str, why: str, now_ms: int) -> Alert:
    change = (
        update(alerts)
        .where(alerts.c.alert_id == found.alert_id, alerts.c.is_open == 1)
        .values(is_open=None, resolved_at_ms=now_ms, resolved_by=who, resolved_why=why)
        .returning(*_COLUMNS)
    )
    row = connection.execute(change).one_or_none()
    if row is None:  # another process was first
        return read_alert(connection, found.alert_id)
    return _told(connection, _alert(row), "resolved", now_ms)


def _told(connection: Connection, alert: Alert, event: str, now_ms: int) -> Alert:
    """Write what is told of an alert, and to whom."""
    event_id = f"{EVENT_PREFIX}{now_ms:012x}{secrets.token_hex(10)}"
    body = {"event": event, "event_id": event_id, "at_ms": now_ms, "alert": _plain(alert)}
    row = {"event_id": event_id, "alert_id": alert.alert_id, "event": event, "body": body, "at_ms": now_ms}
    connection.execute(insert(alert_events).values(row))
    hooks = connection.execute(
        select(webhooks.c.webhook_id, webhooks.c.actions).where(webhooks.c.removed_at_ms.is_(None))
    )
    rows = [_delivery(hook.webhook_id, alert, event_id, now_ms) for hook in hooks if ALERTS in hook.actions]
    if rows:
        connection.execute(insert(deliveries), rows)
    return alert


def _delivery(webhook_id: str, alert: Alert, event_id: str, now_ms: int) -> dict[str, Any]:
    """A delivery of the outbox; of one alert they go in order, as those of one listing."""
    named = hashlib.sha256(f"{webhook_id} {event_id}".encode()).hexdigest()[:32]
    return {
        "delivery_id": f"dl_{named}", "webhook_id": webhook_id, "listing_id": alert.alert_id,
        "decision_id": event_id, "state": "waiting", "attempts": 0, "due_at_ms": now_ms,
        "leased_until_ms": 0, "created_at_ms": now_ms,
    }  # fmt: skip


def _plain(alert: Alert) -> dict[str, Any]:
    return {name: getattr(alert, name) for name in Alert.__slots__}


def _cut(texts: Mapping[str, str]) -> dict[str, str]:
    return {name: text[: _LONGEST[name]] for name, text in texts.items()}


def _alert(row: Row[Any]) -> Alert:
    fields = dict(row._mapping)
    return Alert(**{**fields, "severity": Severity(fields["severity"]), "is_open": fields["is_open"] == 1})
