import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event, select, update

from stallwart.core.decision import Action
from stallwart.core.errors import ConflictError, DataError, NotFoundError, StoreError
from stallwart.core.settings import Settings
from stallwart.store import audit, claims
from stallwart.store.database import reading, writing
from stallwart.store.draws import Draw, add_draws
from stallwart.store.feedback import Kind as Said
from stallwart.store.feedback import add_feedback, read_feedback
from stallwart.store.followed import disagree, drawn
from stallwart.store.gold import add_gold, gold_readings, retire_gold
from stallwart.store.intake import Intake
from stallwart.store.tables import cursors, revisions
from stallwart.store.tables import tasks as table
from stallwart.store.tasks import Kind, State, tasks_of
from stallwart.store.verdicts import Answer, Source, add_verdict, valid_verdict
from tests.store.outgoing import decide
from tests.store.reviewing import LEASE, act, decided, decision_of, person, say, take
from tests.store.rolling import NOW

MINUTE, DAY = 60_000, 86_400_000
EVERY = Settings(review_second_share=1, review_gold_share=1)
NEVER = Settings(review_second_share=0, review_gold_share=0)
YES, NO, UNKNOWN = Answer.YES, Answer.NO, Answer.UNKNOWN


class Clock:
    def __init__(self):
        self.now = NOW

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def rita(database):
    return person(database)


@pytest.fixture
def ben(database):
    return person(database, "ben")


@pytest.fixture
def step(database, clock):
    """Runs a step of one intake that goes on, or of another one that just began; what it made."""
    intakes = {}

    def one(settings=NEVER, anew=False):
        if anew or id(settings) not in intakes:
            intakes[id(settings)] = Intake(database, settings, clock)
        made = intakes[id(settings)].step().items()
        # What verdicts decide about listings is in test_rulings_of_verdicts.py
        return {str(kind): count for kind, count in made if count and kind not in ("ruled", "escalated")}

    return one


def found(database, number=1):
    with reading(database) as connection:
        return {one.kind: one for one in tasks_of(connection, decision_of(number))}


def tell(database, number, kind, **facts):
    return add_feedback(
        database, {"decision_id": decision_of(number), "kind": kind, **facts}, "key", None, NOW
    )


def draw(database, *numbers):
    with writing(database) as connection:
        add_draws(connection, [Draw(decision_of(one), 0.1, "allow", None, None, NOW) for one in numbers])


def make_gold(database, number, answer=YES):
    act(
        database,
        add_gold,
        decision_of(number),
        {"weapons": answer},
        who="lea",
        why="the rule says so",
        now_ms=NOW,
    )


def read(database, user, kind, answer, now_ms):
    """Take the next task, which is of this kind, and answer it."""
    task = take(database, user, now_ms)
    assert task.kind == kind
    answers = {"weapons": answer} if kind == Kind.GOLD else {"weapons": answer, "tobacco": answer}
    return say(database, user, task, answers=answers, now_ms=now_ms)


def test_a_decision_for_a_person_becomes_one_task(database, step):
    decided(database, 1, 2)
    decided(database, 3, action=Action.BLOCK)
    decided(database, 4, action=Action.ALLOW)
    assert step() == {"review": 2}
    assert step() == {}
    assert step(anew=True) == {}
    task = found(database)[Kind.REVIEW]
    assert (task.policy, task.probability, task.asked_at_ms, task.language) == ("tobacco", 0.97, NOW, None)
    decided(database, 5)
    assert step() == {"review": 1}


def test_a_later_decision_ends_what_was_asked_of_the_earlier(database, step):
    decided(database, 1, 2)
    tell(database, 1, "appeal")
    tell(database, 1, "report")
    draw(database, 1)
    assert step() == {"review": 2, "appeal": 1, "report": 1, "audit": 1}
    decide(database, [], ("listing 1", 2), action=Action.ALLOW)
    assert step() == {"cancelled": 2}
    states = {kind: task.state for kind, task in found(database).items()}
    assert states == {
        Kind.REVIEW: State.CANCELLED, Kind.REPORT: State.CANCELLED, Kind.APPEAL: State.OPEN,
        Kind.AUDIT: State.OPEN,
    }  # fmt: skip
    decide(database, [], ("listing 2", 2), ("listing 2", 3), action=Action.REVIEW)
    assert step() == {"cancelled": 1, "review": 1}, "only what holds now"
    with reading(database) as connection:
        assert tasks_of(connection, "d-listing 2-0002") == []


