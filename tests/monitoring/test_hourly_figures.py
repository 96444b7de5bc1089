"""Figures by the hour: each row counts once, in its decision's hour, whatever happens in between."""

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete

from stallwart.core.decision import Action
from stallwart.core.settings import Settings
from stallwart.monitoring import figures
from stallwart.monitoring.figures import Figures
from stallwart.monitoring.step import Around
from stallwart.store.database import reading, writing
from stallwart.store.draws import add_draws
from stallwart.store.feedback import add_feedback
from stallwart.store.hourly import HOUR_MS, read
from stallwart.store.tables import cursors, hourly
from stallwart.store.verdicts import Answer, Source, add_verdict
from tests.store.outgoing import NOW, decide
from tests.store.rolling import drawn

LATER = NOW + 10 * HOUR_MS  # all is settled


def counted(database, now_ms=LATER):
    Figures(Around(database, Settings(), lambda: now_ms)).run()
    return seen(database)


def seen(database):
    """{(hours since NOW, figure, policy): amount}."""
    with reading(database) as connection:
        cells = read(connection, 0, 10**9)
    first = NOW // HOUR_MS
    return {(cell.hour - first, cell.figure, cell.policy): amount for cell, amount in cells.items() if amount}


def judge(database, decision_id, answer, *, source=Source.AUDIT, replaces=None, now_ms=NOW):
    with writing(database) as connection:
        return add_verdict(
            connection,
            decision_id=decision_id,
            answers={"tobacco": answer},
            who="rita",
            source=source,
            now_ms=now_ms,
            replaces=replaces,
        ).verdict_id


def test_decisions_are_counted_once_in_their_hour(database):
    decide(database, [], ("a", 1), ("b", 1))
    decide(database, [], ("c", 1), action=Action.ALLOW, now_ms=NOW + HOUR_MS)
    wanted = {
        (0, "block", ""): 2,
        (0, "block", "tobacco"): 2,
        (1, "allow", ""): 1,
        (1, "allow", "tobacco"): 1,  # as the test's decision names it
    }
    assert counted(database) == wanted
    assert counted(database) == wanted, "a second round counts nothing again"


def test_feedback_and_verdicts_belong_to_the_hour_of_the_decision(database):
    decide(database, [], ("a", 1))
    add_feedback(database, {"decision_id": "d-a-0001", "kind": "appeal"}, "k", None, NOW + 3 * HOUR_MS)
    add_feedback(database, {"decision_id": "d-a-0001", "kind": "overturned"}, "k", None, NOW + 4 * HOUR_MS)
    told = counted(database)
    assert told[0, "appeal", "tobacco"] == told[0, "overturned", ""] == 1


def test_a_later_verdict_takes_the_place_of_the_one_before(database):
    decide(database, [], ("a", 1))
    with writing(database) as connection:
        add_draws(connection, [drawn("d-a-0001", rollout_id=None)])
    first = judge(database, "d-a-0001", Answer.YES)
    assert counted(database)[0, "right", "tobacco"] == 1
    judge(database, "d-a-0001", Answer.NO, replaces=first)
    judge(database, "d-a-0001", Answer.YES, source=Source.GOLD)  # which measures the reader
    told = counted(database)
    assert (0, "right", "tobacco") not in told
    assert (told[0, "wrong", "tobacco"], told[0, "drawn", ""]) == (1, 1)


def test_a_kill_between_two_transactions_counts_nothing_twice(database, monkeypatch):
    decide(database, [], *((f"l{number}", 1) for number in range(7)))
    monkeypatch.setattr("stallwart.store.hourly._PAGE", 3)
    whole = figures.follow

    def killed(connection, source, now_ms):
        done = whole(connection, source, now_ms)
        if done[0] and killed.times:
            killed.times -= 1
            raise KeyboardInterrupt  # inside the transaction, before its commit
        return done

    killed.times = 2
    monkeypatch.setattr(figures, "follow", killed)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            counted(database)
    assert counted(database)[0, "block", ""] == 7


def test_postgres_rows_that_may_have_earlier_ones_behind_them_wait(database):
    decide(database, [], ("a", 1))
    at_once = counted(database, NOW)
    assert bool(at_once) == (database.dialect.name == "sqlite")
    assert counted(database)[0, "block", ""] == 1


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    said=st.lists(st.tuples(st.integers(0, 2), st.sampled_from(Answer), st.booleans()), max_size=8),
    rounds=st.sets(st.integers(0, 8)),
)
def test_any_course_of_verdicts_ends_in_what_holds(database, said, rounds):
    run = test_any_course_of_verdicts_ends_in_what_holds.runs = (
        getattr(test_any_course_of_verdicts_ends_in_what_holds, "runs", 0) + 1
    )
    with writing(database) as connection:
        connection.execute(delete(hourly))
        connection.execute(delete(cursors))
    names = [f"r{run}x{number}" for number in range(3)]
    decide(database, [], *((name, 1) for name in names), now_ms=NOW + run * 100 * HOUR_MS)
    with writing(database) as connection:
        add_draws(connection, [drawn(f"d-{name}-0001", rollout_id=None) for name in names])
    holds: dict[str, Answer] = {}
    for place, (number, answer, measures) in enumerate(said):
        decision_id = f"d-{names[number]}-0001"
        judge(database, decision_id, answer, source=Source.SECOND if measures else Source.AUDIT)
        if not measures:
            holds[decision_id] = answer
        if place in rounds:
            counted(database, LATER + run * 100 * HOUR_MS)
    told = counted(database, LATER + run * 100 * HOUR_MS)
    mine = {figure: amount for (hour, figure, policy), amount in told.items()
            if hour == run * 100 and policy == "tobacco"}  # fmt: skip
    wanted = Counter(
        {Answer.YES: "right", Answer.NO: "wrong"}[one] for one in holds.values() if one != Answer.UNKNOWN
    )
    assert {figure: mine.get(figure, 0) for figure in ("right", "wrong")} == {
        "right": wanted["right"],
        "wrong": wanted["wrong"],
    }
    assert mine.get("drawn", 0) == len(holds)
