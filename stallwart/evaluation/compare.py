"""Two models on the same rows -> paired differences with intervals, and a verdict by a stated rule.

A policy's verdict rests on average precision, and on precision, recall and cost at each model's own
thresholds, all at live prevalence:

- better: some difference's 95 % interval lies wholly on the good side and none on the bad side;
- worse: the reverse;
- mixed: some lie on the good side and some on the bad side;
- no difference shown: all intervals hold 0.

The verdict of the whole comparison is that of the means over policies, by the same rule, except that a better
mean is called mixed while any single policy is worse.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stallwart.core.errors import DataError
from stallwart.core.scored import Scored
from stallwart.core.taxonomy import Taxonomy
from stallwart.evaluation.draws import Draws, draw
from stallwart.evaluation.evaluate import Options, Part, part_of
from stallwart.evaluation.figures import Drawn, Figure, Gates, Pair, macro, policy_figures

BETTER, WORSE, MIXED, SAME = "better", "worse", "mixed", "no difference shown"
COMPARED = ("average_precision", "precision", "recall", "cost")
_SMALLER_IS_BETTER = {"cost"}


@dataclass(frozen=True)
class Candidate:
    """One of the two models.

    Attributes:
        name: for people.
        scored: its scores.
        gates: its thresholds.
    """

    name: str
    scored: Scored
    gates: Gates


@dataclass(frozen=True)
class Difference:
    """One figure of both models.

    Attributes:
        first: of the first model.
        second: of the second.
        change: second minus first, paired on the same replicates.
    """

    first: Pair
    second: Pair
    change: Pair


@dataclass(frozen=True)
class Comparison:
    """The second model against the first, on the policies that both know.

    Attributes:
        names: of the first and the second.
        taxonomy: the shared policies, as the first model's taxonomy states them.
        left_out: policies that only one of them knows.
        part: the rows.
        policies: by policy id and the names in `COMPARED`.
        macro: means over the policies with a violation for which both models have the figure.
        verdicts: by policy id.
        verdict: of the means; see the module.
        options: costs, replicates and seed.
    """

    names: tuple[str, str]
    taxonomy: Taxonomy
    left_out: tuple[str, ...]
    part: Part
    policies: Mapping[str, Mapping[str, Difference]]
    macro: Mapping[str, Difference]
    verdicts: Mapping[str, str]
    verdict: str
    options: Options


def compare(first: Candidate, second: Candidate, options: Options | None = None) -> Comparison:
    """Paired differences, second minus first.

    The two may know different policies; the shared ones are compared. Their rows may stand in any order.

    Raises:
        DataError: they scored different listings, or their labels differ, or they share no policy.
    """
    options = options or Options()
    shared = [name for name in first.scored.taxonomy.ids if name in second.scored.taxonomy.ids]
    if not shared:
        raise DataError(f"{first.name} and {second.name} share no policy; compare bundles of one market")
    one, two = _aligned(first, second, shared)
    draws = draw(one.scored, options.replicates, options.seed)
    drawn = {
        name: _both(one, two, column, options, draws)
        for column, name in enumerate(shared)
        if (one.scored.rows.labels == column + 1).any()
    }
    if not drawn:
        raise DataError("none of these listings breaks a shared policy; there is nothing to compare")
    return _concluded(one, two, drawn, options, sorted(_left_out(first, second)))


def _aligned(first: Candidate, second: Candidate, shared: Sequence[str]) -> tuple[Candidate, Candidate]:
    """Both on the same rows in the same order, with the shared policies only.

    A listing that breaks a policy outside is neither neutral nor a violation here, and leaves the rows.
    """
    order = _same_rows(first.scored, second.scored)
    one, two = _shared(first, shared, np.arange(len(order))), _shared(second, shared, order)
    kept = (one.scored.rows.labels >= 0) & (two.scored.rows.labels >= 0)
    if not np.array_equal(one.scored.rows.labels[kept], two.scored.rows.labels[kept]):
        raise DataError(f"{first.name} and {second.name} got different labels; use one label file for both")
    return replace(one, scored=one.scored[kept]), replace(two, scored=two.scored[kept])


def _same_rows(first: Scored, second: Scored) -> NDArray[np.int64]:
    """Rows of the second in the order of the first."""
    place = {str(listing_id): row for row, listing_id in enumerate(second.rows.listing_ids)}
    order = np.array([place.get(str(one), -1) for one in first.rows.listing_ids], dtype=np.int64)
    missing = int((order < 0).sum())
    if missing or len(first) != len(second):
        raise DataError(
            f"the two models scored different listings ({len(first):,} and {len(second):,}, "
            f"{missing:,} of the first are not among the second); score the same files with both"
        )
    return order


def _shared(candidate: Candidate, names: Sequence[str], order: NDArray[np.int64]) -> Candidate:
    """The candidate's rows in an order, on some policies; labels outside them become -1, or are already."""
    scored = candidate.scored[order]
    columns = [scored.taxonomy.ids.index(name) for name in names]
    label_of = np.full(len(scored.taxonomy.labels), -1, dtype=np.int64)
    label_of[[0, *(column + 1 for column in columns)]] = np.arange(len(columns) + 1)
    labels = scored.rows.labels
    rows = replace(scored.rows, labels=np.where(labels < 0, -1, label_of[labels]))
    taxonomy = Taxonomy(policies=tuple(scored.taxonomy.policies[column] for column in columns))
    gates = Gates(candidate.gates.act[columns], candidate.gates.review[columns])
    return Candidate(candidate.name, Scored(rows, scored.scores[:, columns], taxonomy), gates)


