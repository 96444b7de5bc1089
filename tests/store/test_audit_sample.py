from stallwart.core.decision import Action
from stallwart.estimate.audit_cells import strata_for
from stallwart.store.audit_counts import DAY_MS, Kind
from stallwart.store.audit_sample import read_sample
from stallwart.store.database import reading, writing
from stallwart.store.decisions import Draft, write
from stallwart.store.draws import Draw
from stallwart.store.verdicts import Answer, Source, add_verdict
from tests.store.listings import draft
from tests.store.rolling import NOW

TODAY = NOW // DAY_MS


def decide(
    database, number, *, drawn=True, counted=True, day=TODAY, action=Action.BLOCK, policies=("tobacco",)
):
    one, at_ms = draft(f"n{number}", photos=(), decision_id=f"d_{number}"), day * DAY_MS + 5
    decision = one.decision.model_copy(
        update={"action": action, "decided_at_ms": at_ms, "policies": policies}
    )
    draw = Draw(f"d_{number}", 0.25, "block from 0", None, None, at_ms)
    kind = Kind(day, decision.bundle, "block from 0", action.value, '["tobacco"]', 0.25)
    with writing(database) as connection:
        write(
            connection,
            [Draft(one.revision, decision, draw=draw if drawn else None, kind=kind if counted else None)],
            [],
            at_ms,
        )


def judge(database, number, answer=Answer.YES, source=Source.AUDIT, **facts):
    with writing(database) as connection:
        return add_verdict(
            connection, decision_id=f"d_{number}", answers={"tobacco": answer}, who="rita", source=source,
            now_ms=NOW, **facts,
        )  # fmt: skip


def sample(database, first=TODAY - 9, last=TODAY + 1):
    with reading(database) as connection:
        return read_sample(connection, first, last)


def only(database):
    (stratum,) = strata_for(sample(database))
    return stratum.population, stratum.violating, stratum.clear, stratum.unknown


def test_draws_come_with_what_the_audit_said_and_with_all_the_traffic_that_they_stand_for(database):
    for number in range(5):
        decide(database, number, drawn=number < 3)
    judge(database, 0)
    judge(database, 1, Answer.NO)
    found = sample(database)
    assert only(database) == (5, 1, 1, 0)
    assert (len(found.draws), found.waiting, found.uncounted) == (3, 1, 0)


def test_who_was_asked_for_another_reason_settles_nothing(database):
    for number in range(4):
        decide(database, number, drawn=number < 3)
    judge(database, 0, source=Source.APPEAL)
    judge(database, 1, source=Source.NOVELTY)
    judge(database, 2, source=Source.TIEBREAK)  # of a second reading of something else than the audit's
    judge(database, 3)  # in the queue's order and not drawn
    assert only(database) == (4, 0, 0, 0)
    assert sample(database).waiting == 3


def test_a_third_reading_settles_what_the_audit_read_and_an_undone_one_says_nothing(database):
    for number in range(2):
        decide(database, number)
    judge(database, 0)
    judge(database, 0, Answer.NO, Source.SECOND)
    assert only(database) == (2, 1, 0, 0)
    judge(database, 0, Answer.NO, Source.TIEBREAK)
    wrong = judge(database, 1)
    judge(database, 1, Answer.UNKNOWN, replaces=wrong.verdict_id)
    assert only(database) == (2, 0, 1, 1)


def test_only_the_days_that_are_asked_about_count(database):
    for number, day in enumerate((TODAY - 2, TODAY - 1, TODAY)):
        decide(database, number, day=day)
        judge(database, number)
    assert {one.cell.day for one in sample(database, TODAY - 1, TODAY).draws} == {TODAY - 1}
    assert sum(sample(database, TODAY - 1, TODAY).counts.values()) == 1


def test_a_draw_of_before_decisions_were_counted_is_left_out_and_said(database):
    decide(database, 0, counted=False)
    judge(database, 0)
    found = sample(database)
    assert (found.uncounted, len(found.draws), found.counts) == (1, 0, {})
