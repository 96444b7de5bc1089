"""A URL in, an engine out that keeps what it is told; and the migrations that bring a database up to date.

SQLite commits to the disk before it says so (WAL, synchronous=FULL) and takes its one write lock where a
transaction begins, so that none fails halfway for want of it. PostgreSQL runs at READ COMMITTED and is never
left with synchronous_commit off. Passwords are in no message.
"""

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, create_engine, event, func, make_url, select, text
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from stallwart.core.errors import ConfigError, StoreError
from stallwart.core.settings import Settings
from stallwart.store.tables import metadata

_MIGRATIONS = Path(__file__).parent / "migrations"
_READS = "stallwart_reads"
_WAIT_MS = 5_000  # for a lock that another process holds
_UPGRADE_WAIT_MS = 120_000  # for another process's upgrade
_UPGRADE_LOCK = 0x57A11  # any number that all processes of this program agree on
# A server that is gone is noticed within seconds, not after the two hours of TCP's defaults
_POSTGRES_OPTIONS = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "application_name": "stallwart",
}
_TURNS: WeakKeyDictionary[Engine, threading.Lock] = WeakKeyDictionary()
_RESTING: WeakSet[Engine] = WeakSet()
_POSTGRES_SESSION = f"""
SELECT set_config('lock_timeout', '{_WAIT_MS}', false),
       set_config('statement_timeout', '{2 * _WAIT_MS}', false),
       set_config('idle_in_transaction_session_timeout', '60000', false),
       CASE current_setting('synchronous_commit')
            WHEN 'off' THEN set_config('synchronous_commit', 'on', false) END
"""


@dataclass(frozen=True, slots=True)
class SchemaStatus:
    """Which migration a database is at, and which this program needs; `current` is None where it has none."""

    current: str | None
    needed: str

    @property
    def up_to_date(self) -> bool:
        """Whether the program can work with the database as it is."""
        return self.current == self.needed


def database_url(settings: Settings) -> str:
    """The URL from the settings, a SQLite file in the data folder if none is set; it may hold a password."""
    file = URL.create("sqlite", database=str((settings.data_dir / "stallwart.sqlite").absolute()))
    return settings.database_url or file.render_as_string()


def shown_url(url: str | URL) -> str:
    """A URL for messages and logs: kind, host and name, without user, password and query."""
    parsed = make_url(url)
    return URL.create(
        parsed.get_backend_name(), host=parsed.host, port=parsed.port, database=parsed.database
    ).render_as_string()


def open_database(url: str, settings: Settings) -> Engine:
    """An engine on SQLite or PostgreSQL; a SQLite file that is not there is made, for its owner's eyes only.

    `engine.begin()` takes SQLite's write lock at once; use `reading(engine)` where nothing is written.

    Args:
        url: SQLAlchemy URL, as sqlite:///file or postgresql://user:password@host/name.
        settings: for the size of the pool.

    Raises:
        ConfigError: the URL cannot be read, or names no database that this program knows; the folder of a
            SQLite file cannot be written, or the driver of PostgreSQL is not installed.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ConfigError(
            "STALLWART_DATABASE_URL: is no URL; write postgresql://user:password@host/name or sqlite:////path"
        ) from None
    kind = parsed.get_backend_name()
    if kind == "sqlite":
        return _open_sqlite(parsed)
    if kind in ("postgresql", "postgres"):
        return _open_postgres(parsed.set(drivername="postgresql+psycopg"), settings)
    raise ConfigError(f"STALLWART_DATABASE_URL: no database named {kind!r}; there are: postgresql, sqlite")


def _open_sqlite(url: URL) -> Engine:
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise ConfigError("STALLWART_DATABASE_URL: decisions must last; name a file, as sqlite:////path")
    path = Path(url.database)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # It holds listings and the secrets of webhooks; SQLite gives its side files the same mode
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as err:
        raise ConfigError(f"{path}: cannot be opened ({err.strerror or err})") from None
    engine = create_engine(url.set(drivername="sqlite"), hide_parameters=True)
    _TURNS[engine] = threading.Lock()
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver leaves BEGIN to `_begin_sqlite`
    connection.execute(f"PRAGMA busy_timeout={_WAIT_MS}")
    _use_wal(connection)
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL; SQLite does not wait where two processes do so at once, so this does."""
    until = time.monotonic() + _WAIT_MS / 1000
    while connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(0.01)


