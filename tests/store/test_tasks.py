import pytest
from sqlalchemy import update

from stallwart.core.errors import ConflictError, DataError, NotFoundError
from stallwart.core.settings import Settings
from stallwart.store import claims
from stallwart.store.database import reading, writing
from stallwart.store.people import Role
from stallwart.store.ranking import ranking_of
from stallwart.store.tables import tasks as table
from stallwart.store.tasks import (
    BLIND,
    Kind,
    State,
    cancel,
    counts,
    explain,
    lane_of,
    may_take,
    read_task,
    rerank,
    tasks_of,
)
from stallwart.store.verdicts import Answer, Source, add_verdict, read_verdicts, valid_verdict
from tests.store.outgoing import decide
from tests.store.reviewing import LEASE, RANKING, act, add, asked, decided, decision_of, person, say, take
from tests.store.rolling import NOW

HOUR = 3_600_000
WINDOW = 600_000


@pytest.fixture
def rita(database):
    return person(database)


@pytest.fixture
def ben(database):
    return person(database, "ben")


def read(database, what, *arguments, **facts):
    with reading(database) as connection:
        return what(connection, *arguments, **facts)


def undo(database, user, now_ms=NOW):
    return act(database, claims.undo, user, now_ms=now_ms, window_ms=WINDOW, lease_ms=LEASE)


def test_a_task_is_there_once_however_often_it_is_asked_for(database, rita):
    assert add(database, asked(1), asked(2), asked(1)) == 2
    assert (
        add(database, asked(1), asked(1, Kind.REPORT), asked(1, reading=1), asked(1, assigned_to="u_1")) == 3
    )
    assert add(database, asked(5, cause="v_1"), asked(6, cause="v_1")) == 1
    assert add(database) == 0
    decided(database, 1, 2, 5)
    for _ in range(3):
        say(database, rita, take(database, rita))
    assert add(database, asked(1), asked(2), asked(5)) == 0, "they were answered"


def test_a_task_is_read_as_it_was_made(database):
    add(database, asked(1, Kind.AUDIT, policy=None, language="de-CH", probability=None))
    (task,) = read(database, tasks_of, decision_of(1))
    assert read(database, read_task, task.task_id) == task
    assert (task.kind, task.asked, task.blind, task.state) == (Kind.AUDIT, "sample", True, State.OPEN)
    assert (task.policy, task.language, task.probability, task.harm) == (None, "de", None, 1.0)
    assert task.due_at_ms == NOW + 24 * HOUR
    for wrong in ("t_none", "t_\0", ""):
        with pytest.raises(NotFoundError, match="no task"):
            read(database, read_task, wrong)


def test_tasks_come_by_rank_over_all_lanes_and_each_once(database, rita):
    add(
        database,
        asked(1, policy="tobacco", probability=0.9),
        asked(2, policy="weapons", language="fr", probability=0.5),
        asked(3, policy="weapons", language="de", probability=0.4),
        asked(4, policy=None, probability=0.5),
        asked(5, policy="weapons", language="de", probability=0.6),
        asked(6, policy="weapons", probability=0.01),
    )
    decided(database, *range(1, 7))
    came = [take(database, rita) for _ in range(6)]
    assert [one.rank for one in came] == sorted((one.rank for one in came), reverse=True)
    assert len({one.task_id for one in came}) == 6
    assert take(database, rita) is None
    assert [one.seq for one in read(database, claims.held, rita, NOW)] == sorted(one.seq for one in came)
    assert {one.state for one in came} == {State.CLAIMED}
    assert {one.leased_until_ms for one in came} == {NOW + LEASE}


@pytest.mark.parametrize(
    ("facts", "lane", "may"),
    [
        ({}, ("", None, "weapons", "de"), True),
        ({"skills": ["weapons"]}, ("", None, "weapons", None), True),
        ({"skills": ["tobacco"]}, ("", None, "weapons", None), False),
        ({"skills": ["tobacco"]}, ("", None, None, None), True),
        ({"skills": []}, ("", None, "weapons", None), False),
        ({"languages": ["fr"]}, ("", None, None, "de"), False),
        ({"languages": ["fr"]}, ("", None, None, None), True),
        ({}, ("u_somebody", None, None, None), False),
        ({}, ("", "lead", None, None), False),
        ({"role": Role.LEAD}, ("", "lead", None, None), True),
        ({"role": Role.ADMIN}, ("", "lead", None, None), True),
        ({"role": Role.LEAD}, ("", "admin", None, None), False),
    ],
)
def test_who_may_take_a_task(database, facts, lane, may):
    assert may_take(person(database, **facts), lane_of(*lane)) is may


