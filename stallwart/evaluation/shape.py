"""What a plot needs of the scores: reliability, precision over recall, and confusion.

Scores and labels in, a few dozen points out. Draws nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stallwart.core.scored import Scored
from stallwart.evaluation.draws import Draws
from stallwart.evaluation.figures import Figure, ratio
from stallwart.evaluation.ranking import Ranking

# Finer near 0, where live shares lie, and near 1, where policies act.
_EDGES = np.array([0.0, 0.01, 0.03, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.97, 1.0])
_POINTS = 160


@dataclass(frozen=True)
class Bin:
    """Rows whose score lies in one interval.

    Attributes:
        low: score from which they start.
        high: score before which they end; the last one holds 1.
        predicted: their mean score, weighted to live prevalence.
        observed: share that breaks the policy, weighted to live prevalence.
    """

    low: float
    high: float
    predicted: float
    observed: Figure


@dataclass(frozen=True)
class Curve:
    """Precision over recall, at most 160 points, from the highest score down.

    Attributes:
        recall: shares in [0, 1], rising.
        precision: share of right calls at each, as measured.
        precision_live: the same at live prevalence.
    """

    recall: tuple[float, ...]
    precision: tuple[float, ...]
    precision_live: tuple[float, ...]


@dataclass(frozen=True)
class Shape:
    """What the plots of one policy show.

    Attributes:
        bins: reliability, empty bins left out.
        calibration_error: mean distance of predicted and observed over live traffic, a share.
        curve: precision over recall; no points without positives.
    """

    bins: tuple[Bin, ...]
    calibration_error: float
    curve: Curve


def shapes(scored: Scored, draws: Draws) -> Mapping[str, Shape]:
    """The shape of every policy, by its id."""
    return {name: _shape(scored, column, draws) for column, name in enumerate(scored.taxonomy.ids)}


def _shape(scored: Scored, column: int, draws: Draws) -> Shape:
    scores, positive = scored.scores[:, column], scored.rows.labels == column + 1
    live = draws.weights[1][:, 0]
    place = np.clip(np.searchsorted(_EDGES, scores, side="right") - 1, 0, len(_EDGES) - 2)
    bins, error = [], 0.0
    for index in np.unique(place):
        inside = place == index
        observed = ratio(draws, inside & positive, inside).pair().live
        weight = float(live[inside].sum())
        if weight == 0:
            continue
        predicted = float(live[inside] @ scores[inside]) / weight
        error += weight * abs(predicted - observed.value)
        bins.append(Bin(float(_EDGES[index]), float(_EDGES[index + 1]), predicted, observed))
    return Shape(tuple(bins), error / max(float(live.sum()), 1e-300), _curve(scores, positive, draws))


def _curve(scores: NDArray[np.float64], positive: NDArray[np.bool_], draws: Draws) -> Curve:
    if not positive.any():
        return Curve((), (), ())
    ranking = Ranking(scores, positive)
    measured, recall = ranking.curve(draws.weights[0][:, :1])
    live, _ = ranking.curve(draws.weights[1][:, :1])
    steps = len(recall)
    kept = np.unique(np.linspace(0, steps - 1, min(steps, _POINTS)).round().astype(int))
    return Curve(*(tuple(float(v) for v in line[kept, 0]) for line in (recall, measured, live)))


def confusion(scored: Scored) -> NDArray[np.int64]:
    """(k + 1, k + 1) counts: labels down; across, the likeliest policy if it scores 1/2, else neutral."""
    best = scored.scores.argmax(axis=1)
    said = np.where(scored.scores.max(axis=1) >= 0.5, best + 1, 0)
    k = scored.scores.shape[1] + 1
    table = np.zeros((k, k), dtype=np.int64)
    np.add.at(table, (scored.rows.labels, said), 1)
    return table
