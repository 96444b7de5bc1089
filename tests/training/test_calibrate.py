import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays

from stallwart.training.calibrate import fit_calibration

SHARES = np.array([0.95, 0.03, 0.02])


def market(slope, intercept, n=400_000, seed=0):
    """Live traffic whose true log-odds of policy 1 are slope * z + intercept."""
    random = np.random.default_rng(seed)
    z = random.normal(-2, 2.5, size=n)
    yes = random.random(n) < 1 / (1 + np.exp(-(slope * z + intercept)))
    return z, yes


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, -2.0), (0.6, -3.0), (1.8, 0.0)])
def test_it_finds_the_slope_and_intercept_of_live_traffic_in_an_enriched_sample(slope, intercept):
    z, yes = market(slope, intercept)
    random = np.random.default_rng(1)
    kept = yes | (random.random(len(z)) < 0.05)  # a sample with far more violations than live traffic has
    shares = np.array([1 - yes.mean() - 1e-9, yes.mean(), 1e-9])
    odds = np.stack([z[kept], z[kept]], axis=1)
    found = fit_calibration(odds, yes[kept].astype(np.int64), shares)
    assert found.slopes[0] == pytest.approx(slope, rel=0.03)
    assert found.intercepts[0] == pytest.approx(intercept, abs=0.1)


@settings(max_examples=50, deadline=None)
@given(
    arrays(np.float64, (30, 2), elements=st.floats(-40, 40)),
    arrays(np.int64, 30, elements=st.integers(0, 2)),
)
def test_calibration_never_reorders_and_is_always_a_probability(odds, labels):
    found = fit_calibration(odds, labels, SHARES)
    assert all(slope > 0 for slope in found.slopes)
    line = np.linspace(-50, 50, 101)
    scores = found.probabilities(np.stack([line, line], axis=1))
    assert ((scores >= 0) & (scores <= 1)).all()
    assert (np.diff(scores, axis=0) >= 0).all()


def test_a_policy_without_positives_keeps_its_slope_at_its_live_share():
    random = np.random.default_rng(0)
    labels = np.array([0] * 50 + [1] * 10)
    found = fit_calibration(random.normal(size=(60, 2)), labels, SHARES)
    assert found.slopes[1] == 1.0
    assert found.probabilities(np.zeros((1, 2)))[0, 1] == pytest.approx(SHARES[2])


def test_a_handful_of_positives_hardly_moves_the_slope():
    odds = np.array([[9.0, 0]] * 2 + [[-9.0, 0]] * 200)
    labels = np.array([1] * 2 + [0] * 200)
    assert 0.7 < fit_calibration(odds, labels, SHARES).slopes[0] < 1.5


def test_perfectly_separated_and_constant_log_odds_stay_finite():
    labels = np.array([1] * 50 + [0] * 50)
    for odds in (np.where(labels, 1e4, -1e4)[:, None].repeat(2, 1).astype(float), np.zeros((100, 2))):
        found = fit_calibration(odds, labels, SHARES)
        assert np.isfinite([*found.slopes, *found.intercepts]).all()
        assert np.isfinite(found.probabilities(odds)).all()


def test_no_rows_at_all_give_the_live_shares():
    found = fit_calibration(np.empty((0, 2)), np.empty(0, dtype=np.int64), SHARES)
    np.testing.assert_allclose(found.probabilities(np.zeros((1, 2)))[0], SHARES[1:])
