"""Whether the final model's scores are still the scores that a threshold was certified on.

The certificate is earned by rolling-origin models, each trained on less than the final one. What comes in:
both kinds of scores of one policy. What goes out: a plain result. It does not look at labels, so it cannot
tell a model that became better from a market that changed; it says only that the certified threshold may mean
something else now.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stallwart.estimate.bounds import Interval, rate_interval


@dataclass(frozen=True)
class Shift:
    """Result of one comparison.

    Attributes:
        shifted: the share at or above the threshold left its tolerance, beyond chance.
        share_certified: share of the certifying rows at or above the threshold, with its interval.
        share_final: share of the compared rows at or above it under the final model, with its interval.
        p_value: of the two-sample Kolmogorov-Smirnov test over all scores; for reading, it does not decide.
        rows_certified: rows behind the first share.
        rows_final: rows behind the second share.
        reason: one sentence.
    """

    shifted: bool
    share_certified: float
    share_certified_interval: Interval
    share_final: float
    share_final_interval: Interval
    p_value: float
    rows_certified: int
    rows_final: int
    reason: str


def check_shift(
    certified: NDArray[np.float64],
    final: NDArray[np.float64],
    threshold: float,
    tolerance: float = 1.5,
    confidence: float = 0.95,
) -> Shift:
    """Compare the final model's scores of one policy with those that certified its threshold.

    Give rows of one kind, best of one label: neutral rows show whether false alarms will rise, and the
    policy's own rows whether its recall will fall. Different label mixtures on the two sides look like a
    shift.

    Args:
        certified: (a,) float64 rolling-origin scores.
        final: (b,) float64 scores of the final model on rows that it was not trained on.
        threshold: the certified threshold.
        tolerance: > 1; the ratio of the two shares, either way, that is still the same in practice. A
            shift is called only when the two intervals lie further apart than this.
        confidence: level of each interval (Clopper-Pearson).

    Raises:
        ValueError: tolerance is not above 1.
    """
    if tolerance <= 1:
        raise ValueError(f"tolerance must be above 1, got {tolerance}")
    above = [int((scores >= threshold).sum()) for scores in (certified, final)]
    before, after = (
        rate_interval(hits, len(scores), confidence)
        for hits, scores in zip(above, (certified, final), strict=True)
    )
    shares = [
        hits / len(scores) if len(scores) else 0.0
        for hits, scores in zip(above, (certified, final), strict=True)
    ]
    more = after.lower > tolerance * before.upper
    fewer = tolerance * after.upper < before.lower
    return Shift(
        more or fewer,
        shares[0],
        before,
        shares[1],
        after,
        two_sample_p(certified, final),
        len(certified),
        len(final),
        _reason(more, fewer, shares, len(final)),
    )


def two_sample_p(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """p-value of the two-sample Kolmogorov-Smirnov test, conservative with ties; 1.0 if one side is empty."""
    if not len(first) or not len(second):
        return 1.0
    points = np.concatenate([first, second])
    shares = [np.searchsorted(np.sort(x), points, side="right") / len(x) for x in (first, second)]
    distance = float(np.abs(shares[0] - shares[1]).max())
    size = round(len(first) * len(second) / (len(first) + len(second)))
    from scipy.stats import kstwo  # takes a second to load, and a service that only scores never asks

    return float(kstwo.sf(distance, max(1, size)))


def _reason(more: bool, fewer: bool, shares: list[float], rows: int) -> str:
    figures = (
        f"{shares[1]:.2%} of {rows} listings score at or above the threshold, against {shares[0]:.2%} before"
    )
    if not rows:
        return "No listings to compare the final model's scores on."
    if more:
        return f"The final model calls more than the certified one did: {figures}. Certify again before use."
    if fewer:
        return f"The final model calls less than the certified one did: {figures}. Recall will be lower."
    return f"No shift of scores seen: {figures}."
