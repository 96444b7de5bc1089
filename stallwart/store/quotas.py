"""Quotas that hold exactly over all processes: each takes tokens of a minute from one row of the database.

What a process took and does not use expires with the minute. The minute is that of the process's clock, so
the clocks of several machines have to agree as well as the quota is to.
"""

from sqlalchemy import Connection, Engine, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from stallwart.store.tables import quota_windows

# A clock that lags by less than this never meets a window that was deleted
_KEPT_MINUTES = 60


def take_tokens(engine: Engine, key_id: str, minute: int, wanted: int, limit: int) -> int:
    """How many tokens of a key's minute this process may use: `wanted`, or the rest; 0 where none is left.

    Over all processes and machines the sum for one key and minute never exceeds `limit`.

    Args:
        engine: the database that all processes share.
        key_id: whose quota it is.
        minute: minutes since 1970.
        wanted: tokens to take, >= 1.
        limit: the key's requests per minute, >= 1.
    """
    with engine.begin() as connection:
        # The write comes first: SQLite then waits for its lock here, and never has to upgrade a read
        if _open_window(connection, key_id, minute):
            _forget_old(connection, key_id, minute)
        here = (quota_windows.c.key_id == key_id) & (quota_windows.c.minute == minute)
        taken = connection.execute(select(quota_windows.c.taken).where(here).with_for_update()).scalar_one()
        granted = max(0, min(wanted, limit - int(taken)))
        if granted:
            connection.execute(update(quota_windows).where(here).values(taken=taken + granted))
    return granted


def _open_window(connection: Connection, key_id: str, minute: int) -> bool:
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    row = insert(quota_windows).values(key_id=key_id, minute=minute, taken=0).on_conflict_do_nothing()
    return connection.execute(row.returning(quota_windows.c.minute)).first() is not None


def _forget_old(connection: Connection, key_id: str, minute: int) -> None:
    old = (quota_windows.c.key_id == key_id) & (quota_windows.c.minute < minute - _KEPT_MINUTES)
    connection.execute(delete(quota_windows).where(old))
