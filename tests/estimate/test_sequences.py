from math import comb, exp

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stallwart.estimate.sequences import (
    mean_evidence,
    mean_radius,
    quantile_interval,
    sharpest_at,
    split_evidence,
)


@given(st.sampled_from([0.01, 0.25, 0.5]), st.integers(1, 30))
def test_a_planned_split_averages_to_exactly_one(share, n):
    mean = sum(
        comb(n, x) * share**x * (1 - share) ** (n - x) * exp(split_evidence([x], [n - x], [share]))
        for x in range(n + 1)
    )
    assert mean == pytest.approx(1)


def test_a_split_that_is_off_is_found_in_both_directions():
    assert split_evidence([4_500], [5_500], [0.5]) > 10
    assert split_evidence([5_500], [4_500], [0.5]) > 10
    assert split_evidence([5_010], [4_990], [0.5]) < 0
    assert split_evidence([0], [0], [0.5]) == 0


def test_splits_of_steps_add_up():
    together = split_evidence([12, 300], [900, 310], [0.01, 0.5])
    apart = split_evidence([12], [900], [0.01]) + split_evidence([300], [310], [0.5])
    assert together == pytest.approx(apart)


def test_a_split_with_other_shapes_is_an_error():
    with pytest.raises(ValueError, match="needs counts"):
        split_evidence([1, 2], [1], [0.5])


EDGES = np.append(np.geomspace(1, 1_000, 60), np.inf)


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([0.5, 0.9, 0.99]))
def test_a_quantile_lies_in_its_interval_at_all_looks_at_once(seed, quantile):
    rng = np.random.default_rng(seed)
    truth = np.quantile(rng.lognormal(3, 0.8, 1_000_000), quantile)
    missed = 0
    for _ in range(60):
        buckets = np.searchsorted(EDGES, rng.lognormal(3, 0.8, 3_000))
        for n in (50, 200, 800, 3_000):
            counts = np.bincount(buckets[:n], minlength=len(EDGES))
            lower, upper = quantile_interval(counts, EDGES, quantile)
            if not lower <= truth <= upper:
                missed += 1
                break
    assert missed <= 9


def test_a_quantile_narrows_with_more_values():
    counts = np.bincount(np.searchsorted(EDGES, np.linspace(1, 900, 500)), minlength=len(EDGES))
    few, many = (quantile_interval(n * counts, EDGES, 0.5) for n in (1, 100))
    assert few[0] <= many[0] <= 450 <= many[1] <= few[1]
    assert many[1] - many[0] < few[1] - few[0]


def test_a_quantile_of_nothing_may_be_anything():
    assert quantile_interval(np.zeros(61), EDGES, 0.99) == (0.0, float("inf"))
    with pytest.raises(ValueError, match="needs counts"):
        quantile_interval([1], [1, 2], 0.5)


@given(st.floats(1, 1e6), st.floats(0.0001, 0.3), st.floats(1, 1e4))
def test_evidence_of_a_mean_is_the_inverse_of_its_radius(rows, alpha, at):
    rho2 = sharpest_at(at, 0.05)
    assert exp(-mean_evidence(mean_radius(rows, alpha, rho2), rows, rho2)) == pytest.approx(alpha)


def test_a_mean_without_rows_has_no_bound_and_one_below_zero_no_evidence():
    assert mean_radius(0, 0.05, 0.01) == np.inf
    assert mean_evidence(3.0, 0, 0.01) == 0
    assert mean_evidence(-3.0, 100, 0.01) == 0


def test_the_radius_is_narrowest_near_the_rows_that_it_is_tuned_to():
    radius = [mean_radius(400, 0.05, sharpest_at(at, 0.05)) for at in (4, 400, 40_000)]
    assert radius[1] < min(radius[0], radius[2])


@settings(max_examples=3, deadline=None)
@given(st.integers(0, 2**32))
def test_a_mean_lies_above_its_bound_at_all_looks_at_once(seed):
    values = (np.random.default_rng(seed).random((300, 3_000)) < 0.3) - 0.3
    n = np.arange(1, 3_001)
    mean = np.cumsum(values, axis=1) / n
    error = np.sqrt(np.maximum(np.cumsum(values**2, axis=1) / n - mean**2, 1e-12) / n)
    above = mean - error * mean_radius(n, 0.05, sharpest_at(400, 0.05)) > 0
    assert above[:, 50:].any(axis=1).sum() <= 30  # 15 at most in the mean
