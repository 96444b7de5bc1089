"""Which listings to draw for the audit: score bands, and the probability of each, from a budget."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

DOUBT = 0.001
"""Rate that a band may have beyond its predicted one: what scores say of rare violations is not trusted."""


@dataclass(frozen=True, slots=True)
class Band:
    """Traffic to plan for.

    Attributes:
        called: whether its decisions are calls.
        population: listings expected in the time that the budget is for, >= 0.
        predicted: mean calibrated probability of a violation, in [0, 1].
    """

    called: bool
    population: float
    predicted: float


def band_edges(scores: ArrayLike, count: int, doubt: float = 1e-5) -> Floats:
    """(b - 1,) increasing inner edges that cut scores into b <= `count` bands; one belongs to the band above.

    The bands hold equal sums of sqrt(score + doubt), the deviation of a listing's verdict as predicted: the
    rule of Dalenius and Hodges (1959), JASA 54. Few different scores make fewer bands.

    Args:
        scores: (n,) calibrated probabilities, in [0, 1], of a typical time: of calls, or of the rest.
        count: bands wanted, >= 1.
        doubt: >= 0, added to scores. Far less than in `drawing_probabilities`: there it sees to it that low
            bands are drawn enough, here it would cut up listings that scores do not tell apart.

    Raises:
        ValueError: no scores, scores outside [0, 1], or count below 1.
    """
    sorted_scores = np.sort(np.asarray(scores, dtype=np.float64).ravel())
    if not len(sorted_scores) or count < 1 or not (sorted_scores[0] >= 0 and sorted_scores[-1] <= 1):
        raise ValueError(f"needs scores in [0, 1] and at least 1 band; got {len(sorted_scores)} and {count}")
    effort = np.cumsum(np.sqrt(sorted_scores + doubt))
    wanted = effort[-1] * np.arange(1, count) / count
    edges = np.unique(sorted_scores[np.searchsorted(effort, wanted)])
    return np.asarray(edges[edges > sorted_scores[0]])


def drawing_probabilities(
    bands: Sequence[Band],
    budget: float,
    to_called: float = 0.15,
    doubt: float = DOUBT,
    least: float = 1e-4,
) -> Floats:
    """(b,) probabilities in [least, 1] with which each band's listings are drawn, `budget` expected in all.

    A share of the budget goes to what was called, which precision rests on, the rest to what was not, where
    the misses of a recall are. Within each the number of verdicts is in proportion to the band's size times
    the deviation of one verdict (Neyman 1934), which makes the variance of precision or of what is missed the
    smallest. Bands that are drawn completely leave what they do not need to the others.

    Args:
        bands: all traffic.
        budget: verdicts that can be had in the same time, > 0; all go out if there are enough listings.
        to_called: share of the budget for what was called, in [0, 1].
        doubt: added to predicted rates. 0 trusts them, and draws next to nothing where scores are low; a
            large one draws all that was not called alike. Where nothing is found, what may be missed is about
            3.7 times what one verdict in the thinnest band stands for, which is why low bands need many.
        least: smallest probability, in (0, 1], so that every listing has a known chance.

    Raises:
        ValueError: the budget is not above what `least` takes, or a number is out of its range.
    """
    size = np.array([band.population for band in bands], dtype=np.float64)
    rate = np.array([band.predicted for band in bands], dtype=np.float64)
    called = np.array([band.called for band in bands], dtype=bool)
    if not (0 < least <= 1 and 0 <= to_called <= 1 and doubt >= 0):
        raise ValueError(
            f"needs least in (0, 1], to_called in [0, 1], doubt >= 0: {least}, {to_called}, {doubt}"
        )
    if not (np.all(size >= 0) and np.all((rate >= 0) & (rate <= 1))):
        raise ValueError("populations must be >= 0 and predicted rates in [0, 1]")
    if budget <= least * size.sum():
        raise ValueError(
            f"a budget of {budget:g} verdicts does not give each of {size.sum():,.0f} listings a chance of "
            f"{least:g}; raise the budget or lower `least`"
        )
    likely = np.minimum(rate + doubt, 0.5)
    deviation = np.sqrt(likely * (1 - likely))
    given = np.zeros(len(size))
    given[called] = _divided(size[called], deviation[called], to_called * budget, least)
    left = budget - float((given * size).sum())
    given[~called] = _divided(size[~called], deviation[~called], left, least)
    left = budget - float((given * size).sum())
    if left > 1e-9 * budget and called.any():  # all that was not called is drawn
        given[called] = _divided(
            size[called], deviation[called], left + float((given * size)[called].sum()), least
        )
    return given


def _divided(size: Floats, deviation: Floats, budget: float, least: float) -> Floats:
    """(b,) probabilities in proportion to deviation, within [least, 1], that spend the budget if they can."""
    low, high = 0.0, 1 / max(float(deviation.min(initial=1.0)), 1e-12)
    for _ in range(100):
        middle = (low + high) / 2
        spent = float((size * np.clip(middle * deviation, least, 1)).sum())
        low, high = (middle, high) if spent < budget else (low, middle)
    return np.asarray(np.clip(low * deviation, least, 1))
