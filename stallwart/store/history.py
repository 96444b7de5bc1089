"""What a seller has published, and what was decided of it: a few looks into indices, however much it is."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, select

from stallwart.core.decision import Action
from stallwart.store.statements import statements
from stallwart.store.tables import decisions, revisions

_EDITS = 10  # revisions that are read for each listing: of sellers who edit a lot fewer listings are found


@dataclass(frozen=True, slots=True)
class Published:
    """A listing of a seller as it was published last, and the last decision on it.

    Attributes:
        listing_id: which listing.
        revision: its last content.
        title: None where there is none, or retention emptied it.
        stored_at_ms: when that came.
        decision_id: the listing's last decision.
        action: what it says.
        policies: that called for it.
        decided_at_ms: milliseconds since 1970.
    """

    listing_id: str
    revision: str
    title: str | None
    stored_at_ms: int
    decision_id: str
    action: Action
    policies: tuple[str, ...]
    decided_at_ms: int


def seller_history(connection: Connection, seller_id: str, limit: int = 20) -> list[Published]:
    """The listings that a seller published or edited last, the newest first.

    Args:
        connection: in any transaction.
        seller_id: as the market names the seller.
        limit: the most listings that are read.
    """
    last: dict[str, Any] = {}
    for row in connection.execute(_PUBLISHED, {"seller": seller_id, "most": _EDITS * limit}):
        if len(last) < limit or row.listing_id in last:
            last.setdefault(row.listing_id, row)
    decided = _last_decisions(connection, last)
    return [_published(row, decided[row.listing_id]) for row in last.values() if row.listing_id in decided]


def _published(row: Any, decided: Any) -> Published:
    return Published(
        listing_id=row.listing_id,
        revision=row.revision,
        title=row.title,
        stored_at_ms=row.stored_at_ms,
        decision_id=decided.decision_id,
        action=Action(decided.action),
        policies=tuple(decided.policies),
        decided_at_ms=decided.decided_at_ms,
    )


def _last_decisions(connection: Connection, listings: Collection[str]) -> dict[str, Any]:
    if not listings:
        return {}
    sql = statements(connection.dialect.name)
    ids = [row[1] for row in connection.exec_driver_sql(sql.by_listing, sql.among(listings))]
    rows = connection.execute(_DECIDED, {"ids": ids})
    return {row.listing_id: row for row in rows}


# Made once: to make a statement costs as much as to run it
_PUBLISHED = (
    select(revisions.c.listing_id, revisions.c.revision, revisions.c.title, revisions.c.stored_at_ms)
    .where(revisions.c.seller_id == bindparam("seller"))
    .order_by(revisions.c.stored_at_ms.desc())
    .limit(bindparam("most"))
)
_DECIDED = select(
    decisions.c.listing_id,
    decisions.c.decision_id,
    decisions.c.action,
    decisions.c.policies,
    decisions.c.decided_at_ms,
).where(decisions.c.decision_id.in_(bindparam("ids", expanding=True)))
