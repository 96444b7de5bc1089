from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from sklearn.linear_model import LogisticRegression

from stallwart.loop.learner import Learner, Taught, fitted, inputs_of


@pytest.fixture(scope="module")
def inputs(world):
    return inputs_of(world.features, world.before, Taught())


def learner_of(inputs, world, places, weights, taught=None):
    return Learner(inputs, places, world.rows.labels[places], weights, 3, taught or Taught())


@pytest.mark.parametrize("member", [0, 1])
def test_each_member_is_multinomial_logistic_regression(inputs, world, member):
    places = np.arange(200)
    part, labels = inputs.at(places)[member], world.rows.labels[places]
    weights = np.random.default_rng(1).uniform(0.5, 3, len(places))
    ours = fitted(part, labels, weights, np.zeros((part.shape[1] + 1, 4)), 1000)
    theirs = LogisticRegression(C=1.0, tol=1e-8, max_iter=5000).fit(part.astype(np.float64), labels, weights)
    logits = part @ ours[:-1] + ours[-1]
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    expected = theirs.predict_proba(part)
    np.testing.assert_allclose(odds / odds.sum(axis=1, keepdims=True), expected, atol=5e-3)


@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=4), st.integers(0, 9))
def test_growing_ends_where_learning_all_at_once_ends(inputs, world, sizes, seed):
    random = np.random.default_rng(seed)
    places = random.permutation(len(world))[: 60 + sum(sizes)]
    weights = random.uniform(0.5, 5, len(places))
    grown = learner_of(inputs, world, places[:60], weights[:60])
    at = 60
    for size in sizes:
        batch = slice(at, at + size)
        grown = grown.with_labels(places[batch], world.rows.labels[places[batch]], weights[batch])
        at += size
    whole = learner_of(inputs, world, places, weights)
    everything = np.arange(len(world))
    np.testing.assert_allclose(
        grown.model.scores(inputs, everything), whole.model.scores(inputs, everything), atol=0.1
    )


def test_a_learner_that_grew_leaves_the_one_before_as_it_was(inputs, world):
    places = np.arange(80)
    first = learner_of(inputs, world, places, np.ones(80))
    before = first.model.scores(inputs, places)
    first.with_labels(np.arange(80, 120), world.rows.labels[80:120], np.ones(40))
    np.testing.assert_array_equal(first.model.scores(inputs, places), before)


def test_a_heavy_row_is_fitted_more_closely_than_a_light_one(inputs, world):
    places = np.arange(100)
    wrong = world.rows.labels.copy()
    wrong[7] = (wrong[7] + 1) % 4
    odd = replace(world, rows=replace(world.rows, labels=wrong))
    said = []
    for weight in (0.1, 10.0):
        weights = np.ones(100)
        weights[7] = weight
        said.append(learner_of(inputs, odd, places, weights).model.scores(inputs, np.array([7]))[0, wrong[7]])
    assert said[1] > said[0]


def test_balance_makes_a_rare_label_likelier(inputs, world):
    labels = world.rows.labels[:200]
    places = np.concatenate([np.flatnonzero(labels != 1), np.flatnonzero(labels == 1)[:5]])
    rest = np.arange(200, len(world))
    said = [
        learner_of(inputs, world, places, np.ones(len(places)), Taught(balance=balance)).model
        for balance in (0.0, 1.0)
    ]
    plain, balanced = (model.scores(inputs, rest)[:, 1].mean() for model in said)
    assert balanced > plain


def test_scores_are_log_odds(inputs, world):
    model = learner_of(inputs, world, np.arange(150), np.ones(150)).model
    one = replace(model, members=(model.members[0], np.zeros_like(model.members[1])))
    odds = 2 * one.scores(inputs, np.arange(300)) - np.log(1 / 3)  # the other member says 1 in 4 of each
    np.testing.assert_allclose((1 / (1 + np.exp(-odds))).sum(axis=1), 1, atol=1e-6)


def test_nothing_to_score_has_no_scores(inputs, world):
    model = learner_of(inputs, world, np.arange(80), np.ones(80)).model
    assert model.scores(inputs, np.zeros(0, dtype=np.int64)).shape == (0, 4)


def test_later_listings_change_no_input_of_earlier_ones(world):
    one = inputs_of(world.features, world.before, Taught())
    some = np.flatnonzero(world.before)
    shorter = inputs_of(world.features[some], np.ones(len(some), dtype=np.bool_), Taught())
    np.testing.assert_allclose(one.parts[some], shorter.parts, atol=1e-6)
    assert abs(one.words[some] - shorter.words).max() < 1e-6


def test_inputs_leave_the_features_as_they_were(world):
    words = world.features.words.copy()
    inputs_of(world.features, world.before, Taught())
    assert (world.features.words != words).nnz == 0
    assert (world.features.words.indices == words.indices).all()
