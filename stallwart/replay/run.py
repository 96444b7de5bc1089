"""Stored decisions -> the same listings scored again, by the scorer that `stallwart score` uses.

What cannot be had as it was is left out and counted: a listing whose content was purged, or one of which a
photo is not kept any more. Memory does not grow with the number of listings.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stallwart.core.errors import NotFoundError, StoreError
from stallwart.core.listing import Listing
from stallwart.decide.decide import Ruling, Thresholds
from stallwart.model.additions import Additions
from stallwart.model.runtime import ScoredListing, Scorer
from stallwart.replay.stored import Stored
from stallwart.store.erased import ERASED
from stallwart.store.photos import PhotoStore
from stallwart.store.revisions import listing_of

PURGED = "its content was purged"
FORGOTTEN = "it was erased"
GONE = "a photo is not kept any more"
CHANGED = "a photo was changed in the store"
_READERS = 4  # threads that read photos: a remote store answers slowly
_AHEAD = 8  # listings whose photos are read before they are scored


@dataclass(frozen=True, slots=True)
class Replayed:
    """A stored decision and what the bundle makes of its listing now.

    Attributes:
        stored: the decision.
        scores: (k,) float64 in the order of the bundle's policies; None where nothing could be scored.
        ruling: what the thresholds make of it.
        added: probability by policy of the add-ons that scored beside the bundle then.
    """

    stored: Stored
    scores: NDArray[np.float64] | None
    ruling: Ruling
    added: Mapping[str, float] = field(default_factory=dict)


class Replayer:
    """Scores stored listings again.

    Args:
        scorer: of the bundle, with limits as the service had them.
        photos: where the service kept them.
        beside: what stood beside the bundle when a decision was made; None replays without.

    Attributes:
        left_out: how many listings were not scored, by why.
    """

    def __init__(
        self, scorer: Scorer, photos: PhotoStore, beside: Callable[[Stored], Additions] | None = None
    ):
        self.scorer, self._photos, self._beside = scorer, photos, beside
        self.left_out: Counter[str] = Counter()

    def replay(self, stored: Iterable[Stored], *, as_then: bool = False) -> Iterator[Replayed]:
        """Those that can be scored, in order.

        Args:
            stored: decisions.
            as_then: rule by the thresholds that each decision was made with, in place of the bundle's own:
                a policy's right to block is lost and earned while a bundle decides.

        Raises:
            StoreError: the photo store does not answer.
        """
        waiting: deque[Stored] = deque()

        def listings() -> Iterator[Listing]:
            for one, listing in self._with_photos(stored):
                waiting.append(one)
                yield listing

        for scored in self.scorer.score(listings()):
            yield self._replayed(waiting.popleft(), scored, as_then)

    def _replayed(self, stored: Stored, scored: ScoredListing, as_then: bool) -> Replayed:
        scorer = self.scorer
        if self._beside is not None:
            scorer = scorer.with_additions(self._beside(stored))
        if scorer is not self.scorer or as_then:
            limits = _thresholds(stored) if as_then else None
            scored = scorer.rule(scored.embedded, scored.scores, limits)
        pairs = zip(scorer.additions.policies, scored.added, strict=False)
        added = {name: score for name, score in pairs if np.isfinite(score)}
        return Replayed(stored, scored.scores, scored.ruling, added)

    def _with_photos(self, stored: Iterable[Stored]) -> Iterator[tuple[Stored, Listing]]:
        ahead: deque[tuple[Stored, Future[tuple[bytes, ...] | str]]] = deque()
        with ThreadPoolExecutor(_READERS, "photos") as pool:
            for one in stored:
                if one.revision.purged_at_ms is not None:
                    self.left_out[FORGOTTEN if one.revision.revision.startswith(ERASED) else PURGED] += 1
                    continue
                ahead.append((one, pool.submit(self._read, one.revision.photos)))
                if len(ahead) == _AHEAD:
                    yield from self._ready(*ahead.popleft())
            while ahead:
                yield from self._ready(*ahead.popleft())

    def _ready(
        self, one: Stored, read: "Future[tuple[bytes, ...] | str]"
    ) -> Iterator[tuple[Stored, Listing]]:
        photos = read.result()
        if isinstance(photos, str):
            self.left_out[photos] += 1
        else:
            yield one, listing_of(one.revision, photos).with_read(one.read)

    def _read(self, digests: tuple[str, ...]) -> tuple[bytes, ...] | str:
        """The photos, or why one of them cannot be had; a photo twice is read once."""
        found: dict[str, bytes] = {}
        for digest in dict.fromkeys(digests):
            try:
                found[digest] = self._photos.get(digest)
            except NotFoundError:
                return GONE
            except StoreError:
                if self._photos.has(digest):  # raises where the store itself is what fails
                    return CHANGED
                return GONE
        return tuple(found[digest] for digest in digests)


def _thresholds(stored: Stored) -> Thresholds:
    """Those of a decision; a policy without one never blocks, or never asks."""
    act = {name: one.block for name, one in stored.thresholds.items() if one.block is not None}
    review = {name: one.review for name, one in stored.thresholds.items() if one.review is not None}
    return Thresholds(act, review)