def test_a_task_of_another_skill_language_or_person_stays(database, rita):
    reader = person(database, "gil", skills=["tobacco"], languages=["de"])
    add(
        database,
        asked(1, policy="weapons"),
        asked(2, policy="tobacco", language="fr"),
        asked(3, policy="tobacco", language="de", probability=0.01),
        asked(4, assigned_to=rita.user_id),
    )
    decided(database, 1, 2, 3, 4)
    assert take(database, reader).decision_id == decision_of(3)
    assert take(database, reader) is None
    assert take(database, rita, policy="tobacco").decision_id == decision_of(2)
    assert take(database, rita, policy="counterfeit") is None
    assert {take(database, rita).decision_id, take(database, rita).decision_id} == {
        decision_of(1),
        decision_of(4),
    }


def test_a_lease_that_ran_out_is_open_to_others_and_can_be_finished_until_they_come(database, rita, ben):
    add(database, asked(1))
    decided(database, 1)
    task = take(database, rita)
    assert take(database, ben, NOW + LEASE - 1) is None
    act(database, claims.renew, rita, task.task_id, now_ms=NOW + 2 * LEASE, lease_ms=LEASE)
    assert take(database, ben, NOW + 3 * LEASE - 1) is None
    assert read(database, claims.held, rita, NOW + 3 * LEASE) == []
    assert take(database, ben, NOW + 3 * LEASE).task_id == task.task_id
    for what in (
        lambda: say(database, rita, task),
        lambda: act(database, claims.renew, rita, task.task_id, now_ms=NOW, lease_ms=LEASE),
        lambda: act(database, claims.release, rita, task.task_id),
        lambda: act(database, claims.skip, rita, task.task_id, "unclear", NOW),
        lambda: act(database, claims.escalate, rita, task.task_id, "unclear", NOW),
    ):
        with pytest.raises(ConflictError, match="somebody else has it now"):
            what()
    assert say(database, ben, task, now_ms=NOW + 9 * LEASE).who == "ben", "nobody took it"
    with pytest.raises(ConflictError, match="somebody else has finished it"):
        say(database, rita, task)
    with pytest.raises(ConflictError, match="you have finished"):
        say(database, ben, task)


def test_a_verdict_is_stored_with_the_end_of_its_task(database, rita):
    add(database, asked(1, Kind.APPEAL))
    decided(database, 1)
    task = take(database, rita)
    with pytest.raises(DataError, match="at least one policy"):
        say(database, rita, task, answers={})
    assert read(database, read_task, task.task_id).state == State.CLAIMED
    verdict = say(database, rita, task, Answer.YES, severity=3, note="two of them")
    assert (verdict.who, verdict.source, verdict.task_id) == ("rita", Source.APPEAL, task.task_id)
    assert (verdict.severity, verdict.note) == (3, "two of them")
    done = read(database, read_task, task.task_id)
    assert (done.state, done.verdict_id, done.ended_by) == (State.DONE, verdict.verdict_id, rita.user_id)
    with pytest.raises(NotFoundError, match="no task"):
        act(database, claims.finish, rita, "t_none", {"weapons": Answer.NO}, now_ms=NOW)


def test_what_is_released_is_open_to_anybody(database, rita, ben):
    add(database, asked(1))
    decided(database, 1)
    task = take(database, rita)
    assert act(database, claims.release, rita, task.task_id).state == State.OPEN
    assert take(database, ben).task_id == task.task_id


def test_a_skip_passes_a_task_on_for_a_day_and_three_go_to_a_lead(database, rita, ben):
    lead = person(database, "lea", Role.LEAD)
    add(database, asked(1))
    decided(database, 1)

    def pass_on(user, reason, now_ms):
        return act(database, claims.skip, user, take(database, user, now_ms).task_id, reason, now_ms)

    pass_on(rita, "a language that I do not read", NOW)
    assert take(database, rita, NOW + 24 * HOUR - 1) is None
    pass_on(rita, "still not", NOW + 24 * HOUR)
    pass_on(ben, "me neither", NOW + 24 * HOUR)
    last = pass_on(person(database, "gil"), "nor I", NOW + 24 * HOUR)
    assert (last.state, last.escalated_to) == (State.OPEN, Role.LEAD)
    assert take(database, person(database, "hal"), NOW + 24 * HOUR) is None
    task = take(database, lead, NOW + 24 * HOUR)
    assert explain(task, NOW)[1] == "It was escalated: skipped by 3; the last one said: nor I"
    say(database, lead, task)


