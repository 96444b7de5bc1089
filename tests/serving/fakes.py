"""Runtimes without a model, for tests of what is around them."""

import threading
from dataclasses import dataclass, field, replace

import numpy as np

from stallwart.content.photo import PhotoError
from stallwart.core.decision import Action, Limits
from stallwart.decide.decide import Thresholds, decide
from stallwart.encoders.embed import Embedded, Parts
from stallwart.model.additions import NONE, Additions
from stallwart.model.runtime import ScoredListing

POLICIES = ("drugs", "weapons")


@dataclass
class FakeRuntime:
    """Scores by words: "drug" and "gun" break their policy; photos are their own bytes' sum."""

    digest: str = "b" * 64
    taxonomy: str = "c" * 64
    policies: tuple[str, ...] = POLICIES
    block: float = 0.9
    gate: threading.Event = field(default_factory=threading.Event)
    began: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    computed: list[bytes] = field(default_factory=list)
    raises: bool = False
    review: float | None = 0.2
    act: dict[str, float | None] = field(default_factory=dict)
    ask: dict[str, float] = field(default_factory=dict)

    def __post_init__(self):
        self.gate.set()

    additions: Additions = NONE

    def with_additions(self, _):
        return self

    @property
    def thresholds(self):
        return {
            name: Limits(block=self.act.get(name, self.block), review=self._review(name))
            for name in self.policies
        }

    def _review(self, name):
        given = [one for one in (self.review, self.ask.get(name)) if one is not None]
        return min(given, default=None)

    def under(self, act, ask):
        return replace(self, act={**self.act, **act}, ask={**self.ask, **ask})

    def parts(self, listing):
        text_key = listing.text.encode() if listing.text else None
        jobs = {text_key: lambda: self._embed(listing.text.encode())} if text_key else {}
        keys = [b"photo" + photo for photo in listing.photos]
        jobs.update({key: lambda key=key: self._photo(key) for key in keys})
        return Parts(listing, text_key, keys, jobs)

    def _embed(self, key):
        self.began.release()
        self.gate.wait(20)
        self.computed.append(key)
        if self.raises:
            raise RuntimeError("the graph is broken")
        return np.full(4, len(key), np.float32)

    def _photo(self, key):
        if key == b"photobroken":
            return PhotoError("does not decode")
        return self._embed(key)

    def rule(self, parts, made):
        listing = parts.listing
        photos = [made[key] for key in parts.photo_keys]
        failures = tuple(f"a photo {photo}" for photo in photos if isinstance(photo, PhotoError))
        rows = [photo for photo in photos if not isinstance(photo, PhotoError)]
        text = made[parts.text_key] if parts.text_key else None
        scores = np.array([0.95 * ("drug" in listing.text), 0.5 * ("gun" in listing.text)], np.float64)
        embedded = Embedded(listing, text, np.array(rows, np.float32), failures)
        act = {name: one.block for name, one in self.thresholds.items() if one.block is not None}
        review = {name: one.review for name, one in self.thresholds.items() if one.review is not None}
        thresholds = Thresholds(act, review)
        ruling = decide(scores, self.policies, thresholds, (*listing.unread, *failures))
        return ScoredListing(embedded, scores, ruling)

    def evidence(self, scored, level):
        if level == "none":
            return None
        self._embed(b"evidence")
        return {"level": level, "words": scored.embedded.listing.text.split()}


ALLOW, REVIEW, BLOCK = Action.ALLOW, Action.REVIEW, Action.BLOCK
