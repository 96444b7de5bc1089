"""The rows cut by what they carry, language, month and seller, with the figures of each piece.

A piece is weighted to live prevalence by itself: its live figures say what holds if traffic were all like it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stallwart.core.scored import Rows, Scored
from stallwart.evaluation.draws import Draws
from stallwart.evaluation.figures import FEW, Drawn, Gates, Pair, average_precision, macro, ratio
from stallwart.evaluation.ranking import Ranking

FAMILIES = {
    "parts": "What the listing carries",
    "language": "Language, as the market states it",
    "month": "Month",
    "seller": "Seller seen in training, among rows with a seller",
}
SLICE_FIGURES = ("average_precision", "precision", "recall")


@dataclass(frozen=True)
class Slice:
    """One piece of the rows.

    Attributes:
        family: a key of `FAMILIES`.
        name: "text only", "de", "2025-10", "unseen" and the like.
        n: rows in it.
        positives: rows of each policy that has one, by policy id.
        policies: figures by policy id and figure name, of policies with at least `FEW` groups of positives
            and something to tell them from.
        macro: means over those policies, by figure name; empty where there are none.
    """

    family: str
    name: str
    n: int
    positives: Mapping[str, int]
    policies: Mapping[str, Mapping[str, Pair]]
    macro: Mapping[str, Pair]


def slices(scored: Scored, gates: Gates, draws: Draws, seen_sellers: frozenset[str]) -> tuple[Slice, ...]:
    """Every piece that holds a row, in the order of `FAMILIES`."""
    return tuple(
        _slice(family, name, scored[rows], gates, draws[rows])
        for family, name, rows in pieces(scored.rows, seen_sellers)
        if rows.any()
    )


def pieces(rows: Rows, seen_sellers: frozenset[str]) -> Iterator[tuple[str, str, NDArray[np.bool_]]]:
    """Family, name and (n,) bool mask of each piece; a piece may be empty."""
    yield "parts", "text only", rows.has_text & ~rows.has_photo
    yield "parts", "photo only", ~rows.has_text & rows.has_photo
    yield "parts", "text and photo", rows.has_text & rows.has_photo
    for language in np.unique(rows.languages):
        yield "language", str(language) or "unknown", rows.languages == language
    for month in np.unique(rows.months):
        yield "month", str(month), rows.months == month
    known = rows.sellers != ""
    seen = np.isin(rows.sellers, sorted(seen_sellers)) & known
    yield "seller", "seen", seen
    yield "seller", "unseen", known & ~seen


def _slice(family: str, name: str, scored: Scored, gates: Gates, draws: Draws) -> Slice:
    labels = scored.rows.labels
    positives: dict[str, int] = {}
    drawn: dict[str, dict[str, Drawn]] = {}
    for column, policy in enumerate(scored.taxonomy.policies):
        positive = labels == column + 1
        if positive.any():
            positives[policy.id] = int(positive.sum())
        if len(np.unique(draws.groups[positive])) >= FEW and not positive.all():
            drawn[policy.id] = _figures(scored.scores[:, column], positive, float(gates.act[column]), draws)
    means = {
        figure: macro([figures[figure] for figures in drawn.values()], len(labels)).pair()
        for figure in SLICE_FIGURES
        if drawn
    }
    shown = {policy: {name: one.pair() for name, one in figures.items()} for policy, figures in drawn.items()}
    return Slice(family, name, len(scored), positives, shown, means)


def _figures(
    scores: NDArray[np.float64], positive: NDArray[np.bool_], act: float, draws: Draws
) -> dict[str, Drawn]:
    called, anyone = scores >= act, np.ones(len(scores), dtype=bool)
    return {
        "average_precision": average_precision(Ranking(scores, positive), draws),
        "precision": ratio(draws, called & positive, called, errors_among=anyone),
        "recall": ratio(draws, called & positive, positive),
    }