@pytest.mark.parametrize("reason", ["", "  ", "x" * 501])
def test_a_skip_and_an_escalation_say_why(database, rita, reason):
    add(database, asked(1))
    decided(database, 1)
    task = take(database, rita)
    for what in (claims.skip, claims.escalate):
        with pytest.raises(DataError, match="say why"):
            act(database, what, rita, task.task_id, reason, NOW)
    assert read(database, read_task, task.task_id) == task


def test_what_is_escalated_goes_to_the_role_with_its_reason(database, rita):
    lead = person(database, "lea", Role.LEAD)
    add(database, asked(1))
    decided(database, 1)
    act(database, claims.escalate, rita, take(database, rita).task_id, "may be a crime", NOW)
    assert take(database, rita) is None
    task = take(database, lead)
    assert explain(task, NOW)[1] == "It was escalated: rita said: may be a crime"
    act(database, claims.escalate, lead, task.task_id, "is one", NOW, Role.ADMIN)
    assert take(database, lead) is None
    assert take(database, person(database, "ada", Role.ADMIN))


@pytest.mark.parametrize("what", [claims.skip, claims.escalate])
def test_what_is_for_one_person_goes_to_nobody_else(database, rita, ben, what):
    add(database, asked(1, Kind.GOLD, assigned_to=rita.user_id))
    decided(database, 1)
    task = act(database, what, rita, take(database, rita).task_id, "unclear", NOW)
    assert task.state == State.CANCELLED
    assert take(database, rita, NOW + 48 * HOUR) is None
    assert take(database, ben) is None


@pytest.mark.parametrize("kind", [Kind.SECOND, Kind.TIEBREAK, Kind.APPEAL, Kind.AUDIT, Kind.GOLD])
def test_nobody_is_asked_whether_they_were_right(database, rita, ben, kind):
    add(database, asked(1))
    decided(database, 1)
    say(database, rita, take(database, rita))
    add(database, asked(1, kind, reading=1))
    assert take(database, rita) is None
    assert take(database, ben).kind == kind


def test_a_verdict_that_came_from_elsewhere_counts_too(database, rita, ben):
    add(database, asked(1, Kind.SECOND))
    decided(database, 1)
    with writing(database) as connection:
        add_verdict(
            connection, decision_id=decision_of(1), answers={"weapons": Answer.NO}, who="rita",
            source=Source.IMPORT, now_ms=NOW,
        )  # fmt: skip
    assert take(database, rita) is None
    assert take(database, ben)


def test_nobody_has_two_tasks_of_one_decision(database, rita, ben):
    add(database, asked(1), asked(1, Kind.AUDIT), asked(1, Kind.REPORT))
    decided(database, 1)
    assert take(database, rita)
    assert take(database, rita) is None
    assert take(database, ben)
    assert take(database, ben) is None
    assert take(database, person(database, "gil"))


def test_a_superseded_decision_is_given_to_nobody(database, rita, ben):
    add(database, asked(1), asked(2), asked(1, Kind.APPEAL))
    decided(database, 1, 2)
    decide(database, [], ("listing 1", 2))
    came = [take(database, rita), take(database, rita)]
    assert {(one.decision_id, one.kind) for one in came} == {
        (decision_of(1), Kind.APPEAL),
        (decision_of(2), Kind.REVIEW),
    }
    assert take(database, ben) is None
    (gone,) = [one for one in read(database, tasks_of, decision_of(1)) if one.kind == Kind.REVIEW]
    assert (gone.state, gone.reason, gone.ended_by) == (State.CANCELLED, claims.SUPERSEDED, None)


def test_whoever_has_a_task_that_is_cancelled_may_finish_it(database, rita, ben):
    add(database, asked(1), asked(2))
    decided(database, 1, 2)
    first, second = take(database, rita), take(database, rita)
    with writing(database) as connection:
        assert cancel(connection, [decision_of(1), decision_of(2)], "gone", NOW) == 2
    say(database, rita, first)
    assert act(database, claims.release, rita, second.task_id).state == State.CANCELLED
    with pytest.raises(ConflictError, match="it was cancelled: gone"):
        say(database, ben, second)
    assert take(database, ben, NOW + 2 * LEASE) is None


