import pytest

from stallwart.core.errors import ConflictError, NotFoundError
from stallwart.store.database import writing
from stallwart.store.decisions import write
from stallwart.store.feedback import Kind, add_feedback, read_feedback
from tests.store.listings import draft

NOW = 1_750_000_000_000


@pytest.fixture
def decided(database):
    with writing(database) as connection:
        (decision,) = write(connection, [draft()], (), NOW)
    return decision.decision_id


def said(decision_id, kind="appeal", **rest):
    return {"decision_id": decision_id, "kind": kind, "policy": None, "note": None, **rest}


def test_feedback_is_read_in_the_order_in_which_it_came(database, decided):
    first = add_feedback(database, said(decided, note="It is a \0toy."), "k1", None, NOW)
    second = add_feedback(database, said(decided, "overturned", policy="weapons"), "k2", None, NOW + 1)
    one, other = read_feedback(database, decided)
    assert (one.feedback_id, one.kind, one.note) == (first, Kind.APPEAL, "It is a \ufffdtoy.")
    assert (other.feedback_id, other.kind, other.policy, other.key_id) == (
        second,
        Kind.OVERTURNED,
        "weapons",
        "k2",
    )
    assert read_feedback(database, "d_none") == []


def test_a_repeat_of_a_request_key_stores_nothing(database, decided):
    first = add_feedback(database, said(decided), "k1", "r", NOW)
    assert add_feedback(database, said(decided), "k1", "r", NOW + 1) == first
    assert len(read_feedback(database, decided)) == 1


def test_a_request_key_for_other_feedback_is_a_conflict(database, decided):
    add_feedback(database, said(decided), "k1", "r", NOW)
    with pytest.raises(ConflictError, match="other feedback"):
        add_feedback(database, said(decided, "upheld"), "k1", "r", NOW)


@pytest.mark.parametrize("missing", ["d_none", "d_\0", "d_\ud800"])
def test_feedback_on_no_decision_is_not_stored(database, missing):
    with pytest.raises(NotFoundError, match="no such decision"):
        add_feedback(database, said(missing), "k1", "r", NOW)
    assert read_feedback(database, "d_none") == []
