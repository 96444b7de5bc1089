"""What settled verdicts do to listings, through the intake."""

import pytest
from sqlalchemy import select

from stallwart.core.decision import Action, Cause
from stallwart.core.settings import Settings
from stallwart.store import claims
from stallwart.store.database import reading, writing
from stallwart.store.draws import Draw, add_draws
from stallwart.store.feedback import add_feedback, read_feedback
from stallwart.store.intake import Intake
from stallwart.store.labels import known_labels
from stallwart.store.people import Role
from stallwart.store.rulings import read_rulings
from stallwart.store.tables import deliveries
from stallwart.store.tasks import Kind, State, explain, tasks_of
from stallwart.store.verdicts import Answer
from stallwart.store.webhooks import add_webhook
from tests.store.outgoing import decide
from tests.store.reviewing import LEASE, act, decided, decision_of, person, say, take
from tests.store.rolling import NOW

MINUTE, DAY = 60_000, 86_400_000
SETTINGS = Settings(review_second_share=0, review_gold_share=0)
YES, NO, UNKNOWN = Answer.YES, Answer.NO, Answer.UNKNOWN


class Reviewing:
    """People, an intake and a clock over one database."""

    def __init__(self, database):
        self.database, self.now = database, NOW
        self.people = {}
        self.intake = Intake(database, SETTINGS, lambda: self.now)

    def person(self, name, role=Role.REVIEWER):
        if name not in self.people:
            self.people[name] = person(self.database, name, role)
        return self.people[name]

    def step(self):
        return {kind: count for kind, count in self.intake.step().items() if count}

    def settle(self):
        self.now += 10 * MINUTE
        return self.step()

    def take(self, name, role=Role.REVIEWER):
        return take(self.database, self.person(name, role), self.now)

    def answer(self, name, kind=Kind.REVIEW, role=Role.REVIEWER, **answers):
        task = self.take(name, role)
        assert task is not None
        assert task.kind == kind
        say(self.database, self.person(name, role), task, answers=answers, now_ms=self.now)
        return task

    def tell(self, decision_id, kind, **facts):
        said = {"decision_id": decision_id, "kind": kind, **facts}
        add_feedback(self.database, said, "key", None, self.now)
        return self.step()

    def last(self, number=1):
        from stallwart.store.decisions import last_decisions

        with reading(self.database) as connection:
            return last_decisions(connection, [f"listing {number}"])[f"listing {number}"]

    def who(self, decision):
        with reading(self.database) as connection:
            return read_rulings(connection, [decision.decision_id])[decision.decision_id].who


@pytest.fixture
def at(database):
    return Reviewing(database)


def test_a_verdict_decides_once_it_can_no_longer_be_undone_and_once(database, at):
    add_webhook(database, "https://example.com/hook", [Action.BLOCK], NOW)
    decided(database, 1)
    at.step()
    at.answer("rita", tobacco=YES)
    at.now += 10 * MINUTE - 1
    assert at.step() == {}
    at.now += 1
    assert at.step() == {"ruled": 1}
    assert at.step() == {}
    assert not any(Intake(database, SETTINGS, lambda: at.now).step().values())
    decision = at.last()
    assert (decision.action, decision.policies, decision.cause) == (
        Action.BLOCK,
        ("tobacco",),
        Cause.VERDICT,
    )
    assert decision.supersedes == decision_of(1)
    assert at.who(decision) == "rita"
    with reading(database) as connection:
        assert connection.execute(select(deliveries.c.decision_id)).scalars().all() == [decision.decision_id]


def test_a_verdict_that_was_undone_decides_nothing_and_the_next_one_does(database, at):
    decided(database, 1)
    at.step()
    task = at.answer("rita", tobacco=YES)
    rita = at.person("rita")
    act(database, claims.undo, rita, now_ms=at.now, window_ms=10 * MINUTE, lease_ms=LEASE)
    assert at.settle() == {}
    say(database, rita, task, answers={"tobacco": NO}, now_ms=at.now)
    assert at.settle() == {"ruled": 1}
    assert at.last().action == Action.ALLOW


def test_who_cannot_say_leaves_the_listing_where_it_is_and_a_lead_is_asked(database, at):
    decided(database, 1)
    at.step()
    at.answer("rita", tobacco=UNKNOWN)
    assert at.settle() == {"escalated": 1}
    assert at.last().decision_id == decision_of(1)
    assert at.take("ben") is None, "it is for leads now"
    task = at.answer("lea", role=Role.LEAD, tobacco=UNKNOWN)
    assert task.escalated_to == Role.LEAD
    assert at.settle() == {"escalated": 1}
    assert at.take("lea", Role.LEAD) is None, "not for a day"
    at.now += DAY
    at.answer("lea", role=Role.LEAD, tobacco=NO)
    assert at.settle() == {"ruled": 1}
    assert at.last().action == Action.ALLOW


def test_a_verdict_about_what_was_edited_decides_nothing(database, at):
    decided(database, 1)
    at.step()
    at.answer("rita", tobacco=NO)
    decide(database, [], ("listing 1", 2), action=Action.BLOCK)
    assert at.settle() == {}
    assert at.last().decision_id == "d-listing 1-0002"


