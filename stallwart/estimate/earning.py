"""How a policy earns the right to act alone: anytime-valid evidence that its precision is above target.

Verdicts on would-be blocks, drawn with known probability, multiply the evidence by

    1 + stake * weight * (right - target)

whose mean is at most 1 while precision is at or below target, so that it ever reaches 1 / error with a
chance of at most the error (Ville 1939): anyone may look after every verdict. The evidence is an average
over stakes, each the best one for some precision above target (Waudby-Smith and Ramdas 2024, "betting").

Thresholds share the error by the fallback procedure (Wiens 2003): each has an equal part, and one that is
proven hands what it had to the next laxer one. Attempts have halves of halves: 1/2 of the error, 1/4, 1/8
and so on, so that all attempts of one bundle's policy together have no more than the error.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

ERROR = 0.05
"""Chance that a policy below target ever gets the right, over all attempts and thresholds of a bundle."""
MOST_THRESHOLDS = 4

# Precisions that stakes are best for, as shares of the way from target to 1, and what each stake counts for:
# nearly all right is what a policy that deserves it looks like
_AT = np.array([0.1, 0.3, 0.5, 0.7, 0.85, 0.95, 1.0])
_PRIOR = np.array([0.05, 0.1, 0.15, 0.15, 0.2, 0.2, 0.15])
_MOST_NEEDED = 100_000


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one threshold has come in an attempt.

    Attributes:
        threshold: score from which it would block.
        verdicts: that counted so far.
        right: of those; may be a fraction, where several calls count as one.
        lower: lower bound of its precision, at all times at once, at the error that this threshold has.
        evidence: natural logarithm, now: good luck that is over counts no more.
        needed: natural logarithm of the evidence that proves it.
        more: verdicts more that would prove it if they were right as often as those so far, or all right
            where there are none; None where no number would.
    """

    threshold: float
    verdicts: int
    right: float
    lower: float
    evidence: float
    needed: float
    more: int | None

    @property
    def proven(self) -> bool:
        """Whether precision at this threshold is shown to be above target."""
        return self.evidence >= self.needed


def attempt_error(attempt: int, error: float = ERROR) -> float:
    """The part of the error that attempt 1, 2, 3 ... may spend.

    Raises:
        ValueError: the attempt is below 1, or error is not in (0, 1).
    """
    if attempt < 1 or not 0 < error < 1:
        raise ValueError(f"attempts count from 1 and error is in (0, 1); got {attempt} and {error}")
    return float(error * 0.5**attempt)


def thresholds_to_try(nearest: float | None) -> tuple[float, ...]:
    """Four scores to try, the laxest first: from the one that was nearest to a proof, in steps of log-odds.

    Each step up lets a third and more of the odds of a wrong call go where scores are calibrated.

    Args:
        nearest: that score, in [0, 1]; None where there is none, which begins at one half.
    """
    low = min(max(0.5 if nearest is None else nearest, 1e-3), 0.98)
    odds = np.log(low / (1 - low)) + np.arange(MOST_THRESHOLDS, dtype=np.float64)
    return tuple(float(one) for one in np.round(1 / (1 + np.exp(-odds)), 6))


def above_evidence(right: ArrayLike, weights: ArrayLike, target: float) -> Floats:
    """(n,) log evidence after each verdict that precision is above target.

    Args:
        right: (n,) in [0, 1], in the order in which calls were drawn; a share where several calls stand
            together and count as one.
        weights: (n,) in (0, 1]: the smallest probability with which a call was drawn over this one's.
        target: in (0, 1).

    Raises:
        ValueError: shapes differ, or a number is out of its range.
    """
    hits, weight = _checked(right, weights, target)
    steps = _steps(hits, weight, target)
    return np.asarray(np.logaddexp.reduce(np.cumsum(steps, axis=0) + np.log(_PRIOR), axis=1))


