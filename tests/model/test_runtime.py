from dataclasses import replace

import numpy as np
import onnxruntime
import pyarrow.parquet as pq
import pytest

from stallwart.core.decision import Action
from stallwart.core.errors import ConfigError
from stallwart.core.listing import Listing
from stallwart.encoders.cache import EmbeddingCache
from stallwart.model.runtime import Scorer
from stallwart.model.table import write_scores


@pytest.fixture(scope="module")
def scorer(bundle, settings):
    return Scorer(bundle, settings)


@pytest.fixture(scope="module")
def scored(scorer, listings):
    return list(scorer.score(listings))


def test_listings_come_back_in_order_with_probabilities(scored, listings):
    assert [one.embedded.listing.listing_id for one in scored] == [one.listing_id for one in listings]
    scores = np.stack([one.scores for one in scored])
    assert ((scores >= 0) & (scores <= 1)).all()
    assert len(np.unique(scores[:, 0])) > 10


def test_a_listing_scores_the_same_alone_and_among_others(scorer, scored, listings):
    for expected, listing in zip(scored[:20], listings, strict=False):
        (alone,) = scorer.score([listing])
        np.testing.assert_array_equal(alone.scores, expected.scores)
        assert alone.ruling == expected.ruling


def test_the_order_of_listings_does_not_matter(scorer, scored, listings):
    backwards = list(scorer.score(listings[::-1]))[::-1]
    for one, other in zip(scored, backwards, strict=True):
        np.testing.assert_array_equal(one.scores, other.scores)


def test_a_cache_changes_no_score(bundle, settings, scored, listings, tmp_path):
    cache = EmbeddingCache(tmp_path)
    for _ in range(2):  # the first fills it, the second reads it
        again = Scorer(bundle, settings, cache)
        for one, other in zip(scored, again.score(listings), strict=True):
            np.testing.assert_array_equal(one.scores, other.scores)
    assert again.embedder.counts.computed == 0
    cache.close()


@pytest.mark.parametrize(
    "listing", [Listing("L"), Listing("L", " ", "\n"), Listing("L", photos=(b"", b"no"))]
)
def test_a_listing_that_cannot_be_scored_is_reviewed(scorer, listing):
    (one,) = scorer.score([listing])
    assert one.scores is None
    assert one.ruling.action is Action.REVIEW
    assert one.ruling.reason


def test_a_broken_photo_beside_words_is_counted_and_never_allowed(bundle, settings):
    scorer = Scorer(bundle, settings)
    harmless = Listing("L", "Brass lamp, works well")
    (alone,) = scorer.score([harmless])
    (broken,) = scorer.score([replace(harmless, photos=(b"\xff\xd8 cut short",))])
    np.testing.assert_array_equal(broken.scores, alone.scores)
    assert broken.ruling.action is not Action.ALLOW
    assert sum(scorer.embedder.counts.failures.values()) == 1
    assert len(broken.embedded.failures) == 1


def test_a_model_reads_words_and_photos_and_nothing_else(scorer, scored, listings):
    others = [
        replace(one, seller_id="x", price=1e9, language="xx", listed_at=None, listing_id=f"other-{i}")
        for i, one in enumerate(listings)
    ]
    for one, other in zip(scored, scorer.score(others), strict=True):
        np.testing.assert_array_equal(one.scores, other.scores)


@pytest.mark.parametrize(
    "text",
    [
        "\ud800",
        "\x00",
        "​",
        "💥" * 5000,
        "a" * 200_000,
        "﷽ \u202e",
    ],
)
def test_no_text_whatsoever_is_an_error(scorer, text):
    (one,) = scorer.score([Listing("L", text)])
    assert one.scores is None or np.isfinite(one.scores).all()


def test_the_table_of_scores_says_what_the_scorer_said(bundle, scorer, scored, listings, tmp_path):
    nothing = Listing("nothing")
    out = tmp_path / "scores.parquet"
    counts = write_scores(scorer.score([*listings, nothing]), bundle, out)
    table = pq.read_table(out)
    assert sum(counts.values()) == table.num_rows == len(listings) + 1
    assert table.schema.metadata[b"stallwart.bundle"].decode() == bundle.digest
    for place, policy in enumerate(bundle.taxonomy.ids):
        assert table[policy].to_pylist() == [*(one.scores[place] for one in scored), None]
    assert table["action"].to_pylist() == [*(one.ruling.action.value for one in scored), "review"]


def test_a_provider_that_is_not_installed_is_said_with_what_to_install(bundle, settings):
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    with pytest.raises(ConfigError, match="onnxruntime-gpu"):
        Scorer(bundle, settings.model_copy(update={"provider": "cuda"}))


def test_scores_that_are_no_numbers_are_none_and_go_to_review(bundle, settings, listings):
    scorer = Scorer(bundle, settings)
    (scored,) = scorer.score(listings[:1])
    broken = scorer.rule(scored.embedded, np.full_like(scored.scores, np.nan))
    assert broken.scores is None
    assert broken.ruling.action == Action.REVIEW
    assert "no numbers" in broken.ruling.reason
