from collections import Counter

import numpy as np
import pytest

from stallwart.core.decision import Action, Cause, Decision
from stallwart.core.rollout import Arm
from stallwart.core.settings import Settings
from stallwart.rollout.plan import Audit, Plan
from stallwart.serving.sampling import Sampling
from stallwart.store.audit_plans import add_plan, current_plan
from stallwart.store.database import reading, writing
from stallwart.store.exposures import Exposure
from tests.store.rolling import NOW
from tests.store.test_audit_plans import plan_with

ALLOW, REVIEW, BLOCK = Action.ALLOW, Action.REVIEW, Action.BLOCK


def decision(number, action=ALLOW, score=0.01, policies=()):
    return Decision(
        decision_id=f"d_{number:08x}", listing_id=f"n{number}", revision="r" * 64, action=action,
        policies=policies, reason="", scores=None if score is None else {"tobacco": score}, thresholds={},
        bundle="b" * 64, taxonomy="t" * 64, cause=Cause.NEW, decided_at_ms=NOW,
    )  # fmt: skip


def exposure(one):
    return Exposure("r", 2, "u", 20_000, Arm.CHAMPION, one.decision_id, one.action, (), False, 1, 1, NOW)


@pytest.fixture
def sampling(database):
    with writing(database) as connection:
        add_plan(connection, plan_with(0.1, 0.3, 0.05), after=None, bundle="", why="a test", now_ms=NOW)
    return Sampling(database, Settings(), lambda: NOW)


def test_what_is_drawn_and_what_is_counted_carry_the_same_stratum_and_probability(sampling):
    drawn = 0
    for number in range(3_000):
        draw, kind = sampling.drawn(decision(number), None, None)
        assert (kind.stratum, kind.probability, kind.action, kind.policies) == (
            "allow from 0",
            0.1,
            "allow",
            "[]",
        )
        if draw:
            drawn += 1
            assert (draw.stratum, draw.probability, draw.rollout_id) == (kind.stratum, kind.probability, None)
    assert 240 <= drawn <= 360


def test_replicas_with_one_database_draw_the_same(sampling, database):
    other = Sampling(database, Settings(), lambda: NOW)
    ids = range(500)
    assert [sampling.drawn(decision(n), None, None) for n in ids] == [
        other.drawn(decision(n), None, None) for n in ids
    ]


@pytest.mark.parametrize(
    "rates", [Audit(allow=0.02, review=0.5, block=0.4), Audit(allow=0.4, review=0.1, block=0.01)]
)
def test_a_rollout_and_the_standing_sample_share_one_draw_that_is_right_for_both(sampling, rates):
    plan, seen, named, counted = Plan(audit=rates), Counter(), Counter(), Counter()
    standing = {ALLOW: 0.1, REVIEW: 0.3, BLOCK: 0.05}
    for number in range(9_000):
        action = (ALLOW, REVIEW, BLOCK)[number % 3]
        one = decision(number, action, policies=() if action is ALLOW else ("tobacco",))
        draw, kind = sampling.drawn(one, plan, exposure(one))
        assert kind.probability == max(standing[action], rates.probability(action))
        counted[action] += 1
        if draw:
            assert draw.probability == kind.probability
            seen[action] += 1
            named[action] += draw.rollout_id == "r"
            assert draw.step == (2 if draw.rollout_id else None)
    for action, n in counted.items():
        for drawn, chance in ((seen, max(standing[action], rates.probability(action))),
                              (named, rates.probability(action))):  # fmt: skip
            assert abs(drawn[action] - n * chance) < 4.5 * np.sqrt(n * chance * (1 - chance)) + 1


def test_what_the_rollout_draws_is_what_it_would_draw_without_the_standing_sample(sampling, database):
    plan = Plan(audit=Audit(allow=0.05, review=0.05, block=0.05))
    with_it = [
        number for number in range(2_000)
        if (draw := sampling.drawn(decision(number), plan, exposure(decision(number)))[0]) and draw.rollout_id
    ]  # fmt: skip
    with writing(database) as connection:
        now = current_plan(connection)
        add_plan(connection, plan_with(0, 0, 0), after=now, bundle="", why="nothing", now_ms=NOW)
    sampling.read()
    alone = [
        number for number in range(2_000)
        if sampling.drawn(decision(number), plan, exposure(decision(number)))[0]
    ]  # fmt: skip
    assert with_it == alone
    assert len(alone) > 50


def test_a_new_plan_is_followed_and_nothing_is_drawn_where_it_says_so(sampling, database):
    with writing(database) as connection:
        now = current_plan(connection)
        add_plan(connection, plan_with(0, 0, 0), after=now, bundle="", why="nothing", now_ms=NOW)
    sampling.read()
    assert sampling.now.version == 2
    told = [sampling.drawn(decision(number), None, None) for number in range(200)]
    assert all(draw is None for draw, _ in told)
    assert {kind.probability for _, kind in told} == {0}


def test_a_decision_without_scores_is_drawn_and_counted_too(sampling):
    told = [sampling.drawn(decision(number, REVIEW, None), None, None) for number in range(200)]
    assert {kind.stratum for _, kind in told} == {"review unscored"}
    assert any(draw for draw, _ in told)


def test_the_first_replica_makes_the_first_plan(database):
    Sampling(database, Settings(), lambda: NOW)
    with reading(database) as connection:
        assert current_plan(connection).version == 1


def test_would_be_blocks_are_drawn_with_at_least_the_share_that_is_asked_for(sampling):
    told = [sampling.drawn(decision(number), None, None, 0.5) for number in range(400)]
    drawn = [draw for draw, _ in told if draw]
    assert 150 <= len(drawn) <= 250  # 200 are expected; the standard deviation is 10
    assert {kind.probability for _, kind in told} == {draw.probability for draw in drawn} == {0.5}
