"""A bundle at work: listings -> calibrated scores.

Every graph is run one listing a call, so that a score never depends on what it was batched with: the same
listing scores the same alone, among a thousand and in replay.
"""

import math
from collections.abc import Iterable, Iterator
from copy import copy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stallwart.core.errors import BundleError
from stallwart.core.listing import Listing
from stallwart.core.settings import Settings
from stallwart.decide.decide import Ruling, Thresholds, decide
from stallwart.encoders.cache import EmbeddingCache
from stallwart.encoders.embed import Embedded, Embedder
from stallwart.encoders.graphs import PhotoGraph, TextGraph, open_session
from stallwart.encoders.lexical import Lexicon
from stallwart.encoders.spec import read_spec
from stallwart.model.additions import NONE, Additions
from stallwart.model.bundle import HEADS, Bundle


@dataclass(frozen=True)
class ScoredListing:
    """One listing with what a bundle says of it.

    Attributes:
        embedded: the listing and its embeddings.
        scores: (k,) float64 calibrated probabilities; None where there was nothing to score.
        ruling: what the bundle's thresholds make of it.
        added: probability by each add-on, in their order; NaN where one has nothing that it can read.
    """

    embedded: Embedded
    scores: NDArray[np.float64] | None
    ruling: Ruling
    added: tuple[float, ...] = ()

    def by_policy(self, policies: tuple[str, ...], additions: Additions) -> dict[str, float] | None:
        """The bundle's scores by policy, then those of add-ons that had something to read; or None."""
        if self.scores is None:
            return None
        found = dict(zip(policies, self.scores.tolist(), strict=True))
        pairs = zip(additions.policies, self.added, strict=True)
        return {**found, **{name: score for name, score in pairs if math.isfinite(score)}}


class Scorer:
    """A loaded bundle.

    Args:
        bundle: what to load.
        settings: bounds and number of threads.
        cache: of embeddings, or None.
        beside: a loaded bundle, whose encoders are used too where they are the same: they are most of the
            memory of both.
        additions: add-ons that score too, and policies that may not act or ask.

    Raises:
        BundleError: its graphs do not fit together.
        ConfigError: the provider in the settings is not installed.
    """

    def __init__(
        self,
        bundle: Bundle,
        settings: Settings,
        cache: EmbeddingCache | None = None,
        beside: "Scorer | None" = None,
        additions: Additions = NONE,
    ):
        self.bundle, self.additions = bundle, additions
        text, photo = _encoders(bundle.folder, settings, beside)
        self.embedder = Embedder(text, photo, settings, cache)
        self._heads = open_session(bundle.folder / HEADS)
        self._lexicon: Lexicon = beside._lexicon if beside else Lexicon()
        shape = self._heads.get_outputs()[0].shape
        if shape[-1] != len(bundle.taxonomy.ids):
            raise BundleError(
                f"{bundle.folder / HEADS}: gives {shape[-1]} scores for {len(bundle.taxonomy.ids)} policies"
            )

    def with_additions(self, additions: Additions) -> "Scorer":
        """The same loaded bundle with other additions; graphs and encoders are shared."""
        other = copy(self)
        other.additions = additions
        return other

    @property
    def policies(self) -> tuple[str, ...]:
        """Ids of the bundle's policies, then those of the add-ons."""
        return self.bundle.taxonomy.ids + self.additions.policies

    @property
    def thresholds(self) -> Thresholds:
        """From which score each of these acts and asks."""
        return self.additions.thresholds(self.bundle.thresholds)

    def score(self, listings: Iterable[Listing]) -> Iterator[ScoredListing]:
        """Each listing with its scores, in order; what cannot be scored is ruled `review`, never raised."""
        for embedded in self.embedder.embed(listings):
            yield self.rule(embedded, self.scores(embedded.listing.text, embedded.text, embedded.photos))

    def rule(
        self, embedded: Embedded, scores: NDArray[np.float64] | None, thresholds: Thresholds | None = None
    ) -> ScoredListing:
        """Scores with the ruling that thresholds make of them: the bundle's where None are given."""
        # A photo that nobody saw is no reason to allow
        failures = (*embedded.listing.unread, *(f"a photo {reason}" for reason in embedded.failures))
        if scores is not None and not np.all(np.isfinite(scores)):  # no database takes such a number
            scores, failures = None, (*failures, "the model's scores are no numbers")
        if scores is None:
            failures = failures or ("the listing has neither words nor a photo",)
        added = () if scores is None else self.added(embedded)
        # What an add-on cannot read says nothing, for it and against it
        together = scores if scores is None else np.concatenate([scores, np.nan_to_num(added)])
        ruling = decide(together, self.policies, thresholds or self.thresholds, failures)
        return ScoredListing(embedded, scores, ruling, added)

    def added(self, embedded: Embedded) -> tuple[float, ...]:
        """Probability of each add-on's policy, in their order; NaN where one has nothing that it can read."""
        return tuple(addon.score(embedded.text, embedded.photos) for addon in self.additions.addons)

    def scores(
        self, text: str, embedding: NDArray[np.float32] | None, photos: NDArray[np.float32]
    ) -> NDArray[np.float64] | None:
        """(k,) calibrated probabilities of one listing, or None where it has neither words nor photos.

        Args:
            text: the listing's words.
            embedding: (d_text,) of those words, or None.
            photos: (p, d_photo), p >= 0.
        """
        if embedding is None and not len(photos):
            return None
        log_odds = self.log_odds(text, embedding, photos)
        return np.asarray(self.bundle.calibration.probabilities(log_odds[None])[0])

    def log_odds_of(
        self, policy: str, text: str, embedding: NDArray[np.float32] | None, photos: NDArray[np.float32]
    ) -> float:
        """Log-odds of one of `policies`; NaN where its add-on has nothing that it can read."""
        ids = self.bundle.taxonomy.ids
        if policy in ids:
            return float(self.log_odds(text, embedding, photos)[ids.index(policy)])
        addon = self.additions.addons[self.additions.policies.index(policy)]
        return addon.head.log_odds(embedding, photos)

    def log_odds(
        self, text: str, embedding: NDArray[np.float32] | None, photos: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        """(k,) log-odds before calibration."""
        d_text, d_photo = self.embedder.text.spec.d, self.embedder.photo.spec.d
        (out,) = self._heads.run(
            None,
            {
                "text": (np.zeros(d_text, np.float32) if embedding is None else embedding)[None],
                "has_text": np.array([[embedding is not None]], dtype=np.float32),
                "photos": photos if len(photos) else np.zeros((1, d_photo), np.float32),
                "has_photo": np.array([[len(photos) > 0]], dtype=np.float32),
                "buckets": self._lexicon.row(text),
            },
        )
        return np.asarray(out[0], dtype=np.float64)


def _encoders(folder: Path, settings: Settings, beside: Scorer | None) -> tuple[TextGraph, PhotoGraph]:
    known = beside.embedder if beside else None
    text, photo = folder / "text", folder / "photo"
    same_text = known is not None and read_spec(text).digest == known.text.spec.digest
    same_photo = known is not None and read_spec(photo).digest == known.photo.spec.digest
    return (
        known.text if known and same_text else TextGraph(text, settings.provider),
        known.photo if known and same_photo else PhotoGraph(photo, settings.provider),
    )
