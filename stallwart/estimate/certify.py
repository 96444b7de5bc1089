"""The score from which a policy may act alone, and the bound that says so.

Thresholds are tried from strict to lax at stated recalls of the policy, each as one test of "live
precision is below the target"; the certified threshold is the laxest that passes before a first failure.
Fixed-sequence testing needs no correction for the search (Learn then Test: Angelopoulos, Bates, Candes,
Jordan and Lei 2021, arXiv 2110.01052); two starts share the error, and what the first has proven passes
its part on to the second (fallback procedure: Wiens 2003). See docs/decisions/0002-certificates.md for
reasons and limits.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stallwart.core.scored import Scored
from stallwart.estimate.bounds import Interval, rate_interval, verdicts_needed
from stallwart.estimate.evidence import (
    At,
    Evidence,
    least_recall,
    look,
    p_value,
    precision_estimate,
    precision_lower,
    unseen_chances,
    with_more_neutral,
)
from stallwart.estimate.shift import Shift, check_shift
from stallwart.estimate.words import reason_in_words

# recall at which a sequence starts -> share of the error it may spend
STARTS = ((0.60, 0.6), (0.80, 0.4))
RECALLS = (0.60, 0.65, 0.70, 0.75, 0.80, 0.85, 0.90, 0.95)
_MOST_NEUTRAL = 1_000_000  # beyond this, "more neutral listings" is no advice


@dataclass(frozen=True)
class Needs:
    """What would be enough for a certificate; either of the two.

    Attributes:
        neutral_listings: labelled neutral listings more, none of them a false alarm; None where no number
            helps, because listings of other policies are confused or recall is too low.
        verdicts: verdicts on live listings at or above `from_score`, all right.
        verdicts_one_wrong: the same with one of them wrong.
        from_score: the score that both are about; None without listings of the policy.
    """

    neutral_listings: int | None
    verdicts: int
    verdicts_one_wrong: int
    from_score: float | None


@dataclass(frozen=True)
class Certificate:
    """What one policy may do alone, and why.

    Attributes:
        policy: its id.
        target: wanted precision.
        share: its live share, that all figures are weighted to.
        confidence: of the certificate as a whole.
        certified: live precision at or above `threshold` is at least `target`, at that confidence.
        threshold: smallest score at which it may act alone; None where not certified.
        at_score: the score that the figures below are about: `threshold`, or the nearest to passing.
        precision: live precision there as counted.
        precision_lower: its lower bound at the error that was left for this score, >= target if certified.
        precision_lower_strict: the same without borrowing strength for sparse policies (see `leans_on`).
        recall: share of the policy's own listings at or above the score.
        recall_interval: two-sided, clusters considered.
        positives: own listings.
        positives_above: of those, at or above the score.
        neutral: neutral listings.
        neutral_above: false alarms among them.
        others: listings of other policies.
        others_above: false alarms by policy, those with any.
        effective_positives: independent listings that the positives are worth.
        effective_neutral: the same of the neutral ones.
        effective_sellers: equally large sellers that the positives amount to.
        holds_down_to_recall: share of the policy's live listings that must still reach the score for the
            proof to hold, false alarms as bounded; above `recall` where not certified.
        leans_on: other policies whose own listings are too few to rule out that they spoil the precision,
            with the chance that this would have gone unseen.
        shift: of the final model's scores, by kind of row ("neutral", "positive"); empty where not checked.
        reason: for a head of trust and safety.
        needs: None where certified.
    """

    policy: str
    target: float
    share: float
    confidence: float
    certified: bool
    threshold: float | None
    at_score: float | None
    precision: float
    precision_lower: float
    precision_lower_strict: float
    recall: float
    recall_interval: Interval
    positives: int
    positives_above: int
    neutral: int
    neutral_above: int
    others: int
    others_above: dict[str, int]
    effective_positives: float
    effective_neutral: float
    effective_sellers: float
    holds_down_to_recall: float
    leans_on: dict[str, float]
    shift: dict[str, Shift]
    reason: str
    needs: Needs | None

    def to_json(self) -> dict[str, Any]:
        """Plain dicts, strings, numbers and None."""
        return asdict(self)


def certify(
    scores: NDArray[np.float64],
    evidence: Evidence,
    policy: str,
    target: float,
    confidence: float = 0.95,
) -> Certificate:
    """The certified threshold of one policy, or the reason why there is none.

    Args:
        scores: (n,) float64, the policy's scores by models that never saw the rows.
        evidence: the n rows, with live shares.
        policy: its name in `evidence.names`.
        target: wanted live precision, in (0, 1).
        confidence: in (0, 1); the chance of a threshold below target is at most one minus it.

    Raises:
        ValueError: a length differs, the policy is unknown or neutral, or a number is out of range.
    """
    column = _column(scores, evidence, policy, target, confidence)
    own = np.sort(scores[evidence.rows_of[column]])[::-1]
    if not len(own) or not len(evidence.rows_of[0]):
        return _without_rows(evidence, column, target, confidence)
    at, certified, level = _search(scores, own, evidence, column, target, confidence)
    hits, rows = at.recall_hits, at.effective[column]
    certificate = Certificate(
        policy=policy,
        target=target,
        share=float(evidence.shares[column]),
        confidence=confidence,
        certified=certified,
        threshold=at.threshold if certified else None,
        at_score=at.threshold,
        precision=precision_estimate(at, evidence, column),
        precision_lower=precision_lower(at, evidence, column, level),
        precision_lower_strict=precision_lower(_strict(at, evidence, column), evidence, column, level),
        recall=float(at.above[column] / at.rows[column]),
        recall_interval=rate_interval(hits, rows, confidence),
        positives=int(at.rows[column]),
        positives_above=int(at.above[column]),
        neutral=int(at.rows[0]),
        neutral_above=int(at.above[0]),
        others=int(at.rows.sum() - at.rows[0] - at.rows[column]),
        others_above={
            name: int(at.above[c])
            for c, name in enumerate(evidence.names)
            if c not in (0, column) and at.above[c]
        },
        effective_positives=float(rows),
        effective_neutral=float(at.effective[0]),
        effective_sellers=evidence.seller_counts[column],
        holds_down_to_recall=least_recall(at, evidence, column, target, level),
        leans_on={
            name: round(chance, 3)
            for name, chance in unseen_chances(at, evidence, column, target).items()
            if certified and chance > 1 - confidence
        },
        shift={},
        reason="",
        needs=None if certified else _needs(at, evidence, column, target, level),
    )
    return _explained(certificate)


def certify_all(
    scored: Scored,
    confidence: float = 0.95,
    mask: NDArray[np.bool_] | None = None,
    final: Scored | None = None,
) -> dict[str, Certificate]:
    """One certificate for each policy, in the taxonomy's order; confidence is that of each, not of all.

    Args:
        scored: rolling-origin scores: each row by a model of earlier months only.
        confidence: in (0, 1).
        mask: (n,) bool, rows to use; pass the unseen sellers' rows (and neutral ones) for their figures
            alone.
        final: rows that the final model scored and was not trained on, to check its scores for shift; a
            policy whose neutral calls rose loses its certificate.

    Raises:
        ValueError: a length differs or a number is out of range.
    """
    used = scored if mask is None else scored[mask]
    taxonomy = used.taxonomy
    shares = np.array([taxonomy.shares[label] for label in taxonomy.labels])
    evidence = Evidence(used.rows.labels, used.rows.groups, used.rows.sellers, shares, taxonomy.labels)
    certificates = {}
    for j, policy in enumerate(taxonomy.policies):
        certificate = certify(used.scores[:, j], evidence, policy.id, policy.precision, confidence)
        if final is not None and certificate.at_score is not None:
            certificate = checked(certificate, _shifts(used, final, j, certificate.at_score, confidence))
        certificates[policy.id] = certificate
    return certificates


def checked(certificate: Certificate, shift: dict[str, Shift]) -> Certificate:
    """The certificate with the result of the shift check; withdrawn where false alarms rose.

    Args:
        certificate: of one policy.
        shift: results by kind of row, "neutral" and "positive".
    """
    neutral = shift.get("neutral")
    risen = neutral is not None and neutral.shifted and neutral.share_final > neutral.share_certified
    if not (risen and certificate.certified):
        return _explained(replace(certificate, shift=shift))
    needs = Needs(
        None,
        verdicts_needed(certificate.target, 0, certificate.confidence),
        verdicts_needed(certificate.target, 1, certificate.confidence),
        certificate.at_score,
    )
    return _explained(replace(certificate, shift=shift, certified=False, threshold=None, needs=needs))


def _column(
    scores: NDArray[np.float64], evidence: Evidence, policy: str, target: float, confidence: float
) -> int:
    if len(scores) != len(evidence.labels) or np.isnan(scores).any():
        raise ValueError(f"needs {len(evidence.labels)} scores that are numbers, got {len(scores)}")
    if policy not in evidence.names[1:]:
        raise ValueError(f"no policy {policy!r}; there are: {', '.join(evidence.names[1:])}")
    if not (0 < target < 1 and 0 < confidence < 1):
        raise ValueError(f"target and confidence must be in (0, 1), got {target} and {confidence}")
    return evidence.names.index(policy)


def _search(
    scores: NDArray[np.float64],
    own: NDArray[np.float64],
    evidence: Evidence,
    column: int,
    target: float,
    confidence: float,
) -> tuple[At, bool, float]:
    """Where the search ended, whether it passed there, and at which confidence."""
    # a threshold at the j-th highest own score: recall is then exactly Beta(j, n - j + 1), and false
    # alarms on other labels are independent of it, so that own scores may set the grid
    grid = {recall: float(own[max(1, int(np.ceil(recall * len(own)))) - 1]) for recall in RECALLS}
    looks: dict[float, At] = {}
    passed: tuple[At, float] | None = None
    spent, carried = 0.0, 0.0
    errors = dict(STARTS)
    for recall, threshold in grid.items():
        if recall in errors:
            spent = carried + errors[recall] * (1 - confidence)
        if spent == 0.0:
            continue
        if threshold not in looks:
            looks[threshold] = look(scores, evidence, column, threshold, confidence)
        if p_value(looks[threshold], evidence, column, target) <= spent:
            passed, carried = (looks[threshold], 1 - spent), spent
        else:
            spent, carried = 0.0, 0.0
    if passed is not None:
        return passed[0], True, passed[1]
    starts = [(looks[grid[recall]], 1 - share * (1 - confidence)) for recall, share in STARTS]
    best = max(starts, key=lambda start: precision_lower(start[0], evidence, column, start[1]))
    return best[0], False, best[1]


def _strict(at: At, evidence: Evidence, column: int) -> At:
    others = [c for c in range(len(evidence.names)) if c != column and evidence.shares[c] > 0]
    weights = [evidence.shares[c] / at.effective[c] if at.effective[c] > 0 else float("inf") for c in others]
    return replace(at, cost=replace(at.cost, next_weight=float(max(weights))))


def _needs(at: At, evidence: Evidence, column: int, target: float, level: float) -> Needs:
    def passes(more: int) -> bool:
        return p_value(with_more_neutral(at, evidence, column, more), evidence, column, target) <= 1 - level

    more: int | None = None
    if passes(_MOST_NEUTRAL):
        low, high = 0, _MOST_NEUTRAL
        while high - low > max(1, low // 100):
            middle = (low + high) // 2
            low, high = (low, middle) if passes(middle) else (middle, high)
        more = high
    return Needs(more, verdicts_needed(target, 0, level), verdicts_needed(target, 1, level), at.threshold)


def _without_rows(evidence: Evidence, column: int, target: float, confidence: float) -> Certificate:
    own, neutral = len(evidence.rows_of[column]), len(evidence.rows_of[0])
    verdicts: Sequence[int] = [verdicts_needed(target, wrong, confidence) for wrong in (0, 1)]
    needs = Needs(None, verdicts[0], verdicts[1], None)
    unknown = Interval(0.0, 1.0)
    share = float(evidence.shares[column])
    others = len(evidence.labels) - own - neutral
    return _explained(
        Certificate(
            evidence.names[column],
            target,
            share,
            confidence,
            False,
            None,
            None,
            0.0,
            0.0,
            0.0,
            0.0,
            unknown,
            own,
            0,
            neutral,
            0,
            others,
            {},
            0.0,
            0.0,
            0.0,
            1.0,
            {},
            {},
            "",
            needs,
        )
    )


def _shifts(used: Scored, final: Scored, j: int, threshold: float, confidence: float) -> dict[str, Shift]:
    return {
        kind: check_shift(
            used.scores[used.rows.labels == column, j],
            final.scores[final.rows.labels == column, j],
            threshold,
            confidence=confidence,
        )
        for kind, column in (("neutral", 0), ("positive", j + 1))
    }


def _explained(certificate: Certificate) -> Certificate:
    return replace(certificate, reason=reason_in_words(certificate))
