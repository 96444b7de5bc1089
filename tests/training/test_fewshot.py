import json

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.metrics import average_precision_score
from tiny.market import sources_of, tiny_train

from stallwart.core.errors import DataError
from stallwart.core.settings import Settings
from stallwart.core.taxonomy import Policy
from stallwart.dataset.read import read_listings
from stallwart.dataset.rejects import Rejects
from stallwart.encoders.lexical import Lexicon
from stallwart.index.nearest import KnownViolations
from stallwart.model.addon import Head, encoder_digests
from stallwart.model.features import Features, collect
from stallwart.model.runtime import Scorer
from stallwart.training.fewrows import Against, gathered, only
from stallwart.training.fewshot import FewShot, _linear, fit_addon, fit_head, phrases

AXES = np.eye(6, dtype=np.float32)
TINY = FewShot(pull=1.0, claims_pull=1.0, phrases=0.0)  # tiny encoders do not know what words mean


@pytest.fixture(scope="module")
def shown(sample_market, tmp_path_factory):
    """A bundle, its embedder, and all listings of the market with their labels, embedded."""
    cache = tmp_path_factory.mktemp("cache")
    bundle = tiny_train(sample_market, tmp_path_factory.mktemp("bundles") / "tiny", cache).bundle
    settings = Settings(cache_dir=cache, threads=1)
    sources = sources_of(sample_market)
    listings = list(read_listings(sources.listings, sources.columns, settings, Rejects(100), decode=False))
    embedder = Scorer(bundle, settings).embedder
    features = collect(embedder.embed(listings), embedder.text.spec.d, embedder.photo.spec.d)[1]
    import csv

    with (sample_market / "labels.csv").open() as file:
        label = {row["listing_id"]: row["label"] for row in csv.DictReader(file)}
    return bundle, embedder, features, np.array([label.get(one.listing_id, "") for one in listings])


def fitted(shown, policy, n, how=None):
    bundle, embedder, features, labels = shown
    yes = np.flatnonzero(labels == policy.id)
    neutral = np.flatnonzero(labels == "neutral")
    told = np.stack([embedder.text.encode(one) for one in phrases(policy)])
    against = only(features[neutral[::2]], bundle.taxonomy.ids, bundle.known, policy.id)
    review = min(bundle.review.values())
    addon = fit_addon(policy, told, features[yes[:n]], against, encoder_digests(bundle.folder), review, how)
    left = np.sort(np.concatenate([yes[n:], neutral[1::2]]))
    return addon, features[left], labels[left] == policy.id


def scores(addon, features):
    made = []
    for row in range(len(features)):
        text = features.text[row] if features.has_text[row] else None
        photos = features.photos[features.starts[row] : features.starts[row + 1]]
        made.append(addon.score(text, photos))
    return np.nan_to_num(np.array(made))


def test_a_handful_of_examples_finds_a_policy_twice_better_than_chance(shown):
    for policy in shown[0].taxonomy.policies[:3]:
        addon, rest, yes = fitted(shown, policy, 8, TINY)
        assert average_precision_score(yes, scores(addon, rest)) > 2 * yes.mean()
        assert addon.card["examples"] == 8


def test_the_text_alone_gives_a_head_whose_mean_probability_is_the_policys_share(shown):
    policy = shown[0].taxonomy.policies[0]
    addon, rest, yes = fitted(shown, policy, 0)
    found = scores(addon, rest[~yes])
    assert len(np.unique(found)) > 10
    assert 0.2 * policy.prevalence < found.mean() < 5 * policy.prevalence


def test_rows_together_and_one_listing_alone_get_the_same_log_odds(shown):
    bundle, _, features, labels = shown
    policy = bundle.taxonomy.policies[0]
    addon, _, _ = fitted(shown, policy, 6)
    yes, neutral = np.flatnonzero(labels == policy.id)[:6], np.flatnonzero(labels == "neutral")
    against = only(features[neutral[::2]], bundle.taxonomy.ids, bundle.known, policy.id)
    _, rows = gathered(features[yes], against)
    together = addon.head.of_rows(rows.text, rows.photo)[:6]
    for row, expected in zip(features[yes].text, together, strict=True):
        assert row.shape
        assert np.isfinite(expected)
    one = features[yes[:1]]
    alone = addon.head.log_odds(one.text[0] if one.has_text[0] else None, one.photos)
    np.testing.assert_allclose(alone, together[0], atol=1e-6)


