import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from stallwart.core.decision import Action, Cause, Decision
from stallwart.core.errors import DataError
from stallwart.store.database import reading, writing
from stallwart.store.decisions import Wanted, find, read_decision, write
from stallwart.store.rulings import Asked, Outcome, read_rulings, rule, said, undo
from stallwart.store.tables import decisions, deliveries
from stallwart.store.verdicts import Answer
from stallwart.store.webhooks import add_webhook
from tests.store.listings import THRESHOLDS, draft

NOW = 1_800_000_000_000
YES, NO, UNKNOWN = Answer.YES, Answer.NO, Answer.UNKNOWN


def stored(database, *drafts):
    with writing(database) as connection:
        return write(connection, drafts, [], NOW)


def ask(about, action=Action.BLOCK, *, key=None, cause=Cause.BULK, who="lea", at=NOW, **facts):
    policies = ("tobacco",) if action == Action.BLOCK else ()
    given = {"kind": "bulk", "action": action, "policies": policies, **facts}
    return Asked(key or f"bulk {about} {at}", about, cause, who, at, **given)


def ruled(database, *asked, now_ms=NOW):
    with writing(database) as connection:
        return rule(connection, asked, now_ms)


def last(database, revision):
    with reading(database) as connection:
        return find(connection, [Wanted(None, revision)])[0]


def test_a_ruling_is_a_decision_after_the_last_with_its_deliveries_and_who_made_it(database):
    add_webhook(database, "https://example.com/hook", [Action.BLOCK], NOW)
    (first,) = stored(database, draft(evidence={"words": ["brass"]}))
    (made,) = ruled(database, ask(first.decision_id))
    decision = made.decision
    assert made.outcome == Outcome.RULED
    assert (decision.action, decision.policies, decision.cause) == (Action.BLOCK, ("tobacco",), Cause.BULK)
    assert (decision.supersedes, decision.automatic, decision.evidence) == (first.decision_id, False, None)
    assert "lea" not in decision.model_dump_json(), "callers are told that a person decided, and not who"
    with reading(database) as connection:
        assert read_decision(connection, decision.decision_id) == decision
        assert read_rulings(connection, [decision.decision_id])[decision.decision_id].who == "lea"
        told = connection.execute(select(deliveries.c.decision_id)).scalars().all()
    assert told == [decision.decision_id]
    assert last(database, first.revision) == decision, "a repeat is answered with the person's decision"


def test_the_same_key_rules_once_however_often_it_is_tried(database):
    add_webhook(database, "https://example.com/hook", [Action.BLOCK], NOW)
    (first,) = stored(database, draft())
    one = ask(first.decision_id, key="bulk b_1 lamp")
    (made,) = ruled(database, one)
    again, and_again = ruled(database, one, one, now_ms=NOW + 1)
    assert [again.outcome, and_again.outcome] == [Outcome.REPEATED] * 2
    assert again.decision == made.decision == and_again.decision
    with reading(database) as connection:
        assert connection.execute(select(func.count()).select_from(decisions)).scalar_one() == 2
        assert connection.execute(select(func.count()).select_from(deliveries)).scalar_one() == 1


def test_nobody_rules_over_a_later_revision(database):
    (first,) = stored(database, draft())
    (edited,) = stored(database, draft(title="A steel lamp"))
    (made,) = ruled(database, ask(first.decision_id))
    assert made == type(made)(Outcome.EDITED)
    assert last(database, edited.revision) == edited
    assert ruled(database, ask("d_none"))[0].outcome == Outcome.MISSING


def test_a_rescan_is_answered_with_the_ruling_and_an_edit_is_decided_by_the_model(database):
    (first,) = stored(database, draft(action=Action.BLOCK))
    (made,) = ruled(database, ask(first.decision_id, Action.ALLOW))
    (rescanned,) = stored(database, draft(action=Action.BLOCK, rescan=True))
    assert rescanned == made.decision
    with reading(database) as connection:
        assert find(connection, [Wanted("k", first.revision, rescan=True)]) == [made.decision]
    (edited,) = stored(database, draft(title="Other", action=Action.BLOCK))
    assert (edited.cause, edited.automatic) == (Cause.EDIT, True)


def test_an_undo_gives_back_what_was_and_the_models_say_with_it(database):
    (first,) = stored(database, draft(action=Action.REVIEW))
    ruled(database, ask(first.decision_id, key="k"))
    with writing(database) as connection:
        (back,) = undo(connection, {"k": "undo k"}, who="ben", now_ms=NOW + 1)
    decision = back.decision
    assert (decision.action, decision.policies, decision.cause) == (
        Action.REVIEW,
        first.policies,
        Cause.UNDO,
    )
    assert decision.automatic is False
    (rescanned,) = stored(database, draft(action=Action.ALLOW, rescan=True))
    assert (rescanned.cause, rescanned.supersedes) == (Cause.RESCAN, decision.decision_id)
    with writing(database) as connection:
        assert undo(connection, {"k": "undo k"}, who="ben", now_ms=NOW)[0].outcome == Outcome.REPEATED
        assert undo(connection, {"k": "again"}, who="ben", now_ms=NOW)[0].outcome == Outcome.OUTRANKED
        assert undo(connection, {"none": "u"}, who="ben", now_ms=NOW)[0].outcome == Outcome.MISSING