def test_reports_of_what_was_superseded_are_not_asked_and_appeals_are(database, step):
    decided(database, 1, action=Action.BLOCK)
    decide(database, [], ("listing 1", 2), action=Action.ALLOW)
    tell(database, 1, "report", policy="weapons")
    tell(database, 1, "appeal")
    tell(database, 1, "appeal")
    tell(database, 1, "outcome")
    assert step() == {"appeal": 1}
    assert found(database)[Kind.APPEAL].policy == "tobacco"


def test_audit_draws_are_asked_blind_of_anybody(database, step):
    decided(database, 1, action=Action.ALLOW)
    draw(database, 1)
    assert step() == {"audit": 1}
    task = found(database)[Kind.AUDIT]
    assert (task.blind, task.policy, task.probability) == (True, None, None)


def test_emptied_listings_are_asked_of_nobody(database, step):
    decided(database, 1)
    tell(database, 1, "appeal")
    draw(database, 1)
    with writing(database) as connection:
        connection.execute(update(revisions).values(purged_at_ms=NOW))
    assert step() == {}


def test_a_verdict_is_read_again_by_another_once_it_can_no_longer_be_undone(database, step, clock, rita, ben):
    decided(database, 1)
    step(EVERY)
    first = read(database, rita, Kind.REVIEW, YES, NOW)
    clock.now += 10 * MINUTE - 1
    assert step(EVERY) == {}
    clock.now += 1
    assert step(EVERY) == {"second": 1}
    assert step(EVERY) == {}
    assert step(EVERY, anew=True) == {}
    task = found(database)[Kind.SECOND]
    assert (task.blind, task.reading, task.policy, task.asked_at_ms) == (True, 1, "tobacco", NOW)
    assert take(database, rita, clock.now) is None
    assert task.rank == found(database)[Kind.REVIEW].rank
    read(database, ben, Kind.SECOND, YES, clock.now)
    clock.now += 10 * MINUTE
    assert step(EVERY) == {}, "they agree"
    with reading(database) as connection:
        assert valid_verdict(connection, decision_of(1)) == first


def test_where_two_disagree_a_third_decides(database, step, clock, rita, ben):
    decided(database, 1)
    step(EVERY)
    read(database, rita, Kind.REVIEW, YES, NOW)
    clock.now += 10 * MINUTE
    step(EVERY)
    read(database, ben, Kind.SECOND, NO, clock.now)
    clock.now += 10 * MINUTE
    assert step(EVERY) == {"tiebreak": 1}
    assert [take(database, one, clock.now) for one in (rita, ben)] == [None, None]
    third = read(database, person(database, "gil"), Kind.TIEBREAK, NO, clock.now)
    clock.now += 10 * MINUTE
    assert step(EVERY) == {}
    with reading(database) as connection:
        assert valid_verdict(connection, decision_of(1)) == third


def test_what_was_undone_is_not_read_again_and_what_was_said_then_is(database, step, clock, rita):
    decided(database, 1)
    step(EVERY)
    read(database, rita, Kind.REVIEW, YES, NOW)
    clock.now += 9 * MINUTE
    act(database, claims.undo, rita, now_ms=clock.now, window_ms=10 * MINUTE, lease_ms=LEASE)
    clock.now += 10 * MINUTE
    assert step(EVERY) == {}
    say(database, rita, found(database)[Kind.REVIEW], answers={"tobacco": NO}, now_ms=clock.now)
    clock.now += 10 * MINUTE
    assert step(EVERY) == {"second": 1}