def test_the_same_examples_give_the_same_addon_to_the_bit(shown):
    policy = shown[0].taxonomy.policies[1]
    assert fitted(shown, policy, 6)[0].digest == fitted(shown, policy, 6)[0].digest
    assert json.loads(fitted(shown, policy, 6)[0].model_dump_json())["policy"]["id"] == policy.id


def test_what_a_policy_s_text_names_is_its_title_what_it_covers_and_the_parts_of_both():
    policy = Policy(
        id="alcohol",
        title="Beer and wine",
        covers="Drinks with alcohol, or kits. Empty bottles are allowed. Allow racks!",
        prevalence=0.1,
    )
    assert phrases(policy) == [
        "Beer and wine", "Beer", "wine", "Drinks with alcohol, or kits", "Drinks with alcohol", "kits"
    ]  # fmt: skip
    assert phrases(policy.model_copy(update={"title": "Allowances", "covers": ""})) == ["Allowances"]


@pytest.fixture
def told_apart():
    """Rows in which known violations lie between the examples and what is harmless, and a phrase."""
    random = np.random.default_rng(4)
    middle = AXES[[0] * 8 + [1] * 60 + [2] * 60]
    text = middle + 0.3 * random.normal(size=middle.shape).astype(np.float32)
    rows = np.arange(len(text))
    starts = np.zeros(len(text) + 1, dtype=np.int64)
    words = csr_matrix((len(text), Lexicon.width), dtype=np.float32)
    features = Features(text, np.ones(len(text), bool), np.empty((0, 3), np.float32), starts, words)
    known = KnownViolations(
        rows[68:].astype(str), np.full(60, "other"), text[68:].astype("f2"), np.zeros((60, 3), "f2")
    )
    return gathered(features[rows[:8]], Against(features[rows[8:68]], known))


def odds_of(rows_and_means, text, how):
    means, rows = rows_and_means
    return fit_head(rows, means, AXES[[5]], how).log_odds(text, np.empty((0, 3), np.float32))


def test_what_is_claimed_already_is_less_likely_to_be_new(told_apart):
    plain, claimed = (
        odds_of(told_apart, AXES[2] + AXES[0], how) - odds_of(told_apart, AXES[0], how)
        for how in (FewShot(pull=1, claims_pull=1, share=share, phrases=0) for share in (0.0, 2.0))
    )
    assert claimed < plain - 0.1


def test_words_near_the_policy_s_phrases_speak_for_it_though_no_example_has_them(told_apart):
    named = AXES[5]
    without, with_them = (odds_of(told_apart, named, FewShot(phrases=weight)) for weight in (0.0, 0.35))
    assert with_them > without + 0.1
    means, rows = told_apart
    no_example = rows[~rows.yes]
    assert odds_of((means, no_example), named, FewShot()) > odds_of((means, no_example), -named, FewShot())


def test_an_addon_is_less_than_half_a_megabyte_for_a_dozen_policies():
    weights = np.random.default_rng(0).normal(size=(13, 1665)) / 300
    how = FewShot()
    policy, *claims = (_linear(one, 384, how) for one in weights)
    head = Head(
        text_mean=policy.text, photo_mean=policy.photo, policy=policy, claims=tuple(claims), share=0.5
    )
    assert len(head.model_dump_json()) < 500_000


def test_without_anything_to_tell_it_apart_from_there_is_no_head(shown):
    bundle, embedder, features, _ = shown
    policy = bundle.taxonomy.policies[0]
    nothing = features[np.zeros(len(features), dtype=np.bool_)]
    known = KnownViolations(*(np.empty(0, "<U1"),) * 2, np.empty((0, 1), "f2"), np.empty((0, 1), "f2"))
    with pytest.raises(DataError, match="--against"):
        fit_addon(
            policy, embedder.text.encode("x")[None], features[np.arange(3)], Against(nothing, known),
            encoder_digests(bundle.folder), 0.1,
        )  # fmt: skip
