"""An evaluation as tables and sentences: the words of the report, shared by HTML and Markdown.

Figures in, cells out: a cell is a text or a `Figure`, which each page prints with its count and interval.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from stallwart.estimate.certify import Certificate
from stallwart.evaluation.answers import answers
from stallwart.evaluation.evaluate import Evaluation, Rival
from stallwart.evaluation.figures import Figure, Pair
from stallwart.evaluation.slices import FAMILIES, SLICE_FIGURES

Cell = str | Figure

NAMES = {
    "average_precision": "average precision",
    "precision": "precision at threshold",
    "recall": "recall at threshold",
    "recall_at_wanted": "recall at wanted precision",
    "precision_in_100": "precision in first 100",
    "precision_in_positives": "precision in first as many as violations",
    "false_alarms": "false alarms per 1,000 neutral",
    "review_share": "share sent to review",
    "cost": "cost per 1,000 listings",
    "blocked_share": "share blocked alone",
    "caught": "violations blocked or reviewed",
}


@dataclass(frozen=True)
class Table:
    """Rows of cells under a title; the first column names the row; `slices` sets it among the slices."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    slices: bool = False


def tables(evaluation: Evaluation) -> tuple[Table, ...]:
    """Every table of figures, in the order of the report."""
    found = [certificates(evaluation), overall(evaluation)]
    for name, pick in (("as measured on these rows", 0), ("re-weighted to live prevalence", 1)):
        found.append(_policies(evaluation, name, pick))
    found += [_rivals(evaluation), *_slices(evaluation)]
    if evaluation.repeats:
        found.append(_repeats(evaluation))
    return tuple(table for table in found if table.rows)


def certificates(evaluation: Evaluation) -> Table:
    """Who may act alone, and what became of it."""
    rows: list[tuple[Cell, ...]] = []
    for answer in answers(evaluation):
        one, told = answer.held, answer.certificate
        alone = evaluation.unseen_sellers.get(told.policy)
        rows.append(
            (
                answer.title,
                answer.status,
                f"{told.target:.2f}",
                f"{told.precision_lower:.2f}",
                told_recall(told),
                "–" if told.threshold is None else f"{told.threshold:.3f}",
                "–" if alone is None else f"{alone.precision_lower:.2f}",
                one.precision if one else "–",
                one.recall if one else "–",
            )
        )
    columns = (
        "policy",
        "status",
        "wanted precision",
        "proven precision",
        "coverage where proven",
        "threshold",
        "bound on unseen sellers alone",
        "precision on later listings, live",
        "recall on later listings",
    )
    note = (
        "Proven precision is a lower 95 % bound at live prevalence, from listings that the model never saw; "
        "for a policy that may not act it is the best that was reached, and coverage is the share of its "
        "violations at or above that score. A certificate broke where the whole interval on later listings "
        "lies below the wanted precision, and held where the precision meets it on calls from at least "
        "20 groups of near duplicates."
    )
    return Table("What may act alone", columns, tuple(rows), note)


def told_recall(told: Certificate) -> Figure:
    """The share of its violations that a certificate covers, with its interval and counts."""
    ends = told.recall_interval
    return Figure(told.recall, ends.lower, ends.upper, told.positives, told.positives_above)


def overall(evaluation: Evaluation) -> Table:
    """Traffic as a whole, then means over policies."""
    costs = evaluation.options.costs
    rows: list[tuple[Cell, ...]] = [
        (f"{scope}: {NAMES[name]}", pair.measured, pair.live)
        for scope, figures in (("all traffic", evaluation.traffic), ("mean over policies", evaluation.macro))
        for name, pair in figures.items()
    ]
    note = (
        f"Costs: a miss {costs.miss:g}, a false alarm {costs.false_alarm:g}, a review {costs.review:g}. "
        "A listing is blocked if any policy calls it; the block is right only if that very policy is broken."
    )
    return Table("Overall", ("figure", "as measured", "at live prevalence"), tuple(rows), note)


def _policies(evaluation: Evaluation, name: str, pick: int) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (evaluation.taxonomy[policy].title, *(_pick(pair, pick) for pair in figures.values()))
        for policy, figures in evaluation.policies.items()
    ]
    columns = tuple(NAMES[figure] for figure in next(iter(evaluation.policies.values())))
    return Table(f"Policies, {name}", ("policy", *columns), tuple(rows))


