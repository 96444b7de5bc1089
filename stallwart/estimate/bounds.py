"""Confidence bounds for rates, for weighted sums of rates, and for rates of rows that come in clusters.

Numbers in, bounds out; nothing here knows what a policy or a threshold is. Counts may be fractions, since
clustered rows are counted by their effective size.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, gammaincc, gammaincinv, ndtri, stdtrit

_QUANTILES = (np.arange(200) + 0.5) / 200  # midpoints: enough for p-values to three digits


@dataclass(frozen=True)
class Interval:
    """A figure between two bounds, each in the unit of the figure."""

    lower: float
    upper: float


def lower_bound(hits: float, rows: float, confidence: float = 0.95) -> float:
    """One-sided lower bound of a rate after `hits` in `rows`, in [0, 1]; 0.0 without rows.

    Clopper and Pearson (1934), Biometrika 26, as a quantile of the beta distribution, so that
    effective counts need not be whole.

    Raises:
        ValueError: hits are negative or more than rows, or confidence is not in (0, 1).
    """
    _check(hits, rows, confidence)
    return 0.0 if hits <= 0 else float(betaincinv(hits, rows - hits + 1, 1 - confidence))


def upper_bound(hits: float, rows: float, confidence: float = 0.95) -> float:
    """One-sided upper bound of a rate after `hits` in `rows`, in [0, 1]; 1.0 without rows.

    Raises:
        ValueError: hits are negative or more than rows, or confidence is not in (0, 1).
    """
    _check(hits, rows, confidence)
    return 1.0 if hits >= rows else float(betaincinv(hits + 1, rows - hits, confidence))


def rate_interval(hits: float, rows: float, confidence: float = 0.95) -> Interval:
    """Two-sided interval of a rate (Clopper and Pearson 1934); [0, 1] without rows.

    Raises:
        ValueError: hits are negative or more than rows, or confidence is not in (0, 1).
    """
    each = (1 + confidence) / 2
    return Interval(lower_bound(hits, rows, each), upper_bound(hits, rows, each))


def codes(clusters: NDArray[np.generic]) -> NDArray[np.int64]:
    """(n,) int64: the same clusters, numbered from 0 without gaps."""
    return np.asarray(np.unique(clusters, return_inverse=True)[1], dtype=np.int64)


def design_effect(hits: NDArray[np.bool_], clusters: NDArray[np.int64]) -> float:
    """How many times clustering widens the variance of a rate, at least 1.

    The linearised between-cluster variance of a ratio over the variance of independent rows (Kish 1965;
    Rao and Scott 1992, Biometrics 48). 1.0 where it cannot be seen: no rows, one cluster, or all rows alike.

    Args:
        hits: (n,) bool, what the rate counts.
        clusters: (n,) int64, numbered from 0 without gaps (see `codes`).
    """
    n, rate = len(hits), float(hits.mean()) if len(hits) else 0.0
    if rate in (0.0, 1.0):
        return 1.0
    residuals = np.bincount(clusters, weights=hits - rate)  # one for each cluster; they sum to 0
    j = len(residuals)
    if j < 2:
        return 1.0
    return max(1.0, float(j / (j - 1) * (residuals**2).sum() / (n * rate * (1 - rate))))


def cluster_count(clusters: NDArray[np.int64]) -> float:
    """Equally large clusters that the rows amount to (Kish 1965): n**2 / sum of size**2; 0.0 without rows."""
    if not len(clusters):
        return 0.0
    sizes = np.unique(clusters, return_counts=True)[1].astype(np.float64)
    return float(sizes.sum() ** 2 / (sizes**2).sum())


def effective_size(
    hits: NDArray[np.bool_], clusters: NDArray[np.int64], confidence: float = 0.95, rarer: float = 1.0
) -> float:
    """How many independent rows the clustered rows are worth, in (0, n]; 0.0 without rows.

    Korn and Graubard (1998), Survey Methodology 24: n over the design effect, times the squared ratio of a
    normal to a Student quantile, since a variance seen in few clusters is itself uncertain.

    Args:
        hits: (n,) bool, what the rate counts.
        clusters: (n,) int64, numbered from 0 without gaps (see `codes`).
        confidence: level of the bound that will use the size.
        rarer: in [0, 1]; how many events the rate in question has for one in `hits`. Where clusters differ in
            their rates by a factor, the excess of the design effect over 1 falls in proportion to the
            rate, so that clumping can be judged from more frequent events than those that are bounded.
    """
    n = len(hits)
    if not n:
        return 0.0
    excess = design_effect(hits, clusters) - 1
    freedom = max(1, int(clusters.max()))
    shrink = float(ndtri(confidence) / stdtrit(freedom, confidence)) ** 2
    return n / (1 + rarer * excess) * min(1.0, shrink)


@dataclass(frozen=True)
class WeightedRate:
    """Sum of independent rates times their shares, with the upper confidence distribution of that sum.

    Attributes:
        estimate: the sum as observed, >= 0.
        variance: its estimated variance.
        next_weight: what one more, not yet seen event would add to the sum, >= 0.
    """

    estimate: float
    variance: float
    next_weight: float

    def exceeds(self, value: NDArray[np.float64]) -> NDArray[np.float64]:
        """Upper confidence distribution: for each `value`, the level at which the sum may still be larger."""
        mean, spread = self.estimate + self.next_weight, self.variance + self.next_weight**2
        if spread == 0 or not np.isfinite(spread):
            return np.asarray(value < mean, dtype=np.float64)
        return np.asarray(
            gammaincc(mean**2 / spread, np.maximum(value, 0) * (mean / spread)), dtype=np.float64
        )

    def upper(self, confidence: float = 0.95) -> float:
        """One-sided upper bound of the sum."""
        mean, spread = self.estimate + self.next_weight, self.variance + self.next_weight**2
        if spread == 0 or not np.isfinite(spread):
            return mean
        return float(gammaincinv(mean**2 / spread, confidence) * spread / mean)


def weighted_rate(
    events: NDArray[np.float64],
    rows: NDArray[np.float64],
    shares: NDArray[np.float64],
    effective: NDArray[np.float64] | None = None,
    next_weight: float | None = None,
) -> WeightedRate:
    """The sum over strata of share times rate, for an upper bound that never needs a split of the error.

    Fay and Feuer (1997), Statistics in Medicine 16: events are Poisson, the sum is matched by a gamma
    distribution after adding one unseen event at the largest weight. Where each stratum has the same
    weight it is the exact Poisson bound; it was never seen below its level in their and our simulations.

    Args:
        events: (c,) events seen in each stratum.
        rows: (c,) rows of each stratum; a stratum without rows adds nothing to the estimate.
        shares: (c,) share of each stratum in the sum.
        effective: (c,) rows that the clustered rows are worth; `rows` when None.
        next_weight: weight of the unseen event; the largest share over effective rows when None (infinite
            where a stratum with a share has no rows).

    Raises:
        ValueError: shapes differ, or a count or share is negative.
    """
    effective = rows if effective is None else effective
    if not (events.shape == rows.shape == shares.shape == effective.shape) or events.ndim != 1:
        raise ValueError(f"shapes differ: {events.shape}, {rows.shape}, {shares.shape}, {effective.shape}")
    if min(events.min(), rows.min(), shares.min(), effective.min()) < 0:
        raise ValueError("events, rows, shares and effective rows must be >= 0")
    rates = np.divide(events, rows, out=np.zeros(len(rows)), where=rows > 0)
    weights = np.divide(shares, effective, out=np.where(shares > 0, np.inf, 0.0), where=effective > 0)
    seen = rates > 0
    # a rate r in m effective rows has Poisson variance r / m
    variance = float((shares[seen] * rates[seen] * weights[seen]).sum())
    largest = float(weights.max()) if next_weight is None else next_weight
    return WeightedRate(float((shares * rates).sum()), variance, largest)


def ratio_p_value(cost: WeightedRate, hits: float, rows: float, limit: float) -> float:
    """p-value, in [0, 1], against cost / rate >= limit, where the rate has `hits` in `rows`.

    Melds the upper confidence distribution of the cost with the lower (beta) one of the rate: Fay,
    Proschan and Brittain (2015), Biometrics 71, which needs no split of the error between numerator and
    denominator. 1.0 without a hit.
    """
    if hits <= 0:
        return 1.0
    return float(cost.exceeds(limit * _recalls(hits, rows)).mean())


def ratio_upper(cost: WeightedRate, hits: float, rows: float, confidence: float = 0.95) -> float:
    """Upper bound of cost / rate: the limit at which `ratio_p_value` is 1 - confidence; inf without a hit."""
    if hits <= 0 or not np.isfinite(cost.next_weight):
        return float("inf")
    rates = _recalls(hits, rows)

    def may_exceed(limit: float) -> bool:
        return float(cost.exceeds(limit * rates).mean()) > 1 - confidence

    low, high = 0.0, 1e-3
    while may_exceed(high):
        low, high = high, 4 * high
        if high > 1e9:
            return float("inf")
    while high - low > 1e-5 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if may_exceed(middle) else (low, middle)
    return high


def verdicts_needed(target: float, wrong: int = 0, confidence: float = 0.95) -> int:
    """Smallest number of verdicts on calls, `wrong` of them against, whose lower bound reaches the target.

    With no wrong one it is ln(1 - confidence) / ln(target): 29 for 0.90, 59 for 0.95.

    Raises:
        ValueError: target or confidence is not in (0, 1), or wrong is negative.
    """
    if not 0 < target < 1 or wrong < 0:
        raise ValueError(f"target must be in (0, 1) and wrong >= 0, got {target} and {wrong}")
    low, high = wrong, wrong + 1
    while lower_bound(high - wrong, high, confidence) < target:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (
            (low, middle) if lower_bound(middle - wrong, middle, confidence) >= target else (middle, high)
        )
    return high


def _recalls(hits: float, rows: float) -> NDArray[np.float64]:
    return np.asarray(betaincinv(hits, rows - hits + 1, _QUANTILES), dtype=np.float64)


def _check(hits: float, rows: float, confidence: float) -> None:
    if not 0 <= hits <= rows:
        raise ValueError(f"hits must be between 0 and rows, got {hits} of {rows}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be in (0, 1), got {confidence}")
