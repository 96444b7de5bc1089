import subprocess
import sys

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from stallwart.core.errors import ConfigError, StoreError
from stallwart.core.settings import Settings
from stallwart.store.database import (
    check_current,
    database_url,
    open_database,
    reading,
    shown_url,
    status,
    upgrade,
    writing,
)
from stallwart.store.tables import metadata

COMPARED = {
    "compare_type": True,
    "compare_server_default": True,
    # Each kind of database has the words to be found in a table of its own form
    "include_name": lambda name, kind, _: kind != "table" or not name.startswith("findable_words"),
}
UPGRADE = """
import sys
from stallwart.core.settings import Settings
from stallwart.store.database import check_current, open_database, upgrade
engine = open_database(sys.argv[1], Settings())
upgrade(engine)
check_current(engine)
"""


@pytest.fixture
def empty(empty_database_url):
    engine = open_database(empty_database_url, Settings())
    yield engine
    engine.dispose()


def test_the_migrations_lead_to_the_tables_of_the_program(database):
    with reading(database) as connection:
        assert compare_metadata(MigrationContext.configure(connection, opts=COMPARED), metadata) == []


def test_a_database_without_tables_is_told_apart_and_upgraded_once(empty):
    with pytest.raises(ConfigError, match="no tables yet; run: stallwart db upgrade"):
        check_current(empty)
    assert upgrade(empty).current is None
    assert status(empty).up_to_date
    check_current(empty)
    assert upgrade(empty).up_to_date


def test_a_newer_database_is_refused_and_left_alone(database):
    with writing(database) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for act in (check_current, upgrade):
        with pytest.raises(ConfigError, match=r"newer stallwart \(schema 9999"):
            act(database)
    assert status(database).current == "9999"


@pytest.mark.slow
def test_processes_that_upgrade_at_once_all_end_well(empty_database_url):
    command = [sys.executable, "-c", UPGRADE, empty_database_url]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    said = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], said


def test_sqlite_keeps_what_it_is_told(database):
    if database.dialect.name != "sqlite":
        pytest.skip("SQLite's own settings")
    with reading(database) as connection:
        told = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert told == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def test_postgresql_does_not_answer_before_it_has_written(database):
    if database.dialect.name != "postgresql":
        pytest.skip("PostgreSQL's own settings")
    with writing(database) as connection:
        connection.execute(text("ALTER ROLE CURRENT_USER SET synchronous_commit = off"))
    database.dispose()
    try:
        with reading(database) as connection:
            assert connection.execute(text("SHOW synchronous_commit")).scalar_one() == "on"
    finally:
        with writing(database) as connection:
            connection.execute(text("ALTER ROLE CURRENT_USER RESET synchronous_commit"))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://u:hush@host/name", "no database named 'mysql'"),
        ("u:hush@host", "is no URL"),
        ("sqlite://", "must last"),
        ("sqlite:////proc/none/file", "cannot be opened"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_its_password(url, said):
    with pytest.raises(ConfigError, match=said) as caught:
        open_database(url, Settings())
    assert "hush" not in str(caught.value)


def test_a_server_that_is_not_there_is_a_store_error_without_a_password():
    engine = open_database("postgresql://u:hush@127.0.0.1:1/name?password=hush", Settings())
    with pytest.raises(StoreError, match=r"127\.0\.0\.1:1/name") as caught:
        status(engine)
    assert "hush" not in str(caught.value)
    assert shown_url(engine.url) == "postgresql://127.0.0.1:1/name"


def test_the_default_database_is_a_file_of_its_owner_in_the_data_folder(tmp_path):
    settings = Settings(data_dir=tmp_path / "50% off? #1")
    engine = open_database(database_url(settings), settings)
    upgrade(engine)
    engine.dispose()
    path = settings.data_dir / "stallwart.sqlite"
    assert path.stat().st_mode & 0o777 == 0o600
