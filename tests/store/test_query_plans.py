"""No query of a review page reads a whole table: each looks into an index."""

import contextlib

import pytest
from sqlalchemy import event, text

from stallwart.core.settings import Settings
from stallwart.store import claims, given, sessions, views
from stallwart.store.database import reading, writing
from stallwart.store.decisions import read_decision, read_revision
from stallwart.store.feedback import read_feedback
from stallwart.store.history import seller_history
from stallwart.store.tasks import counts, read_task, tasks_of
from stallwart.store.verdicts import Answer, read_verdicts, valid_verdict
from tests.store.reviewing import LEASE, QUICK, WORDS, add, asked, decided, decision_of, person
from tests.store.rolling import NOW

ROWS = 3_000
# PostgreSQL reads a table of a few rows whole, whatever indices it has
LARGE = ("decisions", "tasks", "revisions")


@contextlib.contextmanager
def plans(database):
    """Explains each SELECT and UPDATE of the block before it runs: (statement, line of its plan)."""
    found = []
    explain = "EXPLAIN QUERY PLAN " if database.dialect.name == "sqlite" else "EXPLAIN "

    def note(_connection, cursor, statement, parameters, *_):
        if statement.split()[0] in ("SELECT", "UPDATE", "WITH"):
            cursor.execute(explain + statement, parameters)
            found.extend((statement, str(row[-1])) for row in cursor.fetchall())

    event.listen(database, "before_cursor_execute", note)
    yield found
    event.remove(database, "before_cursor_execute", note)


def whole(line):
    """The table that a line of a plan reads from end to end, in no index."""
    words = line.split()
    if words[0] == "SCAN" and "INDEX" not in words:
        return words[1]
    if "Seq Scan on" in line:
        return line.split("Seq Scan on ")[1].split()[0]
    return None


@pytest.fixture
def filled(database):
    decided(database, *range(ROWS))
    add(database, *(asked(number, policy=f"p{number % 5}", language="de") for number in range(ROWS)))
    with writing(database) as connection:
        # Most tasks of a year are done
        connection.execute(text("UPDATE tasks SET state = 'done' WHERE seq % 19 <> 0"))
        connection.execute(text("UPDATE revisions SET seller_id = 'shop ' || (length(listing_id) % 2)"))
    with database.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE" if connection.dialect.name == "postgresql" else "ANALYZE"))
    return database


def test_no_query_of_a_page_reads_a_whole_table(filled):
    rita = person(filled)
    signed = sessions.sign_in(
        filled, QUICK, "rita", WORDS, address="192.0.2.1", settings=Settings(), now_ms=NOW
    )
    with plans(filled) as found:
        with writing(filled) as connection:
            task = claims.claim_next(connection, rita, now_ms=NOW, lease_ms=LEASE)
            claims.renew(connection, rita, task.task_id, now_ms=NOW, lease_ms=LEASE)
            claims.finish(connection, rita, task.task_id, {"p1": Answer.NO}, now_ms=NOW)
            claims.undo(connection, rita, now_ms=NOW, window_ms=LEASE, lease_ms=LEASE)
            claims.skip(connection, rita, task.task_id, "unclear", NOW)
            claims.claim_next(connection, rita, now_ms=NOW + LEASE, lease_ms=LEASE)
        with reading(filled) as connection:
            sessions.read_session(connection, signed.token, Settings(), NOW)
            claims.held(connection, rita, NOW)
            counts(connection, NOW)
            read_task(connection, task.task_id)
            tasks_of(connection, task.decision_id)
            read_decision(connection, decision_of(7))
            revision = read_revision(connection, read_decision(connection, decision_of(7)).revision)
            seller_history(connection, revision.seller_id)
            read_verdicts(connection, decision_of(7))
            valid_verdict(connection, decision_of(7))
            views.read_views(connection, listing_id=task.listing_id)
        read_feedback(filled, decision_of(7))
    assert len({statement for statement, _ in found}) > 15
    assert [(line, statement) for statement, line in found if whole(line) in LARGE] == []


def test_the_next_task_is_one_look_however_many_are_open(filled):
    rita = person(filled, skills=["p3"])
    with plans(filled) as found, writing(filled) as connection:
        assert claims.claim_next(connection, rita, now_ms=NOW, lease_ms=LEASE).policy == "p3"
    used = " ".join(line for _, line in found)
    assert "ix_tasks_open" in used
    assert not any("Sort" in line or "TEMP B-TREE FOR ORDER BY" in line for _, line in found)


def test_blocks_are_found_among_many_decisions_without_reading_the_others(filled):
    with writing(filled) as connection:
        connection.execute(text("UPDATE decisions SET action = 'block' WHERE seq % 500 = 0"))
    with plans(filled) as found, reading(filled) as connection:
        assert len(list(given.last_blocks(connection, 5))) == 5
        assert "ix_decisions_blocks" in " ".join(line for _, line in found)
        assert given.count_blocks(connection, 0, NOW * 2) == ROWS // 500
        assert len(given.blocks_after(connection, 0, 0, NOW * 2)) == ROWS // 500
    assert [(line, statement) for statement, line in found if whole(line) in LARGE] == []
