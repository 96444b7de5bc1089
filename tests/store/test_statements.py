"""SQL that is made by hand reads as the dialect wants it."""

from sqlalchemy import Column, Integer, MetaData, String, Table, select

from stallwart.store.database import reading, writing
from stallwart.store.statements import READ, add_missing, insert_into, quoted, statements

ODD = Table(
    "order",
    MetaData(),
    Column("key", String, primary_key=True),
    Column("limit", Integer),
    Column("select", Integer),
    Column("plain", Integer),
)
COLUMNS = ("key", "limit", "select", "plain")


def test_names_that_mean_something_in_sql_are_written_and_what_is_there_stays(database):
    ODD.create(database)
    with writing(database) as connection:
        add_missing(connection, ODD, COLUMNS, [("a", 1, 2, 3), ("b", 4, 5, 6)])
        add_missing(connection, ODD, COLUMNS, [("a", 9, 9, 9), ("c", 7, 8, 9)])
    with reading(database) as connection:
        rows = connection.execute(select(ODD).order_by(ODD.c.key)).all()
    assert [tuple(row) for row in rows] == [("a", 1, 2, 3), ("b", 4, 5, 6), ("c", 7, 8, 9)]


def test_plain_names_stay_without_quotes():
    for kind in ("sqlite", "postgresql"):
        assert quoted(READ, kind) == list(READ)
        assert '"limit"' in insert_into(ODD, COLUMNS, kind)
        assert '"plain"' not in insert_into(ODD, COLUMNS, kind)


def test_the_sql_of_the_hot_path_is_made_once():
    for kind in ("sqlite", "postgresql"):
        assert statements(kind) is statements(kind)
