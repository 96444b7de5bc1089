"""The outbox: which decision has to be told to which webhook, and how far that is.

A delivery is written in the transaction of its decision, so neither is there without the other. One process
claims it with a lease, tells the webhook and writes down what came of it; a process that dies loses its
lease, and another one tells the webhook again: at least once, never lost.

In order means: of one webhook and listing only the earliest waiting delivery can be claimed. `seq` is the
order of the decisions as long as those of one listing are written one after the other: the writer's part.
"""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    ScalarSelect,
    Update,
    and_,
    bindparam,
    func,
    insert,
    or_,
    select,
    update,
)

from stallwart.core.decision import Decision
from stallwart.core.errors import ConfigError
from stallwart.store.database import reading
from stallwart.store.tables import deliveries, webhooks
from stallwart.store.webhooks import Webhook, read_webhook

WAITING, DELIVERED, DEAD = "waiting", "delivered", "dead"
_LONGEST_ERROR = 300


@dataclass(frozen=True, slots=True)
class Delivery:
    """One decision for one webhook.

    Attributes:
        delivery_id: the same at each attempt, so that a receiver can tell a repeat.
        webhook_id: who is told.
        listing_id: whose decision it is; deliveries of one listing go in order.
        decision_id: what is told.
        attempts: how many were begun.
        last_error: what came of the last, without URL, secret or content; None before the first.
        created_at_ms: when the decision was made.
        ended_at_ms: when it was delivered or given up; None while it waits.
    """

    delivery_id: str
    webhook_id: str
    listing_id: str
    decision_id: str
    attempts: int
    last_error: str | None
    created_at_ms: int
    ended_at_ms: int | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one attempt: delivered, dead, or waiting until `due_at_ms`."""

    delivery_id: str
    state: str
    error: str | None = None
    due_at_ms: int = 0


@dataclass(frozen=True, slots=True)
class Backlog:
    """How many deliveries of a webhook wait or were given up, and since when the oldest waits."""

    waiting: int = 0
    dead: int = 0
    oldest_ms: int | None = None


_PARTS = [deliveries.c[name] for name in Delivery.__slots__]


def enqueue(
    connection: Connection, decided: Sequence[Decision], hooks: Sequence[Webhook], now_ms: int
) -> int:
    """How many deliveries were written in the transaction of the decisions, one for each webhook concerned.

    Each decision is enqueued once, where it is written; a second time is the database's IntegrityError.
    """
    rows = [
        {
            "delivery_id": _delivery_id(hook.webhook_id, decision.decision_id),
            "webhook_id": hook.webhook_id,
            "listing_id": decision.listing_id,
            "decision_id": decision.decision_id,
            "state": WAITING,
            "attempts": 0,
            "due_at_ms": now_ms,
            "leased_until_ms": 0,
            "created_at_ms": now_ms,
        }
        for decision in decided
        for hook in hooks
        if decision.action in hook.actions
    ]
    if rows:
        connection.execute(insert(deliveries), rows)
    return len(rows)


def _delivery_id(webhook_id: str, decision_id: str) -> str:
    return "dl_" + hashlib.sha256(f"{webhook_id} {decision_id}".encode()).hexdigest()[:32]


def due_webhooks(engine: Engine, now_ms: int) -> list[str]:
    """Ids of the webhooks that a delivery can be claimed for; a read that holds nobody up."""
    mine = deliveries.c.webhook_id == webhooks.c.webhook_id
    due = select(deliveries.c.seq).where(mine, _claimable(now_ms)).correlate(webhooks)
    with reading(engine) as connection:
        return list(connection.execute(select(webhooks.c.webhook_id).where(due.exists())).scalars())


def claim(
    engine: Engine, webhook_id: str, worker: str, now_ms: int, lease_ms: int, limit: int
) -> list[Delivery]:
    """Due deliveries of a webhook, the earliest of each listing, that are this worker's until the lease ends.

    Args:
        engine: the database that all processes share.
        webhook_id: whose.
        worker: names the process, unlike any other.
        now_ms: milliseconds since 1970, UTC.
        lease_ms: longer than one attempt can take.
        limit: most deliveries, >= 1.
    """
    mine = (
        select(deliveries.c.seq)
        .where(deliveries.c.webhook_id == webhook_id, _claimable(now_ms))
        .order_by(deliveries.c.due_at_ms, deliveries.c.seq)
        .limit(limit)
        .with_for_update(skip_locked=True)  # PostgreSQL; SQLite has one writer
        .cte("mine")
    )
    change = (
        update(deliveries)
        .where(deliveries.c.seq.in_(select(mine.c.seq)))
        .values(leased_until_ms=now_ms + lease_ms, leased_by=worker, attempts=deliveries.c.attempts + 1)
        .returning(deliveries.c.seq, *_PARTS)
    )
    with engine.begin() as connection:
        rows = sorted(connection.execute(change).all(), key=lambda row: row.seq)
    return [Delivery(*row[1:]) for row in rows]


def finish(engine: Engine, worker: str, outcomes: Sequence[Outcome], now_ms: int) -> None:
    """Write down what came of attempts, in one transaction; those whose lease another took over are left."""
    if not outcomes:
        return
    change = (
        update(deliveries)
        .where(
            deliveries.c.delivery_id == bindparam("its_id"),
            deliveries.c.leased_by == worker,
            deliveries.c.state == WAITING,
        )
        .values(
            state=bindparam("to"), last_error=bindparam("error"), due_at_ms=bindparam("due"),
            ended_at_ms=bindparam("ended"), leased_until_ms=0, leased_by=None,
        )
    )  # fmt: skip
    rows = [
        {
            "its_id": outcome.delivery_id,
            "to": outcome.state,
            "error": outcome.error and outcome.error[:_LONGEST_ERROR],
            "due": outcome.due_at_ms or now_ms,
            "ended": None if outcome.state == WAITING else now_ms,
        }
        for outcome in outcomes
    ]
    later = [{"its_id": row["its_id"], "due": row["due"]} for row in rows if row["to"] == WAITING]
    with engine.begin() as connection:
        if later:
            connection.execute(_postpone_followers(worker), later)
        connection.execute(change, rows)


def _postpone_followers(worker: str) -> Update:
    """What waits behind a delivery becomes due with it: else each look at the outbox would pass over it."""

    def of(column: str) -> ScalarSelect[Any]:
        mine = and_(first.c.delivery_id == bindparam("its_id"), first.c.leased_by == worker)
        return select(first.c[column]).where(mine).scalar_subquery()

    first = deliveries.alias("first")
    return (
        update(deliveries)
        .where(
            deliveries.c.webhook_id == of("webhook_id"),
            deliveries.c.listing_id == of("listing_id"),
            deliveries.c.seq > of("seq"),
            deliveries.c.state == WAITING,
        )
        .values(due_at_ms=bindparam("due"))
    )


def release(engine: Engine, worker: str) -> None:
    """Give up all leases of a worker that stops, so that the next need not wait for their end."""
    mine = and_(deliveries.c.leased_by == worker, deliveries.c.state == WAITING)
    with engine.begin() as connection:
        connection.execute(update(deliveries).where(mine).values(leased_until_ms=0, leased_by=None))


def backlog(engine: Engine) -> dict[str, Backlog]:
    """For each webhook with any, how much waits or was given up."""
    is_waiting = deliveries.c.state == WAITING
    query = (
        select(
            deliveries.c.webhook_id,
            func.count().filter(is_waiting),
            func.count().filter(~is_waiting),
            func.min(deliveries.c.created_at_ms).filter(is_waiting),
        )
        .where(or_(is_waiting, deliveries.c.state == DEAD))
        .group_by(deliveries.c.webhook_id)
    )
    with reading(engine) as connection:
        return {row[0]: Backlog(*row[1:]) for row in connection.execute(query)}


def list_dead(engine: Engine, webhook_id: str | None = None, limit: int = 100) -> list[Delivery]:
    """Dead letters, the earliest first."""
    query = select(*_PARTS).where(deliveries.c.state == DEAD).order_by(deliveries.c.seq).limit(limit)
    if webhook_id is not None:
        query = query.where(deliveries.c.webhook_id == webhook_id)
    with reading(engine) as connection:
        return [Delivery(*row) for row in connection.execute(query)]


def replay_dead(engine: Engine, webhook_id: str, now_ms: int, delivery_ids: Collection[str] = ()) -> int:
    """How many dead letters of a webhook wait again, in their old order and with all attempts before them.

    What was delivered of a listing in the meantime is not delivered again: a receiver tells by `supersedes`
    and `decided_at_ms` that a replayed decision is not the last.

    Args:
        engine: the database.
        webhook_id: whose.
        now_ms: milliseconds since 1970, UTC.
        delivery_ids: which; all of the webhook where none is named.

    Raises:
        ConfigError: there is no such webhook or it was removed, or a named one is not a dead letter of it.
    """
    if read_webhook(engine, webhook_id).removed_at_ms is not None:
        raise ConfigError(f"webhook {webhook_id} was removed; add it again, and it is told of new decisions")
    which = and_(deliveries.c.webhook_id == webhook_id, deliveries.c.state == DEAD)
    if delivery_ids:
        which = and_(which, deliveries.c.delivery_id.in_(delivery_ids))
    again: dict[str, Any] = {
        "state": WAITING, "attempts": 0, "due_at_ms": now_ms, "ended_at_ms": None,
        "leased_until_ms": 0, "leased_by": None,
    }  # fmt: skip
    with engine.begin() as connection:
        replayed = connection.execute(update(deliveries).where(which).values(again)).rowcount
        if replayed < len(set(delivery_ids)):
            raise ConfigError(
                f"not all of these are dead letters of {webhook_id}, so none was replayed;"
                " see: stallwart webhooks dead"
            )
    return replayed


def _claimable(now_ms: int) -> ColumnElement[bool]:
    """Due, at nobody, and no earlier one of the same webhook and listing waits."""
    earlier = deliveries.alias("earlier")
    blocked = (
        select(earlier.c.seq)
        .where(
            earlier.c.webhook_id == deliveries.c.webhook_id,
            earlier.c.listing_id == deliveries.c.listing_id,
            earlier.c.seq < deliveries.c.seq,
            earlier.c.state == WAITING,
        )
        .correlate(deliveries)
        .exists()
    )
    due = and_(deliveries.c.due_at_ms <= now_ms, deliveries.c.leased_until_ms <= now_ms)
    return and_(deliveries.c.state == WAITING, due, ~blocked)
