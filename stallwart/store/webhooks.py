"""Webhooks: who is told of decisions and alerts, by URL, and the secret that signs what they are told."""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Engine, Row, insert, select, update

from stallwart.core.decision import Action
from stallwart.core.errors import ConfigError
from stallwart.store.database import reading
from stallwart.store.tables import deliveries, webhooks

REMOVED = "the webhook was removed"
ALERTS = "alert"
"""What stands among the stored actions of a webhook that is told of alerts."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """One receiver of decisions.

    Attributes:
        webhook_id: `wh_` and 12 hexadecimal characters.
        url: where it listens; it may hold a token, so it is in no log.
        secret: what signs its deliveries.
        actions: which decisions it is told.
        created_at_ms: when it was added; earlier decisions are not delivered.
        removed_at_ms: when it was removed; None is not.
        alerts: whether it is told of alerts.
    """

    webhook_id: str
    url: str = field(repr=False)
    secret: str = field(repr=False)
    actions: frozenset[Action]
    created_at_ms: int
    removed_at_ms: int | None
    alerts: bool = False


def add_webhook(
    engine: Engine, url: str, actions: Iterable[Action], now_ms: int, *, alerts: bool = False
) -> Webhook:
    """A new webhook, stored; the URL was checked before.

    Raises:
        ConfigError: no action, and no alerts.
    """
    wanted = frozenset(actions)
    if not wanted and not alerts:
        raise ConfigError(f"a webhook needs at least one action, or alerts; actions: {', '.join(Action)}")
    secret = f"whsec_{secrets.token_urlsafe(32)}"
    hook = Webhook(f"wh_{secrets.token_hex(6)}", url, secret, wanted, now_ms, None, alerts)
    values: dict[str, Any] = {name: getattr(hook, name) for name in Webhook.__slots__ if name != "alerts"}
    told = [*sorted(wanted), *([ALERTS] if alerts else [])]
    with engine.begin() as connection:
        connection.execute(insert(webhooks).values({**values, "actions": told}))
    return hook


def list_webhooks(engine: Engine) -> list[Webhook]:
    """All that were not removed, the oldest first."""
    with reading(engine) as connection:
        return webhooks_of(connection)


def webhooks_of(connection: Connection) -> list[Webhook]:
    """The same within a transaction."""
    query = select(webhooks).where(webhooks.c.removed_at_ms.is_(None))
    rows = connection.execute(query.order_by(webhooks.c.created_at_ms, webhooks.c.webhook_id))
    return [_webhook(row) for row in rows]


def read_webhook(engine: Engine, webhook_id: str) -> Webhook:
    """The webhook with this id, also where it was removed.

    Raises:
        ConfigError: there is none.
    """
    with reading(engine) as connection:
        row = connection.execute(select(webhooks).where(webhooks.c.webhook_id == webhook_id)).one_or_none()
    if row is None:
        raise ConfigError(f"there is no webhook {webhook_id!r}; see: stallwart webhooks list")
    return _webhook(row)


def remove_webhook(engine: Engine, webhook_id: str, now_ms: int) -> int:
    """How many waiting deliveries became dead letters with it; nothing is sent to it any more.

    A delivery that a process is at is ended by that process.

    Raises:
        ConfigError: there is no such webhook.
    """
    read_webhook(engine, webhook_id)
    waiting = (deliveries.c.webhook_id == webhook_id) & (deliveries.c.state == "waiting")
    free = deliveries.c.leased_until_ms <= now_ms
    ended = {"state": "dead", "last_error": REMOVED, "ended_at_ms": now_ms}
    with engine.begin() as connection:
        connection.execute(
            update(webhooks)
            .where(webhooks.c.webhook_id == webhook_id, webhooks.c.removed_at_ms.is_(None))
            .values(removed_at_ms=now_ms)
        )
        return connection.execute(update(deliveries).where(waiting, free).values(ended)).rowcount


def _webhook(row: Row[Any]) -> Webhook:
    values = dict(row._mapping)
    told = values["actions"]
    actions = frozenset(Action(one) for one in told if one != ALERTS)
    return Webhook(**{**values, "actions": actions, "alerts": ALERTS in told})
