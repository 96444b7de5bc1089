"""Figures with their counts and intervals, as measured on the rows and re-weighted to live prevalence.

Labelled scores and thresholds in; frozen figures out. Knows nothing of models, listings' content or pages.

Intervals are 95 % percentile intervals over replicates that redraw whole groups of near duplicates (see
`estimate.bootstrap`). Two cases have no spread to redraw, and are bounded instead of shown as certain: a
ratio of 0 or 1 by the "rule of three" bound (Hanley and Lippman-Hand 1983), and average precision on fewer
than `FEW` groups of positives by 0 and 1, which says that nothing is known.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stallwart.core.scored import Scored
from stallwart.evaluation.draws import Draws
from stallwart.evaluation.ranking import Ranking, area, recall_at

FEW = 5
"""Groups of positives under which an interval for a ranking figure says nothing."""

_UNSEEN = -math.log(0.025)
"""Groups that may still err, at 97.5 %, when none did: 3.69."""

SHARE, PER_NEUTRAL, PER_LISTING = "share", "per 1,000 neutral listings", "per 1,000 listings"


@dataclass(frozen=True)
class Figure:
    """One number with what stands behind it.

    Attributes:
        value: the estimate; NaN where the rows allow none (no calls, no positives).
        low: lower end of the 95 % interval; NaN with `value`.
        high: its upper end.
        n: rows it is about: calls for a precision, violations for a recall, all rows for an order.
        n_positive: right calls, violations caught, or violations among them; a mean adds up its policies'.
        unit: "share", "per 1,000 neutral listings" or "per 1,000 listings".
    """

    value: float
    low: float
    high: float
    n: int
    n_positive: int
    unit: str = SHARE


@dataclass(frozen=True)
class Pair:
    """One figure twice: on the rows as they are, and with every label weighted to its live share."""

    measured: Figure
    live: Figure


@dataclass(frozen=True)
class Costs:
    """What an error or a look costs, in any one unit.

    Attributes:
        miss: a violation that is allowed.
        false_alarm: a block for a policy that is not the one broken.
        review: one listing read by a person, who is taken to be right.
    """

    miss: float = 10.0
    false_alarm: float = 30.0
    review: float = 1.0


@dataclass(frozen=True)
class Gates:
    """Scores from which something happens, for each policy.

    Attributes:
        act: (k,) float64 score from which a policy blocks alone; infinity where it may not.
        review: (k,) float64 score from which a listing that is not blocked goes to a person.
    """

    act: NDArray[np.float64]
    review: NDArray[np.float64]


Figures = Mapping[str, Pair]
"""Figures by name, in the order in which they are shown; `FIGURES` says what each means."""

FIGURES = {
    "average_precision": "Area under precision over recall, ties counted together; 1 is a perfect order.",
    "precision": "Share of the calls at the certified threshold that break this very policy.",
    "recall": "Share of the policy's violations that the certified threshold catches.",
    "recall_at_wanted": "Highest recall whose precision on these rows meets the wanted one (chosen on them).",
    "precision_in_100": "Share of violations among the 100 listings with the highest scores, of 200 or more.",
    "precision_in_positives": "The same among as many listings as there are violations.",
    "false_alarms": "Neutral listings that the certified threshold calls.",
    "review_share": "Share of listings sent to a person and not blocked.",
    "cost": "Expected cost of errors and reviews, under the stated costs.",
    "blocked_share": "Share of listings that some policy blocks alone.",
    "caught": "Share of violations that are blocked for the right policy or sent to a person.",
}


@dataclass(frozen=True)
class Drawn:
    """A figure that still has its replicates, so that means and differences of it get intervals too.

    Attributes:
        values: as measured and live, (1 + replicates,) float64 each; the first entry is the estimate.
        n: see `Figure`.
        n_positive: see `Figure`.
        unit: see `Figure`.
        ends: low and high, measured and live, where replicates cannot say them; else None.
    """

    values: tuple[NDArray[np.float64], NDArray[np.float64]]
    n: int
    n_positive: int
    unit: str = SHARE
    ends: tuple[tuple[float, float], tuple[float, float]] | None = None

    def pair(self) -> Pair:
        """The figure as it is shown."""
        return Pair(*(self._figure(which) for which in (0, 1)))

    def minus(self, other: "Drawn") -> "Drawn":
        """The difference from a figure on the same rows and replicates.

        Where replicates cannot say an end of either, the difference is bounded by the ends of both.
        """
        measured, live = (mine - its for mine, its in zip(self.values, other.values, strict=True))
        ends = None
        if self.ends or other.ends:
            first, second = (
                (mine.low - its.high, mine.high - its.low)
                for mine, its in ((self._figure(which), other._figure(which)) for which in (0, 1))
            )
            ends = first, second
        return Drawn((measured, live), self.n, self.n_positive, self.unit, ends)

    def _figure(self, which: int) -> Figure:
        value = float(self.values[which][0])
        drawn = self.values[which][1:]
        drawn = drawn[~np.isnan(drawn)]
        if math.isnan(value):
            low = high = math.nan
        elif self.ends is not None:
            low, high = self.ends[which]
        else:
            low, high = np.quantile(drawn, (0.025, 0.975)) if len(drawn) else (value, value)
            # A skewed statistic can leave its own percentile interval; one without its value helps nobody.
            low, high = min(float(low), value), max(float(high), value)
        return Figure(value, low, high, self.n, self.n_positive, self.unit)


def policy_figures(scored: Scored, column: int, gates: Gates, costs: Costs, draws: Draws) -> dict[str, Drawn]:
    """All figures of the policy in one column of the scores, in the order of `FIGURES`."""
    scores, labels = scored.scores[:, column], scored.rows.labels
    positive, neutral = labels == column + 1, labels == 0
    called = scores >= gates.act[column]
    reviewed = (scores >= gates.review[column]) & ~called
    missed = positive & ~called & ~reviewed
    cost = costs.false_alarm * (called & ~positive) + costs.review * reviewed + costs.miss * missed
    anyone = np.ones(len(labels), dtype=bool)
    figures = {
        **ranking_figures(Ranking(scores, positive), draws, scored.taxonomy.policies[column].precision),
        "precision": ratio(draws, called & positive, called, errors_among=anyone),
        "recall": ratio(draws, called & positive, positive),
        "false_alarms": ratio(draws, called & neutral, neutral, PER_NEUTRAL),
        "review_share": ratio(draws, reviewed, anyone),
        "cost": mean(draws, cost, int(positive.sum())),
    }
    return {name: figures[name] for name in FIGURES if name in figures}


def traffic_figures(scored: Scored, gates: Gates, costs: Costs, draws: Draws) -> dict[str, Drawn]:
    """What all policies together do to the traffic; a listing is blocked if any of them calls it.

    A block is right only if a policy that called is the one broken; every other block is a false alarm.
    """
    labels = scored.rows.labels
    calls = scored.scores >= gates.act
    called: NDArray[np.bool_] = np.any(calls, axis=1)
    violating, neutral = labels > 0, labels == 0
    right = calls[np.arange(len(labels)), np.maximum(labels - 1, 0)] & violating
    reviewed: NDArray[np.bool_] = np.any(scored.scores >= gates.review, axis=1) & ~called
    missed = violating & ~called & ~reviewed
    cost = costs.false_alarm * (called & ~right) + costs.review * reviewed + costs.miss * missed
    anyone = np.ones(len(labels), dtype=bool)
    return {
        "blocked_share": ratio(draws, called, anyone),
        "precision": ratio(draws, right, called, errors_among=anyone),
        "caught": ratio(draws, violating & (right | reviewed), violating),
        "false_alarms": ratio(draws, called & neutral, neutral, PER_NEUTRAL),
        "review_share": ratio(draws, reviewed, anyone),
        "cost": mean(draws, cost, int(violating.sum())),
    }


def average_precision(ranking: Ranking, draws: Draws) -> Drawn:
    """Average precision alone; see `ranking_figures`."""
    measured, live = (area(*ranking.curve(weights)) for weights in draws.weights)
    places = ranking.order[ranking.positive]
    return Drawn((measured, live), len(ranking.order), len(places), SHARE, _ends(draws, places))


def ranking_figures(ranking: Ranking, draws: Draws, wanted: float) -> dict[str, Drawn]:
    """Average precision, recall at the wanted precision and precision in the first k.

    Args:
        ranking: the rows in order.
        draws: their weights.
        wanted: precision that the policy wants, in (0, 1).
    """
    places = ranking.order[ranking.positive]  # rows of the positives
    curves = [ranking.curve(weights) for weights in draws.weights]
    # Of fewer than 200 listings the first 100 are no top of an order
    hundred = np.full(draws.counts.shape[1], 100.0 if len(ranking.order) >= 200 else np.nan)
    values = {
        "average_precision": [area(*curve) for curve in curves],
        "recall_at_wanted": [recall_at(*curve, wanted) for curve in curves],
        "precision_in_100": [ranking.precision_in_first(weights, hundred) for weights in draws.weights],
        "precision_in_positives": [
            ranking.precision_in_first(weights, weights[places].sum(axis=0)) for weights in draws.weights
        ],
    }
    ends = _ends(draws, places)
    return {
        name: Drawn((measured, live), len(ranking.order), len(places), SHARE, ends)
        for name, (measured, live) in values.items()
    }


def _ends(draws: Draws, places: NDArray[np.int64]) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """An interval that says nothing, where the positives are of too few groups for replicates to say more."""
    return ((0.0, 1.0), (0.0, 1.0)) if len(np.unique(draws.groups[places])) < FEW else None


def ratio(
    draws: Draws,
    hit: NDArray[np.bool_],
    among: NDArray[np.bool_],
    unit: str = SHARE,
    errors_among: NDArray[np.bool_] | None = None,
) -> Drawn:
    """The weight of the rows that `hit` over the weight of the rows `among` which they are.

    Args:
        draws: weights of the rows.
        hit: (n,) bool.
        among: (n,) bool, a superset of `hit`.
        unit: "share", or one for each 1,000.
        errors_among: (n,) bool, rows that might have been the other way, should all agree; else `among`.
    """
    scale = 1.0 if unit == SHARE else 1_000.0
    n, hits = int(among.sum()), int(hit.sum())
    with np.errstate(invalid="ignore", divide="ignore"):
        measured, live = (
            scale * (hit.astype(float) @ weights) / (among.astype(float) @ weights)
            for weights in draws.weights
        )
    ends = None
    if n and hits in (0, n):
        could = among if errors_among is None else errors_among
        bounds = [_unanimous(weights[:, 0], among, could, draws) for weights in draws.weights]
        first, second = [(b * scale, scale) if hits else (0.0, (1 - b) * scale) for b in bounds]
        ends = first, second
    return Drawn((measured, live), n, hits, unit, ends)


def _unanimous(
    weights: NDArray[np.float64], among: NDArray[np.bool_], could: NDArray[np.bool_], draws: Draws
) -> float:
    """Bound for a share of 1 that no row contradicts: 3.69 unseen groups of the heaviest kind may."""
    size = int(among.sum()) / len(np.unique(draws.groups[among]))  # rows of a group would err together
    seen = float(weights[among].sum())
    return float(seen / (seen + _UNSEEN * size * float(weights[could].max())))


def mean(draws: Draws, values: NDArray[np.float64], n_positive: int) -> Drawn:
    """The weighted mean of `values` over all rows, for each 1,000 listings."""
    with np.errstate(invalid="ignore", divide="ignore"):
        measured, live = ((values @ weights) / weights.sum(axis=0) * 1_000 for weights in draws.weights)
    return Drawn((measured, live), len(values), n_positive, PER_LISTING)


def macro(drawn: Sequence[Drawn], n_rows: int) -> Drawn:
    """The mean of one figure over policies; those without a value are left out.

    Where replicates cannot say the ends of some policies, these widen the interval of the mean by the root of
    the sum of squared distances (MOVER: Zou and Donner 2008, Stat. Med. 27).

    Args:
        drawn: one for each policy, at least one.
        n_rows: rows that were evaluated; where every figure is about all of them, so is the mean.
    """
    measured, live = (_mean_known([one.values[which] for one in drawn]) for which in (0, 1))
    n = n_rows if all(one.n == n_rows for one in drawn) else sum(one.n for one in drawn)
    whole = Drawn((measured, live), n, sum(one.n_positive for one in drawn), drawn[0].unit)
    bounded = [one for one in drawn if one.ends is not None]
    return replace(whole, ends=_widened(whole, bounded, drawn)) if bounded else whole


def _widened(
    whole: Drawn, bounded: Sequence[Drawn], drawn: Sequence[Drawn]
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Ends of a mean, measured and live, of which some parts have ends that no replicate says."""
    ends = []
    for which in (0, 1):
        mean, known = whole._figure(which), sum(not math.isnan(one.values[which][0]) for one in drawn)
        parts = [one._figure(which) for one in bounded if not math.isnan(one.values[which][0])]
        low = math.hypot(mean.value - mean.low, *((one.value - one.low) / known for one in parts))
        high = math.hypot(mean.high - mean.value, *((one.high - one.value) / known for one in parts))
        ends.append((mean.value - low, mean.value + high))
    return ends[0], ends[1]


def _mean_known(values: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    stacked = np.array(values)
    known = ~np.isnan(stacked)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, stacked, 0.0).sum(axis=0) / known.sum(axis=0))
