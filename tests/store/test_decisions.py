import concurrent.futures
import threading

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sqlalchemy import event, func, select

from stallwart.core.decision import Action, Cause
from stallwart.core.errors import DataError
from stallwart.core.listing import Listing
from stallwart.core.settings import Settings
from stallwart.store.database import open_database, reading, writing
from stallwart.store.decisions import (
    Conflict,
    Wanted,
    find,
    read_decision,
    read_revision,
    revision_of,
    write,
)
from stallwart.store.tables import decisions, deliveries, photo_uses, requests, revisions
from stallwart.store.webhooks import add_webhook, list_webhooks
from tests.store.listings import PHOTO, draft

NOW = 1_750_000_000_000
# No halves of surrogate pairs: they are replaced before the digest, and have a test of their own
TEXTS = st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
LISTINGS = st.builds(
    Listing,
    st.text('ab,"[]', min_size=1, max_size=4),
    TEXTS,
    TEXTS,
    st.just(()),
    TEXTS,
    st.none() | st.datetimes(),
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
    TEXTS,
    st.lists(st.text('ab,"', max_size=4), max_size=2).map(tuple),
)
PHOTOS = st.lists(st.text("0123456789abcdef", min_size=64, max_size=64), max_size=3).map(tuple)
CONTENTS = st.tuples(LISTINGS, PHOTOS, TEXTS)


def stored(database, *drafts, webhooks=()):
    with writing(database) as connection:
        return write(connection, drafts, webhooks, NOW)


def count(database, table):
    with reading(database) as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


@given(CONTENTS, CONTENTS)
def test_different_content_has_a_different_digest(one, other):
    a, b = revision_of(*one), revision_of(*other)
    same = (one[2], *(getattr(a, name) for name in a.__slots__[1:])) == (
        other[2],
        *(getattr(b, name) for name in b.__slots__[1:]),
    )
    assume(not same or repr(a.price) == repr(b.price))  # 0.0 == -0.0
    assert (a.revision == b.revision) == same


@given(CONTENTS)
def test_the_same_content_has_the_same_digest(content):
    assert revision_of(*content) == revision_of(*content)


@given(st.text(st.characters(), max_size=4), st.text(st.characters(), max_size=4))
def test_moving_words_between_fields_changes_the_digest(left, right):
    one = revision_of(Listing("l", left, right), (), None)
    other = revision_of(Listing("l", left + right, ""), (), None)
    assert (one.revision == other.revision) == (
        (one.title, one.description) == (other.title, other.description)
    )


@pytest.mark.parametrize("bad", ["\0", "\ud800"])
def test_what_no_database_takes_is_replaced_in_words_and_refused_in_ids(database, bad):
    odd = draft(title=f"brass{bad}lamp")
    assert odd.revision.title == "brass\ufffdlamp"
    stored(database, odd)
    with reading(database) as connection:
        assert read_revision(connection, odd.revision.revision).title == "brass\ufffdlamp"
    with pytest.raises(DataError, match="listing_id"):
        revision_of(Listing(f"l{bad}"), (), None)


def test_a_decision_is_read_as_it_was_answered(database):
    first = draft(evidence={"words": [["brass \ud83d lamp\0", 0.25]]})
    (answer,) = stored(database, first)
    assert answer.cause == Cause.NEW
    assert answer.supersedes is None
    with reading(database) as connection:
        assert read_decision(connection, answer.decision_id) == answer
        revision = read_revision(connection, answer.revision)
        assert read_decision(connection, "d_none") is None
        assert read_revision(connection, "none") is None
    assert (revision.title, revision.photos, revision.price) == ("A brass lamp", (PHOTO,), 12.5)
    assert (revision.stored_at_ms, revision.purged_at_ms) == (NOW, None)


def test_each_decision_names_the_one_that_it_supersedes(database):
    first, edit, rescan = draft(), draft(title="A lamp"), draft(title="A lamp", rescan=True)
    answers = stored(database, first, edit) + stored(database, rescan)
    assert [answer.cause for answer in answers] == [Cause.NEW, Cause.EDIT, Cause.RESCAN]
    assert [answer.supersedes for answer in answers] == [None, answers[0].decision_id, answers[1].decision_id]


