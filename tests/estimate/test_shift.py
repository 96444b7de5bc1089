import numpy as np
import pytest
from scipy.stats import ks_2samp

from stallwart.estimate.shift import check_shift, two_sample_p


def test_the_same_scores_are_not_shifted():
    rng = np.random.default_rng(1)
    got = check_shift(rng.random(5000), rng.random(1000), 0.99)
    assert not got.shifted
    assert got.p_value > 0.01
    assert "No shift" in got.reason


def test_more_calls_are_named_as_such():
    rng = np.random.default_rng(1)
    got = check_shift(rng.random(5000), rng.random(1000) ** 0.2, 0.95)
    assert got.shifted
    assert got.share_final > got.share_certified
    assert "Certify again" in got.reason


def test_fewer_calls_are_named_as_such():
    rng = np.random.default_rng(1)
    got = check_shift(rng.random(2000), rng.random(1000) ** 3, 0.6)
    assert got.shifted
    assert "Recall will be lower" in got.reason


def test_nothing_to_compare_is_said_and_not_called_a_shift():
    got = check_shift(np.array([0.1, 0.9]), np.zeros(0), 0.5)
    assert not got.shifted
    assert got.p_value == 1.0
    assert "No listings" in got.reason


def test_the_two_sample_test_is_near_to_scipys():
    rng = np.random.default_rng(2)
    first, second = rng.random(300), rng.random(200) ** 1.2
    assert two_sample_p(first, second) == pytest.approx(ks_2samp(first, second).pvalue, abs=0.01)


def test_a_tolerance_that_tolerates_nothing_is_refused():
    with pytest.raises(ValueError, match="above 1"):
        check_shift(np.zeros(1), np.zeros(1), 0.5, tolerance=1.0)