def test_gold_follows_verdicts_each_once_for_a_person_beside_what_they_read(database, step, clock, rita, ben):
    decided(database, 1, 2)
    decided(database, 7, 8, action=Action.BLOCK)
    make_gold(database, 7)
    make_gold(database, 8, NO)
    gold = Settings(review_second_share=0, review_gold_share=1)
    step(gold)
    for _ in range(2):
        read(database, rita, Kind.REVIEW, NO, NOW)
    clock.now += 10 * MINUTE
    assert step(gold) == {"gold": 2}
    assert step(gold, anew=True) == {}
    tasks = [found(database, number)[Kind.GOLD] for number in (7, 8)]
    assert {one.assigned_to for one in tasks} == {rita.user_id}
    assert {one.rank for one in tasks} == {found(database, number)[Kind.REVIEW].rank for number in (1, 2)}
    assert take(database, ben, clock.now) is None
    for _ in range(2):
        read(database, rita, Kind.GOLD, YES, clock.now)
    with reading(database) as connection:
        came = gold_readings(connection)
        assert [(one.who, one.given) for one in came] == [("rita", {"weapons": YES})] * 2
        assert {one.decision_id: one.known["weapons"] for one in came} == {
            decision_of(7): YES,
            decision_of(8): NO,
        }
        assert gold_readings(connection, came[1].seq) == []
    clock.now += 10 * MINUTE
    assert step(gold) == {}, "gold is followed by none, and there is none left"


def test_gold_is_of_decisions_that_are_there_and_is_retired(database, step, clock, rita):
    decided(database, 1, 2)
    says = {"who": "lea", "why": "the rule says so", "now_ms": NOW}
    with pytest.raises(NotFoundError, match="no decision"):
        act(database, add_gold, "d_none", {"weapons": YES}, **says)
    with pytest.raises(DataError, match="yes or no"):
        act(database, add_gold, decision_of(2), {"weapons": UNKNOWN}, **says)
    make_gold(database, 2)
    with pytest.raises(ConflictError, match="is gold already"):
        make_gold(database, 2)
    act(database, retire_gold, decision_of(2), **says)
    with pytest.raises(NotFoundError, match="is not gold"):
        act(database, retire_gold, decision_of(2), **says)
    step(EVERY)
    for _ in range(2):
        read(database, rita, Kind.REVIEW, NO, NOW)
    clock.now += 10 * MINUTE
    assert step(EVERY) == {"second": 2}
    make_gold(database, 2, NO)
    with reading(database) as connection:
        acts = [one.act for one in audit.read(connection, act="gold.")]
    assert acts == ["gold.add", "gold.retire", "gold.add"]


@pytest.mark.parametrize(
    ("answers", "outcome"),
    [
        ({"tobacco": NO}, Said.OVERTURNED),
        ({"tobacco": NO, "weapons": YES}, Said.UPHELD),
        ({"tobacco": YES}, Said.UPHELD),
        ({"tobacco": UNKNOWN}, None),
        ({"weapons": NO}, None),
    ],
)
def test_what_became_of_an_appeal_counts_against_the_model_once(
    database, step, clock, rita, answers, outcome
):
    decided(database, 1, action=Action.BLOCK)
    tell(database, 1, "appeal")
    step()
    say(database, rita, take(database, rita), answers=answers)
    step()
    assert len(read_feedback(database, decision_of(1))) == 1, "it can still be undone"
    clock.now += 10 * MINUTE
    step()
    step(anew=True)
    _, *told = read_feedback(database, decision_of(1))
    assert [(one.kind, one.policy) for one in told] == ([(outcome, "tobacco")] if outcome else [])


def test_readings_that_nobody_took_end_after_a_fortnight(database, step, clock, rita):
    decided(database, 1, 2)
    step(EVERY)
    read(database, rita, Kind.REVIEW, YES, NOW)
    clock.now += 10 * MINUTE
    assert step(EVERY) == {"second": 1}
    clock.now = NOW + 15 * DAY
    assert step(EVERY) == {}
    clock.now += MINUTE
    assert step(EVERY, anew=True) == {"cancelled": 1}
    states = [task.state for number in (1, 2) for task in found(database, number).values()]
    assert sorted(states) == [State.CANCELLED, State.DONE, State.OPEN], "what somebody has to decide stays"


