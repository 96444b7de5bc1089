"""A right is earned by evidence that anyone may look at at any time, within one budget of error."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stallwart.estimate.earning import (
    ERROR,
    above_evidence,
    attempt_error,
    granted,
    lower_bound,
    progress,
    verdicts_more,
)


def test_a_policy_at_target_is_rarely_granted_whoever_looks_after_every_verdict() -> None:
    rng, wrong = np.random.default_rng(3), 0
    for _ in range(300):
        for attempt in (1, 2, 3):
            scores, right = rng.uniform(0.5, 1, 800), rng.random(800) < 0.9
            limit = -np.log(attempt_error(attempt) / 3)
            paths = [
                above_evidence(right[scores >= t], np.ones((scores >= t).sum()), 0.9) for t in (0.5, 0.7, 0.9)
            ]
            if any((path >= limit).any() for path in paths):
                wrong += 1
                break
    # at most 5 % are allowed: more than 26 of 300 would be seen once in 100 times at 5 %
    assert wrong <= 26


def test_all_attempts_together_have_one_budget() -> None:
    assert sum(attempt_error(attempt) for attempt in range(1, 60)) == pytest.approx(ERROR)


def test_calls_that_are_all_right_earn_the_right() -> None:
    told = progress([0.9] * 80, np.ones(80), np.ones(80), (0.6, 0.8), 0.9, attempt_error(1))
    assert granted(told) == 0.6
    assert all(one.proven and one.more == 0 and one.lower >= 0.9 for one in told)


def test_a_proven_threshold_hands_its_error_to_the_next_laxer_one() -> None:
    scores = np.concatenate([np.full(200, 0.9), np.full(10, 0.6)])
    told = progress(scores, np.ones(210), np.ones(210), (0.5, 0.8), 0.9, 0.02)
    assert [one.threshold for one in told] == [0.8, 0.5]
    assert told[0].needed == pytest.approx(-np.log(0.01))
    assert told[1].needed == pytest.approx(-np.log(0.02))


def test_a_stricter_threshold_is_earned_where_the_laxer_one_errs() -> None:
    rng = np.random.default_rng(1)
    scores = rng.uniform(0.5, 1, 600)
    right = np.where(scores >= 0.75, 1.0, 0.0)
    told = progress(scores, right, np.ones(600), (0.5, 0.75), 0.9, attempt_error(1))
    assert granted(told) == 0.75
    assert told[1].more is None  # right in half of the calls: no number would help


def test_nothing_is_granted_without_verdicts_and_what_is_missing_is_told() -> None:
    (one,) = progress([], [], [], (0.7,), 0.9, attempt_error(1))
    assert not one.proven
    assert one.lower == 0
    assert one.more is not None
    right = np.ones(one.more)
    assert progress(right, right, right, (0.7,), 0.9, attempt_error(1))[0].proven
    assert not progress(right[1:], right[1:], right[1:], (0.7,), 0.9, attempt_error(1))[0].proven


def test_a_wrong_call_costs_evidence() -> None:
    before = progress([0.9] * 40, np.ones(40), np.ones(40), (0.7,), 0.9, 0.025)[0]
    after = progress([0.9] * 41, [*np.ones(40), 0], np.ones(41), (0.7,), 0.9, 0.025)[0]
    assert after.evidence < before.evidence
    assert after.lower < before.lower


@given(right=st.lists(st.booleans(), max_size=40), weight=st.floats(0.01, 1), target=st.floats(0.05, 0.98))
def test_one_more_right_call_never_lowers_the_evidence(
    right: list[bool], weight: float, target: float
) -> None:
    path = above_evidence([*right, True], np.full(len(right) + 1, weight), target)
    before = path[-2] if right else 0.0
    assert path[-1] >= before - 1e-9


def test_the_lower_bound_holds_at_all_times_at_once() -> None:
    rng, missed = np.random.default_rng(8), 0
    for _ in range(60):
        right = rng.random(300) < 0.8
        missed += any(lower_bound(right[:n], np.ones(n), 0.1) > 0.8 + 1e-3 for n in (5, 20, 60, 120, 300))
    assert missed <= 12  # 10 % of 60 are 6; more than 12 would be seen once in 100 times


def test_more_verdicts_are_told_as_none_where_no_number_helps() -> None:
    assert verdicts_more(np.zeros(7), 0.9, 0.85, 3.0) is None


def test_numbers_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="attempts count from 1"):
        attempt_error(0)
    with pytest.raises(ValueError, match="1 to 4 thresholds"):
        progress([], [], [], (), 0.9, 0.05)
    with pytest.raises(ValueError, match="weights"):
        above_evidence([1], [2.0], 0.9)
    with pytest.raises(ValueError, match="target"):
        above_evidence([1], [1.0], 0.0)
