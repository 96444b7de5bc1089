import json
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from stallwart.core.errors import ConfigError
from stallwart.store import audit
from stallwart.store.database import reading, writing
from tests.store.rolling import NOW

DETAIL = {"share": 0.05, "é": [None, 1.0]}
EDITS = {
    "at_ms": "at_ms + 1",
    "who": "'mallory'",
    "act": "'rollout.hold'",
    "subject": "'r_2'",
    "why": "why || ' '",
    "detail": """'{"share": 0.06}'""",
    "hash": f"'{'0' * 64}'",
}


def write(database, *whys, who="ana", act="rollout.advance", subject="r_1"):
    with writing(database) as connection:
        return [
            audit.append(connection, who=who, act=act, subject=subject, why=why, detail=DETAIL, now_ms=NOW)
            for why in whys
        ]


def change(database, *statements):
    with writing(database) as connection:
        for statement in statements:
            connection.execute(text(statement))


def verified(database, head=None):
    with reading(database) as connection:
        return audit.verify(connection, head)


def test_an_empty_log_is_whole(database):
    assert verified(database) == audit.Verified(0, audit.FIRST)


def test_a_log_that_nobody_touched_verifies_and_says_its_head(database):
    assert write(database, *(f"why {number}" for number in range(1_100))) == list(range(1, 1_101))
    whole = verified(database)
    assert (whole.entries, whole.wrong, whole.what) == (1_100, None, "")
    with reading(database) as connection:
        (last,) = audit.read(connection, limit=1)
    assert (last.number, last.hash) == (1_100, whole.head)
    assert verified(database, (1_100, whole.head)) == whole


@pytest.mark.parametrize("column", EDITS)
def test_an_entry_with_an_edited_column_is_named(database, column):
    write(database, "one", "two", "three")
    change(database, f"UPDATE audit_log SET {column} = {EDITS[column]} WHERE number = 2")
    broken = verified(database)
    assert (broken.entries, broken.wrong, broken.what) == (1, 2, "was edited")


def test_detail_that_is_no_json_any_more_is_an_edit(database):
    if database.dialect.name != "sqlite":
        pytest.skip("PostgreSQL takes no such value")
    write(database, "one", "two")
    for value in ("'{'", "7"):
        change(database, f"UPDATE audit_log SET detail = {value} WHERE number = 2")
        assert (verified(database).wrong, verified(database).what) == (2, "was edited")


@pytest.mark.parametrize("number", [1, 2, 3])
def test_an_entry_that_was_taken_out_is_missed(database, number):
    write(database, "one", "two", "three", "four")
    change(database, f"DELETE FROM audit_log WHERE number = {number}")
    assert (verified(database).wrong, verified(database).what) == (number, "is missing")


def test_a_gap_that_was_closed_is_still_found(database):
    write(database, "one", "two", "three", "four")
    change(
        database,
        "DELETE FROM audit_log WHERE number = 2",
        "UPDATE audit_log SET number = 2 WHERE number = 3",
        "UPDATE audit_log SET number = 3 WHERE number = 4",
    )
    broken = verified(database)
    assert broken.wrong == 2
    assert "out of its place" in broken.what


def test_two_entries_that_changed_places_are_found(database):
    write(database, "one", "two", "three", "four")
    change(
        database,
        "UPDATE audit_log SET number = 9 WHERE number = 2",
        "UPDATE audit_log SET number = 2 WHERE number = 3",
        "UPDATE audit_log SET number = 3 WHERE number = 9",
    )
    broken = verified(database)
    assert broken.wrong == 2
    assert "out of its place" in broken.what


def test_an_entry_that_was_written_anew_with_its_hash_breaks_the_next(database):
    write(database, "one", "two", "three")
    with reading(database) as connection:
        values = dict(connection.execute(text("SELECT * FROM audit_log WHERE number = 2")).mappings().one())
    forged = audit._hash({**values, "detail": DETAIL, "why": "forged"})
    change(database, f"UPDATE audit_log SET why = 'forged', hash = '{forged}' WHERE number = 2")
    broken = verified(database)
    assert broken.wrong == 3
    assert "does not follow the entry before it" in broken.what


def test_an_entry_that_was_slipped_in_is_found(database):
    write(database, "one", "two")
    copied = "SELECT 0, at_ms, who, act, subject, why, detail, previous, 'x' FROM audit_log WHERE number = 1"
    change(database, f"INSERT INTO audit_log {copied}")
    assert (verified(database).wrong, verified(database).what) == (0, "was slipped in")


def test_an_end_that_was_cut_off_is_found_by_a_head_that_was_noted(database):
    write(database, "one", "two", "three")
    noted = (3, verified(database).head)
    change(database, "DELETE FROM audit_log WHERE number > 1")
    assert verified(database).wrong is None, "no log can show that by itself"
    broken = verified(database, noted)
    assert broken.wrong == 2
    assert "cut off" in broken.what
    write(database, "other", "others")
    assert verified(database).wrong is None
    broken = verified(database, noted)
    assert broken.wrong == 3
    assert "written anew" in broken.what


def test_writers_at_once_make_one_chain(database):
    threads = [threading.Thread(target=write, args=(database, "a", "b", "c")) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    whole = verified(database)
    assert (whole.entries, whole.wrong) == (18, None)


def test_an_entry_is_kept_only_with_what_was_done(database):
    def fail(connection):
        audit.append(connection, who="ana", act="a", subject="s", why="w", detail={}, now_ms=NOW)
        raise RuntimeError

    with pytest.raises(RuntimeError), writing(database) as connection:
        fail(connection)
    assert verified(database).entries == 0
    assert write(database, "one") == [1]


def test_entries_are_read_newest_first_and_filtered(database):
    write(database, "one", "two")
    write(database, "three", who="ben", act="bundle.champion", subject="b")
    with reading(database) as connection:
        assert [one.why for one in audit.read(connection)] == ["three", "two", "one"]
        assert [one.why for one in audit.read(connection, before=3, limit=1)] == ["two"]
        assert [one.why for one in audit.read(connection, who="ben")] == ["three"]
        assert [one.why for one in audit.read(connection, act="rollout.")] == ["two", "one"]
        assert [one.why for one in audit.read(connection, subject="b")] == ["three"]
        assert audit.read(connection)[2].detail == DETAIL


@pytest.mark.parametrize(("name", "value"), [("who", " "), ("why", ""), ("why", "x" * 2_001)])
def test_nobody_acts_without_a_name_and_a_reason(database, name, value):
    given = {"who": "ana", "act": "a", "subject": "s", "why": "w", name: value}
    with pytest.raises(ConfigError, match=name), writing(database) as connection:
        audit.append(connection, **given, detail={}, now_ms=NOW)


def test_texts_that_a_database_does_not_take_are_kept_as_well_as_can_be(database):
    write(database, "a \0 and \ud800 here")
    assert verified(database) == audit.Verified(1, verified(database).head)


_texts = st.text(max_size=5)
_values = st.one_of(st.none(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), _texts)
_entries = st.fixed_dictionaries(
    {
        "number": st.integers(1, 9),
        "at_ms": st.integers(0, 9),
        **dict.fromkeys(("who", "act", "subject", "why", "previous"), _texts),
        "detail": st.dictionaries(_texts, _values, max_size=2),
    }
)


@given(_entries, _entries)
def test_only_equal_entries_have_equal_hashes(one, other):
    equal = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (audit._hash(one) == audit._hash(other)) == equal
