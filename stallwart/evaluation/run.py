"""A bundle and labelled listings -> an evaluation on the months after its training, or its scores there."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from stallwart import __version__
from stallwart.core.listing import Listing
from stallwart.core.progress import Track, silent
from stallwart.core.scored import Scored
from stallwart.core.settings import Settings
from stallwart.core.taxonomy import Taxonomy
from stallwart.dataset.read import read_listings
from stallwart.dataset.rejects import Rejects
from stallwart.dataset.tabular import listing_files
from stallwart.dataset.wordlist import read_wordlists
from stallwart.encoders.cache import EmbeddingCache
from stallwart.evaluation.baseline import score_baseline
from stallwart.evaluation.compare import Candidate, Comparison, compare
from stallwart.evaluation.evaluate import Besides, Evaluation, Options, evaluate
from stallwart.evaluation.evasion import Attack, Point, measure
from stallwart.evaluation.figures import Gates
from stallwart.evaluation.worst import Witness
from stallwart.model.bundle import Bundle
from stallwart.model.explain import explain_words
from stallwart.model.features import Features
from stallwart.model.material import Material, Sources, gather
from stallwart.model.runtime import Scorer

_LOWEST = 0.0  # the score of a listing that shows nothing: it is never called, so never a false alarm


@dataclass(frozen=True)
class Wanted:
    """What an evaluation is made with.

    Attributes:
        baseline: also fit the text-only n-gram baseline.
        witness: also gather content and words for the worst errors.
        options: costs, replicates, seed.
    """

    baseline: bool = True
    witness: bool = True
    options: Options = field(default_factory=Options)


def at_bundle_dates(sources: Sources, bundle: Bundle) -> Sources:
    """The sources split where the bundle's training and validation ended, and read with its policies."""
    train_until, validate_until = (
        datetime.fromisoformat(str(bundle.card[name])).replace(tzinfo=UTC)
        for name in ("train_until", "validate_until")
    )
    return replace(sources, taxonomy=bundle.taxonomy, train_until=train_until, validate_until=validate_until)


def evaluate_bundle(
    bundle: Bundle, sources: Sources, settings: Settings, wanted: Wanted | None = None, track: Track = silent
) -> Evaluation:
    """Every figure on the listings after `validate_until` of the bundle's card.

    Args:
        bundle: which.
        sources: listings and labels; the training months too, for the baseline and for finding repeats.
        settings: limits.
        wanted: what else to make.
        track: shows how far it is.

    Raises:
        DataError: the files hold no listing after the bundle's validation part.
    """
    wanted = wanted or Wanted()
    sources = at_bundle_dates(sources, bundle)
    cache = EmbeddingCache(settings.cache_dir)
    scorer = Scorer(bundle, settings, cache)
    parts = ("train", "test", "repeats") if wanted.baseline else ("test", "repeats")
    material = gather(sources, scorer.embedder, settings, parts, track)
    test = material.split.test
    features, texts = material.at(test), material.texts_at(test)
    scored = Scored(material.rows[test], score_features(scorer, features, texts, track), bundle.taxonomy)
    besides = Besides(
        baseline=_baseline(material, bundle) if wanted.baseline else None,
        ablations={
            "photo taken away": score_features(scorer, features.without_photos(), texts, track),
            "text taken away": score_features(scorer, features.without_text(), [""] * len(test), track),
        },
        repeats=_repeats(scorer, material, track),
        seen_sellers=frozenset(material.rows.sellers[material.split.train].tolist()) - {""},
        unseen_sellers={certificate.policy: certificate for certificate in bundle.unseen_sellers},
        facts=_facts(bundle, material),
        witness=_witness(scorer, sources, settings) if wanted.witness else None,
    )
    review = np.array([bundle.review[policy] for policy in bundle.taxonomy.ids])
    try:
        return evaluate(scored, bundle.certificates, review, besides, wanted.options)
    finally:
        cache.close()


def attack_bundle(
    bundle: Bundle,
    sources: Sources,
    settings: Settings,
    attack: Attack | None = None,
    track: Track = silent,
) -> list[Point]:
    """What is left of each policy's recall under attack, on violations later than the bundle's training.

    Args:
        bundle: which.
        sources: listings and labels.
        settings: limits.
        attack: on how many, and how.
        track: shows how far it is.

    Raises:
        ConfigError: a word list cannot be used.
        DataError: the files hold no listing after the bundle's validation part.
    """
    attack = attack or Attack()
    words = read_wordlists(attack.lexicon, Rejects.within(settings))
    with contextlib.closing(EmbeddingCache(settings.cache_dir)) as cache:
        scorer = Scorer(bundle, settings, cache)
        violations = draw_violations(scorer, sources, settings, attack, track)
        return measure(scorer, violations, attack, words, track)


def draw_violations(
    scorer: Scorer, sources: Sources, settings: Settings, attack: Attack, track: Track = silent
) -> list[tuple[Listing, str]]:
    """Violations to attack with the policy that each breaks; as `attack_bundle`."""
    sources = at_bundle_dates(sources, scorer.bundle)
    material = gather(sources, scorer.embedder, settings, (attack.part,), track)
    return read_violations(sources, settings, draw_names(material, scorer.bundle.taxonomy, attack))


