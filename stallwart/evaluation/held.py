"""Whether a certificate held on later data.

A certificate was given on data of its time; these rows came later. Its threshold is taken as it is, and the
precision of its calls is weighted to live prevalence. The verdict follows a stated rule:

- broke: the whole 95 % interval of the precision lies below the wanted one;
- held: the precision meets the wanted one, on calls from at least `ENOUGH` groups of near duplicates;
- unsure: anything else: too few calls to say, or to tell a precision below the wanted one from chance.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stallwart.core.scored import Scored
from stallwart.estimate.certify import Certificate
from stallwart.evaluation.draws import Draws
from stallwart.evaluation.figures import Figure, ratio

HELD, BROKE, UNSURE = "held", "broke", "unsure"
ENOUGH = 20
"""Groups of calls under which a precision says too little to confirm a certificate."""


@dataclass(frozen=True)
class Held:
    """What became of one certificate.

    Attributes:
        policy: its id.
        wanted: precision that was certified, in (0, 1).
        calls: rows at or above the threshold.
        right: those among them that break this very policy.
        groups: groups of near duplicates among the calls.
        precision: of the calls, re-weighted to live prevalence.
        recall: share of the policy's violations that were called.
        verdict: `HELD`, `BROKE` or `UNSURE`.
    """

    policy: str
    wanted: float
    calls: int
    right: int
    groups: int
    precision: Figure
    recall: Figure
    verdict: str


def held(scored: Scored, certificates: Sequence[Certificate], draws: Draws) -> tuple[Held, ...]:
    """The verdict on each certified policy: broken ones first, then unsure ones, then those that held."""
    found = [
        _held(scored, certificate, certificate.threshold, draws)
        for certificate in certificates
        if certificate.threshold is not None and certificate.policy in scored.taxonomy.ids
    ]
    order = (BROKE, UNSURE, HELD)
    return tuple(sorted(found, key=lambda one: order.index(one.verdict)))


def _held(scored: Scored, certificate: Certificate, threshold: float, draws: Draws) -> Held:
    column = scored.taxonomy.ids.index(certificate.policy)
    called = scored.scores[:, column] >= threshold
    positive = scored.rows.labels == column + 1
    anyone = np.ones(len(scored), dtype=bool)
    precision = ratio(draws, called & positive, called, errors_among=anyone).pair().live
    groups = len(np.unique(draws.groups[called]))
    return Held(
        policy=certificate.policy,
        wanted=certificate.target,
        calls=int(called.sum()),
        right=int((called & positive).sum()),
        groups=groups,
        precision=precision,
        recall=ratio(draws, called & positive, positive).pair().live,
        verdict=_verdict(precision, certificate.target, groups),
    )


def _verdict(precision: Figure, wanted: float, groups: int) -> str:
    if precision.high < wanted:
        return BROKE
    return HELD if precision.value >= wanted and groups >= ENOUGH else UNSURE
