"""A bundle and violations under attack -> the share of recall that each policy keeps, by attack and strength.

Recall is counted at one threshold for each policy, which never moves: its certified one, or, without one,
the score that a stated share of its violations reach as they were published. So a curve begins at the recall
without an attack, and what is lost is lost to the attack alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stallwart.core.listing import Listing
from stallwart.core.progress import Track, silent
from stallwart.evaluation.attacks import ATTACKS, TEXT, attacked
from stallwart.model.runtime import Scorer

OPERATING = 0.8
"""Share of a policy's violations, as published, that its threshold catches where none is certified."""
STRENGTHS = (0.1, 0.3, 0.6, 1.0)
MODERATE = 0.3
"""Strength that the rule for text attacks speaks of: three of ten longer words are changed."""
MOST_LOST = 0.2
"""Share of its recall that a policy may lose at moderate strength, by the rule."""
_REPLICATES = 1000
_LEAST = 5  # caught violations without which a share says nothing


@dataclass(frozen=True)
class Point:
    """One policy under one attack of one strength.

    Attributes:
        policy: which.
        attack: one of `ATTACKS`.
        strength: in (0, 1].
        threshold: from which a violation counts as caught.
        certified: whether that is the certified threshold.
        n: violations.
        before: of them, caught as published.
        after: of them, caught under the attack.
        kept: after / before, with the ends of a 95 % interval over listings; NaN where under 5 were caught.
    """

    policy: str
    attack: str
    strength: float
    threshold: float
    certified: bool
    n: int
    before: int
    after: int
    kept: tuple[float, float, float]

    @property
    def breaks_rule(self) -> bool:
        """Whether a text attack of moderate strength takes more of the recall than the rule allows."""
        return self.attack in TEXT and self.strength == MODERATE and self.kept[0] < 1 - MOST_LOST


def measure(
    scorer: Scorer,
    violations: Sequence[tuple[Listing, str]],
    seed: int = 0,
    strengths: Sequence[float] = STRENGTHS,
    attacks: Sequence[str] = ATTACKS,
    track: Track = silent,
) -> list[Point]:
    """Every policy that has violations, under every attack at every strength.

    Args:
        scorer: a loaded bundle.
        violations: listings with the policy that each breaks, photos and all.
        seed: of what attacks draw, and of the intervals.
        strengths: in (0, 1].
        attacks: some of `ATTACKS`.
        track: shows how far it is.
    """
    ids = scorer.bundle.taxonomy.ids
    policies = np.array([ids.index(policy) for _, policy in violations], dtype=np.int64)
    listings = [listing for listing, _ in violations]
    published = _own(scorer, listings, policies)
    thresholds, certified = _thresholds(scorer, published, policies)
    points = []
    jobs = [(attack, strength) for attack in attacks for strength in strengths]
    for attack, strength in track(jobs, "attacking", len(jobs)):
        hit = [attacked(listing, attack, strength, seed) for listing in listings]
        scores = _own(scorer, hit, policies)
        for column in np.unique(policies).tolist():
            mine = policies == column
            before, after = published[mine] >= thresholds[column], scores[mine] >= thresholds[column]
            points.append(
                Point(
                    ids[column], attack, strength, float(thresholds[column]), bool(certified[column]),
                    int(mine.sum()), int(before.sum()), int(after.sum()), _kept(before, after, seed),
                )
            )  # fmt: skip
    return points


def _own(scorer: Scorer, listings: Sequence[Listing], policies: NDArray[np.int64]) -> NDArray[np.float64]:
    """(n,) the score of each listing's own policy; 0 where nothing is left to score."""
    scored = (one.scores for one in scorer.score(listings))
    return np.array([0.0 if s is None else s[c] for s, c in zip(scored, policies.tolist(), strict=True)])


def _thresholds(
    scorer: Scorer, published: NDArray[np.float64], policies: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    act, ids = scorer.bundle.thresholds.act, scorer.bundle.taxonomy.ids
    thresholds, certified = np.full(len(ids), np.inf), np.zeros(len(ids), dtype=np.bool_)
    for column, policy in enumerate(ids):
        if policy in act:
            thresholds[column], certified[column] = act[policy], True
        elif (mine := policies == column).any():
            thresholds[column] = np.quantile(published[mine], 1 - OPERATING, method="lower")
    return thresholds, certified


def _kept(before: NDArray[np.bool_], after: NDArray[np.bool_], seed: int) -> tuple[float, float, float]:
    """The share of recall that is kept, and its interval by bootstrap over listings."""
    if before.sum() < _LEAST:
        return (float("nan"),) * 3
    drawn = np.random.default_rng(seed).integers(len(before), size=(_REPLICATES, len(before)))
    caught = before[drawn].sum(axis=1)
    shares = after[drawn].sum(axis=1)[caught > 0] / caught[caught > 0]
    low, high = np.quantile(shares, [0.025, 0.975])
    return float(after.sum() / before.sum()), float(low), float(high)
