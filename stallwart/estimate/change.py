"""Whether precision fell below its target: a change detector on verdicts drawn with known probability.

Page's CUSUM (1954) of the log-likelihood ratio of "precision is `drop` below target" against "precision is
at target", written as a bet so that weighted verdicts fit: a verdict multiplies the evidence by

    1 + stake * weight * (target - right),    stake = drop / (target * (1 - target))

whose mean is at most 1 while precision is at target or above, whatever the weights. The statistic is the
largest log evidence over all starting points, never below 0: it forgets good conduct, so that months of it
are no credit (the e-detector of Shin, Ramdas and Rinaldo 2024, with a maximum over starts, not a sum).
"""

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

DROP = 0.10
"""How far below target it looks for precision first; falls of other sizes are found too, some later."""
STRETCH = 5_000
"""Verdicts in a row over which the false alarm rate is stated."""
ERROR = 0.045
"""Chance of an alarm in one stretch at target; 5 % are allowed, less what is inexact."""

_STATES = 150  # of the statistic between 0 and its limit; fewer set the limit a little too high
_STEPS = 11  # halvings of the interval that the limit lies in


def fall_path(right: ArrayLike, weights: ArrayLike, target: float, drop: float = DROP) -> Floats:
    """(n,) the statistic after each verdict, in nats, >= 0; it alarms where it reaches `fall_limit`.

    Args:
        right: (n,) in [0, 1], whether each call was right, in the order in which calls were drawn; a share
            where several calls stand together and count as one.
        weights: (n,) in (0, 1]: the smallest probability with which a call was drawn over this one's.
        target: wanted precision, in (0, 1).
        drop: in (0, 1); at most half of the target is used.

    Raises:
        ValueError: shapes differ, or a number is out of its range.
    """
    hits, weight = np.asarray(right, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    if hits.shape != weight.shape or hits.ndim != 1 or not np.all((weight > 0) & (weight <= 1)):
        raise ValueError(f"needs (n,) verdicts and weights in (0, 1]; got {hits.shape} and {weight.shape}")
    steps = np.log1p(_stake(target, drop) * weight * (target - hits))
    total = np.cumsum(steps)
    return np.asarray(total - np.minimum.accumulate(np.minimum(total, 0.0)))


@lru_cache(maxsize=256)
def fall_limit(target: float, drop: float = DROP, error: float = ERROR, stretch: int = STRETCH) -> float:
    """The statistic, in nats, that a policy exactly at target reaches in a stretch with the chance `error`.

    From the distribution of the statistic on a grid, step by step (Brook and Evans 1972), for verdicts of
    weight 1; verdicts of smaller weight reach it more rarely (`bench/rights.py` simulates both).

    Raises:
        ValueError: a number is out of its range.
    """
    if not 0 < error < 1 or stretch < 1:
        raise ValueError(f"error must be in (0, 1) and stretch >= 1, got {error} and {stretch}")
    low, high = 0.0, float(np.log(stretch / error))  # by Ville's inequality, for each start
    stake = _stake(target, drop)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        reached = _reached(target, stake, middle, stretch)
        low, high = (middle, high) if reached > error else (low, middle)
    return high


def _stake(target: float, drop: float) -> float:
    if not (0 < target < 1 and 0 < drop < 1):
        raise ValueError(f"target and drop must be in (0, 1), got {target} and {drop}")
    return min(drop, target / 2) / (target * (1 - target))


def _reached(target: float, stake: float, limit: float, stretch: int) -> float:
    """Chance that a policy at target reaches the limit within a stretch."""
    grid, states = np.linspace(0.0, limit, _STATES), np.arange(_STATES)
    moves = np.zeros((_STATES, _STATES))
    for right, chance in ((1.0, target), (0.0, 1 - target)):
        place, upper = _moved(grid, float(np.log1p(stake * (target - right))), limit)
        stays = place >= 0  # the others have alarmed, and leave
        moves[states[stays], place[stays]] += chance * (1 - upper[stays])
        moves[states[stays], place[stays] + 1] += chance * upper[stays]
    return float(1 - np.linalg.matrix_power(moves, stretch)[0].sum())


def _moved(grid: Floats, step: float, limit: float) -> tuple[NDArray[np.int64], Floats]:
    """Where each state goes: the state below (-1 beyond the limit), and the share that goes one above it."""
    to = np.maximum(grid + step, 0.0)
    scaled = to / (grid[1] - grid[0])
    place = np.floor(scaled).astype(np.int64)
    upper = scaled - place  # splitting the mass between two states keeps its mean
    place = np.where(to >= limit, -1, np.minimum(place, len(grid) - 2))
    return place, upper
