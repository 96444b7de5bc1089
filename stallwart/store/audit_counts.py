"""How many decisions there were of each kind, drawn or not: what the audit's draws stand for.

Counted in the transaction of the decisions, one row for each kind that a group brings. Each process counts
in rows of its own, so that no replica waits for another; rows of past days are joined.
"""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from sqlalchemy import Connection, delete, func, literal, select, text
from sqlalchemy.dialects import postgresql, sqlite

from stallwart.core.decision import Action
from stallwart.store.statements import insert_into, statements
from stallwart.store.tables import audit_counts

DAY_MS = 86_400_000
_LOCK = 0x57A15  # any number that all processes of this program agree on
_LIVE_DAYS = 2  # a transaction may bring decisions of a day that has just ended


@dataclass(frozen=True, slots=True)
class Kind:
    """What decisions have in common that are counted together.

    Attributes:
        day: since 1970, UTC.
        bundle: digest of the bundle that decided.
        stratum: of the audit's plan.
        action: what was decided.
        policies: that called for it, as JSON text.
        probability: in [0, 1], with which each was drawn.
    """

    day: int
    bundle: str
    stratum: str
    action: str
    policies: str
    probability: float


@dataclass(frozen=True, slots=True)
class Counted:
    """Decisions of one kind.

    Attributes:
        day: since 1970, UTC.
        bundle: digest of the bundle that decided.
        stratum: of the audit's plan.
        action: what was decided.
        policies: that called for it.
        probability: in [0, 1], with which each was drawn.
        decisions: how many.
    """

    day: int
    bundle: str
    stratum: str
    action: Action
    policies: tuple[str, ...]
    probability: float
    decisions: int


def policies_text(policies: Iterable[str]) -> str:
    """Policies as the table's key has them."""
    return json.dumps(list(policies), ensure_ascii=False)


def add_counts(connection: Connection, kinds: Iterable[Kind], writer: str) -> None:
    """Count decisions, one for each kind that is given, in their own transaction.

    Args:
        connection: in a transaction of `database.writing`.
        kinds: one for each decision.
        writer: names the process; not empty.
    """
    found = Counter(kinds)
    if not found:
        return
    rows = [
        (one.day, one.bundle, one.stratum, one.action, one.policies, one.probability, writer, count)
        for one, count in found.items()
    ]
    # In one order in every transaction, though no other process touches these rows
    sql = statements(connection.dialect.name)
    sql.insert(connection, _add(connection.dialect.name), sorted(rows))


def read_counts(connection: Connection, from_day: int, until_day: int) -> list[Counted]:
    """Decisions of each kind on the days from one up to and without another, all processes together."""
    of = audit_counts.c
    columns = (of.day, of.bundle, of.stratum, of.action, of.policies, of.probability)
    query = (
        select(*columns, func.sum(of.decisions))
        .where(of.day >= from_day, of.day < until_day)
        .group_by(*columns)
        .order_by(*columns)
    )
    return [
        Counted(day, bundle, stratum, Action(action), tuple(json.loads(policies)), probability, int(total))
        for day, bundle, stratum, action, policies, probability, total in connection.execute(query)
    ]


def count_day(connection: Connection, day: int) -> int:
    """Decisions of one day."""
    total = select(func.sum(audit_counts.c.decisions)).where(audit_counts.c.day == day)
    return int(connection.execute(total).scalar() or 0)


def join_past_days(connection: Connection, today: int) -> int:
    """How many rows of single processes were joined, of days that can get no more, in the caller's
    transaction."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    of = audit_counts.c
    past = (of.day <= today - _LIVE_DAYS) & (of.writer != "")
    keys = (of.day, of.bundle, of.stratum, of.action, of.policies, of.probability)
    joined = select(*keys, literal(""), func.sum(of.decisions)).where(past).group_by(*keys)
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    names = [column.name for column in audit_counts.c]
    statement = insert(audit_counts).from_select(names, joined)
    added = statement.on_conflict_do_update(
        index_elements=[column.name for column in audit_counts.primary_key.columns],
        set_={"decisions": audit_counts.c.decisions + statement.excluded.decisions},
    )
    connection.execute(added)
    return int(connection.execute(delete(audit_counts).where(past)).rowcount)


@cache
def _add(kind: str) -> str:
    names = tuple(column.name for column in audit_counts.c)
    keys = ", ".join(column.name for column in audit_counts.primary_key.columns)
    return (
        insert_into(audit_counts, names, kind)
        + f" ON CONFLICT ({keys}) DO UPDATE SET decisions = audit_counts.decisions + excluded.decisions"
    )
