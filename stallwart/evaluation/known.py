"""Certify distances to known violations on labelled listings, as thresholds are certified on scores.

Listings are played in the order of time: each is compared, by the index that services use, with what had
been labelled a violation before it was listed. "An entry of the policy is at most so far away" is a call like
"the score is at least so high", and is tested in the same way: at live shares, with listings that stand
together counted as fewer (see `estimate/evidence.py`). The distances of the ladder share the error, and one
that is proven passes its part on to the next (fallback procedure: Wiens 2003).
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stallwart.content.photoprint import PhotoPrint
from stallwart.content.wordprint import WordPrint
from stallwart.core.listing import Listing
from stallwart.core.progress import Track, silent
from stallwart.core.scored import Rows
from stallwart.core.settings import Settings
from stallwart.core.taxonomy import Taxonomy
from stallwart.dataset.duplicates import DuplicateFinder
from stallwart.dataset.labels import read_labels
from stallwart.dataset.read import read_listings
from stallwart.dataset.rejects import Rejects
from stallwart.dataset.rows import RowsBuilder
from stallwart.dataset.tabular import count_rows, listing_files
from stallwart.decide.known import LADDER
from stallwart.encoders.embed import Embedder
from stallwart.estimate.evidence import At, Evidence, look, p_value, precision_estimate, precision_lower
from stallwart.index.fingerprint import photo_bytes, photo_keys, prints_of, signature, word_keys
from stallwart.index.known import COMPARED, Known, KnownIndex
from stallwart.index.proven import Proven, ProvenFile
from stallwart.model.material import Sources

Near = dict[tuple[str, str], NDArray[np.float64]]
"""By policy and kind: (n,) distance of each row's nearest entry, inf where none is near."""


@dataclass(frozen=True)
class Prints:
    """What of one listing is compared.

    Attributes:
        words: its words, or None.
        photos: its photos.
        vector: (d,) float32 of its words, or None.
    """

    words: WordPrint | None
    photos: list[PhotoPrint]
    vector: NDArray[np.float32] | None


def certify_known(
    sources: Sources, embedder: Embedder, settings: Settings, confidence: float = 0.95, track: Track = silent
) -> ProvenFile:
    """For each policy and kind the distance up to which a near duplicate of a violation is one.

    Args:
        sources: labelled listings; its dates are not used.
        embedder: whose embeddings of words services compare.
        settings: bounds.
        confidence: that each distance holds, in (0, 1).
        track: shows how far it is.

    Raises:
        DataError: files or labels cannot be used.
    """
    rejects = Rejects.within(settings)
    labels = read_labels(sources.labels or sources.listings, sources.columns, sources.taxonomy, rejects)
    builder, finder = RowsBuilder(sources.taxonomy, labels.as_of()), DuplicateFinder(settings)
    files = listing_files(sources.listings, sources.labels)
    prints = []
    stream = read_listings(files, sources.columns, settings, rejects, decode=False)
    for listing in track(stream, "reading listings", count_rows(files)):
        if builder.add(listing):
            finder.add(listing)
            prints.append(_prints(listing, settings))
    rows = builder.rows(finder.groups())
    again = read_listings(files, sources.columns, settings, Rejects.within(settings), decode=False)
    taken = set(rows.listing_ids.tolist())
    words = (replace(one, photos=()) for one in again if one.listing_id in taken)
    embedded = embedder.embed(track(words, "embedding", len(rows)))
    prints = [replace(one, vector=made.text) for one, made in zip(prints, embedded, strict=True)]
    near = play(prints, rows, sources.taxonomy, embedder.text.spec.d)
    listed = np.sort(rows.listed_at.astype("datetime64[D]"))
    return ProvenFile(
        confidence=confidence,
        encoder=embedder.text.spec.digest.hex(),
        data=_digest(rows),
        listings=len(rows),
        first=str(listed[0]),
        last=str(listed[-1]),
        distances=tuple(certified(near, rows, sources.taxonomy, confidence)),
    )


