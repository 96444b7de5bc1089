import csv
import json

import numpy as np
import pytest
from tiny.market import RECIPE, sources_of, tiny_train

from stallwart.core.settings import Settings
from stallwart.encoders.embed import Embedder
from stallwart.encoders.graphs import PhotoGraph, TextGraph
from stallwart.encoders.table import exported
from stallwart.model.bundle import MANIFEST
from stallwart.model.material import gather
from stallwart.training.examples import EASY, HARD, choose_examples
from stallwart.training.fit import fit_member, member_log_odds
from stallwart.training.origins import Origin, row_weights
from stallwart.training.recipe import ExamplesRecipe, MemberRecipe, WeightsRecipe


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def weighted_labels(market, folder, weight_of):
    """The market's label file with a weight for each listing."""
    with (market / "labels.csv").open() as file:
        header, *rows = csv.reader(file)
    path = folder / "weighted.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(
            [[*header, "weight"], *([*row, weight_of(i)] for i, row in enumerate(rows))]
        )
    return path


def gathered(market, cache, labels):
    settings = Settings(cache_dir=cache, threads=1)
    folders = (exported(name, cache) for name in (RECIPE.encoders.text, RECIPE.encoders.photo))
    text, photo = folders
    embedder = Embedder(TextGraph(text), PhotoGraph(photo), settings, None)
    sources = sources_of(market, labels=(labels,))
    return gather(sources, embedder, settings, ("train", "validation"), titles=True)


def test_a_listing_weighs_what_its_label_says_and_not_more_than_the_recipe_lets(
    sample_market, cache, tmp_path
):
    labels = weighted_labels(sample_market, tmp_path, lambda i: 40 if i % 2 else 1)
    material = gathered(sample_market, cache, labels)
    assert set(np.unique(material.weights)) == {1.0, 40.0}
    origin = Origin("final", material.split.train, material.split.validation)
    found = row_weights(material, WeightsRecipe(most_sampling=7), origin)
    np.testing.assert_array_equal(found == 7, material.weights[material.split.train] == 40)


def test_recent_listings_weigh_more_as_of_the_end_of_each_origin(sample_market, cache):
    material = gathered(sample_market, cache, sample_market / "labels.csv")
    listed = material.rows.listed_at
    for places in (material.split.train, material.split.train[:80]):
        origin = Origin("some", places, material.split.validation)
        found = row_weights(material, WeightsRecipe(recent_days=30, recent=4), origin)
        recent = listed[places] > listed[places].max() - np.timedelta64(30, "D")
        assert 0 < recent.sum() < len(places)
        np.testing.assert_array_equal(found, np.where(recent, 4.0, 1.0))


def test_easy_negatives_stand_for_the_weight_of_all_that_were_not_drawn(make_features):
    targets = np.array([1] * 10 + [0] * 190)
    each = np.random.default_rng(0).uniform(1, 9, len(targets)).astype(np.float32)
    recipe = ExamplesRecipe(hard_per_positive=1.0, easy_per_positive=3.0)
    roles = choose_examples(make_features(targets), targets, recipe, seed=0, row_weights=each)
    hard = roles.places[roles.roles == HARD]
    neutral = roles.weights[roles.roles != 0].sum()
    np.testing.assert_allclose(neutral, each[targets == 0].sum(), rtol=1e-5)
    np.testing.assert_allclose(roles.weights[roles.roles == HARD], each[hard])
    easy = roles.places[roles.roles == EASY]
    ratio = roles.weights[roles.roles == EASY] / each[easy]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)


@pytest.mark.parametrize("kind", ["linear", "lexical", "late"])
def test_a_heavy_row_counts_like_its_copies(make_examples, kind):
    from dataclasses import replace

    examples = make_examples(160)
    heavy = np.arange(160) % 4 == 0
    rows = np.concatenate([np.arange(160), *[np.flatnonzero(heavy)] * 4])
    reads = ("text",) if kind == "lexical" else ("text", "photo")
    recipe = MemberRecipe(kind=kind, reads=reads, gamma=0, epochs=60, dropout=0, modality_dropout=0,
                          learning_rate=0.05, weight_decay=1e-3, batch_rows=4096)  # fmt: skip
    copied = replace(
        examples,
        features=examples.features[rows],
        titles=examples.titles[rows],
        targets=examples.targets[rows],
        weights=np.ones(len(rows), np.float32),
        latest=examples.latest[rows],
    )
    weighed = replace(examples, weights=np.where(heavy, 5, 1).astype(np.float32))
    members = [fit_member(recipe, one, 2, seed=0) for one in (examples, weighed, copied)]
    plain, by_weight, by_copies = (member_log_odds(one, examples.features) for one in members)
    said = ~np.isnan(plain)
    # Statistics (rarity, centring) differ between copies and weights, so the two agree nearly, not exactly
    apart = np.abs(by_weight - by_copies)[said].mean()
    assert apart < 0.5 * np.abs(plain - by_copies)[said].mean()


@pytest.mark.slow
def test_weights_reach_every_member_of_a_training_run(sample_market, cache, tmp_path):
    plain = tiny_train(sample_market, tmp_path / "plain", cache)
    labels = weighted_labels(sample_market, tmp_path, lambda i: 10 if i % 3 == 0 else 1)
    weighed = tiny_train(sample_market, tmp_path / "weighed", cache, labels=(labels,))
    assert weighed.bundle.card["data"]["digest"] != plain.bundle.card["data"]["digest"]
    one, two = (json.loads((made.bundle.folder / MANIFEST).read_text())["files"] for made in (plain, weighed))
    assert {name for name in one if one[name] != two[name]} >= {"heads.onnx", "card.json"}
    assert one["text/graph.onnx"] == two["text/graph.onnx"]
