from dataclasses import replace

import pytest
from sqlalchemy import select, update

from stallwart.core import rulebook
from stallwart.core.errors import ConflictError, StoreError
from stallwart.core.settings import Settings
from stallwart.core.taxonomy import Policy, Taxonomy
from stallwart.store import audit, rulebooks
from stallwart.store.candidates import Candidate
from stallwart.store.database import reading, writing
from stallwart.store.decisions import read_decision, write
from stallwart.store.intake import Intake
from stallwart.store.tables import rulebooks as table
from stallwart.store.tables import tasks
from tests.store.listings import draft

NOW = 1_750_000_000_123

DRUGS, KNIVES = (Policy(id=name, title=name, covers=name, prevalence=0.01) for name in ("drugs", "knives"))


def begun():
    return rulebook.begin(Taxonomy(policies=(DRUGS,)))


def moved(database, *books, seen=0, places=None):
    with writing(database) as connection:
        return rulebooks.move(
            connection, books, seen=seen, who="ana", why="the law", now_ms=NOW, places=places
        )


def taken_in(database):
    first = begun()
    second = rulebook.add(first, KNIVES)
    moved(database, first, second, places={"knives": ("a" * 64, "/addons/a")})
    return second


def decided(database, listing_id, policy, score):
    made = draft(listing_id)
    decision = made.decision.model_copy(
        update={"addons": ("a" * 64,), "scores": {"drugs": 0.01, policy: score}}
    )
    candidate = Candidate(decision.decision_id, policy, "a" * 64, score, NOW)
    with writing(database) as connection:
        write(connection, [replace(made, decision=decision, candidates=(candidate,))], [], NOW)
    return decision


def open_tasks(database):
    Intake(database, Settings(), lambda: NOW).step()
    with reading(database) as connection:
        return [
            (row.policy, row.state, row.kind)
            for row in connection.execute(select(tasks).order_by(tasks.c.seq))
        ]


def test_versions_are_kept_with_an_entry_for_each_move(database):
    book = taken_in(database)
    with reading(database) as connection:
        assert rulebooks.current(connection) == book
        assert [one.version for one, _ in rulebooks.history(connection)] == [1, 2]
        assert rulebooks.with_digest(connection, begun().digest) == begun()
        assert rulebooks.with_digest(connection, "0" * 64) is None
        assert [row.policy for row in rulebooks.scoring(connection)] == ["knives"]
        assert audit.verify(connection).wrong is None
        assert [one.act for one in audit.read(connection)] == ["policy.add", "policy.begin"]


def test_of_two_moves_from_one_version_the_second_is_refused_and_writes_nothing(database):
    book = taken_in(database)
    moved(database, rulebook.retire(book, "drugs"), seen=2)
    with pytest.raises(ConflictError, match="at version 3, and this began at 2"):
        moved(database, rulebook.retire(book, "knives"), seen=2)
    with reading(database) as connection:
        assert rulebooks.current(connection).version == 3


def test_a_version_that_was_changed_in_the_database_is_refused(database):
    taken_in(database)
    with writing(database) as connection:
        stored = connection.execute(select(table.c.content).where(table.c.version == 2)).scalar()
        connection.execute(
            update(table).where(table.c.version == 2).values(content=stored.replace("knives", "knivez"))
        )
    with reading(database) as connection, pytest.raises(StoreError, match="version 2"):
        rulebooks.current(connection)


def test_a_decision_keeps_its_addons_and_its_candidates_become_tasks(database):
    taken_in(database)
    decision = decided(database, "L1", "knives", 0.4)
    with reading(database) as connection:
        assert read_decision(connection, decision.decision_id) == decision
        assert rulebooks.candidate_counts(connection) == {"knives": 1}
    assert open_tasks(database) == [("knives", "open", "review")]
    assert open_tasks(database) == [("knives", "open", "review")]


def test_retiring_a_policy_cancels_its_open_tasks_and_ends_its_addon(database):
    book = taken_in(database)
    decided(database, "L1", "knives", 0.4)
    decided(database, "L2", "drugs", 0.4)
    open_tasks(database)
    retired = rulebook.retire(book, "knives")
    with reading(database) as connection:
        shown = rulebooks.effects(connection, retired)
    made = moved(database, retired, seen=2)
    assert (shown.cancelled, shown.ended) == (made.cancelled, made.ended) == (1, ("a" * 64,))
    assert open_tasks(database) == [("knives", "cancelled", "review"), ("drugs", "open", "review")]
    with reading(database) as connection:
        assert rulebooks.scoring(connection) == []


def test_a_preview_changes_nothing(database):
    book = taken_in(database)
    decided(database, "L1", "knives", 0.4)
    open_tasks(database)
    with reading(database) as connection:
        assert rulebooks.effects(connection, rulebook.retire(book, "knives")).cancelled == 1
        assert rulebooks.current(connection) == book
    assert open_tasks(database) == [("knives", "open", "review")]


def test_a_split_keeps_the_tasks_of_the_old_policy(database):
    book = taken_in(database)
    decided(database, "L1", "drugs", 0.4)
    open_tasks(database)
    parts = tuple(DRUGS.model_copy(update={"id": name}) for name in ("cannabis", "opioids"))
    made = moved(database, rulebook.split(book, "drugs", parts), seen=2)
    assert (made.cancelled, made.kept) == (0, 1)
    assert open_tasks(database) == [("drugs", "open", "review")]


def test_a_better_head_takes_the_place_of_the_one_before(database):
    taken_in(database)
    given = {"version": 2, "who": "ana", "why": "more examples", "now_ms": NOW}
    for _ in range(2):
        with writing(database) as connection:
            rulebooks.replace_addon(connection, "knives", "b" * 64, "/addons/b", **given)
    with reading(database) as connection:
        assert [row.digest for row in rulebooks.scoring(connection)] == ["b" * 64]
        assert rulebooks.addon_row(connection, "a" * 64).ended_at_ms == NOW
        assert [one.act for one in audit.read(connection, limit=1)] == ["policy.addon"]
