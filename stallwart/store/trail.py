"""Works through decisions in the order in which they came, and remembers in the database how far it is.

For work that may be repeated and says by a query what is missing, as fingerprints: a decision is looked for
until a minute after it was made, since PostgreSQL may show a smaller `seq` after a bigger one.
"""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, func, select
from sqlalchemy.dialects import postgresql, sqlite

from stallwart.store.tables import cursors, decisions

# Longer than a transaction of this program lasts: each of its statements may take 10 s
_LATE_MS = 60_000


class Trail:
    """One worker's way through the decisions.

    Args:
        name: of its cursor.
        query: what is missing: rows with the two columns below, without order and limit; what was done need
            not be among them any more.
        now_ms: milliseconds since 1970, as the rows are dated.
        seq: counts the rows up as they are written.
        at_ms: when each came.
    """

    def __init__(
        self,
        name: str,
        query: Select[Any],
        now_ms: Callable[[], int],
        seq: ColumnElement[int] = decisions.c.seq,
        at_ms: ColumnElement[int] = decisions.c.decided_at_ms,
    ):
        self._name, self._query, self._now_ms = name, query, now_ms
        self._seq, self._at_ms = seq, at_ms

    def missing(self, connection: Connection, limit: int) -> Sequence[Row[Any]]:
        """The next rows, in their order; fewer than `limit` where these are all."""
        after = self._seq > self._cursor(connection)
        return connection.execute(self._query.where(after).order_by(self._seq).limit(limit)).all()

    def done(self, connection: Connection, rows: Sequence[Row[Any]], limit: int) -> None:
        """Note that rows of `missing` with this limit are done, in the transaction that did them."""
        before = self._cursor(connection)
        settled_ms = self._now_ms() - _LATE_MS
        if len(rows) < limit:
            query = select(func.max(self._seq)).where(self._seq > before, self._at_ms < settled_ms)
            last = connection.execute(query).scalar() or 0
        else:
            last = max((row.seq for row in rows if row._mapping[self._at_ms] < settled_ms), default=0)
        if last > before:
            self._move(connection, last)

    def behind(self, connection: Connection) -> int:
        """About how many decisions are still to be looked at."""
        last = connection.execute(select(func.max(self._seq))).scalar() or 0
        return max(0, int(last) - self._cursor(connection))

    def _cursor(self, connection: Connection) -> int:
        return connection.execute(select(cursors.c.seq).where(cursors.c.name == self._name)).scalar() or 0

    def _move(self, connection: Connection, seq: int) -> None:
        """Never back, where another process has come further."""
        insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
        statement = insert(cursors).values(name=self._name, seq=seq)
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=["name"], set_={"seq": seq}, where=cursors.c.seq < seq
            )
        )
