from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny.market import ENCODERS, RECIPE, sources_of, tiny_train

from stallwart.core.errors import ConfigError
from stallwart.core.settings import Settings
from stallwart.encoders.cache import EmbeddingCache
from stallwart.encoders.embed import Embedder
from stallwart.encoders.graphs import PhotoGraph, TextGraph
from stallwart.encoders.table import exported
from stallwart.model.material import gather
from stallwart.training.augment import ChangedPhotoGraph, make_copies
from stallwart.training.recipe import AugmentRecipe

EVERYTHING = AugmentRecipe(text=("noise", "evasion"), photo=("flip", "crop"), copies=2)


@pytest.fixture(scope="module")
def embedder(tmp_path_factory) -> Embedder:
    cache_dir = tmp_path_factory.mktemp("cache")
    text, photo = (exported(name, cache_dir) for name in (ENCODERS.text, ENCODERS.photo))
    settings = Settings(cache_dir=cache_dir, threads=1)
    return Embedder(TextGraph(text), PhotoGraph(photo), settings, EmbeddingCache(cache_dir))


@pytest.fixture(scope="module")
def material(sample_market, embedder):
    return gather(
        sources_of(sample_market), embedder, embedder.settings, ("train", "validation"), titles=True
    )


def copies_of(material, sample_market, embedder, recipe=EVERYTHING, seed=0):
    return make_copies(material, sources_of(sample_market), embedder, recipe, seed, embedder.settings)


@pytest.fixture(scope="module")
def copies(material, sample_market, embedder):
    return copies_of(material, sample_market, embedder)


def test_only_listings_of_the_training_part_are_changed(material, copies):
    train = np.isin(material.places, material.split.train)
    assert (~train).any()
    for copy in copies:
        assert copy.changed_text[train].mean() > 0.3
        assert copy.changed_photo[train].mean() > 0.3
        assert not copy.changed_text[~train].any()
        assert not copy.changed_photo[~train].any()
        same = copy.features[~train]
        np.testing.assert_array_equal(same.text, material.features[~train].text)
        np.testing.assert_array_equal(same.photos, material.features[~train].photos)
        assert (same.words != material.features[~train].words).nnz == 0


def test_what_is_called_changed_differs_and_the_rest_does_not(material, copies):
    given = material.features
    for copy in copies:
        differs = np.any(copy.features.text != given.text, axis=1)
        assert not differs[~copy.changed_text].any()
        words = np.asarray((copy.features.words != given.words).sum(axis=1)).ravel() > 0
        np.testing.assert_array_equal(words, copy.changed_text)
        np.testing.assert_array_equal(copy.features.starts, given.starts)
        rows = np.flatnonzero(copy.changed_photo)
        moved = [
            np.any(copy.features.photos[given.starts[i] : given.starts[i + 1]]
                   != given.photos[given.starts[i] : given.starts[i + 1]])
            for i in rows
        ]  # fmt: skip
        assert np.mean(moved) > 0.9


def test_the_same_seed_makes_the_same_copies_and_computes_none_twice(
    material, copies, sample_market, embedder
):
    before = embedder.counts.computed
    again = copies_of(material, sample_market, embedder)
    assert embedder.counts.computed == before
    for one, other in zip(copies, again, strict=True):
        np.testing.assert_array_equal(one.features.text, other.features.text)
        np.testing.assert_array_equal(one.features.photos, other.features.photos)
    assert np.any(copies[0].features.photos != copies[1].features.photos)
    seeded = copies_of(material, sample_market, embedder, seed=1)
    assert np.any(seeded[0].features.text != copies[0].features.text)


def test_nothing_is_made_where_the_recipe_asks_for_nothing(material, sample_market, embedder):
    assert copies_of(material, sample_market, embedder, AugmentRecipe()) == ()


