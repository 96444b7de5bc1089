"""What a set of labelled, scored listings says about one threshold of one policy.

In come scores and labels; out come counts, effective sizes and a p-value. Precision at the live shares is at
least p exactly where

    sum over other labels c of share_c * rate_c  <=  share * (1 - p) / p * recall,

so precision is tested as one ratio of a weighted sum of false-alarm rates to a recall.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc

from stallwart.estimate.bounds import (
    WeightedRate,
    cluster_count,
    codes,
    effective_size,
    ratio_p_value,
    ratio_upper,
    weighted_rate,
)

# with fewer sellers than this, how far sellers differ cannot be estimated: they are then taken as given,
# and the certificate says that it speaks for them only
FEWEST_SELLERS = 5.0
_TELLING = 20  # rows nearest the threshold from which clumping is judged where fewer crossed it


@dataclass(frozen=True)
class Evidence:
    """n labelled listings out of sample, and how they stand together.

    Attributes:
        labels: (n,) int64 column in `Taxonomy.labels`; 0 is neutral.
        groups: (n,) int64, near duplicates share a number.
        sellers: (n,) str; "" where unknown.
        shares: (k + 1,) float64 live share of each label, summing to 1.
        names: the k + 1 labels.
    """

    labels: NDArray[np.int64]
    groups: NDArray[np.int64]
    sellers: NDArray[np.str_]
    shares: NDArray[np.float64]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not len(self.labels) == len(self.groups) == len(self.sellers):
            raise ValueError(
                f"columns differ in length: labels {len(self.labels)}, groups {len(self.groups)}, "
                f"sellers {len(self.sellers)}"
            )
        if len(self.shares) != len(self.names) or abs(float(self.shares.sum()) - 1) > 1e-6:
            raise ValueError(f"needs {len(self.names)} shares that sum to 1, got {self.shares.tolist()}")
        if len(self.labels) and not 0 <= self.labels.min() <= self.labels.max() < len(self.names):
            raise ValueError(f"a label is outside 0..{len(self.names) - 1}")

    @cached_property
    def rows_of(self) -> tuple[NDArray[np.int64], ...]:
        """Row numbers of each label."""
        return tuple(np.flatnonzero(self.labels == c) for c in range(len(self.names)))

    @cached_property
    def seller_counts(self) -> tuple[float, ...]:
        """How many equally large sellers (groups where unknown) the rows of each label amount to."""
        return tuple(cluster_count(sellers) for _, sellers in self.designs)

    @cached_property
    def designs(self) -> tuple[tuple[NDArray[np.int64], NDArray[np.int64]], ...]:
        """For each label: codes of its rows' groups, and of their sellers (groups where unknown)."""
        return tuple((codes(self.groups[rows]), codes(self.seller_clusters[rows])) for rows in self.rows_of)

    @cached_property
    def seller_clusters(self) -> NDArray[np.int64]:
        """(n,) int64: rows of one seller share a number, or of one group where the seller is unknown."""
        seller = codes(self.sellers)
        return np.where(self.sellers == "", codes(self.groups) + len(seller), seller)


@dataclass(frozen=True)
class At:
    """One policy at one threshold.

    Attributes:
        threshold: the score.
        above: (k + 1,) int64, rows of each label at or above it.
        rows: (k + 1,) int64, rows of each label.
        effective: (k + 1,) float64, independent rows that those are worth.
        recall_hits: effective own rows at or above the threshold.
        cost: calls on other labels per live listing.
    """

    threshold: float
    above: NDArray[np.int64]
    rows: NDArray[np.int64]
    effective: NDArray[np.float64]
    recall_hits: float
    cost: WeightedRate


def look(
    scores: NDArray[np.float64], evidence: Evidence, column: int, threshold: float, confidence: float
) -> At:
    """Counts, effective sizes and cost of calling every row whose score reaches `threshold`.

    Args:
        scores: (n,) float64 of the policy.
        evidence: the n rows.
        column: of the policy in `evidence.names`, >= 1.
        threshold: smallest score that is called.
        confidence: level of the bounds that will use the effective sizes.
    """
    k = len(evidence.names)
    above, effective = np.zeros(k, np.int64), np.zeros(k)
    for c, rows in enumerate(evidence.rows_of):
        own = scores[rows]
        above[c] = int((own >= threshold).sum())
        effective[c] = _effective(own, int(above[c]), evidence, c, confidence, rare=c != column)
    rows = np.array([len(r) for r in evidence.rows_of], dtype=np.int64)
    recall = above[column] / rows[column] if rows[column] else 0.0
    cost = _cost(above, rows, effective, evidence.shares, column)
    return At(threshold, above, rows, effective, recall * effective[column], cost)


def p_value(at: At, evidence: Evidence, column: int, target: float) -> float:
    """Against the hypothesis that live precision at this threshold is below `target`."""
    limit = evidence.shares[column] * (1 - target) / target
    return ratio_p_value(at.cost, at.recall_hits, at.effective[column], float(limit))


