"""What a rollout's guards said over time, for the lines on the page."""

from typing import Any

from sqlalchemy import Connection, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite

from stallwart.store.tables import looks

_MOST = 500
_LEAST_MS = 5_000


def add_look(connection: Connection, rollout_id: str, at_ms: int, figures: dict[str, Any]) -> None:
    """Keep the figures of one look; where there is one of that millisecond, it stays."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    values = {"rollout_id": rollout_id, "at_ms": at_ms, "figures": figures}
    connection.execute(insert(looks).values(values).on_conflict_do_nothing())


def read_looks(
    connection: Connection, rollout_id: str, most: int = _MOST
) -> list[tuple[int, dict[str, Any]]]:
    """(milliseconds since 1970, figures) in order of time: of each of `most` stretches of time the last."""
    mine = looks.c.rollout_id == rollout_id
    first, last = connection.execute(
        select(func.min(looks.c.at_ms), func.max(looks.c.at_ms)).where(mine)
    ).one()
    if first is None:
        return []
    width = (last - first) // most + 1  # so that there are no more than `most` stretches
    latest = (
        select(func.max(looks.c.at_ms))
        .where(mine)
        .group_by((looks.c.at_ms - first) // width)
        .scalar_subquery()
    )
    query = select(looks.c.at_ms, looks.c.figures).where(mine, looks.c.at_ms.in_(latest))
    return [(row.at_ms, row.figures) for row in connection.execute(query.order_by(looks.c.at_ms))]


def keep_look(
    connection: Connection, rollout_id: str, at_ms: int, figures: dict[str, Any], *, changed: bool
) -> None:
    """Keep the figures of the last look, and of earlier ones some hundred over a rollout's life.

    The look before this one goes where it came soon after the one before it, unless the rollout was moved by
    it: soon is a part of how long the rollout has run, so that a month takes not much more room than an hour.

    Args:
        connection: in a transaction of `database.writing`.
        rollout_id: of the rollout.
        at_ms: milliseconds since 1970.
        figures: what the look saw.
        changed: whether it moves the rollout.
    """
    mine = looks.c.rollout_id == rollout_id
    first = connection.execute(select(func.min(looks.c.at_ms)).where(mine)).scalar()
    latest = connection.execute(
        select(looks.c.at_ms, looks.c.figures).where(mine).order_by(looks.c.at_ms.desc()).limit(2)
    ).all()
    if first is not None and len(latest) == 2 and not latest[0].figures.get("moves"):
        apart = max(_LEAST_MS, (at_ms - first) // _MOST)
        if latest[0].at_ms - latest[1].at_ms < apart:
            connection.execute(delete(looks).where(mine, looks.c.at_ms == latest[0].at_ms))
    add_look(connection, rollout_id, at_ms, {**figures, "moves": changed})


def last_look(connection: Connection, rollout_id: str) -> tuple[int, dict[str, Any]] | None:
    """(milliseconds since 1970, figures) of the last look; None before the first."""
    query = select(looks.c.at_ms, looks.c.figures).where(looks.c.rollout_id == rollout_id)
    row = connection.execute(query.order_by(looks.c.at_ms.desc()).limit(1)).first()
    return None if row is None else (row.at_ms, row.figures)
