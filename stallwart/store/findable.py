"""Makes decided listings findable: a row and the words of each, behind the service's back.

A row is of a listing's last decision and has its number, so that the newest is found first without sorting.
Words are in FTS5 on SQLite and a tsvector with a GIN index on PostgreSQL; what is emptied or erased is
forgotten there too.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Engine, and_, delete, insert, select, text

from stallwart.store.database import reading, store_errors, writing
from stallwart.store.tables import decisions, findable, revisions
from stallwart.store.trail import Trail
from stallwart.store.words import as_vector, words_of

_BATCH = 500
_ROWS = 400  # of one statement
_LOCK = 0x57A15  # any number that all processes of this program agree on
_FAILED = "listings could not be made findable; the next step goes on"
MAKE_WORDS = {
    "sqlite": (
        'CREATE VIRTUAL TABLE findable_words USING fts5(words, tokenize = "unicode61 remove_diacritics 0")',
    ),
    "postgresql": (
        "CREATE TABLE findable_words (seq BIGINT PRIMARY KEY, words TSVECTOR NOT NULL)",
        "CREATE INDEX ix_findable_words_words ON findable_words USING gin (words)",
    ),
}
"""What makes the table of words; its kinds have too little in common for one description."""
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
        """How many listings of the next 500 decisions were made findable, and whether there may be more.

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
    words = [
        (row.seq, words_of(" ".join(part for part in (row.title, row.description) if part))) for row in rows
    ]
    _put_words(connection, [(seq, some) for seq, some in words if some])


def forget_findable(
    connection: Connection, *, listings: Collection[str] = (), revisions: Collection[str] = ()
) -> int:
    """How many listings were findable that are not any more, in the caller's transaction.

    Args:
        connection: in a transaction of `database.writing`.
        listings: ids of listings.
        revisions: digests of revisions.
    """
    gone = 0
    for column, names in ((findable.c.listing_id, list(listings)), (findable.c.revision, list(revisions))):
        for start in range(0, len(names), _ROWS):
            some = column.in_(names[start : start + _ROWS])
            seqs = list(connection.execute(select(findable.c.seq).where(some)).scalars())
            _forget_words(connection, seqs)
            gone += connection.execute(delete(findable).where(some)).rowcount if seqs else 0
    return gone


def forget_words_of(connection: Connection, digests: Collection[str]) -> None:
    """Let go of the words of revisions, whose rows stay; in the caller's transaction."""
    names = list(digests)
    for start in range(0, len(names), _ROWS):
        some = findable.c.revision.in_(names[start : start + _ROWS])
        _forget_words(connection, list(connection.execute(select(findable.c.seq).where(some)).scalars()))


def _forget_words(connection: Connection, seqs: Iterable[int]) -> None:
    column = "rowid" if connection.dialect.name == "sqlite" else "seq"
    rows = [{"seq": seq} for seq in seqs]
    if rows:
        connection.execute(text(f"DELETE FROM findable_words WHERE {column} = :seq"), rows)


def _put_words(connection: Connection, words: Sequence[tuple[int, list[str]]]) -> None:
    if not words:
        return
    if connection.dialect.name == "sqlite":
        statement = "INSERT INTO findable_words (rowid, words) VALUES (:seq, :words)"
        rows: list[Mapping[str, Any]] = [{"seq": seq, "words": " ".join(some)} for seq, some in words]
    else:
        statement = "INSERT INTO findable_words (seq, words) VALUES (:seq, CAST(:words AS tsvector))"
        rows = [{"seq": seq, "words": as_vector(some)} for seq, some in words]
    connection.execute(text(statement), rows)


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
