"""Figures of one policy's scores under row weights, for many weight vectors at once.

Scores are sorted once (`Ranking`); every figure is then a cumulative sum, so a bootstrap of a thousand
replicates costs about as much as a thousand sums. Weights are (n,) or (b, n), float64 or int64 >= 0; figures
come back as () or (b,) float64, and nan where a replicate leaves them undefined (no positive, no call).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Weights = NDArray[np.float64] | NDArray[np.int64]


def live_weights(labels: NDArray[np.int64], shares: Floats) -> Floats:
    """(n,) float64 weights, mean 1, that give each label its live share.

    A label with a share but without rows cannot be represented; the others then keep their ratio to each
    other.

    Args:
        labels: (n,) int64 column in `Taxonomy.labels`.
        shares: (k + 1,) live share of each label, summing to 1.

    Raises:
        ValueError: a label has no share.
    """
    if len(labels) and labels.max() >= len(shares):
        raise ValueError(f"labels go up to {labels.max()}, but there are {len(shares)} shares")
    if not len(labels):
        return np.zeros(0)
    counts = np.bincount(labels, minlength=len(shares))
    weights = np.asarray((shares / np.maximum(counts, 1))[labels], dtype=np.float64)
    total = weights.sum()
    return weights * (len(labels) / total) if total > 0 else weights


@dataclass(frozen=True)
class Ranking:
    """n rows of one policy in falling order of score; build it with `rank`.

    Attributes:
        order: (n,) int64, row numbers, highest score first.
        positive: (n,) bool in that order.
        scores: (n,) float64 in that order.
        ends: (m,) int64, last position of each of the m distinct scores.
    """

    order: NDArray[np.int64]
    positive: NDArray[np.bool_]
    scores: Floats
    ends: NDArray[np.int64]

    def sums(self, weights: Weights) -> tuple[Floats, Floats]:
        """Weight of all and of positive rows at or above each distinct score, each (..., m)."""
        ordered = np.asarray(weights, dtype=np.float64)[..., self.order]
        every = np.cumsum(ordered, axis=-1)[..., self.ends]
        right = np.cumsum(ordered * self.positive, axis=-1)[..., self.ends]
        return every, right


def rank(scores: Floats, positive: NDArray[np.bool_]) -> Ranking:
    """Sort the rows of one policy once, ties kept together.

    Raises:
        ValueError: the two differ in length, or a score is not a number.
    """
    if scores.shape != positive.shape or scores.ndim != 1:
        raise ValueError(f"scores are {scores.shape} and positive {positive.shape}; both must be (n,)")
    if np.isnan(scores).any():
        raise ValueError("a score is not a number; drop rows that could not be scored")
    order = np.argsort(-scores, kind="stable")
    falling = scores[order]
    ends = np.flatnonzero(np.append(np.diff(falling) != 0, True)) if len(falling) else np.zeros(0, np.int64)
    return Ranking(order.astype(np.int64), positive[order], falling, ends.astype(np.int64))


def average_precision(ranking: Ranking, weights: Weights) -> Floats:
    """Sum of precision times gain in recall over distinct scores, () or (b,); nan without a positive.

    Equal to `sklearn.metrics.average_precision_score(..., sample_weight=weights)`, ties included.
    """
    every, right = ranking.sums(weights)
    gains = np.diff(right, axis=-1, prepend=0.0)
    precision = np.divide(right, every, out=np.zeros_like(right), where=every > 0)
    total = right[..., -1] if right.shape[-1] else np.zeros(right.shape[:-1])
    return _ratio((precision * gains).sum(axis=-1), total)


def precision_recall_curve(ranking: Ranking, weights: Weights) -> tuple[Floats, Floats, Floats]:
    """Thresholds (m,), falling, with precision and recall at or above each, (m,) or (b, m)."""
    every, right = ranking.sums(weights)
    return ranking.scores[ranking.ends], _ratio(right, every), _ratio(right, right[..., -1:])


def precision_at(ranking: Ranking, weights: Weights, threshold: float) -> Floats:
    """Share of calls (score >= threshold) that are right, () or (b,); nan without a call."""
    every, right = _above(ranking, weights, threshold)
    return _ratio(right, every)


def recall_at(ranking: Ranking, weights: Weights, threshold: float) -> Floats:
    """Share of positives that are called, () or (b,); nan without a positive."""
    _, right = _above(ranking, weights, threshold)
    ordered = np.asarray(weights, dtype=np.float64)[..., ranking.order]
    return _ratio(right, (ordered * ranking.positive).sum(axis=-1))


def precision_in_first(ranking: Ranking, weights: Weights, first: float) -> Floats:
    """Share of positives in the first `first` of weight, () or (b,); tied rows are counted in part.

    Where all weights together are less than `first` it is the share among all rows. nan without weight.

    Raises:
        ValueError: first is not above 0.
    """
    if first <= 0:
        raise ValueError(f"first must be above 0, got {first}")
    every, right = ranking.sums(weights)
    size = np.diff(every, axis=-1, prepend=0.0)
    hits = np.diff(right, axis=-1, prepend=0.0)
    taken = np.clip(first - (every - size), 0.0, size)  # (..., m): how much of each tie still fits
    return _ratio((_ratio(hits, size, empty=0.0) * taken).sum(axis=-1), taken.sum(axis=-1))


def false_alarms_per_thousand(
    scores: Floats, neutral: NDArray[np.bool_], weights: Weights, threshold: float
) -> Floats:
    """Calls per thousand neutral listings, () or (b,); nan without a neutral row."""
    neutral_weights = np.asarray(weights, dtype=np.float64)[..., neutral]
    calls = (neutral_weights * (scores[neutral] >= threshold)).sum(axis=-1)
    return 1000.0 * _ratio(calls, neutral_weights.sum(axis=-1))


def brier(scores: Floats, positive: NDArray[np.bool_], weights: Weights) -> Floats:
    """Mean squared distance of probability and outcome (Brier 1950), () or (b,); nan without weight."""
    floats = np.asarray(weights, dtype=np.float64)
    return _ratio((floats * (scores - positive) ** 2).sum(axis=-1), floats.sum(axis=-1))


def calibration_error(
    scores: Floats, positive: NDArray[np.bool_], weights: Weights, bins: int = 15
) -> Floats:
    """Expected calibration error, () or (b,), in [0, 1], over bins of equal width; nan without weight.

    Naeini, Cooper and Hauskrecht (2015), AAAI: the weighted mean over bins of |outcome - probability|.
    Probabilities of rare policies fall into the lowest bin, so read it beside the calibration curve.

    Raises:
        ValueError: bins is not above 0, or a score is not in [0, 1].
    """
    if bins < 1 or (len(scores) and not 0 <= scores.min() <= scores.max() <= 1):
        raise ValueError(f"needs bins >= 1 (got {bins}) and scores in [0, 1]")
    floats = np.asarray(weights, dtype=np.float64)
    column = np.minimum((scores * bins).astype(np.int64), bins - 1)
    member = np.equal.outer(column, np.arange(bins)).astype(np.float64)  # (n, bins)
    gaps: Floats = (floats * (positive - scores)) @ member
    return _ratio(np.abs(gaps).sum(axis=-1), floats.sum(axis=-1))


def _above(ranking: Ranking, weights: Weights, threshold: float) -> tuple[Floats, Floats]:
    called = int(np.searchsorted(-ranking.scores, -threshold, side="right"))
    top = np.asarray(weights, dtype=np.float64)[..., ranking.order[:called]]
    return top.sum(axis=-1), (top * ranking.positive[:called]).sum(axis=-1)


def _ratio(above: Floats, below: Floats, empty: float = np.nan) -> Floats:
    above, below = np.broadcast_arrays(np.asarray(above, np.float64), np.asarray(below, np.float64))
    return np.asarray(np.divide(above, below, out=np.full(above.shape, empty), where=below > 0))
