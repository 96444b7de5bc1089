import numpy as np
import pytest

from stallwart.estimate.weighted import live_weights


def test_live_weights_give_each_label_its_share():
    labels, shares = np.array([0, 0, 0, 1, 1, 2]), np.array([0.9, 0.08, 0.02])
    weights = live_weights(labels, shares)
    assert np.bincount(labels, weights=weights) / weights.sum() == pytest.approx(shares)
    assert weights.mean() == pytest.approx(1.0)


def test_a_label_without_a_share_is_refused():
    with pytest.raises(ValueError, match="there are 2 shares"):
        live_weights(np.array([0, 2]), np.array([0.9, 0.1]))
