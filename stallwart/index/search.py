"""Finds listings by words, seller, policy, score, action, time, or among some: the newest decisions first.

A search that would read too much is given up after a quarter of a second and says so; pages go on behind the
last row that was shown, so that what is decided meanwhile moves none.
"""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Connection,
    Engine,
    Select,
    any_,
    cast,
    column,
    func,
    literal,
    literal_column,
    select,
    text,
)
from sqlalchemy import (
    table as named,
)
from sqlalchemy.dialects.postgresql import TSQUERY
from sqlalchemy.exc import DBAPIError

from stallwart.core.decision import Action
from stallwart.index.words import Term, for_postgres, for_sqlite, read_query, taken_apart
from stallwart.store.database import reading, store_errors
from stallwart.store.findable import Hit
from stallwart.store.revisions import storable
from stallwart.store.tables import findable

DEADLINE_MS = 250
"""After which a search is given up."""
_STEPS = 20_000  # of SQLite's machine between two looks at the clock
_FEW = 2_000  # rows that are each looked at
_FEW_WORDS = 500  # the same by words on PostgreSQL, where phrases take long to look for
_CANCELLED = "57014"
_LATE_MS = 60_000


@dataclass(frozen=True, slots=True)
class Filters:
    """What is looked for; what is empty or None does not narrow the search.

    Attributes:
        words: as `words.read_query` takes them; where none of them is a word, nothing is found.
        seller_id: exactly.
        policy: that called for the action, or the likeliest.
        action: what was decided.
        score_from: least score of that policy, in [0, 1].
        score_to: greatest score of it.
        since_ms: decided then or later, milliseconds since 1970.
        until_ms: decided before.
        listings: only these, as the near duplicates of one.
    """

    words: str = ""
    seller_id: str = ""
    policy: str = ""
    action: Action | None = None
    score_from: float | None = None
    score_to: float | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    listings: tuple[str, ...] | None = None

    def names(self) -> list[str]:
        """Which filters narrow the search."""
        return [name for name in self.__slots__ if getattr(self, name) not in (None, "")]


@dataclass(frozen=True, slots=True)
class Hits:
    """One page.

    Attributes:
        rows: the newest first.
        more: whether there are more behind the last one.
        given_up: whether the search took too long; there are no rows then, and narrower filters are wanted.
    """

    rows: tuple[Hit, ...]
    more: bool = False
    given_up: bool = False


def search(
    engine: Engine, filters: Filters, most: int, before: int | None = None, deadline_ms: int = DEADLINE_MS
) -> Hits:
    """One page of what is found.

    Args:
        engine: the database.
        filters: what is looked for.
        most: rows of the page.
        before: the `seq` of the last row of the page before this one.
        deadline_ms: after which the search is given up.

    Raises:
        StoreError: the database fails.
    """
    if _hopeless(filters):
        return Hits(())
    with store_errors("listings could not be searched"), reading(engine) as connection:
        try:
            with _within(connection, deadline_ms):
                query = _from(_query(connection, filters), connection, filters, before)
                rows = connection.execute(query.limit(most + 1)).all()
        except _Slow:
            return Hits((), given_up=True)
    hits = tuple(Hit(**{**row._mapping, "action": Action(row.action)}) for row in rows[:most])
    return Hits(hits, more=len(rows) > most)


def count(engine: Engine, filters: Filters, most: int, deadline_ms: int = DEADLINE_MS) -> int | None:
    """How many are found, `most` where there are so many or more; None where counting takes too long.

    Raises:
        StoreError: the database fails.
    """
    if _hopeless(filters):
        return 0
    with store_errors("listings could not be counted"), reading(engine) as connection:
        try:
            with _within(connection, deadline_ms):
                query = _from(_query(connection, filters), connection, filters, None)
                some = query.limit(most).subquery()
                return int(connection.execute(select(func.count()).select_from(some)).scalar_one())
        except _Slow:
            return None


_WORDS = named("findable_words", column("rowid"), column("seq"), column("words"))
_COLUMNS = [findable.c[name] for name in Hit.__slots__]


def _hopeless(filters: Filters) -> bool:
    """Whether nothing can be found: no id that was given out holds what a database would not take as text."""
    names = (filters.seller_id, filters.policy, *(filters.listings or ()))
    wordless = bool(filters.words.strip()) and not read_query(filters.words)
    return wordless or filters.listings == () or any(storable(name) != name for name in names)


