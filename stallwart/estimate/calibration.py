"""Whether probabilities still mean what they say, verdict by verdict, with a known rate of false alarms.

An e-detector (Shin, Ramdas and Rinaldo 2023, "E-detectors: a nonparametric framework for sequential change
detection"): a Shiryaev-Roberts sum of likelihood ratios. The null is not that probabilities are exact, which
no model's are, but that the odds of a violation are within `tolerance` of those stated. As long as they are,
and in whatever order or number verdicts come, the mean time to a false alarm is at least the limit, in
verdicts.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

TOLERANCE = 1.5
"""Odds that are this many times too high or too low are put up with."""
_FARTHER = (2.0, 4.0)  # alternatives, in odds beyond the tolerance
_FLOOR = 1e-4  # of probabilities: at 0 a single violation would prove anything


def detector(
    stated: Floats, violates: NDArray[np.bool_], tolerance: float = TOLERANCE
) -> tuple[Floats, Floats]:
    """Evidence after each verdict that the odds became higher, and that they became lower, than stated.

    Each is to be held against a limit: in the long run under the null, crossings of either are at least
    limit / 2 verdicts apart on average.

    Args:
        stated: (n,) probabilities in [0, 1], in the order of verdicts.
        violates: (n,) whether the listing breaks the policy.
        tolerance: >= 1, in odds.

    Raises:
        ValueError: shapes differ, or the tolerance is below 1.
    """
    if stated.shape != violates.shape or stated.ndim != 1 or tolerance < 1:
        raise ValueError(f"needs two columns and a tolerance >= 1: {stated.shape}, {violates.shape}")
    return _sums(stated, violates, tolerance), _sums(1 - stated, ~violates, tolerance)


def _sums(stated: Floats, happened: NDArray[np.bool_], tolerance: float) -> Floats:
    """(n,) mean over alternatives of the Shiryaev-Roberts sum for "it happens more often than stated"."""
    kept = np.clip(stated, _FLOOR, 1 - _FLOOR)
    odds = kept / (1 - kept) * tolerance
    at_most = odds / (1 + odds)
    total = np.zeros(len(kept))
    for times in _FARTHER:
        other = odds * times / (1 + odds * times)
        # Grows where it happened and shrinks where it did not, so its mean is at most 1 for all lower odds
        ratio = np.where(happened, other / at_most, (1 - other) / (1 - at_most))
        total += _shiryaev_roberts(ratio) / len(_FARTHER)
    return total


def _shiryaev_roberts(ratios: Floats) -> Floats:
    sums = np.empty(len(ratios))
    now = 0.0
    for place, ratio in enumerate(ratios.tolist()):
        now = min((1.0 + now) * ratio, 1e200)
        sums[place] = now
    return sums
