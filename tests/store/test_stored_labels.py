from sqlalchemy import update

from stallwart.core.decision import Action
from stallwart.store.database import reading, writing
from stallwart.store.draws import add_draws
from stallwart.store.labels import known_labels, single_label
from stallwart.store.tables import decisions, revisions
from stallwart.store.verdicts import Answer, Source, add_verdict
from tests.store.outgoing import decide
from tests.store.rolling import NOW, drawn

YES, NO, UNKNOWN = Answer.YES, Answer.NO, Answer.UNKNOWN
POLICIES = ("tobacco", "weapons")


def judge(database, listing, now_ms=NOW, source=Source.AUDIT, number=1, **facts):
    answers = facts.pop("answers", {"tobacco": YES})
    with writing(database) as connection:
        return add_verdict(
            connection,
            decision_id=f"d-{listing}-{number:04d}",
            answers=answers,
            who=facts.pop("who", "rita"),
            source=source,
            now_ms=now_ms,
            **facts,
        )


def draw(database, *names, probability=0.25):
    with writing(database) as connection:
        add_draws(connection, [drawn(name, probability=probability) for name in names])


def labels(database, *facts):
    with reading(database) as connection:
        return {one.listing_id: one for one in known_labels(connection, *facts)}


def test_a_label_is_what_was_said_last_and_known_by_then(database):
    decide(database, [], ("a", 1), ("b", 1))
    first = judge(database, "a")
    later = judge(database, "a", NOW + 10, answers={"tobacco": NO, "weapons": YES}, who="sam")
    judge(database, "b", NOW + 20)
    assert labels(database)["a"].answers == later.answers
    assert labels(database)["a"].who == "sam"
    known = labels(database, NOW + 10)
    assert set(known) == {"a"}
    assert known["a"].verdict_id == first.verdict_id
    assert not labels(database, NOW)


def test_a_verdict_that_was_undone_is_no_label_and_the_one_before_it_holds(database):
    decide(database, [], ("a", 1), ("b", 1))
    first = judge(database, "a")
    wrong = judge(database, "a", NOW + 5, answers={"tobacco": NO})
    judge(database, "a", NOW + 6, answers={"tobacco": UNKNOWN}, replaces=wrong.verdict_id)
    only = judge(database, "b")
    judge(database, "b", NOW + 6, answers={"tobacco": UNKNOWN}, replaces=only.verdict_id)
    assert {name: one.verdict_id for name, one in labels(database).items()} == {"a": first.verdict_id}
    assert labels(database, NOW + 6)["a"].verdict_id == wrong.verdict_id


def test_blind_readings_that_measure_people_are_no_labels_and_the_third_is(database):
    decide(database, [], ("a", 1))
    judge(database, "a")
    judge(database, "a", NOW + 1, Source.SECOND, answers={"tobacco": NO})
    judge(database, "a", NOW + 2, Source.GOLD, answers={"tobacco": NO})
    assert labels(database)["a"].answers == {"tobacco": YES}
    third = judge(database, "a", NOW + 3, Source.TIEBREAK, answers={"tobacco": NO})
    assert labels(database)["a"].verdict_id == third.verdict_id


def test_a_weight_is_one_over_the_probability_where_only_the_audit_asked(database):
    decide(database, [], ("a", 1), ("b", 1), ("c", 1), ("d", 1))
    with writing(database) as connection:
        asked_anyway = decisions.c.listing_id == "d"
        connection.execute(update(decisions).where(asked_anyway).values(action=Action.REVIEW.value))
    draw(database, "d-a-0001", "d-b-0001", "d-d-0001")
    for listing in "abd":
        judge(database, listing)
    judge(database, "b", NOW + 1, Source.APPEAL)
    judge(database, "c", source=Source.APPEAL)
    found = labels(database)
    assert {name: one.weight for name, one in found.items()} == {"a": 4.0, "b": 1.0, "c": 1.0, "d": 1.0}
    assert found["b"].probability == 0.25
    assert found["c"].probability is None


def test_labels_can_be_those_of_some_reasons_only(database):
    decide(database, [], ("a", 1), ("b", 1))
    judge(database, "a")
    judge(database, "b", source=Source.IMPORT)
    with reading(database) as connection:
        found = [one.listing_id for one in known_labels(connection, None, {Source.IMPORT})]
    assert found == ["b"]


def test_more_labels_than_a_page_come_once_each(database, monkeypatch):
    monkeypatch.setattr("stallwart.store.labels._PAGE", 2)
    names = [f"n{number}" for number in range(9)]
    decide(database, [], *((name, 1) for name in names))
    for name in names:
        judge(database, name)
        judge(database, name, NOW + 1, answers={"tobacco": NO}, source=Source.APPEAL)
    with reading(database) as connection:
        found = list(known_labels(connection))
    assert sorted(one.listing_id for one in found) == names
    assert all(one.answers == {"tobacco": NO} for one in found)


def test_a_label_brings_its_content_and_says_when_it_was_emptied(database):
    decide(database, [], ("a", 1))
    judge(database, "a")
    assert labels(database)["a"].content.title == "état 1"
    with writing(database) as connection:
        connection.execute(update(revisions).values(title=None, photos=[], purged_at_ms=NOW))
    assert labels(database)["a"].content.purged_at_ms == NOW


def test_training_gets_the_likeliest_broken_policy_and_neutral_only_where_all_are_denied(database):
    decide(database, [], *((name, 1) for name in "abcde"))
    judge(database, "a", answers={"tobacco": YES, "weapons": YES})
    judge(database, "b", answers={"tobacco": NO, "weapons": NO})
    judge(database, "c", answers={"tobacco": NO})
    judge(database, "d", answers={"tobacco": NO, "weapons": UNKNOWN})
    judge(database, "e", answers={"tobacco": NO, "weapons": NO, "fireworks": YES})
    found = {name: single_label(one, POLICIES) for name, one in labels(database).items()}
    assert found == {"a": "tobacco", "b": "neutral", "c": None, "d": None, "e": None}


def test_a_policy_that_was_added_later_does_not_undo_what_was_neutral(database):
    from stallwart.core.carrying import Moves
    from stallwart.core.rulebook import Move, Step

    decide(database, [], *((name, 1) for name in "ab"))
    judge(database, "a", answers={"tobacco": NO, "weapons": NO})
    judge(database, "b", NOW + 10, answers={"tobacco": NO, "weapons": NO})
    over = Moves(((Step(move=Move.ADD, new=("knives",)), NOW + 5),))
    found = {
        name: single_label(one, (*POLICIES, "knives"))
        for name, one in labels(database, None, None, over).items()
    }
    assert found == {"a": "neutral", "b": None}
