"""A replay -> what each month of it looked like: order, blocks, coverage, people's time.

Thresholds of a month rest on what was known when it began: the listings held back, and those reviewed before,
each with the score it had when it came in. A policy acts alone where its calibrated probability at the live
shares reaches the precision that the policy wants: the short cut of a replay of hundreds of models, where a
bundle has certificates. Precision and the queue are weighted to the live shares of the policy file.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stallwart.decide.decide import review_threshold
from stallwart.estimate.bootstrap import cluster_weights
from stallwart.estimate.weighted import live_weights
from stallwart.evaluation.ranking import Ranking
from stallwart.loop.plan import DAY
from stallwart.loop.replay import Base, Played
from stallwart.training.calibrate import fit_calibration
from stallwart.training.recipe import CertificationRecipe

Floats = NDArray[np.float64]
Places = NDArray[np.int64]

_REPLICATES = 400
_SEED = 0


@dataclass(frozen=True)
class Month:
    """One calendar month of a world, and how its rows are redrawn: the same way for every replay.

    Attributes:
        name: as "2025-09".
        rows: places of its listings, repeats of earlier months left out.
        everything: places of all its listings.
        policies: columns of the policies with a violation among `rows`.
        counts: (len(rows), 1 + replicates) how often each row counts; the first column is 1.
    """

    name: str
    rows: Places
    everything: Places
    policies: tuple[int, ...]
    counts: Floats


@dataclass(frozen=True)
class MonthFigures:
    """One replay in one month.

    Attributes:
        average_precision: (1 + replicates,) mean over the month's policies; the first is the estimate.
        by_policy: average precision of each policy with a violation, by column.
        with_repeats: the mean with near duplicates of earlier months put back.
        precision: share of blocks that are right, at live shares; NaN without a block.
        coverage: share of the violations that are blocked for the right policy.
        hours: of people, for the queue of decisions and the reviews that are learned from.
        reviews: listings that were read to learn from.
    """

    average_precision: Floats
    by_policy: dict[int, float]
    with_repeats: float
    precision: float
    coverage: float
    hours: float
    reviews: int


def months_of(base: Base) -> list[Month]:
    """All months from the start of the replay, in order, with their replicates."""
    world = base.world
    names = world.rows.months
    found = []
    for name in np.unique(names[~world.before]).tolist():
        everything = np.flatnonzero((names == name) & ~world.before)
        rows = everything[~world.repeats[everything]]
        labels = world.rows.labels[rows]
        policies = tuple((np.unique(labels[labels > 0]) - 1).tolist())
        if not policies:
            continue
        batches = cluster_weights(world.rows.groups[rows], labels, _REPLICATES, _SEED)
        counts = np.concatenate([np.ones((1, len(rows))), *batches]).T.astype(np.float64)
        found.append(Month(str(name), rows, everything, policies, counts))
    return found


def month_figures(base: Base, played: Played, month: Month, review_seconds: float) -> MonthFigures:
    """What one replay came to in one month.

    Args:
        base: that was replayed.
        played: the replay.
        month: one of `months_of`.
        review_seconds: a reviewer's time for one listing.
    """
    world, policies = base.world, month.policies
    odds = log_odds(played.scores)
    drawn = average_precisions(odds[month.rows], world.rows.labels[month.rows], policies, month.counts)
    again = average_precisions(
        odds[month.everything],
        world.rows.labels[month.everything],
        policies,
        np.ones((len(month.everything), 1)),
    )
    block, queue = _decided(base, played, month, odds)
    labels = world.rows.labels[month.everything]
    weights = live_weights(labels, np.array(list(world.taxonomy.shares.values())))
    blocked = block > 0
    right = blocked & (block == labels)
    violations = labels > 0
    reviews = int(_in_month(base, played, month).sum())
    # Over the same traffic: as many listings as came in, mixed as live ones are
    queued = float(weights[queue].sum())
    return MonthFigures(
        average_precision=drawn.mean(axis=0),
        by_policy=dict(zip(policies, drawn[:, 0].tolist(), strict=True)),
        with_repeats=float(again.mean()),
        precision=float(weights[right].sum() / weights[blocked].sum()) if blocked.any() else float("nan"),
        coverage=float(right.sum() / violations.sum()) if violations.any() else float("nan"),
        hours=(queued + reviews) * review_seconds / 3600,
        reviews=reviews,
    )


def log_odds(scores: Floats) -> Floats:
    """(n, k) of the policies, from (n, k + 1) scores of every label."""
    return np.asarray(scores[:, 1:], dtype=np.float64)


def average_precisions(odds: Floats, labels: Places, policies: tuple[int, ...], counts: Floats) -> Floats:
    """(len(policies), r) average precision of each policy under r sets of row weights."""
    return np.stack([Ranking(odds[:, c], labels == c + 1).average_precision(counts) for c in policies])


def _in_month(base: Base, played: Played, month: Month) -> NDArray[np.bool_]:
    """(len(reviewed),) which reviews were read in this month, by the last day of their week."""
    read_at = base.world.start + ((played.reviewed_week + 1) * 7 - 1) * DAY
    read_at = np.minimum(read_at, base.world.until - DAY)
    return np.asarray(read_at.astype("datetime64[M]") == np.datetime64(month.name, "M"))


def _decided(
    base: Base, played: Played, month: Month, odds: Floats
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """(n,) label column that each listing of the month is blocked for, or 0; (n,) whether it is queued."""
    world = base.world
    begins = np.datetime64(month.name, "M").astype("datetime64[ms]")
    read_by = world.start + (played.reviewed_week + 1) * 7 * DAY
    reviewed = played.reviewed[read_by <= begins]
    reviewed = reviewed[~world.before[reviewed]]  # only these had a score when they came in
    known = np.flatnonzero(world.held_back)
    given = np.concatenate([log_odds(played.held_back_at_first), odds[reviewed]])
    labels = world.rows.labels[np.concatenate([known, reviewed])]
    shares = np.array(list(world.taxonomy.shares.values()))
    probabilities = fit_calibration(given, labels, shares).probabilities(odds[month.everything])
    wanted = np.array([policy.precision for policy in world.taxonomy.policies])
    over = probabilities / wanted
    best = over.argmax(axis=1)
    block = np.where(over[np.arange(len(best)), best] >= 1, best + 1, 0)
    costs = CertificationRecipe()
    queue = (block == 0) & (probabilities.max(axis=1) >= review_threshold(costs.miss_cost, costs.review_cost))
    return block, np.asarray(queue)
