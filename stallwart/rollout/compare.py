"""Champion against challenger on precision and coverage, from verdicts on audited listings.

Each arm sends other listings to review, so counting its own verdicts would compare two different samples.
Here a listing that either arm decided was drawn for the audit with a probability that is known whichever arm
it met, and both models' actions on it are known: the comparison is paired, and weighted by the inverse of
that probability.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stallwart.core.decision import Action
from stallwart.core.rollout import Arm
from stallwart.estimate.sequences import mean_radius, sharpest_at
from stallwart.rollout.plan import Audit, Plan

Floats = NDArray[np.float64]
Answer = Literal["superior", "non-inferior", "inferior", "open"]

_SHARPEST = 400.0  # verdicts on blocks, or on violations, at which the intervals are narrowest
_ALPHA = 0.05  # of the intervals that are shown
_COUNTED = {"blocks": frozenset({Action.BLOCK}), "calls": frozenset({Action.BLOCK, Action.REVIEW})}
# Verdicts on which the models are taken to differ beyond those seen: none in 200 does not make them equal
_UNSEEN = 2.0


@dataclass(frozen=True, slots=True)
class Judged:
    """One audited listing with its verdict.

    Attributes:
        step: of the rollout, when it was decided.
        unit: of its exposure; listings of one unit are not independent.
        arm: who decided.
        champion: what the champion did.
        champion_policies: that called for it.
        challenger: what the challenger did.
        challenger_policies: that called for it.
        answers: policy -> yes, no or unknown, of the verdict.
    """

    step: int
    unit: str
    arm: Arm
    champion: Action
    champion_policies: tuple[str, ...]
    challenger: Action
    challenger_policies: tuple[str, ...]
    answers: Mapping[str, str]


@dataclass(frozen=True)
class Sums:
    """What the comparison rests on; leading axes are any, so that a whole path of looks is one call.

    Attributes:
        total: (..., 5) weighted sums of: champion blocked, rightly; challenger blocked, rightly; violation.
        moment: (..., 5, 5) sums of the products of these, by unit.
        blocks: (...) verdicts on listings that either model blocks.
        violations: (...) verdicts on violations.
    """

    total: Floats
    moment: Floats
    blocks: Floats
    violations: Floats


@dataclass(frozen=True)
class Estimate:
    """A figure with its anytime-valid interval of 95 %, both in [0, 1]; None and [0, 1] without verdicts."""

    value: float | None
    lower: float
    upper: float


@dataclass(frozen=True)
class Difference:
    """Challenger minus champion, absolute.

    Attributes:
        value: the estimate; None without verdicts.
        lower: of the anytime-valid interval of 95 %, at least -1.
        upper: of it, at most 1.
        worst: the one-sided bound at the plan's `false_promotion`, on which the answer rests.
        margin: how much worse is put up with.
        answer: whether it is shown to be above 0, above minus the margin, below 0, or none of them yet.
        error: standard error of the value; inf without verdicts.
        rows: verdicts that bear on it.
    """

    value: float | None
    lower: float
    upper: float
    worst: float
    margin: float
    answer: Answer
    error: float
    rows: int


@dataclass(frozen=True)
class Comparison:
    """What the verdicts say so far.

    Attributes:
        rows: audited listings with a verdict that answers.
        unknown: audited listings whose verdict does not; left out.
        verdicts: on blocks that champion and challenger decided: (champion, challenger).
        precision: of champion and challenger.
        coverage: share of violations blocked, by champion and challenger.
        precision_difference: with its answer.
        coverage_difference: with its answer.
        answer: of both together: the weaker of the two, and inferior if either is.
    """

    rows: int
    unknown: int
    verdicts: tuple[int, int]
    precision: tuple[Estimate, Estimate]
    coverage: tuple[Estimate, Estimate]
    precision_difference: Difference
    coverage_difference: Difference
    answer: Answer


def compare(judged: Iterable[Judged], plan: Plan) -> Comparison:
    """The comparison after these verdicts, the latest of each listing: the same in any order."""
    rows, counted = list(judged), _COUNTED[plan.question.about]
    marked = [(one, marks) for one in rows if (marks := _marks(one, counted)) is not None]
    shares = np.array([plan.steps[one.step].share for one, _ in marked])
    actions = [[getattr(one, arm).value for one, _ in marked] for arm in ("champion", "challenger")]
    weights = weight(shares, np.array(actions[0], dtype="U6"), np.array(actions[1], dtype="U6"), plan.audit)
    features = np.array([marks for _, marks in marked], dtype=np.float64).reshape(-1, 5)
    summed = _sums(features, weights, [one.unit for one, _ in marked])
    verdicts = tuple(
        sum(one.arm is arm and _decided(one) in counted for one, _ in marked)
        for arm in (Arm.CHAMPION, Arm.CHALLENGER)
    )
    enough = min(verdicts) >= plan.question.min_verdicts
    margins = plan.question.precision_margin, plan.question.coverage_margin
    precision, coverage = (
        _difference(*figure, margin, plan, enough)
        for figure, margin in zip(differences(summed), margins, strict=True)
    )
    return Comparison(
        len(marked),
        len(rows) - len(marked),
        (verdicts[0], verdicts[1]),
        (_estimate(summed, 1, 0), _estimate(summed, 3, 2)),
        (_estimate(summed, 1, 4), _estimate(summed, 3, 4)),
        precision,
        coverage,
        _together(precision.answer, coverage.answer),
    )


def weight(share: Floats, champion: NDArray[np.str_], challenger: NDArray[np.str_], audit: Audit) -> Floats:
    """(n,) weight of each audited listing: inverse to the probability that it was drawn at all.

    That is share * p(challenger's action) + (1 - share) * p(champion's action). It is scaled in each step so
    that a block of the challenger alone weighs 1: otherwise the few that are drawn at small shares would
    drown the rest. The scale depends on the plan alone, so every step estimates the same difference.

    Args:
        share: (n,) of the step in which it was decided.
        champion: (n,) the champion's actions.
        challenger: (n,) the challenger's actions.
        audit: the plan's probabilities.
    """
    drawn = share * _probability(challenger, audit) + (1 - share) * _probability(champion, audit)
    return (share * audit.block + (1 - share) * audit.allow) / drawn


def differences(sums: Sums) -> tuple[tuple[Floats, Floats, Floats], tuple[Floats, Floats, Floats]]:
    """Challenger minus champion on precision and coverage: each (value, standard error, rows), (...) float64.

    A ratio is linearised around its estimate; the value is 0 and the error inf where a denominator is 0.
    """
    b0, r0, b1, r1, v = np.moveaxis(sums.total, -1, 0)
    p0, p1, zero = _over(r0, b0), _over(r1, b1), np.zeros_like(v)
    i0, i1, iv = _over(1.0, b0), _over(1.0, b1), _over(1.0, v)
    covered = (r1 - r0) * iv
    precise = np.stack([p0 * i0, -i0, -p1 * i1, i1, zero], axis=-1)
    covering = np.stack([zero, -iv, zero, iv, -covered * iv], axis=-1)
    return (
        (p1 - p0, _error(precise, sums.moment, (i0 + i1) / 2, (b0 > 0) & (b1 > 0)), sums.blocks),
        (covered, _error(covering, sums.moment, iv, v > 0), sums.violations),
    )


def bound(error: Floats, rows: Floats, alpha: float) -> Floats:
    """How far the one-sided bound of a difference lies from its value, at all times at once."""
    return error * mean_radius(rows, alpha, RHO2)


RHO2 = sharpest_at(_SHARPEST, 0.01)  # between what guards and what the promotion spend


def _sums(features: Floats, weights: Floats, units: list[str]) -> Sums:
    weighted = features * weights[:, None]  # (n, 5)
    codes = (
        np.unique(np.array(units, dtype=object), return_inverse=True)[1] if units else np.zeros(0, np.int64)
    )
    by_unit = np.zeros((int(codes.max()) + 1 if len(codes) else 0, 5))
    np.add.at(by_unit, codes, weighted)
    return Sums(
        weighted.sum(axis=0),
        by_unit.T @ by_unit,
        np.asarray(((features[:, 0] + features[:, 2]) > 0).sum(), dtype=np.float64),
        np.asarray(features[:, 4].sum()),
    )


def _marks(one: Judged, counted: frozenset[Action]) -> tuple[bool, bool, bool, bool, bool] | None:
    """Champion blocked, rightly; challenger blocked, rightly; violation. None where nothing says."""
    said = set(one.answers.values())
    if "yes" not in said and ("unknown" in said or not said):
        return None
    # a review that no policy called for, as where a photo could not be read, says nothing of the model
    first = one.champion_policies if one.champion in counted else ()
    second = one.challenger_policies if one.challenger in counted else ()
    right = [_right(one, policies) for policies in (first, second)]
    if None in right:
        return None
    return bool(first), bool(right[0]), bool(second), bool(right[1]), "yes" in said


def _right(one: Judged, policies: tuple[str, ...]) -> bool | None:
    """Whether a call is right: one of its policies is broken. False for no call, None if unknown."""
    said = {one.answers.get(policy, "unknown") for policy in policies}
    return True if "yes" in said else None if "unknown" in said else False


def _decided(one: Judged) -> Action:
    return one.challenger if one.arm is Arm.CHALLENGER else one.champion


def _probability(actions: NDArray[np.str_], audit: Audit) -> Floats:
    return np.where(actions == "block", audit.block, np.where(actions == "review", audit.review, audit.allow))


def _over(part: Floats | float, whole: Floats) -> Floats:
    return np.asarray(np.divide(part, whole, out=np.zeros_like(whole), where=whole > 0))


def _error(slope: Floats, moment: Floats, unseen: Floats, known: NDArray[np.bool_]) -> Floats:
    variance = np.einsum("...i,...ij,...j->...", slope, moment, slope) + _UNSEEN * unseen**2
    return np.asarray(np.where(known, np.sqrt(np.maximum(variance, 0)), np.inf))


def _estimate(sums: Sums, part: int, whole: int) -> Estimate:
    total = sums.total[whole]
    if total <= 0:
        return Estimate(None, 0.0, 1.0)
    value, slope = float(sums.total[part] / total), np.zeros(5)
    slope[part], slope[whole] = 1 / total, -value / total
    error = np.sqrt(slope @ sums.moment @ slope + _UNSEEN / total**2)
    rows = sums.violations if whole == 4 else sums.blocks
    radius = float(bound(error, rows, _ALPHA / 2))
    return Estimate(value, max(0.0, value - radius), min(1.0, value + radius))


def _difference(
    value: Floats, error: Floats, rows: Floats, margin: float, plan: Plan, enough: bool
) -> Difference:
    if not np.isfinite(error):
        return Difference(None, -1.0, 1.0, -1.0, margin, "open", float("inf"), int(rows))
    at, two_sided = float(value), float(bound(error, rows, _ALPHA / 2))
    worst = max(-1.0, at - float(bound(error, rows, plan.false_promotion)))
    lower, upper = max(-1.0, at - two_sided), min(1.0, at + two_sided)
    answer: Answer = "open"
    if enough and upper < 0:
        answer = "inferior"
    elif enough and worst > -margin:
        answer = "superior" if worst > 0 else "non-inferior"
    return Difference(at, lower, upper, worst, margin, answer, float(error), int(rows))


def _together(first: Answer, second: Answer) -> Answer:
    weakest: tuple[Answer, ...] = ("inferior", "open", "non-inferior", "superior")
    return min(first, second, key=weakest.index)
