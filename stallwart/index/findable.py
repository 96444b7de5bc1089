"""Makes decided listings findable: a row and the words of each, behind the service's back.

A row is of a listing's last decision and has its number, so that the newest is found first without sorting.
"""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, Engine, and_, insert, select, text

from stallwart.index.words import as_vector, words_of
from stallwart.store.database import reading, store_errors, writing
from stallwart.store.findable import forget_findable, put_words
from stallwart.store.tables import decisions, findable, revisions
from stallwart.store.trail import Trail

_BATCH = 100
_LOCK = 0x57A15  # any number that all processes of this program agree on
_FAILED = "listings could not be made findable; the next step goes on"
_MISSING = (
    select(
        decisions.c.seq,
        decisions.c.decided_at_ms,
        decisions.c.decision_id,
        decisions.c.listing_id,
        decisions.c.revision,
        decisions.c.action,
        decisions.c.policies,
        decisions.c.scores,
        revisions.c.title,
        revisions.c.description,
        revisions.c.seller_id,
    )
    .join(revisions, revisions.c.revision == decisions.c.revision)
    .where(
        ~select(findable.c.seq)
        .where(and_(findable.c.listing_id == decisions.c.listing_id, findable.c.seq >= decisions.c.seq))
        .exists()
    )
)


class Findable:
    """Makes listings findable, a step at a time; several may be at work on one database.

    Args:
        engine: the database.
        now_ms: milliseconds since 1970.
    """

    def __init__(self, engine: Engine, now_ms: Callable[[], int]):
        self._engine = engine
        self._trail = Trail("findable", _MISSING, now_ms)

    def step(self) -> tuple[int, bool]:
        """How many listings of the next hundred decisions were made findable, and whether there may be more.

        Raises:
            StoreError: the database fails; the next step does the same again.
        """
        with store_errors(_FAILED):
            with reading(self._engine) as connection:
                if not self._trail.missing(connection, 1) and not self._trail.behind(connection):
                    return 0, False
            with writing(self._engine) as connection:
                _one_at_a_time(connection)
                rows = self._trail.missing(connection, _BATCH)
                last = {row.listing_id: row for row in rows}
                put_findable(connection, list(last.values()))
                self._trail.done(connection, rows, _BATCH)
        return len(last), len(rows) == _BATCH

    def behind(self) -> int:
        """About how many decisions are still to be looked at."""
        with store_errors(_FAILED), reading(self._engine) as connection:
            return self._trail.behind(connection)


def put_findable(connection: Connection, rows: Sequence[Any]) -> None:
    """Make decisions findable in the place of earlier ones of their listings, in the caller's transaction.

    Args:
        connection: in a transaction of `database.writing`.
        rows: of decisions and their revisions; one of each listing.
    """
    forget_findable(connection, listings=[row.listing_id for row in rows])
    if not rows:
        return
    made = [_row(row) for row in rows]
    connection.execute(insert(findable), made)
    keep = " ".join if connection.dialect.name == "sqlite" else as_vector
    words = [(row.seq, words_of(" ".join(filter(None, (row.title, row.description))))) for row in rows]
    put_words(connection, [(seq, keep(some)) for seq, some in words if some])


def _row(row: Any) -> dict[str, Any]:
    scores = row.scores or {}
    likeliest = max(scores, key=lambda name: (scores[name], name), default=None)
    policy = row.policies[0] if row.policies else likeliest
    return {
        "seq": row.seq,
        "listing_id": row.listing_id,
        "decision_id": row.decision_id,
        "revision": row.revision,
        "action": row.action,
        "policy": policy,
        "score": scores.get(policy) if policy else None,
        "seller_id": row.seller_id,
        "decided_at_ms": row.decided_at_ms,
    }


def _one_at_a_time(connection: Connection) -> None:
    """Let no other process make rows until this transaction ends; SQLite's exclude each other."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
