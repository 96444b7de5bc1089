import itertools

import numpy as np
import pytest
import torch
from tiny.market import ENCODERS, RECIPE, sources_of, tiny_train
from tiny.networks import WordNetwork
from torch import nn

from stallwart.core.errors import ConfigError
from stallwart.core.progress import silent
from stallwart.core.settings import Settings
from stallwart.encoders.graphs import PhotoGraph, TextGraph
from stallwart.encoders.lite0 import Lite0
from stallwart.encoders.table import exported
from stallwart.training import finetune
from stallwart.training.finetune import top_parameters
from stallwart.training.prepare import finetune_places, prepare
from stallwart.training.recipe import EncodersRecipe

TUNED = EncodersRecipe(
    text="tiny.networks:Text",
    photo="tiny.networks:Photo",
    finetune_layers=1,
    finetune_months=5,
    finetune_epochs=3,
    finetune_learning_rate=3e-3,
)


def recipe_of(**changes):
    return RECIPE.model_copy(update={"encoders": TUNED.model_copy(update=changes)})


def prepared(market, cache_dir, track=silent, **changes):
    settings = Settings(cache_dir=cache_dir, threads=1)
    return prepare(sources_of(market), recipe_of(**changes), settings, track)


@pytest.fixture
def judged(monkeypatch):
    """A setter of what the network is found to be worth, look after look."""

    def set_to(figures):
        looks = itertools.cycle(figures)
        monkeypatch.setattr(finetune, "macro_average_precision", lambda *_, **__: next(looks))

    return set_to


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def done(sample_market, cache):
    with pytest.MonkeyPatch.context() as patch:
        looks = itertools.cycle([0.1, 0.2, 0.3, 0.4])  # better with every epoch, so the last one is kept
        patch.setattr(finetune, "macro_average_precision", lambda *_, **__: next(looks))
        return prepared(sample_market, cache)


def test_tuned_encoders_have_their_own_digests_and_embeddings(done, cache):
    for folder, name, kind in ((done.text, TUNED.text, TextGraph), (done.photo, TUNED.photo, PhotoGraph)):
        frozen, moved = kind(exported(name, cache)).spec, kind(folder).spec
        assert moved.name == f"{frozen.name} tuned"
        assert moved.digest != frozen.digest
        assert moved.d == frozen.d
    assert done.embedder.text.spec.name == "tunable-text tuned"


def test_a_second_run_finds_the_tuned_encoders_and_trains_none(sample_market, cache, done):
    said = []

    def told(items, what, total=None):  # noqa: ARG001
        said.append(what)
        return items

    again = prepared(sample_market, cache, told)
    assert (again.text, again.photo) == (done.text, done.photo)
    assert not [what for what in said if "tuning" in what]
    np.testing.assert_array_equal(again.material.features.text, done.material.features.text)


def test_an_interrupted_run_goes_on_after_its_last_epoch_and_ends_the_same(
    sample_market, done, judged, tmp_path
):
    said = []
    judged([0.1, 0.2, 0.3, 0.4, 0.1, 0.2])  # it stops before the photos' second epoch

    def stumbling(items, what, total=None):  # noqa: ARG001
        said.append(what)
        if what == "fine-tuning photo, epoch 2 of 3" and said.count(what) == 1:
            raise KeyboardInterrupt
        return items

    with pytest.raises(KeyboardInterrupt):
        prepared(sample_market, tmp_path, stumbling)
    judged([0.1, 0.3, 0.4])  # one look before it goes on
    again = prepared(sample_market, tmp_path, stumbling)
    assert said.count("fine-tuning text, epoch 1 of 3") == 1
    assert said.count("fine-tuning photo, epoch 1 of 3") == 1
    assert said.count("fine-tuning photo, epoch 2 of 3") == 2
    for name in ("text", "photo"):
        one, other = (getattr(run, name) / "spec.json" for run in (done, again))
        assert one.read_text() == other.read_text()
    assert not list((tmp_path / "runs").glob("tune-*"))


