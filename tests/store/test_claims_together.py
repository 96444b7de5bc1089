"""Claims by many at once, and any acts in any order."""

import threading

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import delete

from stallwart.core.errors import ConflictError, NotFoundError
from stallwart.store import claims
from stallwart.store.database import reading, writing
from stallwart.store.people import Role
from stallwart.store.tables import task_skips, tasks, verdicts
from stallwart.store.tasks import BLIND, OF_THE_QUEUE, Kind, State, counts, tasks_of
from stallwart.store.verdicts import Answer, valid_verdict
from tests.store.reviewing import LEASE, act, add, asked, decided, decision_of, person, take
from tests.store.rolling import NOW

WINDOW = 2 * LEASE
NUMBERS = range(4)
NAMES = ("rita", "ben", "lea")


@pytest.fixture
def people(database):
    return [person(database, "rita"), person(database, "ben"), person(database, "lea", Role.LEAD)]


def test_ten_people_at_once_get_each_task_once(database):
    people = [person(database, f"reviewer-no-{number}") for number in range(10)]
    add(database, *(asked(number, probability=0.5 + number / 300) for number in range(120)))
    decided(database, *range(120))
    came, failed = [], []

    def work(user):
        try:
            while True:
                task = take(database, user)
                if task is None:
                    return
                came.append(task.task_id)
                act(database, claims.finish, user, task.task_id, {"weapons": Answer.NO}, now_ms=NOW)
        except Exception as err:  # noqa: BLE001  shown below
            failed.append(err)

    threads = [threading.Thread(target=work, args=(user,)) for user in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert (len(came), len(set(came))) == (120, 120)


def test_one_of_many_who_finish_or_undo_the_same_task_wins(database, people):
    rita = people[0]
    add(database, asked(1))
    decided(database, 1)
    task = take(database, rita)
    came = []

    def attempt(what, *arguments, **facts):
        try:
            act(database, what, rita, *arguments, now_ms=NOW, **facts)
            came.append("won")
        except (ConflictError, NotFoundError):
            came.append("lost")

    for what, arguments, facts in (
        (claims.finish, (task.task_id, {"weapons": Answer.NO}), {}),
        (claims.undo, (), {"window_ms": WINDOW, "lease_ms": LEASE}),
    ):
        came.clear()
        threads = [threading.Thread(target=attempt, args=(what, *arguments), kwargs=facts) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(came) == ["lost"] * 5 + ["won"]


class Acts(RuleBasedStateMachine):
    """Tasks as they should be, beside those that the database has."""

    database: object
    people: object

    @initialize()
    def begin(self):
        with writing(self.database) as connection:
            for table in (tasks, task_skips, verdicts):
                connection.execute(delete(table))
        self.now = NOW
        self.users = dict(zip(NAMES, self.people, strict=True))
        self.model = {}  # (kind, number) -> facts
        self.said = []  # (name, key, at) of verdicts that were not undone, in order
        self.skipped = {}  # (name, key) -> when

    @rule(
        number=st.sampled_from(NUMBERS),
        kind=st.sampled_from(Kind),
        probability=st.sampled_from((0.1, 0.3, 0.6)),
    )
    def ask(self, number, kind, probability):
        key = (kind, number)
        # No two ranks are the same
        at = NOW - 1_000 * len(self.model)
        assert add(self.database, asked(number, kind, probability=probability, asked_at_ms=at)) == (
            key not in self.model
        )
        if key not in self.model:
            with reading(self.database) as connection:
                made = next(one for one in tasks_of(connection, decision_of(number)) if one.kind == kind)
            facts = {"id": made.task_id, "rank": made.rank, "state": State.OPEN, "by": None, "until": 0}
            self.model[key] = {**facts, "role": None, "judged": set()}

    @rule(ms=st.sampled_from((1_000, LEASE // 2, LEASE)))
    def wait(self, ms):
        self.now += ms

    @rule(name=st.sampled_from(NAMES))
    def claim(self, name):
        for facts in self.model.values():
            if facts["state"] == State.CLAIMED and facts["until"] <= self.now:
                facts.update(state=State.OPEN, by=None, until=0)
        may = [key for key in self.model if self.may_have(name, key)]
        best = max(may, key=lambda key: self.model[key]["rank"], default=None)
        task = take(self.database, self.users[name], self.now)
        assert (task and (task.kind, task.task_id)) == (best and (best[0], self.model[best]["id"]))
        if best:
            self.model[best].update(state=State.CLAIMED, by=name, until=self.now + LEASE)

    def may_have(self, name, key):
        facts, (kind, number) = self.model[key], key
        others = [one for one in self.model if one[1] == number and one != key]
        return (
            facts["state"] == State.OPEN
            and (facts["role"] is None or name == "lea")
            and self.skipped.get((name, key)) is None
            and not any(
                self.model[one]["state"] == State.CLAIMED and self.model[one]["by"] == name for one in others
            )
            and (kind in OF_THE_QUEUE or not any(name in self.model[one]["judged"] for one in others))
        )

    def attempt(self, name, key, what, *arguments, **facts):
        """Whether it was done; the model says whether it should have been."""
        mine = self.model[key]["state"] == State.CLAIMED and self.model[key]["by"] == name
        try:
            act(self.database, what, self.users[name], self.model[key]["id"], *arguments, **facts)
        except ConflictError:
            assert not mine
            return False
        assert mine
        return True

    def any_key(self, data):
        """Mostly one that somebody has."""
        taken = [key for key, facts in self.model.items() if facts["state"] == State.CLAIMED]
        keys = taken or list(self.model)
        return data.draw(st.sampled_from(keys)) if keys else None

    def whose(self, data, key):
        return data.draw(st.sampled_from((self.model[key]["by"] or "rita", "ben")))

    @rule(data=st.data(), answer=st.sampled_from((Answer.YES, Answer.NO)))
    def finish(self, data, answer):
        key = self.any_key(data)
        if key is None:
            return
        name = self.whose(data, key)
        if self.attempt(name, key, claims.finish, {"weapons": answer}, now_ms=self.now):
            self.model[key].update(state=State.DONE, by=name, until=0, answer=answer)
            self.model[key]["judged"].add(name)
            self.said.append((name, key, self.now))

    @rule(data=st.data())
    def release(self, data):
        key = self.any_key(data)
        if key and self.attempt(self.whose(data, key), key, claims.release):
            self.model[key].update(state=State.OPEN, by=None, until=0)

    @rule(data=st.data())
    def renew(self, data):
        key = self.any_key(data)
        if key and self.attempt(self.whose(data, key), key, claims.renew, now_ms=self.now, lease_ms=LEASE):
            self.model[key]["until"] = self.now + LEASE

    @rule(data=st.data())
    def skip(self, data):
        key = self.any_key(data)
        if key is None:
            return
        name = self.whose(data, key)
        if self.attempt(name, key, claims.skip, "unclear", self.now):
            self.skipped[name, key] = self.now
            self.model[key].update(state=State.OPEN, by=None, until=0)
            if sum(one[1] == key for one in self.skipped) >= 3:
                self.model[key]["role"] = self.model[key]["role"] or Role.LEAD

    @rule(data=st.data())
    def escalate(self, data):
        key = self.any_key(data)
        if key and self.attempt(self.whose(data, key), key, claims.escalate, "a crime", self.now):
            self.model[key].update(state=State.OPEN, by=None, until=0, role=Role.LEAD)

    @rule(name=st.sampled_from(NAMES))
    def undo(self, name):
        fresh = [one for one in self.said if one[0] == name and one[2] > self.now - WINDOW]
        try:
            task = act(
                self.database,
                claims.undo,
                self.users[name],
                now_ms=self.now,
                window_ms=WINDOW,
                lease_ms=LEASE,
            )
        except NotFoundError:
            assert not fresh
            return
        last = fresh[-1]
        assert task.task_id == self.model[last[1]]["id"]
        self.said.remove(last)
        self.model[last[1]].update(
            state=State.CLAIMED, by=name, until=self.now + LEASE, answer=Answer.UNKNOWN
        )

    @invariant()
    def agrees(self):
        if not hasattr(self, "model"):
            return
        with reading(self.database) as connection:
            for number in NUMBERS:
                for one in tasks_of(connection, decision_of(number)):
                    facts = self.model[one.kind, number]
                    whose = one.ended_by if one.state == State.DONE else one.claimed_by
                    by = None if facts["by"] is None else self.users[facts["by"]].user_id
                    assert (one.state, whose, one.leased_until_ms) == (facts["state"], by, facts["until"])
                    assert (one.escalated_to, one.blind) == (facts["role"], one.kind in BLIND)
            open_ = sum(facts["state"] == State.OPEN for facts in self.model.values())
            assert sum(one.waiting for one in counts(connection, self.now)) == open_
            for (kind, number), facts in self.model.items():
                alone = all(one == kind or "answer" not in self.model.get((one, number), {}) for one in Kind)
                if "answer" in facts and alone and kind not in (Kind.SECOND, Kind.GOLD):
                    held = valid_verdict(connection, decision_of(number))
                    assert held.answers == {"weapons": facts["answer"]}


def test_any_acts_in_any_order_keep_every_task_and_give_each_to_one(database, people):
    decided(database, *NUMBERS)
    given = people

    class Here(Acts):
        people = given

    Here.database = database
    calm = settings(
        max_examples=20, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
    )
    run_state_machine_as_test(Here, settings=calm)