def _left_out(first: Candidate, second: Candidate) -> set[str]:
    return set(first.scored.taxonomy.ids) ^ set(second.scored.taxonomy.ids)


def _both(
    one: Candidate, two: Candidate, column: int, options: Options, draws: Draws
) -> tuple[Mapping[str, Drawn], Mapping[str, Drawn]]:
    first, second = (
        policy_figures(candidate.scored, column, candidate.gates, options.costs, draws)
        for candidate in (one, two)
    )
    return first, second


def _concluded(
    one: Candidate,
    two: Candidate,
    drawn: Mapping[str, tuple[Mapping[str, Drawn], Mapping[str, Drawn]]],
    options: Options,
    left_out: Sequence[str],
) -> Comparison:
    n = len(one.scored)
    policies = {
        policy: {name: _difference(first[name], second[name]) for name in COMPARED}
        for policy, (first, second) in drawn.items()
    }
    means = {name: _mean(name, list(drawn.values()), n) for name in COMPARED}
    verdicts = {policy: _verdict(figures) for policy, figures in policies.items()}
    overall = _verdict(means)
    if overall == BETTER and any(verdict in (WORSE, MIXED) for verdict in verdicts.values()):
        overall = MIXED
    return Comparison(
        names=(one.name, two.name),
        taxonomy=one.scored.taxonomy,
        left_out=tuple(left_out),
        part=part_of(one.scored),
        policies=policies,
        macro=means,
        verdicts=verdicts,
        verdict=overall,
        options=options,
    )


def _mean(name: str, drawn: Sequence[tuple[Mapping[str, Drawn], Mapping[str, Drawn]]], n: int) -> Difference:
    """Means over the policies for which both have the figure: their difference is that of the means."""
    both = [(first[name], second[name]) for first, second in drawn]
    known = [(f, s) for f, s in both if not np.isnan([f.values[0][0], s.values[0][0]]).any()] or both
    first, second = (macro(list(of), n) for of in zip(*known, strict=True))
    # On the same rows: a policy whose figure no replicate varies would swamp what is seen of all others
    changes = [replace(s.minus(f), ends=None) for f, s in known]
    return Difference(first.pair(), second.pair(), macro(changes, n).pair())


def _difference(first: Drawn, second: Drawn) -> Difference:
    return Difference(first.pair(), second.pair(), second.minus(first).pair())


def _verdict(figures: Mapping[str, Difference]) -> str:
    sides = {_side(difference.change.live, name) for name, difference in figures.items()}
    if {1, -1} <= sides:
        return MIXED
    return BETTER if 1 in sides else WORSE if -1 in sides else SAME


def _side(change: Figure, name: str) -> int:
    """1 where the whole interval is on the good side of 0, -1 on the bad side, else 0."""
    sign = int(change.low > 0) - int(change.high < 0)  # NaN compares as neither
    return -sign if name in _SMALLER_IS_BETTER else sign
