import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import average_precision_score, brier_score_loss

from stallwart.estimate.weighted import (
    average_precision,
    brier,
    calibration_error,
    false_alarms_per_thousand,
    live_weights,
    precision_at,
    precision_in_first,
    precision_recall_curve,
    rank,
    recall_at,
)


@st.composite
def weighted_rows(draw):
    n = draw(st.integers(1, 40))
    # few distinct scores, so that ties are the rule
    scores = draw(arrays(np.int64, n, elements=st.integers(0, 8))) / 8
    positive = draw(arrays(np.bool_, n))
    weights = draw(arrays(np.int64, (3, n), elements=st.integers(0, 4)))
    return scores, positive, weights


@given(weighted_rows())
def test_average_precision_equals_sklearn_with_weights_and_ties(rows):
    scores, positive, weights = rows
    ours = average_precision(rank(scores, positive), weights)
    for value, row in zip(ours, weights, strict=True):
        if row[positive].sum() == 0:
            assert np.isnan(value)
        else:
            used = row > 0  # sklearn warns of rows without weight
            expected = average_precision_score(positive[used], scores[used], sample_weight=row[used])
            assert value == pytest.approx(expected, abs=1e-12)


@given(weighted_rows(), st.integers(-1, 9))
def test_precision_and_recall_count_what_reaches_the_threshold(rows, eighths):
    scores, positive, weights = rows
    threshold, row = eighths / 8, weights[0]
    called = scores >= threshold
    precision = precision_at(rank(scores, positive), row, threshold)
    recall = recall_at(rank(scores, positive), row, threshold)
    right = row[called & positive].sum()
    assert np.isnan(precision) if row[called].sum() == 0 else precision == right / row[called].sum()
    assert np.isnan(recall) if row[positive].sum() == 0 else recall == right / row[positive].sum()


@given(weighted_rows())
def test_the_curve_agrees_with_single_thresholds(rows):
    scores, positive, weights = rows
    ranking = rank(scores, positive)
    thresholds, precision, recall = precision_recall_curve(ranking, weights)
    assert (np.diff(thresholds) < 0).all()
    for column, threshold in enumerate(thresholds):
        np.testing.assert_allclose(precision[:, column], precision_at(ranking, weights, threshold))
        np.testing.assert_allclose(recall[:, column], recall_at(ranking, weights, threshold))


def test_the_first_k_count_ties_in_part():
    ranking = rank(np.array([0.9, 0.5, 0.5, 0.1]), np.array([True, True, False, False]))
    ones = np.ones(4)
    assert precision_in_first(ranking, ones, 1) == 1.0
    assert precision_in_first(ranking, ones, 2) == pytest.approx(0.75)
    assert precision_in_first(ranking, ones, 100) == pytest.approx(0.5)


@given(weighted_rows())
def test_brier_equals_sklearn(rows):
    scores, positive, weights = rows
    row = weights[0]
    if row.sum() and 0 < positive.sum() < len(positive):
        expected = brier_score_loss(positive, scores, sample_weight=row)
        assert brier(scores, positive, row) == pytest.approx(expected, abs=1e-12)


def test_calibration_error_is_the_gap_of_a_constant_score():
    positive = np.arange(10) < 3
    assert calibration_error(np.full(10, 0.5), positive, np.ones((2, 10))) == pytest.approx([0.2, 0.2])


def test_false_alarms_are_counted_among_neutral_listings_only():
    scores, neutral = np.array([0.9, 0.1, 0.9]), np.array([True, True, False])
    assert false_alarms_per_thousand(scores, neutral, np.ones(3), 0.5) == 500.0


def test_live_weights_give_each_label_its_share():
    labels, shares = np.array([0, 0, 0, 1, 1, 2]), np.array([0.9, 0.08, 0.02])
    weights = live_weights(labels, shares)
    assert np.bincount(labels, weights=weights) / weights.sum() == pytest.approx(shares)
    assert weights.mean() == pytest.approx(1.0)


def test_a_label_without_a_share_is_refused():
    with pytest.raises(ValueError, match="there are 2 shares"):
        live_weights(np.array([0, 2]), np.array([0.9, 0.1]))


def test_a_score_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="not a number"):
        rank(np.array([np.nan]), np.array([True]))