def test_an_undo_gives_back_what_a_person_ruled_with_its_rank(database):
    (first,) = stored(database, draft(action=Action.BLOCK))
    ruled(database, ask(first.decision_id, Action.ALLOW, cause=Cause.VERDICT, key="v"))
    ruled(database, ask(first.decision_id, key="b", at=NOW + 1))
    with writing(database) as connection:
        (back,) = undo(connection, {"b": "undo b"}, who="ben", now_ms=NOW + 2)
    assert (back.decision.action, back.decision.cause) == (Action.ALLOW, Cause.VERDICT)
    assert stored(database, draft(action=Action.BLOCK, rescan=True)) == [back.decision]


def test_what_a_person_said_later_outranks_what_is_written_later(database):
    (first,) = stored(database, draft())
    ruled(database, ask(first.decision_id, at=NOW + 5))
    (late,) = ruled(database, ask(first.decision_id, Action.ALLOW, at=NOW + 4), now_ms=NOW + 9)
    assert late.outcome == Outcome.OUTRANKED


def test_who_was_asked_of_one_policy_does_not_sweep_away_another(database):
    (first,) = stored(database, draft(action=Action.ALLOW))
    ruled(database, ask(first.decision_id, at=NOW))
    verdict = {"action": None, "policies": (), "cause": Cause.VERDICT, "kind": "report"}
    cleared = ask(first.decision_id, **verdict, answers={"weapons": NO}, policy="weapons", at=NOW + 1)
    assert ruled(database, cleared)[0].outcome == Outcome.OUTRANKED, "the block for tobacco stays"
    found = ask(first.decision_id, **verdict, answers={"weapons": YES}, policy="weapons", at=NOW + 2)
    assert ruled(database, found)[0].decision.policies == ("weapons", "tobacco")


def test_several_rulings_of_one_listing_follow_each_other_in_one_transaction(database):
    (first,) = stored(database, draft())
    one, two = ruled(
        database, ask(first.decision_id, at=NOW), ask(first.decision_id, Action.ALLOW, at=NOW + 1)
    )
    assert two.decision.supersedes == one.decision.decision_id
    assert last(database, first.revision) == two.decision


@pytest.mark.parametrize(
    ("action", "policies"), [(Action.ALLOW, ("tobacco",)), (Action.REVIEW, ("x",)), (Action.BLOCK, ())]
)
def test_only_a_block_is_for_policies(action, policies):
    with pytest.raises(DataError):
        ask("d", action, policies=policies)
    with pytest.raises(ValueError, match="a person's cause"):
        ask("d", cause=Cause.RESCAN)
    with pytest.raises(ValueError, match="either an action or answers"):
        ask("d", answers={"tobacco": NO})


def made_of(policies=("tobacco",), scores=None, **facts):
    given = {"decision_id": "d", "listing_id": "l", "revision": "r", "action": Action.REVIEW, "reason": "x"}
    given |= {"thresholds": THRESHOLDS, "bundle": "b", "taxonomy": "t", "cause": "new", "decided_at_ms": 0}
    return Decision(policies=policies, scores=scores, **{**given, **facts})


@pytest.mark.parametrize(
    ("answers", "policy", "called"),
    [
        ({"tobacco": YES}, None, (Action.BLOCK, ("tobacco",))),
        ({"tobacco": NO, "weapons": YES}, None, (Action.BLOCK, ("weapons",))),
        ({"tobacco": UNKNOWN, "weapons": YES}, None, (Action.BLOCK, ("weapons",))),
        ({"tobacco": NO}, None, (Action.ALLOW, ())),
        ({"tobacco": NO}, "weapons", None),
        ({"tobacco": NO, "weapons": NO}, "weapons", (Action.ALLOW, ())),
        ({"tobacco": UNKNOWN}, None, None),
        ({"tobacco": NO, "weapons": UNKNOWN}, None, None),
        ({"weapons": NO}, None, None),
        ({}, None, None),
    ],
)
def test_what_a_verdict_calls_for(answers, policy, called):
    assert said(answers, made_of(scores={"tobacco": 0.5, "weapons": 0.1}), policy) == called


@given(st.dictionaries(st.sampled_from(["tobacco", "weapons"]), st.sampled_from(Answer)), st.booleans())
def test_nothing_unknown_is_ever_allowed(answers, scored):
    decision = made_of(("tobacco",), {"tobacco": 0.5, "weapons": 0.1} if scored else None)
    called = said(answers, decision)
    if called is not None and called[0] == Action.ALLOW:
        assert UNKNOWN not in answers.values()
        assert answers["tobacco"] == NO
        assert scored or answers["weapons"] == NO, "nobody scored it, so each policy has to be answered"


@pytest.mark.slow
def test_rulings_and_decisions_at_once_make_one_chain(database):
    (first,) = stored(database, draft())
    failed, barrier = [], threading.Barrier(4)

    def work(number):
        barrier.wait()
        try:
            for step in range(5):
                at = NOW + 10 * step + number
                if number % 2:
                    ruled(database, ask(first.decision_id, key=f"{number} {step}", at=at), now_ms=at)
                else:
                    stored(database, draft(f"other {number} {step}"), draft(rescan=True))
        except Exception as err:  # noqa: BLE001  shown below
            failed.append(err)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    with reading(database) as connection:
        rows = connection.execute(
            select(decisions.c.decision_id, decisions.c.supersedes)
            .where(decisions.c.listing_id == "lamp")
            .order_by(decisions.c.seq)
        ).all()
    assert [row.supersedes for row in rows[1:]] == [row.decision_id for row in rows[:-1]]
    assert len(rows) > 1
