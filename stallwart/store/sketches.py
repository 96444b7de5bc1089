"""Sketches: decided listings as short vectors and facts, a sample of all, for drift and novelty."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, select

from stallwart.store.statements import add_missing
from stallwart.store.tables import sketches


@dataclass(frozen=True, slots=True)
class SketchRow:
    """One sketched listing as the table keeps it.

    Attributes:
        decision_seq: of its decision.
        decision_id: what was decided.
        bundle: digest of what decided.
        at_ms: when, milliseconds since 1970.
        facts: space, language, parts, size, colour, seller (hashed), scores, action, share drawn.
        vector: float16, words then photos.
        unlike: distance to what the bundle was trained on, or None.
        seq: counts sketches up as they are written; 0 before.
    """

    decision_seq: int
    decision_id: str
    bundle: str
    at_ms: int
    facts: dict[str, Any]
    vector: bytes
    unlike: float | None
    seq: int = 0


_COLUMNS = tuple(column.name for column in sketches.c if column.name != "seq")
_PAGE = 2_000


def add_sketches(connection: Connection, rows: Sequence[SketchRow]) -> None:
    """Write sketches in the caller's transaction; a decision has one."""
    import json

    add_missing(
        connection,
        sketches,
        _COLUMNS,
        [
            (one.decision_seq, one.decision_id, one.bundle, one.at_ms, json.dumps(one.facts), one.vector,
             one.unlike)
            for one in rows
        ],
    )  # fmt: skip


def read_sketches(connection: Connection, from_ms: int, limit: int | None = None) -> Iterator[SketchRow]:
    """Sketches of decisions since a time, in the order in which they were written."""
    query = select(sketches).where(sketches.c.at_ms >= from_ms).order_by(sketches.c.seq)
    if limit is not None:
        query = query.limit(limit)
    with connection.execution_options(yield_per=_PAGE).execute(
        query
    ) as rows:  # closed where a reader breaks off
        for row in rows:
            yield _sketch(row)


def last_sketches(connection: Connection, limit: int) -> list[SketchRow]:
    """The last sketches, in the order in which they were written."""
    query = select(sketches).order_by(sketches.c.seq.desc()).limit(limit)
    return [_sketch(row) for row in connection.execute(query)][::-1]


def drop_sketches(connection: Connection, before_ms: int) -> int:
    """How many sketches of decisions before a time were deleted."""
    return int(connection.execute(delete(sketches).where(sketches.c.at_ms < before_ms)).rowcount)


def _sketch(row: Row[Any]) -> SketchRow:
    return SketchRow(
        row.decision_seq, row.decision_id, row.bundle, row.at_ms, row.facts, row.vector, row.unlike, row.seq
    )
