"""Plans of what the audit draws, one version after the other; the last one holds in every process."""

import secrets
from dataclasses import dataclass

from pydantic import TypeAdapter
from sqlalchemy import Connection, Row, select
from sqlalchemy.dialects import postgresql, sqlite

from stallwart.estimate.audit_draw import AuditPlan
from stallwart.store.tables import audit_plans

_PLAN = TypeAdapter(AuditPlan)


@dataclass(frozen=True, slots=True)
class StoredPlan:
    """A plan as it is followed.

    Attributes:
        version: 1, 2, 3 ...
        plan: bands and chances.
        key: of the hash that places decisions, hexadecimal; the same in all versions.
        bundle: digest of the bundle whose scores its bands were cut from; empty where none's.
        why: it was made, in plain words.
        made_at_ms: milliseconds since 1970.
    """

    version: int
    plan: AuditPlan
    key: str
    bundle: str
    why: str
    made_at_ms: int


def current_plan(connection: Connection) -> StoredPlan | None:
    """The plan that holds; None before the first."""
    row = connection.execute(_LAST).first()
    return None if row is None else _stored(row)


def read_plans(connection: Connection, limit: int = 20) -> list[StoredPlan]:
    """The last plans, the newest first."""
    return [_stored(row) for row in connection.execute(_LAST.limit(limit))]


def add_plan(
    connection: Connection, plan: AuditPlan, *, after: StoredPlan | None, bundle: str, why: str, now_ms: int
) -> bool:
    """Whether the plan follows `after` now, in the caller's transaction; False where another came first.

    Args:
        connection: in a transaction of `database.writing`.
        plan: bands and chances.
        after: the plan that it takes the place of; None for the first one.
        bundle: whose scores its bands were cut from; empty where none's.
        why: in plain words.
        now_ms: milliseconds since 1970.
    """
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    row = {
        "version": after.version + 1 if after else 1,
        "plan": _PLAN.dump_python(plan, mode="json"),
        "place_key": after.key if after else secrets.token_hex(32),
        "bundle": bundle,
        "why": why,
        "made_at_ms": now_ms,
    }
    added = insert(audit_plans).values(row).on_conflict_do_nothing().returning(audit_plans.c.version)
    return connection.execute(added).first() is not None


_LAST = select(audit_plans).order_by(audit_plans.c.version.desc()).limit(1)


def _stored(row: Row[tuple[object, ...]]) -> StoredPlan:
    fields = dict(row._mapping)
    return StoredPlan(plan=_PLAN.validate_python(fields.pop("plan")), key=fields.pop("place_key"), **fields)
