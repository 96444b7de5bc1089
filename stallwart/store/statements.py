"""The SQL of the hot path as finished text, for each kind of database; rows go in and come out as tuples.

SQLAlchemy would build and look up each statement again for each transaction, which costs a small group more
than the database does. What is named here is taken from `tables.py`, and the rest of the store uses Core.
"""

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import Any

from sqlalchemy import Connection, Dialect, Table
from sqlalchemy.dialects import postgresql, sqlite

from stallwart.core.decision import Decision
from stallwart.store.tables import decisions, photo_uses, requests, revisions

_ROWS = 256  # of one INSERT: SQLite takes 32,766 values
READ = tuple(name for name in Decision.model_fields if name != "automatic")  # the cause tells that
"""Columns of a decision that is read, in order."""
REVISION = tuple(column.name for column in revisions.c)
"""Columns of a revision that is inserted, in order."""
DECISION = tuple(column.name for column in decisions.c if column.name != "seq")
"""Columns of a decision that is inserted, in order."""


@dataclass(frozen=True, slots=True)
class Statements:
    """Finished SQL of one kind of database.

    Attributes:
        insert_revision: `REVISION`; where it is there it stays, unless retention emptied it.
        insert_use: (photo, revision); where it is there it stays.
        insert_decision: `DECISION`.
        insert_request: (request_key, revision, decision_id, created_at_ms).
        by_key: one `among` of keys -> the key, the revision it was used for, and `READ`.
        by_revision: one `among` of digests -> `READ` of the last decision of each.
        by_listing: one `among` of listing ids -> listing and decision id of the last decision of each.
    """

    insert_revision: str
    insert_use: str
    insert_decision: str
    insert_request: str
    by_key: str
    by_revision: str
    by_listing: str
    arrays: bool

    def among(self, values: Collection[str]) -> tuple[Any]:
        """The parameter that stands for a set of texts: an array, or JSON where there are none."""
        return (list(values),) if self.arrays else (json.dumps(list(values)),)

    def insert(self, connection: Connection, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert rows by one of the statements above, at once.

        SQLite's driver lets other threads run at each row of a list, and then waits for them; so it gets one
        row of all values. PostgreSQL's sends a list in one go.
        """
        if self.arrays:
            connection.exec_driver_sql(statement, list(rows))
        else:
            one = f"({', '.join('?' * len(rows[0]))})"
            many = statement.replace(one, ", ".join([one] * len(rows)), 1)
            connection.exec_driver_sql(many, tuple(chain.from_iterable(rows)))


@cache
def statements(kind: str) -> Statements:
    """The SQL of `sqlite` or `postgresql`."""
    arrays = kind == "postgresql"
    among = "= ANY(%s::text[])" if arrays else "IN (SELECT value FROM json_each(?))"
    emptied = ", ".join(
        f"{name} = excluded.{name}"
        for name in quoted([name for name in REVISION if name not in ("revision", "listing_id")], kind)
    )
    read = ", ".join(f"d.{name}" for name in quoted(READ, kind))
    return Statements(
        insert_revision=insert_into(revisions, REVISION, kind)
        + f" ON CONFLICT (revision) DO UPDATE SET {emptied} WHERE revisions.purged_at_ms IS NOT NULL",
        insert_use=insert_into(photo_uses, ("photo", "revision"), kind) + " ON CONFLICT DO NOTHING",
        insert_decision=insert_into(decisions, DECISION, kind),
        insert_request=insert_into(
            requests, ("request_key", "revision", "decision_id", "created_at_ms"), kind
        ),
        by_key=f"SELECT r.request_key, r.revision, {read} FROM requests r"
        f" JOIN decisions d ON d.decision_id = r.decision_id WHERE r.request_key {among}",
        by_revision=_last(read, "revision", among, arrays),
        by_listing=_last("d.listing_id, d.decision_id", "listing_id", among, arrays),
        arrays=arrays,
    )


def _last(columns: str, by: str, among: str, arrays: bool) -> str:
    """The last decision of each value of a column, by one scan of that column's index."""
    if arrays:
        # One look into the index for each value, whatever PostgreSQL believes of a table it has not analysed
        return (
            "SELECT found.* FROM unnest(%s::text[]) AS wanted(value) CROSS JOIN LATERAL (SELECT"
            f" {columns} FROM decisions d WHERE d.{by} = wanted.value ORDER BY d.seq DESC LIMIT 1) found"
        )
    # SQLite takes the columns beside a lone max() from the row that has it (its SELECT, section 2.5)
    return f"SELECT {columns}, max(seq) FROM decisions d WHERE {by} {among} GROUP BY {by}"


def insert_into(table: Table, columns: tuple[str, ...], kind: str) -> str:
    """An INSERT of one row of these columns; `Statements.insert` sends many of them at once."""
    names, marks = ", ".join(quoted(columns, kind)), ", ".join([_mark(kind)] * len(columns))
    return f"INSERT INTO {quoted((table.name,), kind)[0]} ({names}) VALUES ({marks})"


def quoted(names: Sequence[str], kind: str) -> list[str]:
    """Names of tables or columns as this kind of database reads them: in quotes where it needs them."""
    make: Callable[[], Dialect] = postgresql.dialect if kind == "postgresql" else sqlite.dialect
    quote = make().identifier_preparer.quote
    return [quote(name) for name in names]


def _mark(kind: str) -> str:
    return "%s" if kind == "postgresql" else "?"


def add_missing(
    connection: Connection, table: Table, columns: tuple[str, ...], rows: Sequence[tuple[Any, ...]]
) -> None:
    """Insert rows of these columns in the caller's transaction; those whose keys are there stay as they are.

    `columns` names them all but `seq`, in the order of the rows' values; JSON comes as text.
    """
    if not rows:
        return
    sql = statements(connection.dialect.name)
    statement = _insert_missing(table, columns, connection.dialect.name)
    for start in range(0, len(rows), _ROWS):
        sql.insert(connection, statement, rows[start : start + _ROWS])


@cache
def _insert_missing(table: Table, columns: tuple[str, ...], kind: str) -> str:
    return insert_into(table, columns, kind) + " ON CONFLICT DO NOTHING"