def precision_lower(at: At, evidence: Evidence, column: int, confidence: float) -> float:
    """One-sided lower bound of live precision at this threshold, in [0, 1]."""
    upper = ratio_upper(at.cost, at.recall_hits, at.effective[column], confidence)
    share = float(evidence.shares[column])
    return share / (share + upper)


def precision_estimate(at: At, evidence: Evidence, column: int) -> float:
    """Live precision as the counts have it; 0.0 where nothing of the policy is called."""
    recall = at.above[column] / at.rows[column] if at.rows[column] else 0.0
    right = float(evidence.shares[column] * recall)
    return right / (right + at.cost.estimate) if right > 0 else 0.0


def with_more_neutral(at: At, evidence: Evidence, column: int, more: int) -> At:
    """The same evidence after `more` neutral listings without a false alarm, clustered as those at hand."""
    rows, effective = at.rows.copy(), at.effective.copy()
    effective[0] *= (rows[0] + more) / max(1, rows[0])
    rows[0] += more
    cost = _cost(at.above, rows, effective, evidence.shares, column)
    return At(at.threshold, at.above, rows, effective, at.recall_hits, cost)


def least_recall(at: At, evidence: Evidence, column: int, target: float, confidence: float) -> float:
    """Recall here down to which precision stays proven, false alarms as bounded; may exceed 1."""
    limit = float(evidence.shares[column] * (1 - target) / target)
    return at.cost.upper(confidence) / limit


def unseen_chances(at: At, evidence: Evidence, column: int, target: float) -> dict[str, float]:
    """For each other label, the chance that its rows would look as they do if it alone spoilt the precision.

    Near 0 for a label whose own rows prove that it is not confused; a label that has few rows, and a share
    that is large enough to matter, keeps a chance, and the certificate leans on it being no worse than
    others.
    """
    recall = at.above[column] / at.rows[column] if at.rows[column] else 0.0
    spare = evidence.shares[column] * (1 - target) / target * recall - at.cost.estimate
    chances = {}
    for c, name in enumerate(evidence.names):
        if c in (0, column) or evidence.shares[c] <= 0:
            continue
        seen = at.above[c] / at.rows[c] if at.rows[c] else 0.0
        rate = seen + max(0.0, spare) / evidence.shares[c]
        n = at.effective[c]
        chances[name] = (
            0.0 if rate >= 1 else float(1 - betainc(seen * n + 1, n - seen * n, rate)) if n else 1.0
        )
    return chances


def _effective(
    scores: NDArray[np.float64], above: int, evidence: Evidence, c: int, confidence: float, rare: bool
) -> float:
    """The smaller effective size of the two ways in which rows of label `c` stand together."""
    if not len(scores):
        return 0.0
    groups, sellers = evidence.designs[c]
    size = cluster_count(groups)  # near duplicates err together: nothing to estimate
    if evidence.seller_counts[c] >= FEWEST_SELLERS:
        hits = _telling(scores, above)
        # the bound reaches about three events beyond those seen, so clumping is taken at that rate
        rarer = min(1.0, (above + 3) / max(1, int(hits.sum()))) if rare else 1.0
        size = min(size, effective_size(hits, sellers, confidence, rarer))
    return size


def _telling(scores: NDArray[np.float64], above: int) -> NDArray[np.bool_]:
    """(n,) bool, the rows to judge clumping from: those called, or the nearest where few are (or are not)."""
    least = min(_TELLING, len(scores) // 4)
    count = int(np.clip(above, least, len(scores) - least))
    hits = np.zeros(len(scores), dtype=bool)
    if count:
        hits[np.argpartition(-scores, count - 1)[:count]] = True
    return hits


def _cost(
    above: NDArray[np.int64],
    rows: NDArray[np.int64],
    effective: NDArray[np.float64],
    shares: NDArray[np.float64],
    column: int,
) -> WeightedRate:
    others = np.arange(len(shares)) != column
    return weighted_rate(
        above[others].astype(np.float64),
        rows[others].astype(np.float64),
        shares[others],
        effective[others],
        _next_weight(shares[others], effective[others]),
    )


def _next_weight(shares: NDArray[np.float64], effective: NDArray[np.float64]) -> float:
    """What one unseen false alarm may weigh, neutral in front; inf without neutral rows.

    A policy with twenty rows would alone forbid every certificate, whatever is seen on it. Sparse strata are
    therefore collapsed for this one term, sparsest first, until a row of the joint stratum weighs no more
    than a neutral one (collapsed strata, Cochran 1977, section 5A.12). It depends on sizes only, never on
    errors; an error that was seen keeps the full weight of its own stratum.
    """
    if effective[0] <= 0:
        return float("inf")
    neutral = float(shares[0] / effective[0])
    weights = np.divide(
        shares[1:], effective[1:], out=np.full(len(shares) - 1, np.inf), where=effective[1:] > 0
    )
    share, size = 0.0, 0.0
    for c in np.argsort(-weights, kind="stable"):
        if share <= neutral * size and weights[c] <= neutral:
            break
        share, size = share + float(shares[1 + c]), size + float(effective[1 + c])
    if share == 0:
        return neutral
    return max(neutral, share / size) if size else float("inf")
