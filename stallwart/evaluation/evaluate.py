"""Scores, labels and certificates -> everything that a report says, in one frozen value.

Nothing is chosen here: thresholds come in as they are. Draws no page; `report` does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stallwart.core.errors import DataError
from stallwart.core.scored import Scored
from stallwart.core.taxonomy import Taxonomy
from stallwart.estimate.certify import Certificate
from stallwart.evaluation.draws import Draws, draw
from stallwart.evaluation.figures import (
    FIGURES,
    Costs,
    Drawn,
    Figures,
    Gates,
    Pair,
    average_precision,
    macro,
    policy_figures,
    traffic_figures,
)
from stallwart.evaluation.held import Held, held
from stallwart.evaluation.ranking import Ranking
from stallwart.evaluation.shape import Shape, confusion, shapes
from stallwart.evaluation.slices import Slice, slices
from stallwart.evaluation.worst import Witness, WorstError, worst_errors

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Besides:
    """What stands beside the scores in a report; every part may be missing.

    Attributes:
        baseline: (n, k) scores of the text-only baseline on the same rows.
        ablations: (n, k) scores of the same model by what was taken away, such as "photo taken away".
        repeats: rows that repeat listings of the training part, with their scores.
        seen_sellers: sellers with a listing in the training part.
        unseen_sellers: certificates that rest on unseen sellers alone, by policy id.
        facts: what made the run: recipe, seed, digests, versions, commands, dates.
        witness: where the content of the worst errors comes from.
    """

    baseline: Scores | None = None
    ablations: Mapping[str, Scores] = field(default_factory=dict)
    repeats: Scored | None = None
    seen_sellers: frozenset[str] = frozenset()
    unseen_sellers: Mapping[str, Certificate] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    witness: Witness | None = None


@dataclass(frozen=True)
class Options:
    """How the figures are made.

    Attributes:
        costs: of errors and reviews.
        replicates: bootstrap replicates behind each interval.
        seed: of the replicates.
        worst: false calls and misses shown for each policy.
    """

    costs: Costs = field(default_factory=Costs)
    replicates: int = 1_000
    seed: int = 0
    worst: int = 4


@dataclass(frozen=True)
class Rival:
    """Average precision of other scores on the same rows.

    Attributes:
        policies: by policy id.
        macro: mean over the policies with a positive.
        change: these scores' macro minus the model's, paired on the same replicates.
        changes: the same for each policy.
    """

    policies: Mapping[str, Pair]
    macro: Pair
    change: Pair
    changes: Mapping[str, Pair]


@dataclass(frozen=True)
class Part:
    """The rows that were evaluated.

    Attributes:
        n: rows.
        groups: groups of near duplicates.
        labels: rows of each label.
        first: date of the earliest listing, as 2025-10-01; "" without rows.
        last: of the latest.
    """

    n: int
    groups: int
    labels: Mapping[str, int]
    first: str
    last: str


@dataclass(frozen=True)
class Repeats:
    """Rows that repeat training listings, reported apart since a model has seen their like."""

    part: Part
    policies: Mapping[str, Pair]
    macro: Pair | None


@dataclass(frozen=True)
class Evaluation:
    """Everything a report says; figures by policy id and by the names in `FIGURES`."""

    taxonomy: Taxonomy
    part: Part
    certificates: tuple[Certificate, ...]
    unseen_sellers: Mapping[str, Certificate]
    gates: Gates
    options: Options
    held: tuple[Held, ...]
    policies: Mapping[str, Figures]
    macro: Figures
    traffic: Figures
    slices: tuple[Slice, ...]
    shapes: Mapping[str, Shape]
    confusion: NDArray[np.int64]
    baseline: Rival | None
    ablations: Mapping[str, Rival]
    repeats: Repeats | None
    worst: tuple[WorstError, ...]
    facts: Mapping[str, str]


def evaluate(
    scored: Scored,
    certificates: Sequence[Certificate],
    review: Scores,
    besides: Besides | None = None,
    options: Options | None = None,
) -> Evaluation:
    """Every figure of a report.

    Args:
        scored: the rows to report on, later than all that the model and its thresholds were made from.
        certificates: one for each policy, in any order.
        review: (k,) score from which a listing that is not blocked goes to a person.
        besides: baseline, ablations and whatever else stands beside the scores.
        options: costs, replicates and seed.

    Raises:
        DataError: no rows, a policy without a certificate, or scores of another shape.
    """
    besides, options = besides or Besides(), options or Options()
    _check(scored, certificates, review, besides)
    taxonomy = scored.taxonomy
    by_policy = {certificate.policy: certificate for certificate in certificates}
    ordered = tuple(by_policy[name] for name in taxonomy.ids)
    act = np.array([np.inf if c.threshold is None else c.threshold for c in ordered])
    gates = Gates(act, np.asarray(review, dtype=np.float64))
    draws = draw(scored, options.replicates, options.seed)
    drawn = {
        name: policy_figures(scored, column, gates, options.costs, draws)
        for column, name in enumerate(taxonomy.ids)
    }
    return Evaluation(
        taxonomy=taxonomy,
        part=part_of(scored),
        certificates=ordered,
        unseen_sellers=dict(besides.unseen_sellers),
        gates=gates,
        options=options,
        held=held(scored, ordered, draws),
        policies={name: _pairs(figures) for name, figures in drawn.items()},
        macro=_macros(drawn, len(scored)),
        traffic=_pairs(traffic_figures(scored, gates, options.costs, draws)),
        slices=slices(scored, gates, draws, besides.seen_sellers),
        shapes=shapes(scored, draws),
        confusion=confusion(scored),
        baseline=None if besides.baseline is None else _rival(scored, besides.baseline, drawn, draws),
        ablations={name: _rival(scored, s, drawn, draws) for name, s in besides.ablations.items()},
        repeats=_repeats(besides.repeats, options),
        worst=worst_errors(scored, besides.witness, options.worst),
        facts=dict(besides.facts),
    )


def _check(scored: Scored, certificates: Sequence[Certificate], review: Scores, besides: Besides) -> None:
    if not len(scored):
        raise DataError("there is no row to evaluate; check the dates of the split")
    if missing := set(scored.taxonomy.ids) - {certificate.policy for certificate in certificates}:
        raise DataError(f"no certificate for {', '.join(sorted(missing))}; train again with these policies")
    if review.shape != (len(scored.taxonomy.ids),):
        raise DataError(f"review scores are {review.shape}, expected one for each of {scored.taxonomy.ids}")
    for name, scores in {"the baseline": besides.baseline, **besides.ablations}.items():
        if scores is not None and scores.shape != scored.scores.shape:
            raise DataError(f"scores of {name} are {scores.shape}, expected {scored.scores.shape}")
    if not np.isfinite(scored.scores).all():
        raise DataError("some scores are not finite numbers; score these listings again")


def _pairs(drawn: Mapping[str, Drawn]) -> Figures:
    return {name: one.pair() for name, one in drawn.items()}


def _macros(drawn: Mapping[str, Mapping[str, Drawn]], n_rows: int) -> Figures:
    present = [figures for figures in drawn.values() if figures["recall"].n]
    return {
        name: macro([figures[name] for figures in present], n_rows).pair()
        for name in FIGURES
        if present and name in present[0]
    }


def _rival(scored: Scored, scores: Scores, drawn: Mapping[str, Mapping[str, Drawn]], draws: Draws) -> Rival:
    theirs, changes = {}, {}
    for column, policy in enumerate(scored.taxonomy.policies):
        positive = scored.rows.labels == column + 1
        if not positive.any():
            continue
        theirs[policy.id] = average_precision(Ranking(scores[:, column], positive), draws)
        changes[policy.id] = theirs[policy.id].minus(drawn[policy.id]["average_precision"])
    return Rival(
        _pairs(theirs),
        macro(list(theirs.values()), len(scored)).pair(),
        macro(list(changes.values()), len(scored)).pair(),
        _pairs(changes),
    )


def part_of(scored: Scored) -> Part:
    """The rows in a few numbers."""
    rows = scored.rows
    counts = np.bincount(rows.labels, minlength=len(scored.taxonomy.labels))
    days = np.sort(rows.listed_at.astype("datetime64[D]"))
    first, last = (str(days[0]), str(days[-1])) if len(rows) else ("", "")
    labels = {name: int(count) for name, count in zip(scored.taxonomy.labels, counts, strict=True)}
    return Part(len(rows), len(np.unique(rows.groups)), labels, first, last)


def _repeats(scored: Scored | None, options: Options) -> Repeats | None:
    if scored is None or not len(scored):
        return None
    draws = draw(scored, options.replicates, options.seed)
    drawn = {
        policy.id: average_precision(
            Ranking(scored.scores[:, column], scored.rows.labels == column + 1), draws
        )
        for column, policy in enumerate(scored.taxonomy.policies)
        if (scored.rows.labels == column + 1).any()
    }
    return Repeats(
        part_of(scored), _pairs(drawn), macro(list(drawn.values()), len(scored)).pair() if drawn else None
    )
