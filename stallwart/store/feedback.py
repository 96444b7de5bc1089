"""What the world said of a decision: appeals and what became of them, reports, outcomes. Append-only."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Engine, Row, select
from sqlalchemy.dialects import postgresql, sqlite

from stallwart.core.errors import ConflictError, NotFoundError
from stallwart.store.database import reading, store_errors, writing
from stallwart.store.revisions import storable
from stallwart.store.tables import decisions, feedback


class Kind(StrEnum):
    """What somebody said of a decision."""

    APPEAL = "appeal"
    UPHELD = "upheld"
    OVERTURNED = "overturned"
    REPORT = "report"
    OUTCOME = "outcome"


@dataclass(frozen=True, slots=True)
class Feedback:
    """One thing that was said of a decision.

    Attributes:
        feedback_id: `f_` and hexadecimal characters that sort by time.
        decision_id: what it is about.
        kind: an appeal by the seller, whether it was upheld or overturned, a report by a buyer, an outcome.
        policy: which policy it is about, or None.
        note: in words, or None.
        key_id: the API key that it came with.
        created_at_ms: when it came.
    """

    feedback_id: str
    decision_id: str
    kind: Kind
    policy: str | None
    note: str | None
    key_id: str
    created_at_ms: int


_COLUMNS = tuple(feedback.c[name] for name in Feedback.__slots__)


def add_feedback(
    engine: Engine, said: Mapping[str, Any], key_id: str, request_key: str | None, now_ms: int
) -> str:
    """Id of the feedback, committed; a repeat of its request key answers the first id and stores nothing.

    Args:
        engine: the database.
        said: decision_id, kind (see `Kind`), and perhaps policy and note.
        key_id: the API key that it came with.
        request_key: sha256 over the API key's id and the caller's Idempotency-Key; None without one.
        now_ms: milliseconds since 1970.

    Raises:
        NotFoundError: there is no such decision.
        ConflictError: the request key was used for other feedback.
        StoreError: the database does not take it; send it again.
    """
    row = {
        "feedback_id": f"f_{now_ms:012x}{secrets.token_hex(10)}",
        "decision_id": said["decision_id"],
        "kind": Kind(said["kind"]).value,
        "policy": storable(said.get("policy")),
        "note": storable(said.get("note")),
        "key_id": key_id,
        "request_key": request_key,
        "created_at_ms": now_ms,
    }
    with store_errors("the feedback could not be stored, send it again"), writing(engine) as connection:
        _check_decision(connection, row["decision_id"])
        insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
        statement = insert(feedback).values(row).on_conflict_do_nothing(index_elements=["request_key"])
        inserted = connection.execute(statement.returning(feedback.c.feedback_id)).scalar()
        if inserted is not None:
            return str(inserted)
        # Another statement sees what another transaction committed while this one waited for it
        return _first(connection, row)


def read_feedback(engine: Engine, decision_id: str) -> list[Feedback]:
    """All that was said of a decision, in the order in which it came.

    Raises:
        StoreError: the database does not answer.
    """
    query = select(*_COLUMNS).where(feedback.c.decision_id == decision_id).order_by(feedback.c.seq)
    with store_errors("feedback cannot be read"), reading(engine) as connection:
        return [_feedback(row) for row in connection.execute(query)]


def _check_decision(connection: Connection, decision_id: str) -> None:
    # No id that was given out holds what a database would not take as text
    known = (
        storable(decision_id) == decision_id
        and connection.execute(select(decisions.c.seq).where(decisions.c.decision_id == decision_id)).first()
    )
    if not known:
        raise NotFoundError("there is no such decision; ids begin with d_ and come with each answer")


def _first(connection: Connection, row: Mapping[str, Any]) -> str:
    stored = (
        connection.execute(select(feedback).where(feedback.c.request_key == row["request_key"]))
        .mappings()
        .one()
    )
    if any(stored[name] != row[name] for name in ("decision_id", "kind", "policy", "note")):
        raise ConflictError("this Idempotency-Key was used for other feedback; send another key")
    return str(stored["feedback_id"])


def _feedback(row: Row[Any]) -> Feedback:
    fields = dict(row._mapping)
    return Feedback(**{**fields, "kind": Kind(fields["kind"])})