def test_verdicts_from_elsewhere_call_for_nothing(database, step, clock):
    decided(database, 1, action=Action.BLOCK)
    with writing(database) as connection:
        add_verdict(
            connection, decision_id=decision_of(1), answers={"tobacco": NO}, who="x", source=Source.IMPORT,
            now_ms=NOW,
        )  # fmt: skip
    clock.now += 10 * MINUTE
    assert step(EVERY) == {}


def test_intakes_at_once_make_each_task_once(database, clock):
    decided(database, *range(40))
    draw(database, *range(20))
    intakes = [Intake(database, EVERY, clock) for _ in range(4)]
    made, failed = [], []

    def work(intake):
        try:
            made.append(intake.step())
        except Exception as err:  # noqa: BLE001  shown below
            failed.append(err)

    threads = [threading.Thread(target=work, args=(one,)) for one in intakes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert sum(one["review"] for one in made) == 40
    assert sum(one["audit"] for one in made) == 20
    with reading(database) as connection:
        assert len(connection.execute(select(table.c.seq)).all()) == 60


def test_an_intake_that_failed_makes_what_is_missing_and_nothing_twice(database, clock):
    decided(database, *range(450))
    intake = Intake(database, NEVER, clock)
    inserts = []

    @event.listens_for(database, "before_cursor_execute")
    def fail(connection, _cursor, statement, *_):
        if statement.startswith("INSERT INTO tasks"):
            inserts.append(statement)
            if len(inserts) == 3:
                connection.invalidate()

    with pytest.raises(StoreError, match="tasks could not be made"):
        intake.step()
    event.remove(database, "before_cursor_execute", fail)
    assert intake.step()["review"] == 450 - 400
    assert intake.step()["review"] == 0


def test_an_intake_goes_on_where_another_one_ended(database, clock):
    decided(database, 1, 2)
    first = Intake(database, NEVER, clock)
    first.step()
    clock.now += MINUTE
    first.step()
    with reading(database) as connection:
        reached = dict(connection.execute(select(cursors.c.name, cursors.c.seq)).all())
    assert reached == {"intake decisions": 2}
    seen = []

    @event.listens_for(database, "before_cursor_execute")
    def note(_connection, _cursor, statement, parameters, *_):
        if "FROM decisions JOIN revisions" in statement:
            seen.append(parameters)

    assert Intake(database, NEVER, clock).step()["review"] == 0
    event.remove(database, "before_cursor_execute", note)
    assert 2 in (seen[0].values() if isinstance(seen[0], dict) else seen[0])


@given(
    st.dictionaries(st.sampled_from("abc"), st.sampled_from(Answer)),
    st.dictionaries(st.sampled_from("abc"), st.sampled_from(Answer)),
)
def test_two_people_disagree_alike(one, other):
    assert disagree(one, other) == disagree(other, one)
    assert not disagree(one, one)
    assert not disagree(one, {}) or YES in one.values()


@pytest.mark.parametrize(
    ("one", "other", "differs"),
    [
        ({"a": YES}, {"a": NO}, True),
        ({"a": YES}, {"b": YES}, True),
        ({"a": YES}, {"a": YES, "b": NO}, False),
        ({"a": YES, "b": UNKNOWN}, {"a": YES, "b": YES}, False),
        ({"a": NO}, {"b": NO}, False),
        ({"a": UNKNOWN}, {"a": YES}, False),
    ],
)
def test_who_is_unsure_disagrees_with_nobody(one, other, differs):
    assert disagree(one, other) is differs


def test_a_share_of_verdicts_is_drawn_for_each_purpose_by_itself():
    ids = [f"v_{number:032x}" for number in range(20_000)]
    second = {one for one in ids if drawn(one, "second", 0.05)}
    gold = {one for one in ids if drawn(one, "gold", 0.5)}
    assert 0.044 < len(second) / len(ids) < 0.056
    assert 0.4 < len(second & gold) / len(second) < 0.6
    assert not any(drawn(one, "second", 0) for one in ids)
    assert all(drawn(one, "second", 1) for one in ids)
