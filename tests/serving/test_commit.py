import asyncio
import contextlib
import json
import sqlite3
import subprocess
import sys
import threading
import time
from collections import defaultdict

import pytest
from sqlalchemy import func, select, text

from stallwart.core.decision import Action, Decision
from stallwart.core.errors import StoreError
from stallwart.core.settings import Settings
from stallwart.serving.commit import Committer
from stallwart.store.database import open_database, reading, upgrade
from stallwart.store.decisions import Conflict, read_decision
from stallwart.store.tables import decisions, deliveries, requests, revisions
from stallwart.store.webhooks import add_webhook
from tests.databases import Postgres
from tests.store.listings import draft

NOW = 1_750_000_000_000


def count(database, table):
    with reading(database) as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


@contextlib.contextmanager
def committing(database, **options):
    settings = options.pop("settings", Settings())
    committer = Committer(database, settings, lambda: NOW, lambda: (), **options)
    try:
        yield committer
    finally:
        assert committer.close(30)


def run(database, *drafts, **options):
    """The answer to each draft, or its error."""

    async def all_of_them(committer):
        return await asyncio.gather(*map(committer.commit, drafts), return_exceptions=True)

    with committing(database, **options) as committer:
        return asyncio.run(all_of_them(committer))


def test_what_waits_is_written_together_and_no_group_is_too_large(database):
    groups = []
    answers = run(
        database,
        *(draft(f"l{number}") for number in range(50)),
        settings=Settings(commit_rows=8),
        observe_rows=groups.append,
    )
    assert [answer.listing_id for answer in answers] == [f"l{number}" for number in range(50)]
    assert sum(groups) == 50
    assert max(groups) == 8
    assert len(groups) < 12


def test_an_event_loop_is_woken_once_a_group(database):
    async def main(committer):
        loop = asyncio.get_running_loop()
        woken, wake = [], loop.call_soon_threadsafe
        loop.call_soon_threadsafe = lambda *arguments: (woken.append(1), wake(*arguments))
        await asyncio.gather(*(committer.commit(draft(f"l{number}")) for number in range(100)))
        return len(woken)

    groups = []
    with committing(database, observe_rows=groups.append) as committer:
        assert asyncio.run(main(committer)) == len(groups)


def test_what_was_committed_is_found(database):
    async def main(committer):
        decision = await committer.commit(draft(key="k"))
        return decision, await asyncio.gather(
            committer.find("k", decision.revision),
            committer.find(None, decision.revision),
            committer.find(None, decision.revision, rescan=True),
            committer.find("k", "another"),
            committer.find("l", "another"),
        )

    with committing(database) as committer:
        decision, found = asyncio.run(main(committer))
    assert found == [decision, decision, None, Conflict("k", decision.revision, decision.decision_id), None]