def test_slang_of_an_unknown_policy_is_refused(material, sample_market, embedder):
    recipe = EVERYTHING.model_copy(update={"slang_policies": ("piracy",)})
    with pytest.raises(ConfigError, match="no policy 'piracy'"):
        copies_of(material, sample_market, embedder, recipe)


def test_a_changed_photo_is_flipped_or_cropped(embedder):
    flips = ChangedPhotoGraph(embedder.photo, ("flip",), 0, 0)
    pixels = np.random.default_rng(3).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    np.testing.assert_array_equal(flips.encode(pixels), embedder.photo.encode(pixels[:, ::-1].copy()))
    crops = ChangedPhotoGraph(embedder.photo, ("crop",), 0, 0)
    assert crops.encode(pixels).shape == embedder.photo.encode(pixels).shape
    crops.encode(pixels[:1, :1])  # the smallest photo that there is
    digests = {graph.spec.digest for graph in (embedder.photo, flips, crops)}
    assert len(digests) == 3


def test_the_copies_of_a_row_weigh_together_what_the_recipe_says(make_examples):
    from stallwart.training.augment import Copy

    examples = make_examples(50)
    n = len(examples.targets)
    first = Copy(examples.features, np.arange(n) % 2 == 0, np.zeros(n, dtype=bool))
    second = Copy(examples.features, np.arange(n) % 4 == 0, np.arange(n) % 3 == 0)
    given = replace(examples, copies=(first, second))
    made = given.with_copies(0.4, ("text", "photo"), latest_too=True)
    assert made.weights.sum() == pytest.approx(n)
    np.testing.assert_allclose(made.weights[:n][::4], 0.6, rtol=1e-6)
    assert made.weights[n] == pytest.approx(0.2)  # the first row has two copies
    assert len(made.targets) == n + first.changed_text.sum() + second.changed(("text", "photo")).sum()
    assert not made.titles.has_text[n:].any()
    words_alone = given.with_copies(0.4, ("text",), latest_too=True)
    assert len(words_alone.targets) == n + first.changed_text.sum() + second.changed_text.sum()
    early = given.with_copies(0.4, ("text",), latest_too=False)
    assert early.latest.sum() == given.latest.sum()


def augmented_recipe(**augment):
    members = tuple(one.model_copy(update={"augmented": 0.5}) for one in RECIPE.members)
    return RECIPE.model_copy(update={"members": members, "augment": AugmentRecipe(**augment)})


def test_training_with_copies_gives_the_same_bundle_again_and_another_than_without(sample_market, tmp_path):
    recipe = augmented_recipe(text=("evasion",))
    one, other = (tiny_train(sample_market, tmp_path / name, tmp_path / "c", recipe) for name in "ab")
    plain = tiny_train(sample_market, tmp_path / "plain", tmp_path / "c")
    assert one.bundle.digest == other.bundle.digest != plain.bundle.digest


def test_a_word_list_from_the_command_line_is_used_and_its_bad_lines_are_said(sample_market, tmp_path: Path):
    path = tmp_path / "names.csv"
    path.write_text("term,slang\nvape,cloud machine\nlamp,shiner\nbroken\n")
    trained = tiny_train(sample_market, tmp_path / "b", tmp_path / "c", RECIPE.with_slang(str(path)))
    assert trained.skipped["field: line of a word list that is no pair of words"] == 1
    recipe = trained.bundle.card["recipe"]
    assert recipe["augment"]["text"] == ["slang"]
    assert [one["augmented"] for one in recipe["members"]] == [0.5, 0.5, 0.5]


def test_a_member_that_weighs_copies_needs_copies():
    for changes in (
        {"augment": AugmentRecipe(text=("noise",))},
        {"members": augmented_recipe(text=("noise",)).members},
    ):
        with pytest.raises(ValueError, match="belong together"):
            type(RECIPE).model_validate(RECIPE.model_copy(update=changes).model_dump())
    with pytest.raises(ValueError, match="belong together"):
        AugmentRecipe(text=("slang",))