def play(prints: Sequence[Prints], rows: Rows, taxonomy: Taxonomy, d: int) -> Near:
    """How far each listing was from what was known to be bad when it was listed.

    Args:
        prints: of the n rows.
        rows: with labels and times.
        taxonomy: names of the labels.
        d: values of a vector.
    """
    known_at = np.maximum(rows.labelled_at, rows.listed_at)  # so that no listing meets itself
    waiting = np.flatnonzero(rows.labels > 0)
    waiting = waiting[np.argsort(known_at[waiting], kind="stable")]
    index, taken, near = KnownIndex(d), 0, Near()
    for place in np.argsort(rows.listed_at, kind="stable").tolist():
        end = int(np.searchsorted(known_at[waiting], rows.listed_at[place]))
        if end > taken:
            index.add(
                [_entry(int(i), prints[i], taxonomy.labels[rows.labels[i]]) for i in waiting[taken:end]]
            )
            taken = end
        one = prints[place]
        for match in index.nearest(one.words, one.photos[:COMPARED], one.vector):
            nearest = near.setdefault((match.policy, match.kind), np.full(len(rows), np.inf))
            nearest[place] = match.distance
    return near


def certified(near: Near, rows: Rows, taxonomy: Taxonomy, confidence: float = 0.95) -> Iterator[Proven]:
    """What is proven of each policy and kind, in the taxonomy's order.

    Args:
        near: as `play` gives it.
        rows: the same.
        taxonomy: targets and live shares.
        confidence: of each, in (0, 1).
    """
    shares = np.array([taxonomy.shares[label] for label in taxonomy.labels])
    evidence = Evidence(rows.labels, rows.groups, rows.sellers, shares, taxonomy.labels)
    for column, policy in enumerate(taxonomy.policies, start=1):
        for kind in LADDER:
            if (policy.id, kind) in near:
                distances = near[policy.id, kind]
                yield _proven(distances, evidence, column, kind, policy.precision, confidence)


def _proven(
    distances: NDArray[np.float64],
    evidence: Evidence,
    column: int,
    kind: str,
    target: float,
    confidence: float,
) -> Proven:
    ladder = LADDER[kind]
    scores = _as_scores(distances, ladder[-1])
    part = (1 - confidence) / len(ladder)
    carried, passed = 0.0, None
    tried: list[tuple[float, At, float]] = []
    for step in ladder:
        spent = carried + part
        tried.append((step, look(scores, evidence, column, -step, confidence), 1 - spent))
        holds = p_value(tried[-1][1], evidence, column, target) <= spent
        carried, passed = (spent, tried[-1]) if holds else (0.0, passed)
    best = max(tried, key=lambda one: precision_lower(one[1], evidence, column, one[2]))
    step, at, level = best if passed is None else passed
    others = int(at.above.sum() - at.above[0] - at.above[column])
    return Proven(
        policy=evidence.names[column], kind=kind, target=target, distance=None if passed is None else step,
        at=step, precision=precision_estimate(at, evidence, column),
        lower=precision_lower(at, evidence, column, level), own=int(at.rows[column]),
        own_near=int(at.above[column]), neutral=int(at.rows[0]), neutral_near=int(at.above[0]),
        others_near=others,
    )  # fmt: skip


def _as_scores(distances: NDArray[np.float64], largest: float) -> NDArray[np.float64]:
    """Higher is nearer. What is near nothing stands in an order of chance, from which clumping is judged."""
    chance = np.random.default_rng(0).permutation(len(distances))
    return np.where(np.isfinite(distances), -distances, -2 * largest - 1 - chance)


def _prints(listing: Listing, settings: Settings) -> Prints:
    words, photos = prints_of(listing, settings)
    if words is not None:  # all but what is compared would fill the memory
        none = np.zeros(0, np.uint32)
        words = replace(words, shingles=none, words=none, title=none)
    return Prints(words, photos, None)


def _entry(place: int, one: Prints, policy: str) -> Known:
    keys = [*word_keys(one.words), *(key for photo in one.photos for key in photo_keys(photo.coarse))]
    photos = tuple(map(photo_bytes, one.photos))
    return Known(place, f"k_{place}", policy, None, signature(one.words), photos, tuple(keys), one.vector)


def _digest(rows: Rows) -> str:
    said: Iterable[NDArray[np.generic]] = (rows.listing_ids, rows.labels, rows.listed_at, rows.labelled_at)
    return hashlib.sha256(b"\0".join(np.ascontiguousarray(column).tobytes() for column in said)).hexdigest()
