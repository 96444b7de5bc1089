import numpy as np
import pytest

from stallwart.core.errors import DataError
from stallwart.estimate.bootstrap import bootstrap, cluster_weights, paired_bootstrap
from stallwart.estimate.weighted import average_precision, rank


def mean_of(values):
    return lambda weights: (weights * values).sum(axis=1) / weights.sum(axis=1)


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


def test_the_interval_of_a_mean_is_the_textbook_one():
    values = np.random.default_rng(0).normal(size=800)
    got = bootstrap(mean_of(values), np.arange(800), np.zeros(800, np.int64), seed=3, replicates=2000)
    half = 1.96 * values.std() / np.sqrt(800)
    assert got.value == pytest.approx(values.mean())
    assert got.lower == pytest.approx(values.mean() - half, abs=0.01)
    assert got.upper == pytest.approx(values.mean() + half, abs=0.01)


def test_repeated_rows_do_not_narrow_the_interval():
    values = np.random.default_rng(0).normal(size=200)
    once = bootstrap(mean_of(values), np.arange(200), np.zeros(200, np.int64), seed=3)
    thrice = bootstrap(
        mean_of(np.repeat(values, 3)), np.repeat(np.arange(200), 3), np.zeros(600, np.int64), seed=3
    )
    assert thrice.upper - thrice.lower == pytest.approx(once.upper - once.lower, rel=1e-6)


def test_replicates_that_leave_a_figure_undefined_are_counted_and_left_out():
    positive = np.array([True] + [False] * 5)

    def figure(weights):
        hits = (weights * positive).sum(axis=1).astype(float)
        return np.where(hits > 0, hits, np.nan)

    got = bootstrap(figure, np.arange(6), np.zeros(6, np.int64), seed=1, replicates=400)
    assert 0 < got.undefined < 400
    assert got.lower >= 1


def test_a_pair_is_drawn_together():
    rng = np.random.default_rng(4)
    positive = rng.random(300) < 0.3
    scores = rng.random(300) + positive
    ranking = rank(scores, positive)
    same = paired_bootstrap(
        lambda weights: average_precision(ranking, weights),
        lambda weights: average_precision(ranking, weights),
        np.arange(300),
        positive.astype(np.int64),
        seed=2,
        replicates=100,
    )
    assert (same.value, same.lower, same.upper) == (0.0, 0.0, 0.0)


def test_several_figures_come_back_at_once():
    values = np.random.default_rng(0).normal(size=50)
    figure = mean_of(values)
    got = bootstrap(
        lambda weights: np.stack([figure(weights), 2 * figure(weights)], axis=1),
        np.arange(50),
        np.zeros(50, np.int64),
        seed=1,
        replicates=50,
    )
    assert got.upper[1] == pytest.approx(2 * got.upper[0])


def test_no_rows_is_the_users_error():
    with pytest.raises(DataError, match="no rows"):
        bootstrap(mean_of(np.zeros(0)), np.zeros(0, np.int64), np.zeros(0, np.int64), seed=1)
