from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stallwart.core.decision import Action
from stallwart.core.rollout import Arm
from stallwart.rollout.compare import compare, weight
from stallwart.rollout.plan import Audit, Question
from tests.rollout.making import PLAN, generator, judged, verdicts

ALLOW, REVIEW, BLOCK = Action.ALLOW, Action.REVIEW, Action.BLOCK


def test_without_verdicts_everything_is_open():
    told = compare([], PLAN)
    assert (told.rows, told.unknown, told.verdicts, told.answer) == (0, 0, (0, 0), "open")
    assert told.precision_difference.value is None
    assert told.precision[0].value is None


@pytest.mark.parametrize("answers", [{"weapons": "unknown"}, {}, {"drugs": "yes"}, {"drugs": "no"}])
def test_a_verdict_that_does_not_say_whether_a_block_is_right_is_left_out_and_counted(answers):
    told = compare([judged(BLOCK, ALLOW, answers), judged(BLOCK, BLOCK, "yes")], PLAN)
    assert (told.rows, told.unknown) == (1, 1)


def test_a_block_by_the_wrong_policy_is_wrong_and_the_violation_is_missed():
    told = compare([judged(BLOCK, ALLOW, {"weapons": "no", "drugs": "yes"})], PLAN)
    assert told.precision[0].value == 0
    assert told.coverage[0].value == 0
    assert told.coverage_difference.value == 0


def test_one_policy_that_is_broken_makes_a_block_right():
    one = judged(BLOCK, BLOCK, {"weapons": "yes", "drugs": "unknown"})
    assert compare([one], PLAN).precision[1].value == 1


def test_where_nothing_blocks_reviews_that_a_policy_called_for_can_be_compared():
    calls = PLAN.model_copy(update={"question": Question(about="calls")})
    rows = [judged(REVIEW, ALLOW, "no"), judged(REVIEW, REVIEW, "yes"), judged(ALLOW, REVIEW, "yes")]
    assert compare(rows, PLAN).precision[0].value is None
    told = compare(rows, calls)
    assert 0 < told.precision[0].value < told.precision[1].value == 1
    assert told.coverage[1].value == 1.0
    failed = replace(rows[0], champion_policies=())  # a photo that could not be read
    assert compare([failed, *rows[1:]], calls).precision[0].value == 1.0


def test_verdicts_count_for_the_arm_that_decided_the_block():
    rows = [
        judged(BLOCK, ALLOW, "yes", Arm.CHAMPION),
        judged(BLOCK, ALLOW, "yes", Arm.CHALLENGER),
        judged(BLOCK, BLOCK, "no", Arm.CHALLENGER),
    ]
    assert compare(rows, PLAN).verdicts == (1, 1)


@given(
    st.lists(
        st.tuples(*[st.sampled_from(Action)] * 2, st.sampled_from(["yes", "no", "unknown"])), max_size=20
    )
)
def test_the_order_of_verdicts_plays_no_part(listed):
    rows = [judged(*one, unit=str(n % 4)) for n, one in enumerate(listed)]
    one, other = compare(rows, PLAN), compare(rows[::-1], PLAN)
    assert (one.rows, one.unknown, one.answer) == (other.rows, other.unknown, other.answer)
    assert one.precision_difference.lower == pytest.approx(other.precision_difference.lower)
    assert one.coverage_difference.upper == pytest.approx(other.coverage_difference.upper)


def test_weights_are_inverse_to_the_chance_of_being_drawn_and_one_for_a_block_of_the_challenger_alone():
    audit = Audit(block=0.5, review=0.2, allow=0.1)
    actions = np.array(["block", "allow", "allow", "review"])
    champion, challenger = actions, np.array(["block", "block", "allow", "allow"])
    weights = weight(np.full(4, 0.25), champion, challenger, audit)
    drawn = np.array([0.5, 0.25 * 0.5 + 0.75 * 0.1, 0.1, 0.25 * 0.1 + 0.75 * 0.2])
    assert weights * drawn == pytest.approx(np.full(4, weights[0] * 0.5))
    assert weights[1] == pytest.approx(1)


def test_precision_and_coverage_are_those_of_all_traffic_though_arms_draw_different_samples():
    rows = verdicts(generator(3), 6_000, precision=(0.9, 0.8), coverage=(0.6, 0.7))
    told = compare(rows, PLAN)
    assert told.precision[0].value == pytest.approx(0.9, abs=0.03)
    assert told.precision[1].value == pytest.approx(0.8, abs=0.03)
    assert told.coverage_difference.value == pytest.approx(0.1, abs=0.03)
    assert told.precision_difference.lower < -0.1 < told.precision_difference.upper
    assert told.coverage_difference.lower < 0.1 < told.coverage_difference.upper


@pytest.mark.parametrize(
    ("precision", "coverage", "answer"),
    [
        ((0.9, 0.9), (0.6, 0.6), "open"),
        ((0.8, 0.95), (0.5, 0.8), "superior"),
        ((0.95, 0.75), (0.5, 0.8), "inferior"),
        ((0.95, 0.95), (0.8, 0.4), "inferior"),
    ],
)
def test_the_answer_is_the_weaker_of_the_two(precision, coverage, answer):
    count = 400 if answer == "open" else 3_000
    assert compare(verdicts(generator(5), count, precision, coverage), PLAN).answer == answer


def test_the_same_model_is_shown_not_to_be_worse():
    rng = generator(2)
    rows = [
        judged(one.champion, one.champion, dict(one.answers), one.arm, unit=one.unit)
        for one in verdicts(rng, 2_500)
    ]
    assert compare(rows, PLAN).answer == "non-inferior"


def test_before_the_smallest_number_of_verdicts_nothing_is_answered():
    rows = verdicts(generator(5), 3_000, (0.8, 0.95), (0.5, 0.8))
    plan = PLAN.model_copy(update={"question": Question(min_verdicts=100_000)})
    assert compare(rows, plan).answer == "open"


def test_listings_of_one_unit_are_no_independent_verdicts():
    rows = verdicts(generator(4), 1_000)
    apart = compare(rows, PLAN).precision_difference
    doubled = [
        judged(one.champion, one.challenger, dict(one.answers), one.arm, unit=one.unit)
        for one in rows
        for _ in (0, 1)
    ]
    together = compare(doubled, PLAN).precision_difference
    assert together.value == pytest.approx(apart.value)
    assert together.error == pytest.approx(apart.error, rel=0.1)


@pytest.mark.slow
def test_the_intervals_hold_the_truth_at_all_looks_at_once():
    rng, missed = generator(7), 0
    for _ in range(60):
        rows = verdicts(rng, 900, precision=(0.9, 0.85))
        looks = [compare(rows[:n], PLAN).precision_difference for n in (150, 400, 900)]
        missed += any(not one.lower <= -0.05 <= one.upper for one in looks)
    assert missed <= 9  # 3 in the mean where the level is kept
