import numpy as np
import pytest

from stallwart.estimate.bootstrap import cluster_weights


def test_rows_of_a_group_are_drawn_together_and_strata_keep_their_groups():
    groups, strata = np.array([4, 4, 1, 2, 2, 9]), np.array([0, 0, 0, 1, 1, 1])
    for weights in cluster_weights(groups, strata, replicates=50, seed=1, batch=7):
        assert (weights[:, 0] == weights[:, 1]).all()
        assert (weights[:, 3] == weights[:, 4]).all()
        assert (weights[:, 0] + weights[:, 2] == 2).all()
        assert (weights[:, 3] + weights[:, 5] == 2).all()


def test_the_batch_does_not_change_the_draws():
    groups, strata = np.arange(20) // 2, np.arange(20) % 4 // 2
    small, large = (
        np.concatenate(list(cluster_weights(groups, strata, 30, seed=5, batch=batch))) for batch in (4, 30)
    )
    assert (small == large).all()


def test_repeated_rows_do_not_narrow_the_spread():
    values = np.random.default_rng(0).normal(size=200)
    once = np.concatenate(list(cluster_weights(np.arange(200), np.zeros(200, np.int64), 300, seed=3)))
    groups = np.repeat(np.arange(200), 3)
    thrice = np.concatenate(list(cluster_weights(groups, np.zeros(600, np.int64), 300, seed=3)))
    assert thrice @ np.repeat(values, 3) / 600 == pytest.approx(once @ values / 200)


def test_the_spread_of_a_mean_is_the_textbook_one():
    values = np.random.default_rng(0).normal(size=800)
    drawn = np.concatenate(list(cluster_weights(np.arange(800), np.zeros(800, np.int64), 2000, seed=3)))
    assert (drawn @ values / 800).std() == pytest.approx(values.std() / np.sqrt(800), rel=0.05)
