import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from stallwart.training.examples import EASY, HARD, POSITIVE, choose_examples
from stallwart.training.recipe import ExamplesRecipe


def counts_of(targets, **recipe):
    return ExamplesRecipe(**{"hard_per_positive": 1.0, "easy_per_positive": 2.0, **recipe}), np.array(targets)


@pytest.fixture(scope="module")
def market(make_features):
    targets = np.array([1, 2] * 10 + [0] * 180)
    return make_features(targets, seed=4), targets


def test_the_recipe_says_how_many_of_each_role(market):
    features, targets = market
    recipe = ExamplesRecipe(hard_per_positive=1.5, easy_per_positive=3.0)
    roles = choose_examples(features, targets, recipe, seed=0)
    assert roles.counts() == {"positive": 20, "hard_negative": 30, "easy_negative": 60}
    assert (np.diff(roles.places) > 0).all()
    assert (targets[roles.places[roles.roles == POSITIVE]] > 0).all()
    assert (targets[roles.places[roles.roles != POSITIVE]] == 0).all()


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 2), min_size=1, max_size=60).filter(any),
    st.floats(0, 4),
    st.floats(1, 6),
)
def test_the_weights_undo_the_sampling(make_features, targets, hard, easy):
    recipe, labels = counts_of(targets, hard_per_positive=hard, easy_per_positive=easy)
    roles = choose_examples(make_features(labels, parts=3), labels, recipe, seed=1)
    neutral = roles.roles != POSITIVE
    np.testing.assert_allclose(roles.weights[neutral].sum(), (labels == 0).sum(), rtol=1e-5)
    assert (roles.weights[~neutral] == 1).all()
    assert set(np.flatnonzero(labels > 0)) <= set(roles.places.tolist())


def test_half_of_the_hard_negatives_are_nearest_and_half_confused(market):
    features, targets = market
    confusion = np.full(len(targets), -5.0)
    confused = np.array([60, 61, 62, 63, 64, 65, 66, 67, 68, 69])
    confusion[confused] = 3.0
    recipe = ExamplesRecipe(hard_per_positive=1.0, easy_per_positive=1.0)
    roles = choose_examples(features, targets, recipe, seed=0, confusion=confusion)
    hard = set(roles.places[roles.roles == HARD].tolist())
    alone = choose_examples(features, targets, recipe, seed=0)
    nearest = set(alone.places[alone.roles == HARD].tolist())
    assert len(hard) == len(nearest) == 20
    assert set(confused.tolist()) <= hard
    assert len(hard & nearest) >= 10


def test_a_neutral_copy_of_a_violation_is_a_hard_negative(make_features):
    targets = np.array([1] + [0] * 50)
    features = make_features(targets, seed=1, parts=3)
    features.text[37] = 2.5 * features.text[0]  # the same direction, another length
    recipe = ExamplesRecipe(hard_per_positive=1.0, easy_per_positive=1.0)
    roles = choose_examples(features, targets, recipe, seed=0)
    assert roles.places[roles.roles == HARD].tolist() == [37]


def test_an_unknown_confusion_is_no_confusion(market):
    features, targets = market
    recipe = ExamplesRecipe()
    nothing = choose_examples(features, targets, recipe, seed=0)
    unknown = choose_examples(features, targets, recipe, 0, np.full(len(targets), np.nan))
    np.testing.assert_array_equal(nothing.places, unknown.places)


def test_a_seed_draws_the_same_easy_negatives_and_another_others(market):
    features, targets = market
    recipe = ExamplesRecipe(easy_per_positive=2)
    drawn = [choose_examples(features, targets, recipe, seed).places.tolist() for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_without_positives_easy_negatives_still_stand_for_all(make_features):
    targets = np.zeros(30, dtype=np.int64)
    roles = choose_examples(make_features(targets), targets, ExamplesRecipe(easy_per_positive=5), seed=0)
    assert roles.counts() == {"positive": 0, "hard_negative": 0, "easy_negative": 5}
    assert roles.weights.sum() == pytest.approx(30)
    assert (roles.roles == EASY).all()


def test_without_neutral_listings_only_positives_are_chosen(make_features):
    targets = np.array([1, 2, 1])
    roles = choose_examples(make_features(targets), targets, ExamplesRecipe(), seed=0)
    assert roles.counts() == {"positive": 3, "hard_negative": 0, "easy_negative": 0}
    assert np.isfinite(roles.weights).all()


def test_hard_negatives_can_weigh_more(market):
    features, targets = market
    roles = choose_examples(features, targets, ExamplesRecipe(hard_weight=3.0), seed=0)
    assert set(roles.weights[roles.roles == HARD].tolist()) == {3.0}
