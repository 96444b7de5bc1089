"""How many listings there are of each label, month and seller, and whether they are enough."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stallwart.core.scored import Rows
from stallwart.core.taxonomy import Taxonomy
from stallwart.dataset.split import Split

if TYPE_CHECKING:  # a type only: the module loads a classifier
    from stallwart.dataset.suspects import Suspect

_FEW_TO_LEARN = 20  # positives in the training part


@dataclass(frozen=True)
class PolicyCount:
    """One label's size: over all rows, in each part, and what certifying it would take.

    Attributes:
        label: `neutral` or a policy id.
        listings: with that label.
        train, validation, test: of them in each part, repeats and late labels left out.
        with_text, with_photo: of them with words, with a photo.
        to_certify: listings above the threshold that must all be right for a lower 95 % bound at the wanted
            precision; 0 for neutral.
        neutral_to_certify: neutral listings without one false alarm that show the precision at the live share
            and a recall of one half; 0 for neutral.
        suspects: of its listings whose words speak for another label.
        note: "" or what is too small.
    """

    label: str
    listings: int
    train: int
    validation: int
    test: int
    with_text: int
    with_photo: int
    to_certify: int
    neutral_to_certify: int
    suspects: int
    note: str


def count_policies(
    rows: Rows, split: Split | None, suspects: Sequence["Suspect"], taxonomy: Taxonomy
) -> list[PolicyCount]:
    """One count for each label, neutral first; zeros for the parts where there is no split."""
    k = len(taxonomy.labels)

    def count(which: NDArray[np.generic] | None) -> list[int]:
        counts: list[int] = np.bincount(
            rows.labels[which] if which is not None else rows.labels[:0], minlength=k
        ).tolist()
        return counts

    total, train = count(np.arange(len(rows))), count(split.train if split else None)
    validation, test = count(split.validation if split else None), count(split.test if split else None)
    with_text, with_photo = count(rows.has_text), count(rows.has_photo)
    suspected = np.bincount([suspect.given for suspect in suspects], minlength=k).tolist()
    counts = []
    for place, label in enumerate(taxonomy.labels):
        positives, neutral = _needed(label, taxonomy) if place else (0, 0)
        note = ""
        if split and train[place] < _FEW_TO_LEARN:
            note = f"too few to learn: {train[place]} in train, {_FEW_TO_LEARN} wanted"
        elif place and total[place] < positives:
            note = f"too few to certify: {total[place]}, {positives} wanted"
        elif place and total[0] < neutral:
            note = f"too few neutral to certify: {total[0]:,}, {neutral:,} wanted"
        counts.append(
            PolicyCount(
                label, total[place], train[place], validation[place], test[place], with_text[place],
                with_photo[place], positives, neutral, suspected[place], note,
            )
        )  # fmt: skip
    return counts


def _needed(policy_id: str, taxonomy: Taxonomy) -> tuple[int, int]:
    """Faultless calls, and neutral listings without a false alarm, that a certificate takes at least.

    Both are the rule of three, exact: n faultless draws bound a rate from below 1 - 0.05 ** (1 / n).
    """
    policy = taxonomy[policy_id]
    calls = math.ceil(math.log(0.05) / math.log(policy.precision))
    false_rate = policy.prevalence * 0.5 * (1 / policy.precision - 1) / taxonomy.shares["neutral"]
    return calls, math.ceil(math.log(0.05) / math.log1p(-min(false_rate, 0.999)))


def count_months(rows: Rows, k: int) -> dict[str, list[int]]:
    """Month -> counts of the k labels."""
    months = rows.months
    return {
        str(month): np.bincount(rows.labels[months == month], minlength=k).tolist()
        for month in np.unique(months)
    }


def count_sellers(rows: Rows, split: Split) -> dict[str, int]:
    """Sellers in train, in test and in both, and the test listings of each kind."""
    train, test = rows.sellers[split.train], rows.sellers[split.test]
    known, seen = np.unique(train[train != ""]), test[test != ""]
    return {
        "in train": len(known),
        "in test": len(np.unique(seen)),
        "in both": len(np.intersect1d(known, seen)),
        "test listings with a seller": len(seen),
        "test listings of a seller in train": int(np.isin(seen, known).sum()),
    }