def test_the_last_verdict_is_undone_and_its_task_is_theirs_again(database, rita, ben):
    add(database, asked(1, probability=0.5), asked(2, probability=0.01))
    decided(database, 1, 2)
    first, second = take(database, rita), take(database, rita)
    say(database, rita, first, Answer.YES)
    say(database, rita, second, Answer.YES)
    assert undo(database, rita, NOW + 1).task_id == second.task_id
    back = undo(database, rita, NOW + 2)
    assert (back.task_id, back.state, back.leased_until_ms) == (first.task_id, State.CLAIMED, NOW + 2 + LEASE)
    assert read(database, valid_verdict, decision_of(1)).answers == {"weapons": Answer.UNKNOWN}
    with pytest.raises(NotFoundError, match="of the last 10 minutes"):
        undo(database, rita, NOW + 3)
    with pytest.raises(NotFoundError):
        undo(database, ben)
    say(database, rita, first, Answer.NO, now_ms=NOW + 4)
    said = read(database, read_verdicts, decision_of(1))
    assert [one.answers["weapons"] for one in said] == [Answer.YES, Answer.UNKNOWN, Answer.NO]
    assert [one.replaces for one in said] == [None, said[0].verdict_id, said[1].verdict_id]
    assert undo(database, rita, NOW + 5).task_id == first.task_id


def test_after_the_window_a_verdict_stays(database, rita):
    add(database, asked(1))
    decided(database, 1)
    say(database, rita, take(database, rita))
    with pytest.raises(NotFoundError):
        undo(database, rita, NOW + WINDOW)
    assert undo(database, rita, NOW + WINDOW - 1)


def test_an_undone_second_reading_comes_back_to_whoever_undid_it(database, rita):
    add(database, asked(1, Kind.SECOND))
    decided(database, 1)
    say(database, rita, take(database, rita))
    act(database, claims.release, rita, undo(database, rita).task_id)
    assert take(database, rita).kind == Kind.SECOND


def test_readings_that_measure_leave_what_holds(database, rita, ben):
    decided(database, 1)
    add(database, asked(1))
    first = say(database, rita, take(database, rita), Answer.YES)
    add(database, asked(1, Kind.SECOND, reading=1))
    say(database, ben, take(database, ben), Answer.NO)
    assert read(database, valid_verdict, decision_of(1)) == first
    add(database, asked(1, Kind.TIEBREAK, reading=2))
    gil = person(database, "gil")
    third = say(database, gil, take(database, gil), Answer.NO)
    assert read(database, valid_verdict, decision_of(1)) == third


def test_open_tasks_are_counted_by_kind_and_policy(database, rita):
    add(
        database,
        asked(1),
        asked(2, asked_at_ms=NOW - 24 * HOUR),
        asked(3, policy="tobacco"),
        asked(4, Kind.AUDIT, policy=None),
    )
    add(database, asked(5, asked_at_ms=NOW - 99 * HOUR))
    decided(database, 5)
    take(database, rita)
    found = [
        (one.kind, one.policy, one.waiting, one.overdue, one.oldest_due_ms)
        for one in read(database, counts, NOW)
    ]
    assert found == [
        (Kind.AUDIT, None, 1, 0, NOW + 24 * HOUR),
        (Kind.REVIEW, "tobacco", 1, 0, NOW + HOUR),
        (Kind.REVIEW, "weapons", 2, 1, NOW),
    ]


def test_a_blind_task_explains_nothing_that_leads(database):
    add(database, *(asked(1, kind, reading=number) for number, kind in enumerate(Kind)))
    said = {one.kind: explain(one, NOW) for one in read(database, tasks_of, decision_of(1))}
    blind = {kind for kind, words in said.items() if words == [said[Kind.GOLD][0]]}
    assert blind == BLIND == {Kind.SECOND, Kind.GOLD, Kind.AUDIT}
    assert said[Kind.REVIEW][0] == "The model left it to a person."
    assert "counts 10 times" in said[Kind.REVIEW][-1]


def test_other_settings_give_every_waiting_task_another_place(database, rita):
    add(database, asked(1), asked(2, policy="tobacco"), asked(3))
    decided(database, 3)
    with writing(database) as connection:
        connection.execute(update(table).where(table.c.decision_id == decision_of(3)).values(state="done"))
        assert rerank(connection, RANKING) == 0
        other = ranking_of(Settings(review_harms="tobacco=100", review_halving_hours=1))
        assert rerank(connection, other) == 2
        assert rerank(connection, other) == 0
    (task,) = read(database, tasks_of, decision_of(2))
    place = other.of("tobacco", 0.5, NOW)
    assert (task.rank, task.harm, task.due_at_ms) == (place.rank, 100, place.due_at_ms)
    decided(database, 2)
    assert take(database, rita).decision_id == decision_of(2)
