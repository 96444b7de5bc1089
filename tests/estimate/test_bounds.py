import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, chi2

from stallwart.estimate.bounds import (
    cluster_count,
    codes,
    design_effect,
    effective_size,
    lower_bound,
    rate_interval,
    ratio_p_value,
    ratio_upper,
    upper_bound,
    verdicts_needed,
    weighted_rate,
)


@given(st.integers(1, 60), st.data())
def test_at_the_bound_the_counts_are_just_improbable(rows, data):
    hits = data.draw(st.integers(0, rows))
    lower, upper = lower_bound(hits, rows), upper_bound(hits, rows)
    if hits:
        assert binom.sf(hits - 1, rows, lower) == pytest.approx(0.05, abs=1e-6)
    if hits < rows:
        assert binom.cdf(hits, rows, upper) == pytest.approx(0.05, abs=1e-6)
    assert 0 <= lower <= hits / rows <= upper <= 1


def test_nothing_seen_bounds_nothing():
    assert (lower_bound(0, 0), upper_bound(0, 0)) == (0.0, 1.0)
    assert rate_interval(0, 0).upper == 1.0


@pytest.mark.parametrize(("hits", "rows", "confidence"), [(-1, 5, 0.95), (6, 5, 0.95), (1, 5, 1.0)])
def test_impossible_counts_are_refused(hits, rows, confidence):
    with pytest.raises(ValueError, match="must be"):
        upper_bound(hits, rows, confidence)


def test_rows_that_repeat_each_other_count_once():
    rng = np.random.default_rng(1)
    hits = np.repeat(rng.random(400) < 0.3, 3)
    clusters = np.repeat(np.arange(400), 3)
    assert design_effect(hits, clusters) == pytest.approx(3, rel=0.02)
    assert effective_size(hits, clusters) == pytest.approx(400, rel=0.03)


def test_clusters_that_do_not_matter_cost_almost_nothing():
    rng = np.random.default_rng(2)
    hits, clusters = rng.random(5000) < 0.2, codes(rng.integers(0, 500, 5000))
    assert effective_size(hits, clusters) > 4300


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), min_size=1, max_size=60))
def test_rows_are_never_worth_more_than_themselves(pairs):
    hits = np.array([hit for hit, _ in pairs])
    clusters = codes(np.array([cluster for _, cluster in pairs]))
    assert 0 < effective_size(hits, clusters) <= len(hits)
    assert 1 <= cluster_count(clusters) <= len(hits) + 1e-9


def test_one_stratum_gives_the_exact_poisson_bound():
    rate = weighted_rate(np.array([3.0]), np.array([6000.0]), np.array([1.0]))
    assert rate.upper(0.95) == pytest.approx(chi2.ppf(0.95, 8) / 2 / 6000)


def test_a_stratum_without_rows_makes_the_bound_infinite_unless_told_otherwise():
    events, rows, shares = np.array([1.0, 0.0]), np.array([100.0, 0.0]), np.array([0.9, 0.1])
    assert weighted_rate(events, rows, shares).upper() == np.inf
    assert weighted_rate(events, rows, shares, next_weight=0.01).upper() < 0.1


def test_the_weighted_bound_covers_the_truth():
    rng = np.random.default_rng(3)
    rows, shares = np.array([5000.0, 900.0, 100.0]), np.array([0.9, 0.08, 0.02])
    rates = np.array([0.0006, 0.004, 0.02])
    truth = float((rates * shares).sum())
    draws = rng.binomial(rows.astype(int), rates, (3000, 3)).astype(float)
    missed = np.mean([weighted_rate(events, rows, shares).upper() < truth for events in draws])
    assert missed <= 0.05


def test_the_ratio_bound_is_where_its_p_value_is_the_error():
    cost = weighted_rate(np.array([2.0, 1.0]), np.array([6000.0, 900.0]), np.array([0.8, 0.1]))
    upper = ratio_upper(cost, 120, 200, 0.95)
    assert ratio_p_value(cost, 120, 200, upper) == pytest.approx(0.05, abs=1e-3)
    assert upper > cost.estimate / 0.6
    assert ratio_upper(cost, 0, 200) == np.inf


def test_the_numbers_of_verdicts_are_the_known_ones():
    assert verdicts_needed(0.90) == 29
    assert verdicts_needed(0.95) == 59
    assert verdicts_needed(0.90, wrong=1) == 46


@given(st.floats(0.5, 0.98), st.integers(0, 4))
def test_one_verdict_fewer_would_not_be_enough(target, wrong):
    needed = verdicts_needed(target, wrong)
    assert lower_bound(needed - wrong, needed) >= target
    assert lower_bound(needed - 1 - wrong, needed - 1) < target or needed - 1 == wrong