def progress(
    scores: ArrayLike,
    right: ArrayLike,
    weights: ArrayLike,
    thresholds: Sequence[float],
    target: float,
    error: float,
) -> tuple[Progress, ...]:
    """How far each threshold has come, the strictest first.

    Args:
        scores: (n,) of the policy, in the order in which calls were drawn; those below the laxest threshold
            count nowhere.
        right: (n,) in [0, 1].
        weights: (n,) in (0, 1].
        thresholds: those that were fixed before the first call was drawn.
        target: in (0, 1).
        error: of the attempt, in (0, 1).

    Raises:
        ValueError: there are no thresholds or too many, shapes differ, or a number is out of its range.
    """
    hits, weight = _checked(right, weights, target)
    score = np.asarray(scores, dtype=np.float64)
    if not 1 <= len(thresholds) <= MOST_THRESHOLDS or score.shape != hits.shape or not 0 < error < 1:
        raise ValueError(
            f"needs 1 to {MOST_THRESHOLDS} thresholds, a score for each verdict and an error in (0, 1);"
            f" got {len(thresholds)}, {score.shape} for {hits.shape}, and {error}"
        )
    found, handed = [], 0.0
    for threshold in sorted(thresholds, reverse=True):
        level = error / len(thresholds) + handed
        above = score >= threshold
        one = _progress(threshold, hits[above], weight[above], target, level)
        handed = level if one.proven else 0.0
        found.append(one)
    return tuple(found)


def granted(found: Sequence[Progress]) -> float | None:
    """The laxest threshold that is proven; None where none is."""
    return min((one.threshold for one in found if one.proven), default=None)


def lower_bound(right: ArrayLike, weights: ArrayLike, error: float) -> float:
    """Lower bound of precision, at all times at once, with a chance of at most `error` to be too high.

    Raises:
        ValueError: shapes differ, or a number is out of its range.
    """
    low, high = 0.0, 1.0
    while high - low > 1e-3:
        middle = (low + high) / 2
        evidence = above_evidence(right, weights, middle)
        reached = bool(len(evidence)) and float(evidence[-1]) >= -np.log(error)
        low, high = (middle, high) if reached else (low, middle)
    return low


def verdicts_more(evidence: Floats, target: float, precision: float, needed: float) -> int | None:
    """Verdicts of weight 1 more until the evidence is enough, if they are right as often as stated.

    Args:
        evidence: (s,) log evidence of each stake so far.
        target: in (0, 1).
        precision: share of them that is right, in [0, 1].
        needed: natural logarithm.

    Returns:
        None where even a hundred thousand would not do.
    """
    right, wrong = (_steps(np.array([hit]), np.ones(1), target)[0] for hit in (1.0, 0.0))
    # the boldest stake loses all by one wrong call, and -inf times 0 is no number
    grown = precision * right + ((1 - precision) * wrong if precision < 1 else 0.0)

    def enough(more: int) -> bool:
        after = evidence + more * grown if more else evidence
        return float(np.logaddexp.reduce(after + np.log(_PRIOR))) >= needed

    if not enough(_MOST_NEEDED):
        return None
    if enough(0):
        return 0
    low, high = 0, _MOST_NEEDED
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _progress(threshold: float, hits: Floats, weight: Floats, target: float, level: float) -> Progress:
    needed = float(-np.log(level))
    path = above_evidence(hits, weight, target)
    stakes = _steps(hits, weight, target).sum(axis=0)
    n, count = len(hits), float(hits.sum())
    # pulled to 1 by one verdict: with none there is nothing to go by
    likely = (float((hits * weight).sum()) + 1) / (float(weight.sum()) + 1)
    return Progress(
        threshold=float(threshold),
        verdicts=n,
        right=count,
        lower=lower_bound(hits, weight, level),
        evidence=float(path[-1]) if n else 0.0,
        needed=needed,
        more=verdicts_more(stakes, target, likely, needed),
    )


def _steps(hits: Floats, weight: Floats, target: float) -> Floats:
    """(n, s) log of what each verdict multiplies the evidence of each stake by."""
    precision = target + (1 - target) * _AT
    stake = (precision - target) / (target * (1 - target))
    with np.errstate(divide="ignore"):  # the boldest stake loses all by one wrong call
        return np.asarray(np.log1p(stake * weight[:, None] * (hits[:, None] - target)))


def _checked(right: ArrayLike, weights: ArrayLike, target: float) -> tuple[Floats, Floats]:
    hits, weight = np.asarray(right, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    if hits.shape != weight.shape or hits.ndim != 1 or not np.all((weight > 0) & (weight <= 1)):
        raise ValueError(f"needs (n,) verdicts and weights in (0, 1]; got {hits.shape} and {weight.shape}")
    if not 0 < target < 1:
        raise ValueError(f"target must be in (0, 1), got {target}")
    return hits, weight
