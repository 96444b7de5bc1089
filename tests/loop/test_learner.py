import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from stallwart.loop.learner import Learner, Taught, inputs_of, replayed


@pytest.fixture(scope="module")
def inputs(world):
    return inputs_of(world.features, world.before, Taught())


def learner_of(inputs, world, places, weights, bias=None, ahead=None):
    return Learner(inputs, places, world.rows.labels[places], weights, 3, 0.3, bias, ahead)


@settings(max_examples=12, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=4), st.integers(0, 9), st.booleans())
def test_growing_gives_what_learning_all_at_once_gives(inputs, world, sizes, seed, foreseen):
    random = np.random.default_rng(seed)
    places = random.permutation(len(world))[: 60 + sum(sizes)]
    weights = random.uniform(0.5, 5, len(places))
    ahead = places[60:] if foreseen else None
    grown = learner_of(inputs, world, places[:60], weights[:60], ahead=ahead)
    at = 60
    for size in sizes:
        batch = slice(at, at + size)
        grown = grown.with_labels(places[batch], world.rows.labels[places[batch]], weights[batch])
        at += size
    whole = learner_of(inputs, world, places, weights, grown.bias)
    everything = np.arange(len(world))
    np.testing.assert_allclose(
        grown.model().scores(inputs, everything), whole.model().scores(inputs, everything), atol=1e-5
    )


def test_a_learner_that_grew_leaves_the_one_before_as_it_was(inputs, world):
    places = np.arange(80)
    first = learner_of(inputs, world, places, np.ones(80))
    before = first.model().scores(inputs, places)
    first.with_labels(np.arange(80, 120), world.rows.labels[80:120], np.ones(40))
    np.testing.assert_array_equal(first.model().scores(inputs, places), before)


def test_a_heavy_row_is_fitted_more_closely_than_a_light_one(inputs, world):
    places = np.arange(100)
    wrong = world.rows.labels[places].copy()
    wrong[7] = (wrong[7] + 1) % 4
    said = []
    for weight in (0.1, 10.0):
        weights = np.ones(100)
        weights[7] = weight
        model = Learner(inputs, places, wrong, weights, 3, 0.3).model()
        said.append(model.scores(inputs, np.array([7]))[0, wrong[7]])
    assert said[1] > said[0]


def test_later_listings_change_no_input_of_earlier_ones(world):
    one = inputs_of(world.features, world.before, Taught())
    some = np.flatnonzero(world.before)
    shorter = inputs_of(world.features[some], np.ones(len(some), dtype=np.bool_), Taught())
    np.testing.assert_allclose(one.parts[some], shorter.parts, atol=1e-6)
    assert abs(one.words[some] - shorter.words).max() < 1e-6


def test_rare_labels_are_kept_whole_and_the_rest_stand_for_what_was_left_out():
    labels = np.array([0] * 900 + [1] * 90 + [2] * 10)
    places, weights = replayed(labels, np.arange(1000), 120, seed=0)
    assert len(places) == 120
    assert (np.diff(places) > 0).all()
    kept = np.bincount(labels[places])
    assert kept[2] == 10
    for label, count in ((0, 900), (1, 90), (2, 10)):
        np.testing.assert_allclose(weights[labels[places] == label].sum(), count)
    everything, ones = replayed(labels, np.arange(1000), 5000, seed=0)
    assert len(everything) == 1000
    assert (ones == 1).all()
