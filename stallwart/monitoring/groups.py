"""Which listings are unlike what was seen, and which of them belong together. Pure.

Far listings are those whose distance to the training set is above what the last part of the training set had
to the part before it. They are grouped by density (DBSCAN, Ester et al. 1996) on the cosine of their
sketches: no number of groups is asked for, and what is alone stays alone.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import NDArray

from stallwart.index.sketch import Seen
from stallwart.monitoring.sample import Sample

FAR = 0.7
"""Quantile of the training set's own distances above which a listing is far."""
NEAR = 0.35
"""One minus the cosine within which two far listings are neighbours."""
FEWEST = 8
"""Neighbours that make a group."""
SAME = 0.8
"""Cosine of two centres from which a group of this round is one of the round before."""
_WORD = re.compile(r"[^\W\d_]{3,30}")


@dataclass(frozen=True)
class Group:
    """Listings that belong together.

    Attributes:
        rows: their places in the sample, the most typical first.
        distances: of each to the centre.
        centre: (2 * WIDTH,) float32.
    """

    rows: NDArray[np.int64]
    distances: NDArray[np.float64]
    centre: NDArray[np.float32]


def far_from(seen: Seen, quantile: float = FAR) -> float:
    """The distance from which a listing is far: of the last fifth of what was seen, to what came before.

    Without enough that was seen it is infinite: nothing is called new.
    """
    cut = int(len(seen) * 0.8)
    if cut < 100:
        return float("inf")
    early = Seen(seen.text[:cut], seen.photo[:cut])
    own = early.distances(seen.text[cut:].astype(np.float32), seen.photo[cut:].astype(np.float32))
    return float(np.nanquantile(own, quantile))


def grouped(sample: Sample, near: float = NEAR, fewest: int = FEWEST) -> list[Group]:
    """Groups of a sample of far listings, the largest first."""
    from sklearn.cluster import DBSCAN

    if len(sample) < fewest:
        return []
    vectors = np.hstack([sample.text, sample.photo])
    apart = _apart(sample)
    labels = DBSCAN(eps=near, min_samples=fewest, metric="precomputed").fit_predict(apart)
    groups = []
    for label in range(int(labels.max()) + 1):
        rows = np.flatnonzero(labels == label)
        centre = vectors[rows].mean(axis=0)
        own = apart[np.ix_(rows, rows)].mean(axis=1)
        order = np.argsort(own)
        groups.append(Group(rows[order], own[order], centre.astype(np.float32)))
    return sorted(groups, key=lambda one: -len(one.rows))


def _apart(sample: Sample) -> NDArray[np.float64]:
    """(n, n) one minus the cosine of words, or of photos where one of two has no words.

    Words speak first: photos of one kind of goods look alike in every market.
    """
    by_text = 1.0 - sample.text.astype(np.float64) @ sample.text.T
    by_photo = 1.0 - sample.photo.astype(np.float64) @ sample.photo.T
    text = sample.has_text[:, None] & sample.has_text[None, :]
    photo = sample.has_photo[:, None] & sample.has_photo[None, :]
    apart = np.where(text & photo, 0.7 * by_text + 0.3 * by_photo, np.where(text, by_text, by_photo))
    apart = np.where(text | photo, apart, 1.0)
    np.fill_diagonal(apart, 0.0)
    return np.asarray(np.clip(apart, 0.0, 2.0))


def same_as(centre: NDArray[np.float32], others: Sequence[NDArray[np.float32]]) -> int | None:
    """Place of the centre that this one is the same as; None where it is none of them."""
    if not others:
        return None
    matrix = np.stack(others).astype(np.float64)
    lengths = np.linalg.norm(matrix, axis=1) * max(float(np.linalg.norm(centre)), 1e-9)
    cosines = matrix @ centre.astype(np.float64) / np.maximum(lengths, 1e-9)
    best = int(np.argmax(cosines))
    return best if cosines[best] >= SAME else None


def telling_words(inside: Iterable[str], outside: Iterable[str], count: int = 8) -> tuple[str, ...]:
    """Words that set some texts apart from others, the most telling first.

    By the log-odds of the share of texts that hold a word, with a doubt of half a text on either side,
    weighted by that share. A word of fewer than three texts, or of a fifth of them, tells nothing.
    """
    own, n = _documents(inside)
    other, m = _documents(outside)
    told = {}
    for word, texts in own.items():
        if texts < max(3, 0.1 * n):
            continue
        share, base = (texts + 0.5) / (n + 1), (other[word] + 0.5) / (m + 1)
        told[word] = share * log(share / base)
    best = sorted(told, key=lambda word: (-told[word], word))
    return tuple(word for word in best if told[word] > 0)[:count]


def _documents(texts: Iterable[str]) -> tuple[Counter[str], int]:
    """How many texts hold each word, and how many texts there are."""
    counts: Counter[str] = Counter()
    n = 0
    for text in texts:
        counts.update({word.casefold() for word in _WORD.findall(text)})
        n += 1
    return counts, n
