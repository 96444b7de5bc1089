"""Figures by the hour: sums of what was decided and said, kept up by following the tables.

Each row is counted once: a page of rows is read, added up and its cursor moved in one transaction that first
locks the cursor, so that a kill leaves all of it or nothing, and two processes wait for each other. Amounts
belong to the hour in which the decision was made, also where a verdict or an appeal comes weeks later.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from stallwart.store.tables import cursors, hourly

HOUR_MS = 3_600_000
SETTLE_MS = 60_000
"""PostgreSQL numbers a row before it is committed: one that is this old has no earlier one still to come."""
_PAGE = 2_000

FIGURES = {
    "allow": "decisions to allow",
    "review": "decisions to ask a person",
    "block": "decisions to block",
    "unscored": "decisions without scores",
    "appeal": "appeals",
    "upheld": "appeals after which the decision stayed",
    "overturned": "appeals after which it did not",
    "report": "reports by users",
    "drawn": "decisions drawn for the audit that a person has judged",
    "right": "blocks drawn for the audit that were right",
    "wrong": "blocks drawn for the audit that were wrong",
    "missed": "decisions drawn for the audit that were not blocks and should have been",
    "found": "reviews in which a person found the violation",
    "cleared": "reviews in which a person found none",
}
"""Each figure that is summed, and what it counts; of one policy, or of all where the policy is empty."""


@dataclass(frozen=True, slots=True)
class Cell:
    """What an amount is of.

    Attributes:
        hour: since 1970, UTC.
        figure: as `FIGURES`.
        policy: empty for all.
        bundle: digest of what decided.
        arm: champion or challenger.
    """

    hour: int
    figure: str
    policy: str
    bundle: str
    arm: str


@dataclass(frozen=True)
class Source:
    """A table that is followed.

    Attributes:
        name: of its cursor.
        query: its rows, each with a `seq`.
        seq: what counts them up.
        at: column of the time at which a row was written, in milliseconds since 1970.
        fold: rows -> amounts to add.
    """

    name: str
    query: Select[Any]
    seq: ColumnElement[int]
    at: str
    fold: Callable[[Connection, Sequence[Row[Any]]], Mapping[Cell, float]]


def follow(connection: Connection, source: Source, now_ms: int) -> tuple[int, bool]:
    """How many rows were counted in the caller's transaction, and whether there may be more.

    Args:
        connection: in a transaction of `database.writing`.
        source: what is followed.
        now_ms: milliseconds since 1970.
    """
    after = locked_cursor(connection, source.name)
    rows = settled(connection, source.query, source.seq, source.at, after, now_ms, _PAGE)
    if not rows:
        return 0, False
    add(connection, source.fold(connection, rows))
    move_cursor(connection, source.name, rows[-1].seq)
    return len(rows), len(rows) == _PAGE


def settled(
    connection: Connection,
    query: Select[Any],
    seq: ColumnElement[int],
    at: str,
    after: int,
    now_ms: int,
    limit: int,
) -> list[Row[Any]]:
    """The next rows before which none can appear any more, in order, at most `limit`."""
    rows = list(connection.execute(query.where(seq > after).order_by(seq).limit(limit)))
    if connection.dialect.name == "sqlite":  # writes one transaction after the other
        return rows
    fresh = (place for place, row in enumerate(rows) if getattr(row, at) > now_ms - SETTLE_MS)
    return rows[: next(fresh, len(rows))]


def locked_cursor(connection: Connection, name: str) -> int:
    """Up to which `seq` a table was counted; no other transaction moves it until this one ends."""
    connection.execute(_insert(connection, cursors).values(name=name, seq=0).on_conflict_do_nothing())
    query = select(cursors.c.seq).where(cursors.c.name == name).with_for_update()
    return int(connection.execute(query).scalar_one())


def move_cursor(connection: Connection, name: str, seq: int) -> None:
    """Move a cursor that this transaction has locked."""
    connection.execute(update(cursors).where(cursors.c.name == name).values(seq=seq))


def add(connection: Connection, amounts: Mapping[Cell, float]) -> None:
    """Add amounts to what is there, in the caller's transaction."""
    rows = [
        {"hour": cell.hour, "figure": cell.figure, "policy": cell.policy, "bundle": cell.bundle,
         "arm": cell.arm, "amount": amount}
        for cell, amount in sorted(amounts.items(), key=lambda item: _order(item[0]))
        if amount
    ]  # fmt: skip
    if not rows:
        return
    statement = _insert(connection, hourly)
    statement = statement.on_conflict_do_update(
        index_elements=["hour", "figure", "policy", "bundle", "arm"],
        set_={"amount": hourly.c.amount + statement.excluded.amount},
    )
    connection.execute(statement, rows)


def read(connection: Connection, from_hour: int, to_hour: int, by_hours: int = 1) -> Counter[Cell]:
    """Amounts of the hours [from_hour, to_hour), summed over `by_hours` each; a cell's hour is the first.

    Args:
        connection: in any transaction.
        from_hour: since 1970; a multiple of `by_hours`.
        to_hour: since 1970.
        by_hours: 1, or 24 for days.
    """
    hour = (hourly.c.hour - hourly.c.hour % by_hours).label("of")
    rest = (hourly.c.figure, hourly.c.policy, hourly.c.bundle, hourly.c.arm)
    query = (
        select(hour, *rest, func.sum(hourly.c.amount))
        .where(hourly.c.hour >= from_hour, hourly.c.hour < to_hour)
        .group_by(hour, *rest)
    )
    return Counter({Cell(*row[:5]): float(row[5]) for row in connection.execute(query)})


def together(cells: Iterable[tuple[Cell, float]]) -> Counter[tuple[int, str, str]]:
    """Amounts by hour, figure and policy, over all bundles and arms."""
    summed: Counter[tuple[int, str, str]] = Counter()
    for cell, amount in cells:
        summed[cell.hour, cell.figure, cell.policy] += amount  # type: ignore[assignment]  # they are floats
    return summed


def _insert(connection: Connection, table: Any) -> Any:
    return (postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert)(table)


def _order(cell: Cell) -> tuple[int, str, str, str, str]:
    return cell.hour, cell.figure, cell.policy, cell.bundle, cell.arm
