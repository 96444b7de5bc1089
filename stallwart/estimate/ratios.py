"""Evidence on how many times as often an event meets one arm as the other: anytime-valid, from counts alone.

What comes in: counts of events by step and arm, or of pairs. What goes out: the logarithm of an e-value, a
nonnegative number whose mean is at most 1 under the hypothesis at every moment, whoever looks and whenever
they stop. By Ville's inequality it ever reaches 1 / alpha with probability at most alpha (Ramdas, Gruenwald,
Vovk and Shafer 2023, Statistical Science 38).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

# Alternatives, as multiples of the limit: near ones for slow harm, far ones so that a broken model is out at
# once
_ABOVE = np.array([1.15, 1.3, 1.6, 2.0, 3.0, 6.0, 15.0, 50.0])
_BELOW = 1 / np.array([1.15, 1.3, 1.6, 2.0, 3.0, 10.0, 1000.0])
_STAKES = np.array([0.03, 0.06, 0.12, 0.25, 0.5, 0.75, 0.95])
_RATIOS = np.geomspace(1e-4, 1e4, 1601)  # where the interval is looked for
_PRIOR = np.geomspace(1 / 64, 64, 49)  # its mixture


def ratio_evidence(
    challenger: ArrayLike, champion: ArrayLike, share: ArrayLike, limit: float, above: bool = True
) -> Floats:
    """Log evidence that the ratio of event rates is above (or below) a limit.

    An event falls on the challenger with probability s r / (s r + 1 - s), where r is the challenger's rate
    over the champion's and s its share of traffic, whatever the rates are and however they drift (Lindon and
    Malek 2022, arXiv 2210.08589). The average over a fixed grid of r beyond the limit of the likelihood ratio
    against the limit is a supermartingale for every r on this side of it. The order of events plays no part.
    It needs each event to be a new draw of the arm: count a unit that always meets one arm once.

    Args:
        challenger: (..., c) events of the challenger, by step.
        champion: (..., c) events of the champion, by step.
        share: (c,) in [0, 1]; a step at 0 or 1 compares nothing and is left out.
        limit: > 0, of the ratio.
        above: whether the ratio is said to be above it, else below.

    Returns:
        (...) float64, 0 without events.

    Raises:
        ValueError: the limit is not above 0, or the shapes do not fit.
    """
    if limit <= 0:
        raise ValueError(f"a ratio's limit must be above 0, got {limit}")
    x, y, s = _compared(challenger, champion, share)
    grid = limit * (_ABOVE if above else _BELOW)
    return _log_mean(_log_likelihood(x, y, s, grid, limit))


def ratio_interval(
    challenger: ArrayLike, champion: ArrayLike, share: ArrayLike, alpha: float = 0.05
) -> tuple[float, float]:
    """Where the ratio of event rates lies at all times at once with probability 1 - alpha: (lower, upper).

    All ratios against which a mixture over a fixed grid of ratios has less than 1 / alpha of evidence; the
    likelihood has one peak, so they are an interval. (0, inf) without events.

    Args:
        challenger: (c,) events by step.
        champion: (c,) events by step.
        share: (c,) in [0, 1].
        alpha: in (0, 1).
    """
    x, y, s = _compared(challenger, champion, share)
    against = _log_mean(_log_likelihood(x, y, s, _PRIOR, 1.0)) - _log_likelihood(x, y, s, _RATIOS, 1.0)
    return _ends(against, -np.log(alpha), _RATIOS)


def paired_evidence(
    both: ArrayLike, challenger_only: ArrayLike, champion_only: ArrayLike, limit: float, above: bool = True
) -> Floats:
    """Log evidence that the ratio of event rates is above (or below) a limit, both models judging each unit.

    Bets on challenger's event - limit * champion's event, whose mean is at most 0 where the ratio is at most
    the limit: the average over a fixed grid of stakes of the product of 1 + stake * that (Waudby-Smith and
    Ramdas 2024, JRSS B 86). Pairs in which neither has the event say nothing.

    Args:
        both: (...) pairs in which both models have the event.
        challenger_only: (...) pairs in which only the challenger has it.
        champion_only: (...) pairs in which only the champion has it.
        limit: > 0, of the challenger's rate over the champion's.
        above: whether the ratio is said to be above it, else below.

    Returns:
        (...) float64, 0 without events.

    Raises:
        ValueError: the limit is not above 0.
    """
    if limit <= 0:
        raise ValueError(f"a ratio's limit must be above 0, got {limit}")
    counts = [np.asarray(n, dtype=np.float64) for n in (both, challenger_only, champion_only)]
    return _bets(counts, np.asarray(limit, dtype=np.float64), above)


def paired_interval(
    both: int, challenger_only: int, champion_only: int, alpha: float = 0.05
) -> tuple[float, float]:
    """Where the ratio lies at all times at once with probability 1 - alpha, from pairs: (lower, upper).

    All limits that neither `paired_evidence` above nor below, each at alpha / 2, speaks against; it is
    monotone in the limit. (0, inf) without events.
    """
    counts = [np.asarray(n, dtype=np.float64) for n in (both, challenger_only, champion_only)]
    grid = _RATIOS[::4]
    against = np.maximum(_bets(counts, grid, True), _bets(counts, grid, False))
    return _ends(against, np.log(2 / alpha), grid)


def sum_evidence(
    challenger: ArrayLike, champion: ArrayLike, size: ArrayLike, share: ArrayLike, limit: float
) -> Floats:
    """Log evidence that the challenger's mean of a bounded amount is above `limit` times the champion's.

    Each unit's amount, drawn into an arm with probability s, bets on amount * (1 - s) where it is the
    challenger's and on -limit * amount * s where it is the champion's: together at most 0 in the mean under
    the hypothesis. Depends on how many units had which amount, not on their order.

    Args:
        challenger: (..., c, b) units of the challenger, by step and size.
        champion: (..., c, b) units of the champion, by step and size.
        size: (b,) the amounts, in [0, 1] of the largest that counts.
        share: (c,) in [0, 1]; a step at 0 or 1 is left out.
        limit: > 0.

    Returns:
        (...) float64, 0 without units.

    Raises:
        ValueError: the limit is not above 0.
    """
    if limit <= 0:
        raise ValueError(f"a ratio's limit must be above 0, got {limit}")
    s = np.asarray(share, dtype=np.float64)
    live = (s > 0) & (s < 1)
    s, amount = s[live, None, None], np.asarray(size, dtype=np.float64)[None, :, None]
    x, y = (np.asarray(n, dtype=np.float64)[..., live, :] for n in (challenger, champion))
    won = np.log1p(_STAKES * amount * (1 - s) / (limit * s))  # (c, b, g)
    lost = np.broadcast_to(np.log1p(-_STAKES * amount), won.shape)
    return _log_mean(np.tensordot(x, won, 2) + np.tensordot(y, lost, 2))


def _compared(challenger: ArrayLike, champion: ArrayLike, share: ArrayLike) -> tuple[Floats, Floats, Floats]:
    s = np.asarray(share, dtype=np.float64)
    x, y = np.asarray(challenger, dtype=np.float64), np.asarray(champion, dtype=np.float64)
    if x.shape != y.shape or s.ndim != 1 or x.shape[-1:] != s.shape:
        raise ValueError(f"needs counts (..., c) and shares (c,); got {x.shape}, {y.shape} and {s.shape}")
    live = (s > 0) & (s < 1)
    return x[..., live], y[..., live], s[live]


def _bets(counts: Sequence[Floats], limit: Floats, above: bool) -> Floats:
    """Log of the average capital over the stakes, for counts and limits whose shapes go together."""
    # the worst outcome of a bet is scaled to -1, so that no stake below 1 can lose all
    one = np.ones_like(limit)
    gains = (1 / limit - 1, 1 / limit, -one) if above else (limit - 1, -one, limit)
    grown = [n[..., None] * np.log1p(_STAKES * x[..., None]) for n, x in zip(counts, gains, strict=True)]
    return _log_mean(grown[0] + grown[1] + grown[2])


def _log_likelihood(x: Floats, y: Floats, s: Floats, ratio: Floats, against: float) -> Floats:
    """(..., g) log likelihood of the counts (..., c) at each ratio (g,), less that at one ratio."""
    odds = np.log(s / (1 - s))[:, None] + np.log(np.append(ratio, against))  # (c, g + 1)
    challenger, champion = -np.logaddexp(0, -odds), -np.logaddexp(0, odds)
    result: Floats = x @ (challenger[:, :-1] - challenger[:, -1:]) + y @ (champion[:, :-1] - champion[:, -1:])
    return result


def _log_mean(logs: Floats) -> Floats:
    top = logs.max(axis=-1, keepdims=True)  # scipy's logsumexp takes ten times as long for one look
    result: Floats = top[..., 0] + np.log(np.exp(logs - top).mean(axis=-1))
    return result


def _ends(against: Floats, needed: float, grid: Floats) -> tuple[float, float]:
    """The part of a grid that too little speaks against, with its neighbours; 0 and inf at the grid's
    ends."""
    # so many counts that the interval lies between two points of the grid: the nearest one stands for it
    inside = np.flatnonzero(against < max(needed, float(against.min()) + 1e-9))
    first, last = int(inside[0]), int(inside[-1])
    lower = 0.0 if first == 0 else float(grid[first - 1])
    return lower, float("inf") if last == len(grid) - 1 else float(grid[last + 1])
