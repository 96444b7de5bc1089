"""Log-odds of rows that the models never saw -> calibration at the live shares."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from stallwart.estimate.weighted import live_weights
from stallwart.model.bundle import Calibration

# Strength of the pull to slope 1, in positives: a policy with a handful of them keeps its model's slope
_PRIOR = 5.0


def fit_calibration(
    log_odds: NDArray[np.float64], labels: NDArray[np.int64], shares: NDArray[np.float64]
) -> Calibration:
    """Platt scaling of each policy, with rows weighted to the live shares.

    Each class counts as much as its live share says, whatever its number in the data. The slope is pulled
    to 1 by a prior worth five positives, and kept positive, so that calibration never reorders listings.

    Args:
        log_odds: (n, k) of out-of-sample rows.
        labels: (n,) class columns, 0 neutral.
        shares: (k+1,) live shares that sum to 1.
    """
    weights = live_weights(labels, shares)
    fitted = [
        _platt(log_odds[:, column], labels == column + 1, weights, float(shares[column + 1]))
        for column in range(log_odds.shape[1])
    ]
    return Calibration(slopes=tuple(s for s, _ in fitted), intercepts=tuple(i for _, i in fitted))


def base_rate_calibration(labels: NDArray[np.int64], shares: NDArray[np.float64]) -> Calibration:
    """Moves log-odds from the base rates of training rows to the live shares, and trusts them otherwise.

    For scores that no earlier out-of-sample rows can calibrate.

    Args:
        labels: (n,) class columns of the training rows, 0 neutral.
        shares: (k+1,) live shares that sum to 1.
    """
    trained = (np.bincount(labels, minlength=len(shares)) + 1) / (len(labels) + len(shares))
    moved = np.log(shares / (1 - shares)) - np.log(trained / (1 - trained))
    return Calibration(slopes=(1.0,) * (len(shares) - 1), intercepts=tuple(moved[1:].tolist()))


def _platt(
    z: NDArray[np.float64], yes: NDArray[np.bool_], weights: NDArray[np.float64], share: float
) -> tuple[float, float]:
    positives = int(yes.sum())
    if not positives or yes.all():
        return 1.0, float(np.log(share / (1 - share)))
    scaled = weights / weights[yes].sum() * positives  # the positives weigh as many as there are

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        slope, intercept = np.exp(parameters[0]), parameters[1]
        logit = slope * z + intercept
        residual = scaled * (1 / (1 + np.exp(-np.clip(logit, -500, 500))) - yes)
        value = (scaled * (np.logaddexp(0, logit) - yes * logit)).sum() + _PRIOR * parameters[0] ** 2
        gradient = np.array([(residual * z).sum() * slope + 2 * _PRIOR * parameters[0], residual.sum()])
        return float(value), gradient

    start = np.array([0.0, np.log(share / (1 - share))])
    best = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=((-3.0, 3.0), (-60.0, 60.0)))
    return float(np.exp(best.x[0])), float(best.x[1])
