"""The database that a command works with: from the settings, checked, closed when the command is through."""

import contextlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from stallwart.core.errors import ConfigError
from stallwart.core.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Engine


@contextlib.contextmanager
def ready_database(settings: Settings) -> Iterator["Engine"]:
    """An engine on a database with the tables of this version.

    A SQLite file that is not there yet is made, so that keys can be made before the first start of a service;
    any other database only gets tables when its operator says so.

    Raises:
        ConfigError: the extra is not installed, the URL is wrong, or `stallwart db upgrade` has to run first.
        StoreError: the database cannot be reached, or failed in the block.
    """
    try:
        from stallwart.store.database import (
            check_current,
            database_url,
            open_database,
            status,
            store_errors,
            upgrade,
        )
    except ModuleNotFoundError as err:
        raise ConfigError(
            f"{err.name} is not installed, and a database needs it; pip install 'stallwart[serve]'"
        ) from None
    engine = open_database(database_url(settings), settings)
    try:
        if engine.dialect.name == "sqlite" and status(engine).current is None:
            upgrade(engine)
        check_current(engine)
        with store_errors("the database failed; nothing was half written"):
            yield engine
    finally:
        engine.dispose()


def wall_ms() -> int:
    """Milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000


def moment(at_ms: int | None) -> str | None:
    """A stored time as people and machines read it, in UTC; None stays None."""
    return None if at_ms is None else datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds")


def shortly(at: str | None) -> str:
    """Such a time as a table shows it, in UTC to the minute."""
    return "" if at is None else at[:16].replace("T", " ")
