"""Rights are adopted once, moved by whoever saw the last version, and every move is in the audit log."""

import threading
from dataclasses import replace

import pytest
from sqlalchemy import insert

from stallwart.core.errors import ConfigError, ConflictError, DataError, NotFoundError
from stallwart.store import audit
from stallwart.store.database import reading, writing
from stallwart.store.rights import (
    Right,
    State,
    acting,
    adopt,
    asking,
    changed_since,
    earning,
    grant,
    read_right,
    read_rights,
    start_earning,
    withdraw,
)
from stallwart.store.tables import addons

BUNDLE, NOW = "b" * 64, 1_000
TOBACCO = Right(BUNDLE, "tobacco", State.CERTIFIED, 0.9, 0.8, 0.8, "as its certificate says", NOW)
DRUGS = Right(BUNDLE, "drugs", State.NONE, 0.95, None, 0.7, "no certificate", NOW)


@pytest.fixture
def house(database):
    with writing(database) as connection:
        adopt(connection, [TOBACCO, DRUGS], who="stallwart watch", now_ms=NOW)
    return database


def right(database, policy):
    with reading(database) as connection:
        return read_right(connection, BUNDLE, policy)


def log(database):
    with reading(database) as connection:
        assert audit.verify(connection).wrong is None
        return audit.read(connection, act="rights.")


def moved(database, act, *given, **named):
    with writing(database) as connection:
        return act(connection, *given, who="ana", why="a reason", now_ms=NOW + 5, **named)


def test_the_first_rights_are_written_down_once(house):
    with writing(house) as connection:
        adopt(connection, [replace(TOBACCO, threshold=0.1), DRUGS], who="another", now_ms=NOW + 1)
    with reading(house) as connection:
        assert read_rights(connection, [BUNDLE]) == [DRUGS, TOBACCO]
    assert [entry.act for entry in log(house)] == ["rights.adopt"]
    with reading(house) as connection, pytest.raises(NotFoundError, match="stallwart rights list"):
        read_right(connection, BUNDLE, "wine")


def test_a_withdrawn_policy_does_not_act_and_the_log_says_why(house):
    after = moved(house, withdraw, TOBACCO, detail={"statistic": 9.1})
    assert right(house, "tobacco") == after
    assert (after.state, after.threshold, after.version, after.since_ms) == (
        State.WITHDRAWN, None, 2, NOW + 5,
    )  # fmt: skip
    with reading(house) as connection:
        known = read_rights(connection, [BUNDLE])
    assert acting(known) == {BUNDLE: {"drugs": None, "tobacco": None}}
    assert changed_since(known, NOW + 5) == {"tobacco"}
    assert changed_since(known, NOW + 6) == frozenset()
    entry = log(house)[0]
    assert (entry.act, entry.who, entry.why) == ("rights.withdraw", "ana", "a reason")
    assert entry.detail["from"] == {"state": "certified", "threshold": 0.8}
    assert entry.detail["statistic"] == 9.1


def test_a_right_is_earned_at_a_threshold_that_was_tried(house):
    begun = moved(house, start_earning, DRUGS, [0.9, 0.7, 0.8])
    assert (begun.state, begun.attempt, begun.tried) == (State.EARNING, 1, (0.7, 0.8, 0.9))
    with reading(house) as connection:
        assert earning(read_rights(connection, [BUNDLE])) == {BUNDLE: {"drugs": 0.7}}
    with pytest.raises(ConflictError, match="did not try"):
        moved(house, grant, begun, 0.75, detail={})
    earned = moved(house, grant, begun, 0.8, detail={"verdicts": 60})
    assert (earned.state, earned.threshold) == (State.EARNED, 0.8)
    assert right(house, "drugs") == earned
    again = moved(house, start_earning, moved(house, withdraw, earned), [0.9])
    assert again.attempt == 2, "attempts are counted, since they share one budget of error"


def test_what_an_addon_scores_asks_in_live_decisions_only_once_it_has_acted(house):
    knives = Right(BUNDLE, "knives", State.NONE, 0.9, None, None, "new", NOW)
    named = {"digest": "a" * 64, "policy": "knives", "place": "/a", "version": 2, "added_at_ms": NOW}
    with writing(house) as connection:
        connection.execute(insert(addons).values(named))
        adopt(connection, [knives], who="ana", now_ms=NOW)
    begun = moved(house, start_earning, knives, [0.5, 0.7])
    assert asking([begun]) == {}
    assert asking([moved(house, withdraw, begun)]) == {}, "an attempt that was stopped blocked nothing"
    begun = moved(house, start_earning, right(house, "knives"), [0.5, 0.7])
    assert asking([begun]) == {}
    fallen = moved(house, withdraw, moved(house, grant, begun, 0.7, detail={}))
    assert asking([fallen]) == {BUNDLE: {"knives": 0.7}}, "what it blocked goes to review"


def test_nobody_moves_what_somebody_else_has_moved(house):
    moved(house, withdraw, TOBACCO)
    with pytest.raises(ConflictError, match="meanwhile"):
        moved(house, withdraw, TOBACCO)
    assert len(log(house)) == 2


def test_of_many_at_once_one_moves(house):
    gone, barrier = [], threading.Barrier(4)

    def take():
        barrier.wait()
        try:
            gone.append(moved(house, withdraw, TOBACCO))
        except ConflictError:
            gone.append(None)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(60)
    assert sum(one is not None for one in gone) == 1
    assert len(gone) == 4
    assert [entry.act for entry in log(house)] == ["rights.withdraw", "rights.adopt"]


def _killed(database):
    with writing(database) as connection:
        withdraw(connection, TOBACCO, who="ana", why="a reason", now_ms=NOW + 5)
        raise RuntimeError("killed here")


def test_a_move_that_ends_half_way_leaves_the_old_state(house):
    with pytest.raises(RuntimeError):
        _killed(house)
    assert right(house, "tobacco") == TOBACCO
    assert len(log(house)) == 1


@pytest.mark.parametrize("tried", [[], [0.1, 0.2, 0.3, 0.4, 0.5], [0.0], [1.5]])
def test_an_attempt_tries_one_to_four_scores(house, tried):
    with pytest.raises(DataError, match="1 to 4 thresholds"):
        moved(house, start_earning, DRUGS, tried)


def test_moves_that_make_no_sense_are_refused(house):
    with pytest.raises(ConflictError, match="withdraw the right before"):
        moved(house, start_earning, TOBACCO, [0.9])
    with pytest.raises(ConflictError, match="does not act alone"):
        moved(house, withdraw, DRUGS)
    with pytest.raises(ConflictError, match="is certified"):
        moved(house, grant, TOBACCO, 0.8, detail={})
    with writing(house) as connection, pytest.raises(ConfigError, match="why is empty"):
        withdraw(connection, TOBACCO, who="ana", why=" ", now_ms=NOW)
