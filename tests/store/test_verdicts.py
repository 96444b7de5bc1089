import threading

import pytest

from stallwart.core.decision import Action
from stallwart.core.errors import ConflictError, DataError, NotFoundError
from stallwart.core.rollout import Arm
from stallwart.store.audited import audited, follow_audited
from stallwart.store.counterparts import add_counterparts
from stallwart.store.database import reading, writing
from stallwart.store.draws import add_draws
from stallwart.store.exposures import add_exposures
from stallwart.store.verdicts import Answer, Source, add_verdict, read_verdicts, valid_verdict
from tests.store.outgoing import decide
from tests.store.rolling import NOW, counterpart, drawn, exposure

A, B = "d-a-0001", "d-b-0001"


def judge(database, decision_id=A, answer=Answer.YES, **facts):
    given = {"answers": {"tobacco": answer}, "who": "rita", "source": Source.AUDIT, "now_ms": NOW}
    with writing(database) as connection:
        return add_verdict(connection, decision_id=decision_id, **{**given, **facts})


def valid(database, decision_id=A):
    with reading(database) as connection:
        return valid_verdict(connection, decision_id)


def test_a_verdict_is_read_as_it_was_given(database):
    (decision,) = decide(database, [], ("a", 1))
    assert valid(database) is None
    given = judge(
        database,
        answers={"tobacco": Answer.NO, "weapons": Answer.UNKNOWN},
        severity=3,
        note="only the tin",
        source=Source.APPEAL,
    )
    assert valid(database) == given
    assert (given.revision, given.severity, given.note) == (decision.revision, 3, "only the tin")
    assert given.answers == {"tobacco": Answer.NO, "weapons": Answer.UNKNOWN}
    assert given.verdict_id.startswith("v_")


def test_the_last_verdict_holds_and_the_earlier_ones_stay(database):
    decide(database, [], ("a", 1))
    first = judge(database)
    second = judge(database, answer=Answer.NO, replaces=first.verdict_id)
    assert valid(database) == second
    third = judge(database, answer=Answer.UNKNOWN)
    assert valid(database) == third
    with reading(database) as connection:
        assert read_verdicts(connection, A) == [first, second, third]


def test_a_verdict_is_replaced_once(database):
    decide(database, [], ("a", 1), ("b", 1))
    first = judge(database)
    judge(database, replaces=first.verdict_id)
    with pytest.raises(ConflictError, match="somebody replaced verdict v_"):
        judge(database, replaces=first.verdict_id)
    with pytest.raises(NotFoundError, match="no such verdict of this decision"):
        judge(database, B, replaces=first.verdict_id)


def test_of_two_reviewers_who_replace_at_once_one_does(database):
    decide(database, [], ("a", 1))
    first, told, ready = judge(database), [], threading.Barrier(2)

    def reviewer(who):
        ready.wait()
        try:
            told.append(judge(database, who=who, replaces=first.verdict_id))
        except ConflictError:
            told.append(None)

    threads = [threading.Thread(target=reviewer, args=(who,)) for who in ("rita", "sam")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (won,) = (one for one in told if one)
    assert valid(database) == won


@pytest.mark.parametrize(
    ("facts", "error", "says"),
    [
        ({"decision_id": "d_none"}, NotFoundError, "no such decision"),
        ({"decision_id": "d-a-0001\0"}, NotFoundError, "no such decision"),
        ({"answers": {}}, DataError, "at least one policy"),
        ({"who": " "}, DataError, "needs a reviewer"),
        ({"note": "x" * 10_001}, DataError, "10,000 are the most"),
    ],
)
def test_what_is_no_verdict_is_refused(database, facts, error, says):
    decide(database, [], ("a", 1))
    with pytest.raises(error, match=says):
        judge(database, **facts)
    assert valid(database) is None


def test_texts_that_a_database_does_not_take_are_kept_as_well_as_can_be(database):
    decide(database, [], ("a", 1))
    assert judge(database, note="a \0 and \ud800").note == "a \ufffd and \ufffd"


def store(database, *, counterparts=(), exposures=(), draws=()):
    with writing(database) as connection:
        add_counterparts(connection, counterparts)
        add_exposures(connection, exposures)
        add_draws(connection, draws)


@pytest.fixture
def drawn_two(database):
    decide(database, [], ("a", 1), ("b", 1), ("c", 1))
    store(
        database,
        exposures=[exposure("a", A, arm=Arm.CHALLENGER, step=4), exposure("b", B)],
        draws=[drawn(A), drawn(B), drawn("d-c-0001")],
        counterparts=[counterpart(A)],
    )
    return database


def poll(database, follower):
    with reading(database) as connection:
        return [(one.decision_id, one.answers["tobacco"]) for one in follower.poll(connection)]


def test_an_audited_listing_has_all_that_a_comparison_needs(drawn_two):
    verdict = judge(drawn_two, answer=Answer.NO, now_ms=NOW + 9)
    judge(drawn_two, "d-c-0001")  # drawn, and no exposure
    with reading(drawn_two) as connection:
        (one,) = audited(connection, "r")
        assert audited(connection, "r", after=one.seq) == []
        assert audited(connection, "another") == []
    assert (one.decision_id, one.verdict_id, one.seq) == (A, verdict.verdict_id, verdict.seq)
    assert (one.step, one.arm, one.unit, one.probability) == (4, Arm.CHALLENGER, "a", 0.25)
    assert (one.decided_action, one.decided_policies) == (Action.BLOCK, ("tobacco",))
    assert (one.action, one.policies, one.failed) == (Action.REVIEW, ("weapons",), False)
    assert (one.answers, one.judged_at_ms, one.decided_at_ms) == ({"tobacco": Answer.NO}, NOW + 9, NOW)


def test_a_listing_comes_when_it_is_judged_and_scored_whatever_was_first(drawn_two):
    follower = follow_audited("r", lambda: 0)
    judge(drawn_two, B)
    assert poll(drawn_two, follower) == []
    judge(drawn_two, A)
    assert poll(drawn_two, follower) == [(A, Answer.YES)]
    assert poll(drawn_two, follower) == []
    store(drawn_two, counterparts=[counterpart(B)])
    assert poll(drawn_two, follower) == [(B, Answer.YES)]
    assert poll(drawn_two, follower) == []


def test_a_verdict_that_replaces_another_comes_as_a_row_of_its_own(drawn_two):
    follower = follow_audited("r", lambda: 0)
    first = judge(drawn_two)
    assert poll(drawn_two, follower) == [(A, Answer.YES)]
    judge(drawn_two, answer=Answer.NO, replaces=first.verdict_id)
    assert poll(drawn_two, follower) == [(A, Answer.NO)]
    assert poll(drawn_two, follow_audited("r", lambda: 0)) == [(A, Answer.YES), (A, Answer.NO)]
