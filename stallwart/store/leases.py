"""Leases: what only one process does at a time. A process that dies loses its lease when it is over.

A lease saves work, it guards nothing: a process that was suspended may go on for a moment after another took
over. So whoever works under one writes in transactions that are right with two at work as well.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from stallwart.store.tables import leases


@dataclass(frozen=True, slots=True)
class Lease:
    """Who holds a lease.

    Attributes:
        name: what it is for.
        holder: names one process, unlike any other.
        since_ms: when the holder took it.
        beat_at_ms: when the holder last said that it lives.
        until_ms: from when on another may take it.
    """

    name: str
    holder: str
    since_ms: int
    beat_at_ms: int
    until_ms: int


def hold(connection: Connection, name: str, holder: str, now_ms: int, lease_ms: int) -> bool:
    """Whether the holder has the lease now, taken anew where nobody has it or its time is over.

    Args:
        connection: in a transaction of `database.writing`.
        name: what it is for.
        holder: names the process, unlike any other.
        now_ms: milliseconds since 1970.
        lease_ms: how long it lasts; hold it again well before.
    """
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    row = {"beat_at_ms": now_ms, "until_ms": now_ms + lease_ms}
    first = insert(leases).values(name=name, holder=holder, since_ms=now_ms, **row).on_conflict_do_nothing()
    if connection.execute(first).rowcount == 1:
        return True
    mine = (leases.c.name == name) & (leases.c.holder == holder)
    if connection.execute(update(leases).where(mine).values(**row)).rowcount == 1:
        return True
    over = (leases.c.name == name) & (leases.c.until_ms <= now_ms)
    taken = update(leases).where(over).values(holder=holder, since_ms=now_ms, **row)
    return int(connection.execute(taken).rowcount) == 1


def let_go(connection: Connection, name: str, holder: str) -> None:
    """Give a lease up, so that another need not wait for its end."""
    connection.execute(delete(leases).where(leases.c.name == name, leases.c.holder == holder))


def read_lease(connection: Connection, name: str) -> Lease | None:
    """Who has the lease, or had it last without giving it up; None where nobody."""
    row = connection.execute(select(leases).where(leases.c.name == name)).one_or_none()
    return None if row is None else Lease(**row._mapping)
