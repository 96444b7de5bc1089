import json

import numpy as np
import pytest

from stallwart.core import rulebook
from stallwart.core.errors import BundleError
from stallwart.core.listing import Listing
from stallwart.core.taxonomy import Policy
from stallwart.model.additions import additions
from stallwart.model.addon import FILE, AddOn, Head, Linear, encoder_digests, read_addon, write_addon
from stallwart.model.explain import explain_words, likeliest
from stallwart.model.runtime import Scorer

KNIVES = Policy(id="knives", title="Knives", covers="Blades.", prevalence=0.01)


def addon_for(bundle, review=0.5, **facts):
    text, photo = encoder_digests(bundle.folder)
    d_text, d_photo = (
        json.loads((bundle.folder / part / "spec.json").read_text())["d"] for part in ("text", "photo")
    )
    random = np.random.default_rng(3)
    policy, *claims = (
        Linear(bias=0.1, text=tuple(random.normal(size=d_text)), photo=tuple(random.normal(size=d_photo)))
        for _ in range(3)
    )
    means = {"text_mean": (0.0,) * d_text, "photo_mean": (0.0,) * d_photo}
    head = Head(**means, policy=policy, claims=tuple(claims), share=0.5)
    given = {"policy": KNIVES, "text": text, "photo": photo, "head": head, "slope": 1.0, "intercept": 0.0}
    return AddOn(**{**given, "review": review, "card": {}, **facts})


def beside(bundle, *addons):
    book = rulebook.add(rulebook.begin(bundle.taxonomy), KNIVES)
    return additions(book, bundle.taxonomy, encoder_digests(bundle.folder), addons)


def test_an_addon_changes_no_score_and_no_ruling_of_its_bundle_to_the_bit(bundle, settings, listings):
    alone = Scorer(bundle, settings)
    together = alone.with_additions(beside(bundle, addon_for(bundle, review=0.0)))
    for one, other in zip(alone.score(listings), together.score(listings), strict=True):
        if one.scores is not None:
            assert one.scores.tobytes() == other.scores.tobytes()
            assert len(other.added) == 1
        assert one.ruling == other.ruling
        assert one.added == ()


def test_an_addon_scores_a_listing_the_same_alone_and_among_others(bundle, settings, listings):
    scorer = Scorer(bundle, settings).with_additions(beside(bundle, addon_for(bundle)))
    scored = list(scorer.score(listings[:12]))
    assert len({one.added for one in scored}) > 6
    for one, listing in zip(scored, listings, strict=False):
        (again,) = scorer.score([listing])
        assert again.added == one.added


def test_only_scores_from_the_review_threshold_on_are_candidates(bundle):
    found = beside(bundle, addon_for(bundle, review=0.5))
    assert [score for _, score in found.candidates([0.5])] == [0.5]
    assert found.candidates([0.49]) == found.candidates([float("nan")]) == ()


def test_an_earned_right_lets_an_addon_act_and_nothing_else_does(bundle, settings, listings):
    addon = addon_for(bundle)
    book = rulebook.add(rulebook.begin(bundle.taxonomy), KNIVES)
    rights = additions(
        book, bundle.taxonomy, encoder_digests(bundle.folder), [addon], {"knives": 0.0, "other": 0.0}
    )
    (one,) = Scorer(bundle, settings).with_additions(rights).score(listings[:1])
    assert str(one.ruling.action) == "block"
    assert "knives" in one.ruling.policies


def test_a_retired_policy_neither_acts_nor_asks_and_a_narrowed_one_only_asks(bundle):
    first = bundle.taxonomy.policies[0]
    retired = rulebook.retire(rulebook.begin(bundle.taxonomy), first.id)
    narrowed = rulebook.narrow(
        rulebook.begin(bundle.taxonomy), first.model_copy(update={"covers": "much less"})
    )
    encoders = encoder_digests(bundle.folder)
    from stallwart.decide.decide import Thresholds

    given = Thresholds({first.id: 0.9}, {first.id: 0.1})
    silent = additions(retired, bundle.taxonomy, encoders, ()).thresholds(given)
    assert silent.act == {}
    assert silent.review[first.id] == float("inf")
    asking = additions(narrowed, bundle.taxonomy, encoders, ()).thresholds(given)
    assert (asking.act, asking.review) == ({}, {first.id: 0.1})


def test_an_addon_for_other_encoders_or_of_a_policy_that_the_bundle_knows_does_not_count(bundle):
    assert beside(bundle, addon_for(bundle, text="0" * 64)).addons == ()
    known = addon_for(bundle, policy=bundle.taxonomy.policies[0])
    assert beside(bundle, known).addons == ()
    assert additions(None, bundle.taxonomy, encoder_digests(bundle.folder), [known]).addons == ()


def test_an_addon_reads_as_it_was_written(bundle, tmp_path):
    addon = addon_for(bundle)
    place = write_addon(addon, tmp_path)
    again = read_addon(place, addon.digest)
    assert again == addon
    assert again.digest == addon.digest
    assert write_addon(addon, tmp_path) == place


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text.replace('"slope": 1.0', '"slope": 2.0'),
        lambda text: text.replace('"format": 2', '"format": 1'),
        lambda text: text.replace('"slope": 1.0', '"slope": NaN'),
        lambda _: "[]",
        lambda _: "[" * 100_000,
    ],
)
def test_an_addon_that_was_changed_is_refused(bundle, tmp_path, spoil):
    place = write_addon(addon_for(bundle), tmp_path)
    file = place / FILE
    file.write_text(spoil(file.read_text()))
    with pytest.raises(BundleError, match=r"add it again|add the policy again"):
        read_addon(place)


def test_an_addon_that_is_gone_or_another_one_is_refused(bundle, tmp_path):
    with pytest.raises(BundleError, match="cannot be read"):
        read_addon(tmp_path)
    place = write_addon(addon_for(bundle), tmp_path)
    with pytest.raises(BundleError, match="another one"):
        read_addon(place, "0" * 64)


def test_the_evidence_for_an_addons_policy_is_what_its_own_head_loses(bundle, settings):
    alone = Scorer(bundle, settings)
    scorer = alone.with_additions(beside(bundle, addon_for(bundle)))
    (scored,) = scorer.score([Listing("L1", "Samurai sword decorative", None)])
    words = explain_words(scorer, scored, "knives")
    assert {word.text for word in words} == {"Samurai", "sword", "decorative"}
    whole = scorer.log_odds_of(
        "knives", scored.embedded.listing.text, scored.embedded.text, scored.embedded.photos
    )
    rest = next(scorer.score([Listing("L1", "Samurai decorative", None)])).embedded
    without = scorer.log_odds_of("knives", rest.listing.text, rest.text, rest.photos)
    sword = next(word for word in words if word.text == "sword")
    assert sword.weight == pytest.approx(whole - without, abs=1e-3)
    of_bundle = explain_words(alone, scored, bundle.taxonomy.ids[0])
    assert [word.weight for word in of_bundle] != [word.weight for word in words]
    certain = scorer.with_additions(beside(bundle, addon_for(bundle, intercept=50.0)))
    assert likeliest(certain, *certain.score([Listing("L1", "Samurai sword", None)])) == "knives"
    (empty,) = scorer.score([Listing("L1", None, None)])
    assert explain_words(scorer, empty, "knives") == []