def _pick(pair: Pair, which: int) -> Figure:
    return pair.live if which else pair.measured


def _rivals(evaluation: Evaluation) -> Table:
    rivals: dict[str, Rival] = {}
    if evaluation.baseline:
        rivals["text-only n-grams"] = evaluation.baseline
    rivals |= evaluation.ablations
    own = {policy: figures["average_precision"] for policy, figures in evaluation.policies.items()}
    rows: list[tuple[Cell, ...]] = [
        (
            evaluation.taxonomy[policy].title,
            pair.measured,
            *(_of(rival.policies, policy) for rival in rivals.values()),
            *(_of(rival.changes, policy) for rival in rivals.values()),
        )
        for policy, pair in own.items()
        if rivals
    ]
    if rows:
        rows.append(
            (
                "mean over policies",
                evaluation.macro["average_precision"].measured,
                *(rival.macro.measured for rival in rivals.values()),
                *(rival.change.measured for rival in rivals.values()),
            )
        )
    columns = ("policy", "model", *rivals, *(f"{name}, less the model" for name in rivals))
    note = "Average precision as measured, on the same rows; differences are paired on the same replicates."
    return Table("Beside the baseline, and with one part taken away", columns, tuple(rows), note)


def _of(pairs: Mapping[str, Pair], policy: str) -> Cell:
    return pairs[policy].measured if policy in pairs else "–"


def _slices(evaluation: Evaluation) -> Iterator[Table]:
    note = (
        "As measured, and average precision at live prevalence within the slice. Means over policies with "
        "violations from at least 5 groups in it, so means of slices can rest on different policies: "
        "compare slices within a policy, further down. Where there is no such policy only counts are shown."
    )
    for family, title in FAMILIES.items():
        rows: list[tuple[Cell, ...]] = []
        for piece in evaluation.slices:
            if piece.family != family:
                continue
            figures: list[Cell] = [
                piece.macro[name].measured if name in piece.macro else "–" for name in SLICE_FIGURES
            ]
            live: Cell = piece.macro["average_precision"].live if piece.macro else "–"
            positives = f"{sum(piece.positives.values()):,}"
            rows.append(
                (
                    piece.name,
                    f"{piece.n:,}",
                    positives,
                    f"{len(piece.policies)}",
                    figures[0],
                    live,
                    *figures[1:],
                )
            )
        columns = ("slice", "listings", "violations", "policies", "average precision", "at live prevalence")
        yield Table(
            title, (*columns, *(NAMES[name] for name in SLICE_FIGURES[1:])), tuple(rows), note, slices=True
        )


def policy_slices(evaluation: Evaluation, policy: str) -> Table:
    """One policy's figures in every slice that holds a violation of it."""
    rows: list[tuple[Cell, ...]] = []
    for piece in evaluation.slices:
        if policy not in piece.positives:
            continue
        figures = piece.policies.get(policy)
        cells: list[Cell] = [figures[name].measured for name in SLICE_FIGURES] if figures else ["–"] * 3
        live: Cell = figures["precision"].live if figures else "–"
        rows.append((piece.name, f"{piece.positives[policy]:,}", *cells[:2], live, cells[2]))
    columns = (
        "slice",
        "violations",
        "average precision",
        "precision at threshold",
        "the same, live",
        "recall at threshold",
    )
    return Table("Slices", columns, tuple(rows))


def _repeats(evaluation: Evaluation) -> Table:
    repeats = evaluation.repeats
    assert repeats is not None
    rows: list[tuple[Cell, ...]] = [
        (evaluation.taxonomy[policy].title, f"{repeats.part.labels[policy]:,}", pair.measured)
        for policy, pair in repeats.policies.items()
    ]
    if repeats.macro:
        rows.append(("mean over policies", "", repeats.macro.measured))
    note = (
        f"{repeats.part.n:,} later listings repeat listings of the training part. They are left out of every "
        "other figure here: a model that has seen their like does well on them, and that says nothing."
    )
    return Table(
        "Repeats of training listings", ("policy", "violations", "average precision"), tuple(rows), note
    )