def test_an_appeal_is_decided_by_somebody_else_and_counts_against_the_model(database, at):
    decided(database, 1, action=Action.BLOCK)
    assert at.tell(decision_of(1), "appeal") == {"appeal": 1}
    at.answer("rita", Kind.APPEAL, tobacco=NO)
    assert at.settle() == {"ruled": 1}
    assert (at.last().action, at.last().cause) == (Action.ALLOW, Cause.APPEAL)
    assert [one.kind for one in read_feedback(database, decision_of(1))] == ["appeal", "overturned"]


def test_a_block_by_a_person_is_not_appealed_to_them_nor_to_who_upheld_it(database, at):
    decided(database, 1)
    at.step()
    at.answer("rita", tobacco=YES)
    at.settle()
    assert at.tell(at.last().decision_id, "appeal") == {"appeal": 1}
    assert at.take("rita") is None
    at.answer("ben", Kind.APPEAL, tobacco=YES)
    assert at.settle() == {"ruled": 1}
    upheld = at.last()
    assert (upheld.action, upheld.cause) == (Action.BLOCK, Cause.APPEAL)
    assert at.tell(upheld.decision_id, "appeal") == {"appeal": 1}
    assert at.take("rita") is None
    assert at.take("ben") is None
    at.answer("gil", Kind.APPEAL, tobacco=NO)
    at.settle()
    assert at.last().action == Action.ALLOW
    assert [one.kind for one in read_feedback(database, decision_of(1))] == [], "no model blocked it"


def test_what_was_reported_is_looked_at_though_a_person_allowed_the_rest(database, at):
    decided(database, 1)
    at.step()
    at.tell(decision_of(1), "report", policy="weapons")
    task = at.take("rita")
    while task.kind != Kind.REVIEW:
        act(database, claims.skip, at.person("rita"), task.task_id, "later", at.now)
        task = at.take("rita")
    say(database, at.person("rita"), task, answers={"tobacco": NO}, now_ms=at.now)
    assert at.settle() == {"ruled": 1}
    assert at.step() == {}
    at.answer("ben", Kind.REPORT, weapons=YES)
    assert at.settle() == {"ruled": 1}
    assert at.last().policies == ("weapons",)


def test_a_report_that_names_what_a_person_superseded_is_asked_of_the_same_content(database, at):
    decided(database, 1)
    at.step()
    at.answer("rita", tobacco=NO)
    at.settle()
    assert at.tell(decision_of(1), "report", policy="weapons") == {"report": 1}
    with reading(database) as connection:
        (task,) = tasks_of(connection, at.last().decision_id)
    assert (task.kind, task.state) == (Kind.REPORT, State.OPEN)
    at.answer("ben", Kind.REPORT, weapons=NO)
    assert at.settle() == {"ruled": 1}
    assert at.last().action == Action.ALLOW


def sampled(at, number=1):
    """A decision that allows a listing and was drawn for the audit."""
    decided(at.database, number, action=Action.ALLOW)
    with writing(at.database) as connection:
        add_draws(connection, [Draw(decision_of(number), 0.1, "allow", None, None, NOW)])
    at.step()


def weight(at):
    with reading(at.database) as connection:
        return next(known_labels(connection)).weight


def test_a_sample_decides_nothing_and_what_it_finds_on_a_live_listing_is_reviewed_by_somebody_else(at):
    sampled(at)
    at.answer("rita", Kind.AUDIT, tobacco=YES)
    assert at.settle() == {"review": 1}
    assert at.step() == {}
    assert not any(Intake(at.database, SETTINGS, lambda: at.now).step().values()), "once"
    assert at.last().decision_id == decision_of(1)
    assert at.take("rita") is None, "she found it"
    task = at.answer("ben", tobacco=YES)
    assert (task.policy, task.asked_at_ms) == ("tobacco", NOW)
    assert "sample" in explain(task, at.now)[0]
    assert at.settle() == {"ruled": 1}
    assert (at.last().action, at.last().policies, at.last().cause) == (
        Action.BLOCK,
        ("tobacco",),
        Cause.VERDICT,
    )
    assert weight(at) == 10, "without the draw nobody would have been asked"


def test_what_a_sample_found_has_to_be_answered_for_the_policy_that_it_found(at):
    sampled(at)
    at.answer("rita", Kind.AUDIT, tobacco=YES)
    at.settle()
    at.answer("ben", weapons=NO)
    assert at.settle() == {"escalated": 1}
    assert at.last().decision_id == decision_of(1)


def test_a_sample_that_finds_nothing_or_what_is_not_live_any_more_asks_nobody(at):
    sampled(at, 1)
    sampled(at, 2)
    for _ in range(2):
        task = at.take("rita")
        answer = NO if task.decision_id == decision_of(1) else YES
        say(at.database, at.person("rita"), task, answers={"tobacco": answer}, now_ms=at.now)
    decide(at.database, [], ("listing 2", 2), action=Action.ALLOW)
    assert at.settle() == {}


def test_what_a_sample_found_is_not_asked_any_more_once_the_listing_is_decided_anew(at):
    sampled(at)
    at.answer("rita", Kind.AUDIT, tobacco=YES)
    at.settle()
    decide(at.database, [], ("listing 1", 2), action=Action.ALLOW)
    at.step()
    assert at.take("ben") is None