def test_a_repeat_answers_the_stored_decision_and_stores_nothing(database):
    (first,) = stored(database, draft())
    again, too = stored(database, draft(), draft())
    assert again == too == first
    assert count(database, decisions) == count(database, revisions) == 1


def test_a_repeat_in_one_group_answers_the_first_of_it(database):
    answers = stored(database, draft(), draft(), draft(key="k"), draft(key="k"))
    assert len({answer.decision_id for answer in answers}) == 1
    assert count(database, decisions) == 1
    assert count(database, requests) == 1


def test_a_repeat_after_a_rescan_answers_what_superseded_the_first(database):
    stored(database, draft())
    (rescan,) = stored(database, draft(rescan=True, action=Action.BLOCK))
    (again,) = stored(database, draft())
    assert again == rescan
    with reading(database) as connection:
        assert find(connection, [Wanted(None, again.revision)]) == [rescan]


def test_a_request_key_keeps_its_answer_through_rescans(database):
    (first,) = stored(database, draft(key="k", rescan=True))
    stored(database, draft(rescan=True))
    assert stored(database, draft(key="k", rescan=True)) == [first]
    assert count(database, decisions) == 2


def test_a_request_key_for_another_revision_is_a_conflict(database):
    (first,) = stored(database, draft(key="k"))
    other = draft("table", key="k")
    conflict = Conflict("k", first.revision, first.decision_id)
    assert stored(database, other, draft("chair"))[0] == conflict
    assert count(database, decisions) == 2
    with reading(database) as connection:
        assert find(
            connection,
            [
                Wanted("k", first.revision),
                Wanted("k", other.revision.revision),
                Wanted("new", first.revision),
                Wanted("new", first.revision, rescan=True),
                Wanted(None, other.revision.revision),
            ],
        ) == [first, conflict, first, None, None]


def test_a_repeat_after_a_restart_answers_what_was_stored(database, database_url):
    (first,) = stored(database, draft(key="k"))
    database.dispose()
    engine = open_database(database_url, Settings())
    assert stored(engine, draft(key="k"), draft()) == [first, first]
    engine.dispose()


def test_webhooks_are_told_once_of_the_actions_that_they_want(database):
    add_webhook(database, "https://example.com/hook", [Action.BLOCK], NOW)
    hooks = list_webhooks(database)
    blocked = draft("knife", action=Action.BLOCK)
    stored(database, draft(), blocked, webhooks=hooks)
    stored(database, draft("knife", action=Action.BLOCK), webhooks=hooks)
    with reading(database) as connection:
        rows = connection.execute(select(deliveries.c.decision_id, deliveries.c.state)).all()
    assert [tuple(row) for row in rows] == [(blocked.decision.decision_id, "waiting")]


def test_a_photo_is_linked_once_to_each_revision_that_shows_it(database):
    stored(database, draft(photos=(PHOTO, PHOTO)), draft("table"))
    assert count(database, photo_uses) == 2


def test_the_number_of_statements_does_not_grow_with_the_group(database):
    seen = []
    event.listen(database, "before_cursor_execute", lambda *arguments: seen.append(arguments[2]))
    stored(database, draft("one", key="one"))
    one = len(seen)
    seen.clear()
    stored(database, *(draft(f"l{number}", key=f"k{number}") for number in range(50)))
    assert len(seen) == one <= 9


def test_threads_that_write_the_same_listings_store_each_once_and_in_one_chain(database):
    barrier = threading.Barrier(4)

    def run(number):
        barrier.wait()
        answers = []
        for turn in range(15):
            order = range(6) if number % 2 else reversed(range(6))
            answers += stored(
                database,
                *(draft(f"l{listing}", f"state {turn}", key=f"{listing} {turn}") for listing in order),
            )
        return answers

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = [answer for answers in pool.map(run, range(4)) for answer in answers]
    assert len(answers) == 4 * 15 * 6
    assert len({answer.decision_id for answer in answers}) == count(database, decisions) == 15 * 6
    with reading(database) as connection:
        rows = connection.execute(select(decisions).order_by(decisions.c.seq)).all()
    for listing in range(6):
        chain = [row for row in rows if row.listing_id == f"l{listing}"]
        assert [row.supersedes for row in chain] == [None, *(row.decision_id for row in chain[:-1])]
