"""A champion whose policies have rights, drawn decisions and verdicts on them."""

from sqlalchemy import insert

from stallwart.core.decision import Action
from stallwart.store.database import writing
from stallwart.store.draws import Draw, add_draws
from stallwart.store.rights import Right, State, adopt
from stallwart.store.tables import decisions, revisions
from stallwart.store.verdicts import Answer, Source, add_verdict
from tests.store.rolling import NOW, OLD, registered

HOUR = 3_600_000
TOBACCO = Right(OLD, "tobacco", State.CERTIFIED, 0.9, 0.8, 0.8, "as its certificate says", NOW)
DRUGS = Right(OLD, "drugs", State.NONE, 0.9, None, 0.7, "no certificate", NOW)


def with_rights(database):
    registered(database, OLD, champion=OLD)
    with writing(database) as connection:
        adopt(connection, [TOBACCO, DRUGS], who="test", now_ms=NOW)


def draw(
    database, number, *, action=Action.BLOCK, policies=("tobacco",), scores=None, at_ms=None, seller=None
):
    """A drawn decision; `number` names it and its listing."""
    at = NOW + number * HOUR if at_ms is None else at_ms
    decision = f"d_{number:08x}"
    with writing(database) as connection:
        connection.execute(
            insert(revisions).values(
                revision=f"r{number}", listing_id=f"L{number}", photos=[], unread=[], seller_id=seller,
                stored_at_ms=at,
            )
        )  # fmt: skip
        connection.execute(
            insert(decisions).values(
                decision_id=decision, listing_id=f"L{number}", revision=f"r{number}", action=action.value,
                policies=list(policies), reason="", scores=scores or {"tobacco": 0.9, "drugs": 0.1},
                thresholds={}, bundle=OLD, taxonomy="t", cause="new", decided_at_ms=at,
            )
        )  # fmt: skip
        add_draws(connection, [Draw(decision, 0.25, action.value, None, None, at)])
    return decision


def say(database, decision, answers):
    with writing(database) as connection:
        add_verdict(
            connection, decision_id=decision, answers={name: Answer(one) for name, one in answers.items()},
            who="rita", source=Source.AUDIT, now_ms=NOW,
        )  # fmt: skip


def judged(database, numbers, answer, **facts):
    """Drawn blocks of tobacco with a verdict each."""
    for number in numbers:
        say(database, draw(database, number, **facts), {"tobacco": answer})


def would_be(database, numbers, answer, score=0.9, **facts):
    """Drawn reviews that drugs would block, with a verdict each where there is an answer."""
    for number in numbers:
        decision = draw(
            database, number, action=Action.REVIEW, policies=("drugs",), scores={"drugs": score}, **facts
        )
        if answer:
            say(database, decision, {"drugs": answer})
