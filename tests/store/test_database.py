from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from stallwart.core.settings import Settings
from stallwart.store.database import check_current, open_database, reading, status, upgrade
from stallwart.store.tables import metadata

COMPARED = {"compare_type": True, "compare_server_default": True}


def test_the_migrations_lead_to_the_tables_of_the_program(database):
    with reading(database) as connection:
        assert compare_metadata(MigrationContext.configure(connection, opts=COMPARED), metadata) == []


def test_an_upgraded_database_is_one_that_the_program_works_with(empty_database_url):
    engine = open_database(empty_database_url, Settings())
    assert upgrade(engine).current is None
    assert status(engine).up_to_date
    check_current(engine)
    engine.dispose()
