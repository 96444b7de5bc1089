from itertools import product
from math import comb, exp, log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stallwart.estimate.ratios import (
    paired_evidence,
    paired_interval,
    ratio_evidence,
    ratio_interval,
    sum_evidence,
)

shares = st.sampled_from([0.01, 0.05, 0.25, 0.5, 0.9])
limits = st.sampled_from([0.5, 1.0, 1.5, 2.0])


def _challenger(share, ratio):
    return share * ratio / (share * ratio + 1 - share)


@given(shares, limits, st.booleans(), st.floats(0, 1), st.integers(0, 12), st.integers(0, 12))
def test_one_more_event_never_raises_the_mean_of_the_evidence(share, limit, above, within, x, y):
    ratio = limit * (within if above else 1 + 10 * within)
    p = _challenger(share, ratio)

    def value(x, y):
        return exp(ratio_evidence([x], [y], [share], limit, above))

    assert p * value(x + 1, y) + (1 - p) * value(x, y + 1) <= value(x, y) * (1 + 1e-9)


@given(shares, limits)
def test_all_outcomes_of_ten_events_at_the_limit_average_to_exactly_one(share, limit):
    p = _challenger(share, limit)
    mean = sum(
        comb(10, x) * p**x * (1 - p) ** (10 - x) * exp(ratio_evidence([x], [10 - x], [share], limit))
        for x in range(11)
    )
    assert mean == pytest.approx(1)


@given(limits, st.booleans(), st.lists(st.floats(0, 1), min_size=3, max_size=3))
def test_pairs_that_meet_the_limit_never_raise_the_mean(limit, above, chances):
    both, more, fewer = (chance / 3 for chance in chances)
    # shift what only one model does until the ratio is at the limit
    excess = both + more - limit * (both + fewer)
    if excess > 0:
        fewer += excess / limit
    else:
        more -= excess
    total = max(1.0, both + more + fewer)
    outcomes = list(zip(np.eye(3), (both / total, more / total, fewer / total), strict=True))
    none = 1 - sum(chance for _, chance in outcomes)
    outcomes.append((np.zeros(3), none))
    mean = sum(
        a * b * exp(paired_evidence(*(first + second), limit, above))
        for (first, a), (second, b) in product(outcomes, outcomes)
    )
    assert mean == pytest.approx(1, abs=1e-6)


def test_amounts_that_meet_the_limit_never_raise_the_mean():
    share, limit = 0.25, 1.5
    # the champion costs 0.2 or 1.0 (mean 0.6), the challenger always 0.9
    champion = [(0, 0.5 * (1 - share)), (1, 0.5 * (1 - share))]
    outcomes = [("champion", size, chance) for size, chance in champion] + [("challenger", 2, share)]
    mean = 0.0
    for first, second in product(outcomes, outcomes):
        counts = {"champion": np.zeros((1, 3)), "challenger": np.zeros((1, 3))}
        for arm, size, _ in (first, second):
            counts[arm][0, size] += 1
        evidence = sum_evidence(counts["challenger"], counts["champion"], [0.2, 1.0, 0.9], [share], limit)
        mean += first[2] * second[2] * exp(evidence)
    assert mean == pytest.approx(1)


@given(shares, limits, st.integers(0, 50), st.integers(0, 50))
def test_more_events_of_the_challenger_are_more_evidence_of_harm(share, limit, x, y):
    one, two = ratio_evidence([[x], [x + 1]], [[y], [y]], [share], limit)
    assert two > one
    one, two = ratio_evidence([[x], [x]], [[y], [y + 1]], [share], limit)
    assert two < one


@given(
    st.lists(st.tuples(shares, st.integers(0, 9), st.integers(0, 9)), min_size=2, max_size=4), st.randoms()
)
def test_the_order_of_steps_plays_no_part(steps, random):
    shuffled = random.sample(steps, len(steps))
    share, x, y = zip(*steps, strict=True)
    other, u, v = zip(*shuffled, strict=True)
    assert ratio_evidence(x, y, share, 1.5) == pytest.approx(ratio_evidence(u, v, other, 1.5))


def test_a_whole_path_of_looks_is_one_call():
    x, y = np.array([[0, 1], [2, 3], [9, 3]]), np.array([[4, 1], [4, 1], [4, 5]])
    together = ratio_evidence(x, y, [0.05, 0.5], 1.0)
    assert together == pytest.approx(
        [ratio_evidence(a, b, [0.05, 0.5], 1.0) for a, b in zip(x, y, strict=True)]
    )


def test_steps_without_both_arms_say_nothing():
    assert ratio_evidence([5, 3], [90, 2], [0.0, 0.5], 1.0) == ratio_evidence([3], [2], [0.5], 1.0)
    assert ratio_interval([5], [9], [0.0]) == (0.0, float("inf"))


def test_without_events_nothing_is_known():
    assert ratio_evidence([0], [0], [0.5], 1.0) == 0
    assert paired_evidence(0, 0, 0, 1.0) == 0
    assert paired_interval(0, 0, 0) == (0.0, float("inf"))


def test_the_interval_narrows_around_the_ratio_that_was_seen():
    few, many = ratio_interval([20], [10], [0.5]), ratio_interval([2000], [1000], [0.5])
    assert few[0] < many[0] < 2 < many[1] < few[1]
    tight = ratio_interval([200_000_000], [100_000_000], [0.5])
    assert 1.95 < tight[0] < 2 < tight[1] < 2.05


def test_pairs_narrow_around_their_ratio():
    lower, upper = paired_interval(800, 900, 50)
    assert 1 < lower < 2 < upper < 3


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([0.5, 1.0, 2.0]))
def test_the_interval_holds_the_truth_at_all_looks_at_once(seed, ratio):
    rng, missed = np.random.default_rng(seed), 0
    arms = rng.random((100, 150)) < _challenger(0.25, ratio)
    for path in arms:
        x = np.cumsum(path)
        looks = [9, 19, 39, 79, 149]
        ends = [ratio_interval([x[at]], [at + 1 - x[at]], [0.25]) for at in looks]
        missed += any(not lower <= ratio <= upper for lower, upper in ends)
    assert missed <= 12  # 5 of 100 at most in the mean; the chance of 13 is below 0.001


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 2**32))
def test_equal_arms_rarely_ever_reach_the_limit(seed):
    arms = np.random.default_rng(seed).random((400, 300)) < 0.05
    x = np.cumsum(arms, axis=1)[..., None]
    y = np.cumsum(~arms, axis=1)[..., None]
    ever = (ratio_evidence(x, y, [0.05], 1.0) >= log(20)).any(axis=1)
    assert ever.sum() <= 36  # 20 at most in the mean


@pytest.mark.parametrize("call", [ratio_evidence, sum_evidence])
def test_a_limit_that_is_not_above_zero_is_an_error(call):
    arguments = ([1], [1], [0.5], 0.0) if call is ratio_evidence else ([[1]], [[1]], [1.0], [0.5], 0.0)
    with pytest.raises(ValueError, match="must be above 0"):
        call(*arguments)


def test_counts_that_do_not_fit_their_shares_are_an_error():
    with pytest.raises(ValueError, match="needs counts"):
        ratio_evidence([1, 2], [1, 2], [0.5], 1.0)
