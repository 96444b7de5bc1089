"""Why a listing scores as it does: words, photo regions and the nearest known violations.

Evidence is counterfactual: what the score would be without a word, or with a patch of a photo painted grey
(occlusion, Zeiler & Fergus 2013, arXiv:1311.2901). It explains the very graphs that score, whatever they
hold, and costs one pass for each word and patch.
"""

import math
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stallwart.content.photo import PhotoError, Pixels, decode_photo
from stallwart.core.errors import ConfigError
from stallwart.core.listing import Listing
from stallwart.index.nearest import Neighbour
from stallwart.model.runtime import ScoredListing, Scorer

PATCHES = 5  # a photo is covered in PATCHES x PATCHES pieces
MAX_WORDS = 80  # of a text that are tried; longer ones are tried in runs of several words
_GREY = 127


@dataclass(frozen=True)
class Word:
    """A word, or a run of words in a long text.

    Attributes:
        text: as it is written.
        start, end: place in the listing's text, in characters.
        weight: log-odds that the policy loses without it; positive speaks for a violation.
    """

    text: str
    start: int
    end: int
    weight: float


@dataclass(frozen=True)
class Region:
    """The patch of a photo that matters most.

    Attributes:
        photo: which photo, from 0.
        left, top, right, bottom: its edges, as shares of the photo's width and height.
        weight: log-odds that the policy loses when it is painted grey.
        patches: (PATCHES, PATCHES) weights of all patches, rows from the top.
    """

    photo: int
    left: float
    top: float
    right: float
    bottom: float
    weight: float
    patches: NDArray[np.float64]


@dataclass(frozen=True)
class Explanation:
    """The evidence for one policy on one listing.

    Attributes:
        policy: which policy is explained.
        scored: the listing with its scores and ruling.
        words: by weight, the strongest for the policy first.
        regions: one for each photo that decodes, the strongest first.
        nearest: known violations.
    """

    policy: str
    scored: ScoredListing
    words: tuple[Word, ...]
    regions: tuple[Region, ...]
    nearest: tuple[Neighbour, ...]


def explain(scorer: Scorer, listing: Listing, policy: str | None = None, neighbours: int = 3) -> Explanation:
    """The evidence on one listing.

    Args:
        scorer: a loaded bundle.
        listing: with its photos.
        policy: which to explain; the highest score's if None.
        neighbours: known violations to name.

    Raises:
        ConfigError: no such policy.
    """
    policies = scorer.policies
    if policy is not None and policy not in policies:
        raise ConfigError(f"no policy {policy!r}; there are: {', '.join(policies)}")
    (scored,) = scorer.score([listing])
    chosen = policy or likeliest(scorer, scored)
    embedded = scored.embedded
    return Explanation(
        policy=chosen,
        scored=scored,
        words=tuple(explain_words(scorer, scored, chosen)),
        regions=tuple(explain_photos(scorer, scored, chosen)),
        nearest=tuple(
            scorer.bundle.known.nearest(embedded.text, embedded.photos, neighbours, listing.listing_id)
        ),
    )


def likeliest(scorer: Scorer, scored: ScoredListing) -> str:
    """The policy of the highest probability, add-ons among them; the first where nothing was scored."""
    if scored.scores is None:
        return scorer.policies[0]
    return scorer.policies[int(np.argmax([*scored.scores, *np.nan_to_num(scored.added)]))]


def explain_words(scorer: Scorer, scored: ScoredListing, policy: str) -> list[Word]:
    """The weight of each word, strongest first; empty where the listing has no words."""
    text, photos = scored.embedded.listing.text, scored.embedded.photos
    spans = _spans(text)
    if not spans or scored.embedded.text is None:
        return []
    whole = scorer.log_odds_of(policy, text, scored.embedded.text, photos)
    if math.isnan(whole):  # an add-on that reads photos alone
        return []
    words = []
    for start, end in spans:
        without = f"{text[:start]}{text[end:]}".strip()
        embedding = scorer.embedder.text.encode(without) if without else None
        rest = math.nan
        if without or len(photos):
            rest = scorer.log_odds_of(policy, without, embedding, photos)
        # Where nothing would be left to score
        words.append(Word(text[start:end], start, end, whole - (0.0 if math.isnan(rest) else rest)))
    return sorted(words, key=lambda word: -word.weight)


def explain_photos(
    scorer: Scorer, scored: ScoredListing, policy: str, most: int | None = None
) -> list[Region]:
    """The patch that matters most in each photo, strongest first; empty where no photo decodes.

    Args:
        scorer: a loaded bundle.
        scored: what it said.
        policy: which to explain.
        most: how many of the first photos are looked at; each costs one pass for each patch. None is all.
    """
    listing, settings = scored.embedded.listing, scorer.embedder.settings
    regions, row = [], 0
    for number, photo in enumerate(listing.photos[: settings.max_photos][:most]):
        try:
            pixels = decode_photo(photo, settings.max_photo_bytes, settings.max_photo_pixels)
        except PhotoError:
            continue
        regions.append(_region(scorer, scored, policy, number, row, pixels))
        row += 1
    return sorted(regions, key=lambda region: -region.weight)


def _region(
    scorer: Scorer, scored: ScoredListing, policy: str, number: int, row: int, pixels: Pixels
) -> Region:
    embedded = scored.embedded
    whole = scorer.log_odds_of(policy, embedded.listing.text, embedded.text, embedded.photos)
    edges_y, edges_x = (np.linspace(0, size, PATCHES + 1).round().astype(int) for size in pixels.shape[:2])
    weights = np.zeros((PATCHES, PATCHES))
    for y in range(PATCHES):
        for x in range(PATCHES):
            covered = pixels.copy()
            covered[edges_y[y] : edges_y[y + 1], edges_x[x] : edges_x[x + 1]] = _GREY
            photos = embedded.photos.copy()
            photos[row] = scorer.embedder.photo.encode(covered)
            rest = scorer.log_odds_of(policy, embedded.listing.text, embedded.text, photos)
            weights[y, x] = np.nan_to_num(whole - rest)  # an add-on that reads words alone
    y, x = (int(i) for i in np.unravel_index(np.argmax(weights), weights.shape))
    return Region(
        photo=number,
        left=x / PATCHES,
        top=y / PATCHES,
        right=(x + 1) / PATCHES,
        bottom=(y + 1) / PATCHES,
        weight=float(weights[y, x]),
        patches=weights,
    )


def _spans(text: str) -> list[tuple[int, int]]:
    """Start and end of each word, or of each run of words where there are more than `MAX_WORDS`."""
    words = [match.span() for match in re.finditer(r"\S+", text)]
    step = -(-len(words) // MAX_WORDS) or 1
    return [(words[i][0], words[min(i + step, len(words)) - 1][1]) for i in range(0, len(words), step)]
