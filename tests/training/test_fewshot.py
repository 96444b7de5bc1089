import json

import numpy as np
import pytest
from sklearn.metrics import average_precision_score
from tiny.market import sources_of, tiny_train

from stallwart.core.errors import DataError
from stallwart.core.settings import Settings
from stallwart.dataset.read import read_listings
from stallwart.dataset.rejects import Rejects
from stallwart.index.nearest import KnownViolations
from stallwart.model.addon import encoder_digests
from stallwart.model.features import collect
from stallwart.model.runtime import Scorer
from stallwart.training.fewshot import Against, FewShot, _gathered, _of_rows, fit_addon, only

TINY = FewShot(
    pull=0.003, balance=0.1, gram_weight=1.0
)  # encoders of a dozen dimensions ask for less of a pull


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
    text = embedder.text.encode(f"{policy.title}. {policy.covers}")
    against = only(features[neutral[::2]], bundle.taxonomy.ids, bundle.known, policy.id)
    review = min(bundle.review.values())
    addon = fit_addon(policy, text, features[yes[:n]], against, encoder_digests(bundle.folder), review, how)
    left = np.sort(np.concatenate([yes[n:], neutral[1::2]]))
    return addon, features[left], labels[left] == policy.id


def scores(addon, features):
    made = []
    for row in range(len(features)):
        text = features.text[row] if features.has_text[row] else None
        photos = features.photos[features.starts[row] : features.starts[row + 1]]
        buckets = features.words[row].indices.astype(np.int64) if features.has_text[row] else None
        made.append(addon.score(text, photos, buckets))
    return np.nan_to_num(np.array(made))


def test_a_handful_of_examples_finds_a_policy_three_times_better_than_chance(shown):
    for policy in shown[0].taxonomy.policies[:3]:
        addon, rest, yes = fitted(shown, policy, 8, TINY)
        assert average_precision_score(yes, scores(addon, rest)) > 3 * yes.mean()
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
    _, rows = _gathered(features[yes], against)
    together = _of_rows(addon.head, rows)[:6]
    for row, expected in zip(features[yes].text, together, strict=True):
        assert row.shape
        assert np.isfinite(expected)
    one = features[yes[:1]]
    photos, buckets = one.photos, one.words[0].indices.astype(np.int64)
    alone = addon.head.log_odds(one.text[0] if one.has_text[0] else None, photos, buckets)
    np.testing.assert_allclose(alone, together[0], atol=1e-6)


def test_the_same_examples_give_the_same_addon_to_the_bit(shown):
    policy = shown[0].taxonomy.policies[1]
    assert fitted(shown, policy, 6)[0].digest == fitted(shown, policy, 6)[0].digest
    assert json.loads(fitted(shown, policy, 6)[0].model_dump_json())["policy"]["id"] == policy.id


def test_grams_can_be_let_in(shown):
    policy = shown[0].taxonomy.policies[0]
    assert len(fitted(shown, policy, 6)[0].head.voters) == 1
    assert len(fitted(shown, policy, 6, FewShot(gram_weight=0.5))[0].head.voters) == 2


def test_without_anything_to_tell_it_apart_from_there_is_no_head(shown):
    bundle, embedder, features, _ = shown
    policy = bundle.taxonomy.policies[0]
    nothing = features[np.zeros(len(features), dtype=np.bool_)]
    known = KnownViolations(*(np.empty(0, "<U1"),) * 2, np.empty((0, 1), "f2"), np.empty((0, 1), "f2"))
    with pytest.raises(DataError, match="--against"):
        fit_addon(
            policy, embedder.text.encode("x"), features[np.arange(3)], Against(nothing, known),
            encoder_digests(bundle.folder), 0.1,
        )  # fmt: skip
