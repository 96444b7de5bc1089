"""Strata from audited rows that each bring a probability, as where a plan changed from day to day."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stallwart.estimate.audit import Stratum

YES, NO, UNKNOWN = 1, 0, -1
"""What a verdict says, as `strata_of` takes it."""


def strata_of(
    probability: NDArray[np.float64],
    called: NDArray[np.bool_],
    verdict: NDArray[np.int64],
    called_total: int,
    other_total: int,
    ratio: float = 1.25,
) -> list[Stratum]:
    """Strata of rows drawn with about the same probability, sized by how many listings the rows stand for.

    Where the sizes of strata can be counted, count them: then `audit` knows them. Here they are estimated by
    the sum of 1 / probability (Horvitz and Thompson 1952), scaled to what was and was not called in all
    (Hajek 1971). Doubt about the sizes is not in the intervals, and a probability under which nothing was
    drawn is not seen at all.

    Args:
        probability: (n,) in (0, 1], with which each audited row was drawn.
        called: (n,) whether its decision was a call.
        verdict: (n,) YES, NO or UNKNOWN.
        called_total: calls in all traffic that is asked about.
        other_total: the other decisions in it.
        ratio: > 1; rows whose probabilities differ by less may share a stratum. Rows of one stratum weigh the
            same, as if more and less likely ones violated alike.

    Raises:
        ValueError: shapes or ranges do not fit, or there are more rows than decisions.
    """
    if not (probability.shape == called.shape == verdict.shape) or probability.ndim != 1 or ratio <= 1:
        raise ValueError(
            f"needs three columns of one length and a ratio > 1; got {probability.shape}, {called.shape}, "
            f"{verdict.shape} and {ratio}"
        )
    if not np.all((probability > 0) & (probability <= 1)) or not np.isin(verdict, (YES, NO, UNKNOWN)).all():
        raise ValueError("probabilities must be in (0, 1], and verdicts 1 (yes), 0 (no) or -1 (unknown)")
    return [
        stratum
        for kind, total in ((False, other_total), (True, called_total))
        for stratum in _of_kind(probability[called == kind], verdict[called == kind], kind, total, ratio)
    ]


def _of_kind(
    probability: NDArray[np.float64], verdict: NDArray[np.int64], called: bool, total: int, ratio: float
) -> list[Stratum]:
    if len(verdict) > total:
        what = "calls" if called else "other decisions"
        raise ValueError(f"{len(verdict)} rows were drawn of {total} {what}")
    if not len(verdict):
        return [Stratum("none drawn", called, total)] if total else []
    # The tiny shift keeps equal probabilities together whatever their last digit
    classes = np.floor(np.log(probability) / np.log(ratio) + 1e-9)
    names, inside = np.unique(classes, return_inverse=True)
    sizes = _sizes(np.bincount(inside, 1 / probability), np.bincount(inside), total)
    return [
        Stratum(
            name=f"{probability[inside == place].mean():.2g}",
            called=called,
            population=int(sizes[place]),
            violating=int((verdict[inside == place] == YES).sum()),
            clear=int((verdict[inside == place] == NO).sum()),
            unknown=int((verdict[inside == place] == UNKNOWN).sum()),
        )
        for place in range(len(names))
    ]


def _sizes(stands_for: ArrayLike, drawn: ArrayLike, total: int) -> NDArray[np.int64]:
    """Whole sizes in proportion to what rows stand for, at least what was drawn, that add up to the total."""
    known = np.asarray(drawn, dtype=np.int64)
    hidden = (
        np.asarray(stands_for, dtype=np.float64) - known
    )  # what was drawn is known, what was not is estimated
    if hidden.sum() <= 0:  # all should have been drawn, and some was not: nobody knows which
        hidden = known.astype(np.float64)
    ends = np.rint(np.cumsum(hidden) / hidden.sum() * (total - known.sum())).astype(np.int64)
    return np.asarray(known + np.diff(ends, prepend=0), dtype=np.int64)