def test_encoders_learn_from_the_first_months_alone_and_origins_begin_after_them(done):
    places, latest = finetune_places(done.material, 5)
    rows = done.material.rows
    assert set(places) <= set(done.material.split.train)
    end = np.datetime64("2025-06-01")
    assert (rows.listed_at[places] < end).all()
    assert (rows.labelled_at[places] <= end).all()
    np.testing.assert_array_equal(latest, rows.listed_at[places] >= np.datetime64("2025-05-01"))
    assert done.first_origin_months == 5


@pytest.mark.slow
def test_encoders_that_learnt_from_fewer_months_are_others(sample_market, done, judged, tmp_path):
    one = done.embedder.text.spec.weights
    judged([0.1, 0.2, 0.3, 0.4])
    fewer = prepared(sample_market, tmp_path, finetune_months=3)
    assert fewer.embedder.text.spec.weights != one
    assert fewer.first_origin_months == RECIPE.certification.first_origin_months


@pytest.mark.slow
def test_the_best_epoch_is_kept(sample_market, done, judged, tmp_path):
    judged([0.1, 0.4, 0.3, 0.2])
    best = prepared(sample_market, tmp_path / "best")
    judged([0.1, 0.4])
    short = prepared(sample_market, tmp_path / "short", finetune_epochs=1)
    for name in ("text", "photo"):
        weights = {getattr(run.embedder, name).spec.weights for run in (best, short)}
        assert len(weights) == 1
        assert getattr(done.embedder, name).spec.weights not in weights


def test_where_no_epoch_is_better_the_frozen_encoder_stays(sample_market, judged, tmp_path):
    judged([0.5, 0.4, 0.3, 0.2])
    run = prepared(sample_market, tmp_path)
    assert run.embedder.text.spec.digest == TextGraph(exported(TUNED.text, tmp_path)).spec.digest


def test_only_the_last_blocks_and_what_follows_them_learn():
    assert set(top_parameters(WordNetwork(), 1)) == {"blocks.2.weight", "blocks.2.bias", "words.weight"}
    names = list(top_parameters(Lite0(), 2))
    assert names[0].startswith("_blocks.14.")
    assert names[-1] == "_bn1.bias"
    assert len(top_parameters(WordNetwork(), 99)) == 7
    with pytest.raises(ConfigError, match="no list of blocks"):
        top_parameters(nn.Linear(2, 2), 1)


def test_an_encoder_that_hides_its_network_is_refused(sample_market, tmp_path):
    with pytest.raises(ConfigError, match="cannot be fine-tuned"):
        prepared(sample_market, tmp_path, text=ENCODERS.text)


@pytest.mark.slow
def test_a_bundle_with_tuned_encoders_scores_what_training_saw(sample_market, cache, done, tmp_path):
    trained = tiny_train(sample_market, tmp_path / "b", cache, recipe_of())
    assert TextGraph(trained.bundle.folder / "text").spec.name == "tunable-text tuned"
    assert next(iter(trained.origins)) >= "2025-06"
    ids = done.embedder.text.tokens("whisky for sale")
    assert torch.tensor([ids]).shape == (1, 3)


@pytest.mark.slow
def test_the_packaged_encoders_learn(sample_market, tmp_path):
    changes = {"text": "minilm-l6", "photo": "efficientnet-lite0", "finetune_epochs": 1}
    with pytest.MonkeyPatch.context() as patch:
        looks = itertools.cycle([0.1, 0.2])
        patch.setattr(finetune, "macro_average_precision", lambda *_, **__: next(looks))
        run = prepared(sample_market, tmp_path, finetune_months=2, **changes)
    for name, d in (("text", 384), ("photo", 1280)):
        spec = getattr(run.embedder, name).spec
        assert spec.name.endswith(" tuned")
        assert spec.d == d
    assert np.isfinite(run.material.features.photos).all()
