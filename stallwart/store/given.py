"""Statements of reasons as they were given: the first one stays, so that it can be shown what was said."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, func, literal_column, select
from sqlalchemy.dialects import postgresql, sqlite

from stallwart.store.tables import decisions, given_statements

_PAGE = 200


@dataclass(frozen=True, slots=True)
class Given:
    """One statement.

    Attributes:
        decision_id: of the block.
        language: that it is in.
        listing_id: whose block it is.
        template: what made it, as `de/general`.
        text: what the seller reads.
        sha256: of the text in UTF-8, in hexadecimal.
        given_at_ms: when it was first given, milliseconds since 1970.
    """

    decision_id: str
    language: str
    listing_id: str
    template: str
    text: str
    sha256: str
    given_at_ms: int


def read_given(connection: Connection, decision_id: str, language: str) -> Given | None:
    """The statement that was given of a decision in a language; None where none was."""
    mine = (given_statements.c.decision_id == decision_id) & (given_statements.c.language == language)
    row = connection.execute(select(given_statements).where(mine)).first()
    return None if row is None else Given(**row._mapping)


def give(
    connection: Connection,
    decision_id: str,
    *,
    listing_id: str,
    language: str,
    template: str,
    text: str,
    now_ms: int,
) -> Given:
    """The statement, stored in the caller's transaction; where one was given before, that one.

    Args:
        connection: in a transaction of `database.writing`.
        decision_id: of the block.
        listing_id: whose.
        language: of the text.
        template: what made it.
        text: what the seller reads.
        now_ms: milliseconds since 1970.
    """
    digest = hashlib.sha256(text.encode()).hexdigest()
    made = Given(decision_id, language, listing_id, template, text, digest, now_ms)
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    values = {name: getattr(made, name) for name in Given.__slots__}
    done = connection.execute(insert(given_statements).values(values).on_conflict_do_nothing()).rowcount
    return made if done else read_given(connection, decision_id, language) or made


# An index holds blocks only, and a database uses it where it reads that action in the SQL
_IS_BLOCK: ColumnElement[bool] = decisions.c.action == literal_column("'block'")


def count_blocks(connection: Connection, since_ms: int, until_ms: int) -> int:
    """How many blocks were decided in a time."""
    query = select(func.count()).select_from(decisions).where(*_blocks(since_ms, until_ms))
    return int(connection.execute(query).scalar_one())


def blocks_after(connection: Connection, after: int, since_ms: int, until_ms: int) -> list[tuple[int, str]]:
    """The next blocks of a time, each by its `seq` and id; none where there are no more."""
    query = select(decisions.c.seq, decisions.c.decision_id).where(
        decisions.c.seq > after, *_blocks(since_ms, until_ms)
    )
    return [(row[0], row[1]) for row in connection.execute(query.order_by(decisions.c.seq).limit(_PAGE))]


def last_blocks(connection: Connection, limit: int, before: int | None = None) -> Iterator[tuple[int, str]]:
    """The newest blocks, each by its `seq` and id.

    Args:
        connection: in any transaction.
        limit: the most that are read.
        before: only those of a smaller `seq`.
    """
    query = select(decisions.c.seq, decisions.c.decision_id).where(_IS_BLOCK)
    if before is not None:
        query = query.where(decisions.c.seq < before)
    for row in connection.execute(query.order_by(decisions.c.seq.desc()).limit(limit)):
        yield row[0], row[1]


def _blocks(since_ms: int, until_ms: int) -> list[ColumnElement[bool]]:
    at = decisions.c.decided_at_ms
    return [_IS_BLOCK, at >= since_ms, at < until_ms]