def draw_names(material: Material, taxonomy: Taxonomy, attack: Attack) -> dict[str, str]:
    """Ids of the violations that are drawn from a part, with the policy that each breaks."""
    part, random = getattr(material.split, attack.part), np.random.default_rng(attack.seed)
    names: dict[str, str] = {}
    for column, policy in enumerate(taxonomy.ids, start=1):
        mine = part[material.rows.labels[part] == column]
        chosen = random.permutation(mine)[: attack.per_policy]
        names.update(dict.fromkeys(material.rows.listing_ids[chosen].tolist(), policy))
    return names


def read_violations(
    sources: Sources, settings: Settings, names: Mapping[str, str]
) -> list[tuple[Listing, str]]:
    """The listings with these ids, photos and all, each with what it is named for."""
    files = listing_files(sources.listings, sources.labels)
    stream = read_listings(files, sources.columns, settings, Rejects.within(settings), decode=False)
    return [(one, names[one.listing_id]) for one in stream if one.listing_id in names]


def score_features(
    scorer: Scorer, features: Features, texts: Sequence[str], track: Track = silent
) -> NDArray[np.float64]:
    """(n, k) calibrated probabilities, by the path that serves; zeros where nothing is left to score."""
    scores = np.full((len(features), len(scorer.bundle.taxonomy.ids)), _LOWEST)
    for i in track(range(len(features)), "scoring", len(features)):
        photos = features.photos[features.starts[i] : features.starts[i + 1]]
        text = features.text[i] if features.has_text[i] else None
        one = scorer.scores(texts[i], text, photos)
        if one is not None:
            scores[i] = one
    return scores


def _baseline(material: Material, bundle: Bundle) -> NDArray[np.float64]:
    train, test = material.split.train, material.split.test
    return score_baseline(
        material.texts_at(train),
        material.rows.labels[train],
        material.texts_at(test),
        len(bundle.taxonomy.ids),
    )


def _repeats(scorer: Scorer, material: Material, track: Track) -> Scored | None:
    places = material.split.repeats
    places = places[material.rows.listed_at[places] >= material.split.validate_until]
    if not len(places):
        return None
    scores = score_features(scorer, material.at(places), material.texts_at(places), track)
    return Scored(material.rows[places], scores, scorer.bundle.taxonomy)


def _facts(bundle: Bundle, material: Material) -> dict[str, str]:
    card, rows = bundle.card, material.rows
    recipe = card["recipe"]
    members = ", ".join(
        f"{m['kind']} ({'+'.join(m['reads'])}{', x' + str(m['seeds']) if m['seeds'] > 1 else ''})"
        for m in recipe["members"]
    )
    return {
        "bundle": bundle.digest,
        "trained on listings until": str(card["train_until"])[:10],
        "chosen and calibrated on listings until": str(card["validate_until"])[:10],
        "encoders": f"{recipe['encoders']['text']} and {recipe['encoders']['photo']}",
        "members": members,
        "seed": str(recipe["seed"]),
        "examples": ", ".join(f"{n:,} {role.replace('_', ' ')}" for role, n in card["examples"].items()),
        "training data digest": card["data"]["digest"],
        "evaluated data digest": material.digest,
        "rows left out as repeats": f"{len(material.split.repeats):,} of {len(rows):,}",
        "versions": ", ".join(
            f"{name} {version}" for name, version in card["versions"].items() if name != "lexicon"
        ),
        "evaluated by": f"stallwart {__version__}",
    }


def _witness(scorer: Scorer, sources: Sources, settings: Settings) -> Witness:
    def content(ids: Sequence[str]) -> Mapping[str, Listing]:
        wanted = set(ids)
        files = listing_files(sources.listings, sources.labels)
        stream = read_listings(files, sources.columns, settings, Rejects.within(settings), decode=False)
        return {listing.listing_id: listing for listing in stream if listing.listing_id in wanted}

    def words(listing: Listing, policy: str) -> list[tuple[str, float]]:
        (scored,) = scorer.score([listing])
        return [(word.text, word.weight) for word in explain_words(scorer, scored, policy)[:6]]

    return Witness(content, words)


def compare_bundles(
    first: Bundle,
    second: Bundle,
    sources: Sources,
    settings: Settings,
    options: Options | None = None,
    track: Track = silent,
) -> Comparison:
    """The second bundle against the first on the listings that both have yet to see.

    Args:
        first: the bundle that decides.
        second: the bundle that wants to.
        sources: listings and labels.
        settings: limits.
        options: costs, replicates and seed.
        track: shows how far it is.

    Raises:
        DataError: no listing is later than the training and choices of both.
    """
    later = max((first, second), key=lambda bundle: str(bundle.card["validate_until"]))
    cache = EmbeddingCache(settings.cache_dir)
    candidates = []
    for bundle in (first, second):
        scorer = Scorer(bundle, settings, cache)
        at_dates = replace(at_bundle_dates(sources, later), taxonomy=bundle.taxonomy)
        material = gather(at_dates, scorer.embedder, settings, ("test",), track)
        test = material.split.test
        scores = score_features(scorer, material.at(test), material.texts_at(test), track)
        candidates.append(
            Candidate(str(bundle.folder), Scored(material.rows[test], scores, bundle.taxonomy), gates(bundle))
        )
    cache.close()
    return compare(candidates[0], candidates[1], options)


def gates(bundle: Bundle) -> Gates:
    """The bundle's thresholds as columns."""
    thresholds = bundle.thresholds
    return Gates(
        act=np.array([thresholds.act.get(policy, np.inf) for policy in bundle.taxonomy.ids]),
        review=np.array([thresholds.review[policy] for policy in bundle.taxonomy.ids]),
    )