def _query(connection: Connection, filters: Filters) -> Select[Any]:
    table = findable
    query = select(*_COLUMNS)
    equal = {"seller_id": filters.seller_id, "policy": filters.policy, "action": filters.action}
    for name, value in equal.items():
        if value:
            query = query.where(table.c[name] == str(value))
    if filters.score_from is not None:
        query = query.where(table.c.score >= filters.score_from)
    if filters.score_to is not None:
        query = query.where(table.c.score <= filters.score_to)
    at = table.c.decided_at_ms
    # Rows are numbered in the order of their time but for a minute: so a time is also a place to begin or end
    if filters.since_ms is not None:
        last = select(table.c.seq).where(at < filters.since_ms - _LATE_MS).order_by(at.desc()).limit(1)
        query = query.where(at >= filters.since_ms, table.c.seq > func.coalesce(last.scalar_subquery(), 0))
    if filters.until_ms is not None:
        first = select(table.c.seq).where(at >= filters.until_ms + _LATE_MS).order_by(at).limit(1)
        end = func.coalesce(first.scalar_subquery(), 2**62)
        query = query.where(at < filters.until_ms, table.c.seq < end)
    if filters.listings is not None:
        query = query.where(table.c.listing_id.in_(filters.listings))
    terms = read_query(filters.words)
    if connection.dialect.name == "postgresql" and filters.policy and _narrow(connection, filters):
        # Its planner thinks that the newest of a policy soon have such a score
        query = query.where(table.c.seq.in_(select(table.c.seq).where(_in_range(filters)).offset(0)))
    if not terms:
        return query
    if connection.dialect.name == "postgresql":
        return _with_words(connection, query, filters, terms)
    match = text("findable_words MATCH :words").bindparams(words=for_sqlite(terms))
    if _few(connection, filters):
        inner = select(literal(1)).select_from(_WORDS).where(match, _WORDS.c.rowid == table.c.seq)
        return query.where(inner.exists())
    # Many: go through the words, the newest first; with the sign SQLite cannot go the other way
    joined = table.join(_WORDS, literal_column("+findable_words.rowid") == table.c.seq)
    return query.select_from(joined).where(match)


def _with_words(
    connection: Connection, query: Select[Any], filters: Filters, terms: tuple[Term, ...]
) -> Select[Any]:
    """On PostgreSQL: of rare words those that have them, of others by the planner's choice.

    It takes a word that it does not know for half as frequent as the rarest that it knows, and goes through
    all listings, the newest first, for one that hardly any has. Whether they are side by side takes long to
    look for, so that comes after.
    """
    match = _WORDS.c.words.bool_op("@@")(cast(for_postgres(terms), TSQUERY))
    query = query.select_from(findable.join(_WORDS, _WORDS.c.seq == findable.c.seq)).where(match)
    if filters.seller_id or filters.listings is not None:
        return query
    apart = _WORDS.c.words.bool_op("@@")(cast(for_postgres(taken_apart(terms)), TSQUERY))
    found = connection.execute(select(_WORDS.c.seq).where(apart).limit(_FEW_WORDS)).scalars().all()
    if len(found) == _FEW_WORDS:
        return query
    return query.where(findable.c.seq == any_(literal(list(found), ARRAY(BigInteger))))


def _from(query: Select[Any], connection: Connection, filters: Filters, before: int | None) -> Select[Any]:
    """The newest first, behind a row; by the words' own order where SQLite goes through them."""
    through_words = (
        connection.dialect.name == "sqlite" and read_query(filters.words) and not _few(connection, filters)
    )
    seq = _WORDS.c.rowid if through_words else findable.c.seq
    return (query if before is None else query.where(seq < before)).order_by(seq.desc())


def _few(connection: Connection, filters: Filters) -> bool:
    """Whether the other filters leave so few that each of them can be looked at."""
    return bool(filters.seller_id) or filters.listings is not None or _narrow(connection, filters)


def _narrow(connection: Connection, filters: Filters) -> bool:
    """Whether few have a score in this range; the index of scores counts them, up to a bound."""
    if filters.score_from is None and filters.score_to is None:
        return False
    within = select(literal(1)).select_from(findable).where(_in_range(filters)).limit(_FEW).subquery()
    return connection.execute(select(func.count()).select_from(within)).scalar_one() < _FEW


def _in_range(filters: Filters) -> ColumnElement[bool]:
    high = 1.0 if filters.score_to is None else filters.score_to
    return findable.c.score.between(filters.score_from or 0.0, high)


class _Slow(Exception):  # noqa: N818 - no error: the answer is that it takes too long
    """A search was given up."""


@contextlib.contextmanager
def _within(connection: Connection, deadline_ms: int) -> Iterator[None]:
    """Lets the block's statements run so long."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SET LOCAL statement_timeout = {int(deadline_ms)}"))
        try:
            yield
        except DBAPIError as err:
            if getattr(err.orig, "sqlstate", None) != _CANCELLED:
                raise
            raise _Slow from None
        return
    driver: Any = connection.connection.driver_connection
    until = time.monotonic() + deadline_ms / 1_000
    driver.set_progress_handler(lambda: time.monotonic() > until, _STEPS)
    try:
        yield
    except DBAPIError as err:
        if "interrupted" not in str(err.orig):
            raise
        raise _Slow from None
    finally:
        driver.set_progress_handler(None, 0)