def test_concurrent_repeats_answer_one_decision(database, database_url):
    other = open_database(database_url, Settings())
    barrier = threading.Barrier(2)
    answers = []

    def repeat(engine):
        barrier.wait()
        for turn in range(10):
            answers.extend(run(engine, *(draft(f"l{turn}", key=f"k{turn}") for _ in range(5))))

    threads = [threading.Thread(target=repeat, args=(engine,)) for engine in (database, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.dispose()
    assert all(isinstance(answer, Decision) for answer in answers)
    assert len({answer.decision_id for answer in answers}) == count(database, decisions) == 10


def test_one_row_that_cannot_be_stored_does_not_take_the_others_along(database):
    bad = draft("bad", evidence={"words": {1, 2}})
    taken = draft("first")
    answers = run(
        database,
        taken,
        draft("a"),
        bad,
        draft("b"),
        draft("c", decision_id=taken.decision.decision_id),
        draft("d"),
    )
    assert [isinstance(answer, Decision) for answer in answers] == [True, True, False, True, False, True]
    assert isinstance(answers[4], StoreError)
    assert count(database, decisions) == count(database, revisions) == 4


def test_a_caller_that_gave_up_disturbs_nobody(database):
    async def main(committer):
        gone, stays = committer.commit(draft("gone")), committer.commit(draft("stays"))
        gone.cancel()
        return await stays

    with committing(database) as committer:
        assert asyncio.run(main(committer)).listing_id == "stays"
    assert count(database, decisions) in (1, 2), "it was begun before it was given up, or dropped"


def test_closing_finishes_what_was_taken_and_takes_no_more(database):
    async def main():
        committer = Committer(database, Settings(), lambda: NOW, lambda: ())
        waiting = [committer.commit(draft(f"l{number}")) for number in range(20)]
        assert await asyncio.to_thread(committer.close, 30)
        with pytest.raises(StoreError, match="stopping"):
            committer.commit(draft("late"))
        return await asyncio.gather(*waiting)

    assert len(asyncio.run(main())) == 20


def test_webhooks_that_cannot_be_read_fail_the_group_and_the_next_one_succeeds(database):
    fails = [True]

    def webhooks():
        if fails[0]:
            raise StoreError("webhooks cannot be read")
        return ()

    async def main(committer):
        first = await asyncio.gather(committer.commit(draft()), return_exceptions=True)
        fails[0] = False
        return *first, await committer.commit(draft())

    committer = Committer(database, Settings(), lambda: NOW, webhooks)
    failed, stored = asyncio.run(main(committer))
    assert committer.close(30)
    assert isinstance(failed, StoreError)
    assert isinstance(stored, Decision)


@pytest.mark.slow
def test_a_locked_sqlite_is_a_store_error_until_it_is_free(tmp_path):
    engine = open_database(f"sqlite:///{tmp_path / 'locked.sqlite'}", Settings())
    upgrade(engine)
    other = sqlite3.connect(tmp_path / "locked.sqlite", isolation_level=None)

    async def main(committer):
        other.execute("BEGIN IMMEDIATE")
        failed = await asyncio.gather(
            *(committer.commit(draft(f"l{number}")) for number in range(5)), return_exceptions=True
        )
        found = await committer.find(None, "none")
        other.execute("ROLLBACK")
        return failed, found, await committer.commit(draft())

    started = time.monotonic()
    with committing(engine) as committer:
        failed, found, stored = asyncio.run(main(committer))
    assert time.monotonic() - started < 16, "the group waits for the lock, not each row"
    assert all(isinstance(err, StoreError) and "locked" in str(err) for err in failed)
    assert found is None, "looking needs no lock"
    assert isinstance(stored, Decision)
    assert count(engine, decisions) == 1
    other.close()
    engine.dispose()


@pytest.fixture(scope="module")
def stoppable():
    """A PostgreSQL of its own, for who stops it."""
    server = Postgres()
    yield server
    server.end()


def test_a_postgresql_that_goes_and_comes_back_costs_only_what_came_meanwhile(stoppable):
    engine = open_database(stoppable.create(), Settings())
    upgrade(engine)

    async def main(committer):
        before = await committer.commit(draft("before"))
        await asyncio.to_thread(stoppable.stop)
        failed = await asyncio.gather(
            *(committer.commit(draft(f"l{number}")) for number in range(5)),
            committer.find(None, before.revision),
            return_exceptions=True,
        )
        await asyncio.to_thread(stoppable.start)
        after = await committer.commit(draft("after"))
        return failed, await committer.find(None, before.revision), before, after

    with committing(engine) as committer:
        failed, found, before, _ = asyncio.run(main(committer))
    assert all(isinstance(err, StoreError) for err in failed), failed
    assert found == before
    assert count(engine, decisions) == 2
    engine.dispose()


def lanes(url, *arguments):
    command = [sys.executable, "-m", "tests.serving.lanes", url, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def wait_for_the_killed(database):
    """PostgreSQL ends the transaction of a client that was killed in its own time."""
    if database.dialect.name == "postgresql":
        with database.connect() as connection:
            busy = text(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND state <> 'idle' AND pid <> pg_backend_pid()"
            )
            until = time.monotonic() + 20
            while connection.execute(busy).scalar_one() and time.monotonic() < until:
                connection.rollback()
                time.sleep(0.05)


def check_whole(database, answered):
    """Each answer is stored as it was given, and all that belongs to a decision is stored with it."""
    wait_for_the_killed(database)
    with reading(database) as connection:
        for answer in answered:
            stored = read_decision(connection, answer["id"])
            assert (stored.revision, stored.supersedes) == (answer["revision"], answer["supersedes"])
        total = connection.execute(select(func.count()).select_from(decisions)).scalar_one()
        for table in (revisions, requests, deliveries):
            assert connection.execute(select(func.count()).select_from(table)).scalar_one() == total
        for table in (decisions, deliveries):  # both are numbered in the order of each listing's chain
            rows = connection.execute(select(table.c.listing_id, table.c.decision_id).order_by(table.c.seq))
            turns = defaultdict(list)
            for row in rows:
                turns[row.listing_id].append(int(row.decision_id.rsplit(" ", 1)[1]))
            assert all(numbers == list(range(len(numbers))) for numbers in turns.values())
    assert total >= len(answered)


@pytest.mark.slow
def test_a_process_that_is_killed_while_committing_loses_no_answered_decision(database, database_url):
    add_webhook(database, "https://example.com/hook", [Action.BLOCK], NOW)
    answered = []
    for turn in range(3):
        pair = [lanes(database_url, f"{turn}{half}", 6) for half in "ab"]
        heads = [process.stdout.readline() for process in pair]
        time.sleep(0.05 + 0.15 * turn)
        for process, head in zip(pair, heads, strict=True):
            process.kill()
            whole = (head + process.communicate()[0]).splitlines()
            answered += [json.loads(line) for line in whole]
    assert len(answered) > 20
    check_whole(database, answered)


@pytest.mark.slow
def test_a_full_disk_is_a_store_error_until_there_is_room(tmp_path):
    url = f"sqlite:///{tmp_path / 'full.sqlite'}"
    engine = open_database(url, Settings())
    upgrade(engine)
    add_webhook(engine, "https://example.com/hook", [Action.BLOCK], NOW)
    process = lanes(url, "full", 4, 400_000)
    said = [json.loads(line) for line in process.communicate(timeout=120)[0].splitlines()]
    assert process.returncode == 0
    failed = [one["failed"] for one in said if "failed" in one]
    assert len(failed) == 4
    assert all("disk" in one for one in failed), failed
    answered = [one for one in said if "id" in one]
    assert answered[-1]["id"] == "d after 0"
    check_whole(engine, answered)
    engine.dispose()
