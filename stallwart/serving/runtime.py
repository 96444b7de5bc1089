"""What the service scores with: a bundle, or in a benchmark nothing at all."""

import copy
from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property
from typing import Any, Protocol

from stallwart.content.photo import PhotoError
from stallwart.core.decision import Limits
from stallwart.core.listing import Listing
from stallwart.core.settings import Settings
from stallwart.decide.decide import Thresholds
from stallwart.encoders.embed import Parts
from stallwart.encoders.graphs import Embedding
from stallwart.model.additions import Additions
from stallwart.model.bundle import Bundle
from stallwart.model.explain import explain_photos, explain_words, likeliest
from stallwart.model.runtime import ScoredListing, Scorer
from stallwart.serving.schemas import Evidence

_WORDS, _NEIGHBOURS = 20, 3  # of the evidence that is answered and stored


class Runtime(Protocol):
    """Listings -> scores and rulings; called from several threads at once."""

    @property
    def digest(self) -> str:
        """Names what scored."""

    @property
    def taxonomy(self) -> str:
        """Digest of the taxonomy that it knows."""

    @property
    def policies(self) -> tuple[str, ...]:
        """The k policy ids, in the order of the scores; add-ons come after them and are not among them."""

    @property
    def thresholds(self) -> dict[str, Limits]:
        """From which score what happens."""

    @property
    def additions(self) -> Additions:
        """What stands beside what scores."""

    def with_additions(self, additions: Additions) -> "Runtime":
        """The same with other additions, at no cost."""

    def parts(self, listing: Listing) -> Parts:
        """What has to be embedded of a listing."""

    def rule(self, parts: Parts, made: Mapping[bytes, Embedding | PhotoError]) -> ScoredListing:
        """Scores and ruling, once all parts are embedded."""

    def evidence(self, scored: ScoredListing, level: Evidence) -> dict[str, Any] | None:
        """What speaks for the policy that called for the action, or for the likeliest."""

    def under(self, act: Mapping[str, float | None], ask: Mapping[str, float]) -> "Runtime":
        """The same one, in which policies block from other scores (None is never), and ask from some on."""


class BundleRuntime:
    """A bundle that was read and checked.

    Args:
        bundle: what to load.
        settings: bounds on photos, and what the graphs run on.
        beside: a runtime whose encoders are used too where they are the same.

    Raises:
        BundleError: its graphs do not load or do not fit together.
    """

    def __init__(self, bundle: Bundle, settings: Settings, beside: "BundleRuntime | None" = None):
        self.bundle = bundle
        self._scorer: Scorer = Scorer(bundle, settings, beside=beside._scorer if beside else None)
        self.digest, self.policies = bundle.digest, bundle.taxonomy.ids
        self._act: Mapping[str, float | None] = {}
        self._ask: Mapping[str, float] = {}

    @property
    def taxonomy(self) -> str:
        """Digest of the rulebook that it decides under, or of its bundle's taxonomy where there is none."""
        return self.additions.rulebook or self.bundle.taxonomy.digest

    @property
    def additions(self) -> Additions:
        """What stands beside the bundle."""
        return self._scorer.additions

    def with_additions(self, additions: Additions) -> "BundleRuntime":
        """The same loaded bundle with other additions."""
        other = self._other()
        other._scorer = self._scorer.with_additions(additions)
        return other

    def under(self, act: Mapping[str, float | None], ask: Mapping[str, float]) -> "BundleRuntime":
        """The same one, with the same graphs, in which policies block and ask from other scores."""
        other = self._other()
        other._act, other._ask = {**self._act, **act}, {**self._ask, **ask}
        return other

    def _other(self) -> "BundleRuntime":
        other = copy.copy(self)
        for made in ("thresholds", "_thresholds"):  # of what it was before
            other.__dict__.pop(made, None)
        return other

    @cached_property
    def _thresholds(self) -> Thresholds:
        given, quiet = self._scorer.thresholds, self.additions.silent | self.additions.asking
        act = {**given.act, **self._act}
        # A right to act is one to a policy as the rulebook has it: of one that was narrowed nothing is left
        kept = {name: score for name, score in act.items() if score is not None and name not in quiet}
        asks = {name: min(score, self._ask.get(name, score)) for name, score in given.review.items()}
        return Thresholds(kept, {**asks, **{name: given.review[name] for name in quiet if name in asks}})

    @cached_property
    def thresholds(self) -> dict[str, Limits]:
        """From which score each policy blocks and asks."""
        thresholds = self._thresholds
        return {
            name: Limits(
                block=thresholds.act.get(name),
                review=thresholds.review[name] if thresholds.review[name] <= 1 else None,
            )
            for name in self._scorer.policies
        }

    def parts(self, listing: Listing) -> Parts:
        """What has to be embedded of a listing."""
        return self._scorer.embedder.parts(listing)

    def rule(self, parts: Parts, made: Mapping[bytes, Embedding | PhotoError]) -> ScoredListing:
        """Scores and ruling, once all parts are embedded."""
        embedded = self._scorer.embedder.joined(parts, made)
        scores = self._scorer.scores(embedded.listing.text, embedded.text, embedded.photos)
        return self._scorer.rule(embedded, scores, self._thresholds)

    def evidence(self, scored: ScoredListing, level: Evidence) -> dict[str, Any] | None:
        """The words that speak for the policy; for `full` also photo regions and known violations."""
        if level == "none" or scored.scores is None:
            return None
        policy = next(iter(scored.ruling.policies), None) or likeliest(self._scorer, scored)
        words = [asdict(word) for word in explain_words(self._scorer, scored, policy)[:_WORDS]]
        found: dict[str, Any] = {"level": level, "policy": policy, "words": words}
        if level == "full":
            found["regions"] = [
                {**asdict(region), "patches": region.patches.tolist()}
                for region in explain_photos(self._scorer, scored, policy)
            ]
            embedded = scored.embedded
            near = self.bundle.known.nearest(
                embedded.text, embedded.photos, _NEIGHBOURS, embedded.listing.listing_id
            )
            found["nearest"] = [asdict(neighbour) for neighbour in near]
        return found

    @property
    def words_encoder(self) -> tuple[str, int]:
        """Digest of the encoder of words, and how long its vectors are."""
        spec = self._scorer.embedder.text.spec
        return spec.digest.hex(), spec.d

    @property
    def targets(self) -> dict[str, float]:
        """Precision that each policy wants before it may act alone."""
        return {policy.id: policy.precision for policy in self.bundle.taxonomy.policies}

    def warm_up(self) -> None:
        """Score one listing with words and a photo, so that the first caller does not pay for it."""
        import io

        from PIL import Image

        picture = io.BytesIO()
        Image.new("RGB", (320, 240), "white").save(picture, "JPEG")
        parts = self.parts(Listing("warm-up", "words", "more words", (picture.getvalue(),)))
        self.rule(parts, {key: job() for key, job in parts.jobs.items()})
