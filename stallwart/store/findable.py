"""Rows and words of what can be found: kept, and forgotten where a listing is emptied or erased.

Words are in FTS5 on SQLite and a tsvector with a GIN index on PostgreSQL, the same ones in both.
`index/findable.py` makes them, and `index/search.py` asks for them.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, select, text

from stallwart.core.decision import Action
from stallwart.store.tables import findable

_ROWS = 400  # of one statement
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


@dataclass(frozen=True, slots=True)
class Hit:
    """A listing that was found, by its last decision.

    Attributes:
        seq: the decision's number; pages go on behind it.
        listing_id: which listing.
        decision_id: its last decision.
        revision: what that is about.
        action: what was decided.
        policy: that called for it, or the likeliest; None where nothing was scored.
        score: of that policy.
        seller_id: whose, or None.
        decided_at_ms: milliseconds since 1970.
    """

    seq: int
    listing_id: str
    decision_id: str
    revision: str
    action: Action
    policy: str | None
    score: float | None
    seller_id: str | None
    decided_at_ms: int


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


def put_words(connection: Connection, words: Sequence[tuple[int, str]]) -> None:
    """Keep the words of rows by number: for SQLite as a text, for PostgreSQL as the text of a tsvector."""
    if not words:
        return
    if connection.dialect.name == "sqlite":
        statement = "INSERT INTO findable_words (rowid, words) VALUES (:seq, :words)"
        rows: list[Mapping[str, Any]] = [{"seq": seq, "words": some} for seq, some in words]
    else:
        statement = "INSERT INTO findable_words (seq, words) VALUES (:seq, CAST(:words AS tsvector))"
        rows = [{"seq": seq, "words": some} for seq, some in words]
    connection.execute(text(statement), rows)