def _begin_sqlite(connection: Connection) -> None:
    reads = connection.get_execution_options().get(_READS, False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def _open_postgres(url: URL, settings: Settings) -> Engine:
    try:
        engine = create_engine(
            url.set(
                query={**url.query, **{k: str(v) for k, v in _POSTGRES_OPTIONS.items() if k not in url.query}}
            ),
            hide_parameters=True,
            isolation_level="READ COMMITTED",
            pool_pre_ping=True,
            pool_size=5 + settings.threads,
            pool_timeout=_WAIT_MS / 1000,
        )
    except ModuleNotFoundError:
        raise ConfigError("psycopg is not installed; pip install 'stallwart[postgres]'") from None
    event.listen(engine, "connect", _prepare_postgres)
    return engine


def _prepare_postgres(connection: Any, _record: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_POSTGRES_SESSION)
    connection.commit()


@contextlib.contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that only reads: on SQLite it waits for nobody, and nobody for it."""
    with engine.connect().execution_options(**{_READS: True}) as connection, connection.begin():
        yield connection


@contextlib.contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that writes: committed when the block ends well, and on the disk then."""
    with _turn(engine):
        began = time.monotonic()
        with engine.begin() as connection:
            yield connection
        if engine in _RESTING:
            time.sleep(time.monotonic() - began)


def rest_after_writes(engine: Engine) -> None:
    """On SQLite, let other processes write as long as this one did, after each of its transactions.

    For work that nobody waits for: whoever waits for SQLite's one write lock asks for it now and then, and
    seldom meets the moment in which it is free where another process takes it again at once.
    """
    if engine in _TURNS:
        _RESTING.add(engine)


@contextlib.contextmanager
def _turn(engine: Engine) -> Iterator[None]:
    """On SQLite wait for this process's other threads here.

    SQLite itself waits by asking again after ever longer pauses, so that of many threads some would wait a
    second for a lock that is free most of the time. Whoever waits too long goes on, and SQLite says what is.
    """
    lock = _TURNS.get(engine)
    mine = lock is not None and lock.acquire(timeout=_WAIT_MS / 1000)
    try:
        yield
    finally:
        if lock is not None and mine:
            lock.release()


def failure_of(err: SQLAlchemyError) -> str:
    """What a database said, in a few words without a listing's content or a password."""
    orig = err.orig if isinstance(err, DBAPIError) else None
    if orig is None:
        return type(err).__name__
    if isinstance(orig, sqlite3.Error):
        return str(orig)  # SQLite names tables and columns, never values
    state = getattr(orig, "sqlstate", None)
    if state is None:  # no server spoke: the driver says why, by host and port
        return str(orig).splitlines()[0]
    return f"{type(orig).__name__}, SQLSTATE {state}"


@contextlib.contextmanager
def store_errors(what: str) -> Iterator[None]:
    """Turns a failure of the database into a StoreError that begins with `what`.

    Raises:
        StoreError: the block failed in the database.
    """
    try:
        yield
    except SQLAlchemyError as err:
        raise StoreError(f"{what}: {failure_of(err)}") from None


def status(engine: Engine) -> SchemaStatus:
    """Which migration the database is at, and which is needed.

    Raises:
        StoreError: the database cannot be reached.
    """
    with store_errors(f"{shown_url(engine.url)}: cannot be read"), reading(engine) as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    return SchemaStatus(current, ScriptDirectory.from_config(_config()).get_current_head() or "")


def count_rows(engine: Engine) -> dict[str, int]:
    """Rows of each table.

    Raises:
        StoreError: the database cannot be reached.
    """
    with store_errors(f"{shown_url(engine.url)}: cannot be read"), reading(engine) as connection:
        return {
            table.name: int(connection.execute(select(func.count()).select_from(table)).scalar_one())
            for table in metadata.sorted_tables
        }


def check_current(engine: Engine) -> None:
    """Return where the database is as this program needs it.

    Raises:
        ConfigError: it has no tables yet, or older or newer ones.
        StoreError: it cannot be reached.
    """
    found, shown = status(engine), shown_url(engine.url)
    if found.up_to_date:
        return
    if found.current is None:
        raise ConfigError(f"{shown}: has no tables yet; run: stallwart db upgrade")
    if found.current not in _known_revisions():
        raise ConfigError(
            f"{shown}: was made by a newer stallwart (schema {found.current}, this one knows {found.needed});"
            " install that version, or one after it"
        )
    raise ConfigError(
        f"{shown}: has schema {found.current}, and {found.needed} is needed; run: stallwart db upgrade"
    )


def upgrade(engine: Engine) -> SchemaStatus:
    """Bring the tables up to date in one transaction; where several processes try, one does and others wait.

    Returns:
        What it was at before.

    Raises:
        ConfigError: it was made by a newer program.
        StoreError: it cannot be reached, or another process held its lock for minutes.
    """
    before = status(engine)
    if before.current is not None and before.current not in _known_revisions():
        check_current(engine)
    if before.up_to_date:
        return before
    config = _config()
    with (
        store_errors(f"{shown_url(engine.url)}: cannot be upgraded"),
        engine.connect() as connection,
        _waiting_longer(connection),
        connection.begin(),
    ):
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _UPGRADE_LOCK})
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    return before


@contextlib.contextmanager
def _waiting_longer(connection: Connection) -> Iterator[None]:
    """Limits for a migration: another may be at work, and a large table takes its time."""
    if connection.dialect.name == "sqlite":
        driver: Any = connection.connection.driver_connection
        driver.execute(f"PRAGMA busy_timeout={_UPGRADE_WAIT_MS}")
        yield
        driver.execute(f"PRAGMA busy_timeout={_WAIT_MS}")
        return
    limits = f"SET lock_timeout = {_UPGRADE_WAIT_MS}; SET statement_timeout = 0"
    connection.exec_driver_sql(limits)
    connection.commit()
    yield
    connection.invalidate()  # these limits are not for the pool


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    return config


def _known_revisions() -> set[str]:
    return {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
