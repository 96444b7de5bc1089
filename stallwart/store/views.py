"""Which person looked at which listing, when and on what page; holds no content."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, insert, select

from stallwart.store.tables import views


@dataclass(frozen=True, slots=True)
class View:
    """One look.

    Attributes:
        user_id: who looked.
        listing_id: at what.
        page: where, as `task` or `search`.
        at_ms: milliseconds since 1970.
        decision_id: the decision that was shown, or None.
        task_id: the task that it was part of, or None.
    """

    user_id: str
    listing_id: str
    page: str
    at_ms: int
    decision_id: str | None = None
    task_id: str | None = None


_PARTS = [views.c[name] for name in View.__slots__]


def add_views(connection: Connection, seen: Iterable[View]) -> None:
    """Keep what was looked at, in the caller's transaction."""
    rows = [{name: getattr(one, name) for name in View.__slots__} for one in seen]
    if rows:
        connection.execute(insert(views), rows)


def was_shown(connection: Connection, user_id: str, listing_id: str, decision_id: str, until_ms: int) -> bool:
    """Whether a person had a listing, as it was decided about then, on a page by that moment."""
    mine = (views.c.user_id == user_id) & (views.c.decision_id == decision_id) & (views.c.at_ms <= until_ms)
    query = select(views.c.seq).where(views.c.listing_id == listing_id, mine).limit(1)
    return connection.execute(query).first() is not None


def read_views(
    connection: Connection,
    *,
    listing_id: str | None = None,
    user_id: str | None = None,
    before: int | None = None,
    limit: int = 100,
) -> list[tuple[int, View]]:
    """The last looks, the newest first, each with its `seq` to read on from.

    Args:
        connection: in any transaction.
        listing_id: only those at one listing.
        user_id: only those of one person.
        before: only those of a smaller `seq`.
        limit: the most that are read.
    """
    query = select(views.c.seq, *_PARTS).order_by(views.c.seq.desc()).limit(limit)
    if listing_id is not None:
        query = query.where(views.c.listing_id == listing_id)
    if user_id is not None:
        query = query.where(views.c.user_id == user_id)
    if before is not None:
        query = query.where(views.c.seq < before)
    return [(row[0], View(*row[1:])) for row in connection.execute(query)]
