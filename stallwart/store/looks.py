"""What a rollout's guards said over time, for the lines on the page."""

from typing import Any

from sqlalchemy import Connection, func, select
from sqlalchemy.dialects import postgresql, sqlite

from stallwart.store.tables import looks

_MOST = 500


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
