"""Probabilities that no longer mean what they say are found soon, and honest ones seldom doubted."""

import numpy as np
import pytest

from stallwart.estimate.calibration import detector


def stream(rng, n, odds=1.0):
    stated = rng.beta(0.4, 1.6, n)
    true = stated * odds / (1 - stated + stated * odds)
    return stated, rng.random(n) < true


def first_crossing(rng, limit, odds=1.0, n=4_000):
    stated, violates = stream(rng, n, odds)
    more, fewer = detector(stated, violates)
    over = np.flatnonzero(np.maximum(more, fewer) >= limit)
    return int(over[0]) if len(over) else n


@pytest.mark.parametrize("odds", [1.0, 1.5, 1 / 1.5])
def test_odds_within_the_tolerance_raise_false_alarms_more_seldom_than_stated(odds):
    rng = np.random.default_rng(1)
    # Crossings are at least limit / 2 = 4,000 verdicts apart, so that at most half of 2,000 meet one
    crossed = [first_crossing(rng, 8_000, odds, 2_000) < 2_000 for _ in range(40)]
    assert np.mean(crossed) <= 0.5


@pytest.mark.parametrize("odds", [5.0, 0.2])
def test_odds_five_times_off_are_found_within_some_hundred_verdicts(odds):
    rng = np.random.default_rng(2)
    took = [first_crossing(rng, 8_000, odds) for _ in range(30)]
    assert np.median(took) < 400


def test_a_wrong_shape_is_refused():
    with pytest.raises(ValueError, match="two columns"):
        detector(np.zeros(3), np.zeros(2, dtype=bool))
