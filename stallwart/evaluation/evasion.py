"""A bundle and violations under attack -> the share of recall that each policy keeps, by attack and strength.

Recall is counted at one threshold for each policy, which never moves: its certified one, or, without one,
the score that a stated share of its violations reach as they were published. So a curve begins at the recall
without an attack, and what is lost is lost to the attack alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stallwart.core.listing import Listing
from stallwart.core.progress import Track, silent
from stallwart.dataset.wordlist import Wordlist
from stallwart.evaluation.attacks import ATTACKS, NO_WORDS, SLANG, WORDS, attacked
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
        changed: of them, those in which the attack found something to change.
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
    changed: int
    before: int
    after: int
    kept: tuple[float, float, float]

    @property
    def breaks_rule(self) -> bool:
        """Whether a text attack of moderate strength takes more of the recall than the rule allows."""
        return self.attack in WORDS and self.strength == MODERATE and self.kept[0] < 1 - MOST_LOST


@dataclass(frozen=True)
class Attack:
    """How violations are attacked.

    Attributes:
        per_policy: violations that are drawn of each policy, at most.
        part: of the listings that they are drawn from: `test`, or `validation` to choose by.
        seed: of this draw, of what attacks draw, and of the intervals.
        strengths: in (0, 1].
        attacks: some of `ATTACKS`; slang is left out where there are no words for it.
        lexicon: word lists (`dataset/wordlist.py`) of terms and their slang.
    """

    per_policy: int = 50
    part: Literal["validation", "test"] = "test"
    seed: int = 0
    strengths: Sequence[float] = STRENGTHS
    attacks: Sequence[str] = ATTACKS
    lexicon: Sequence[Path] = ()


@dataclass(frozen=True)
class Outcome:
    """All n violations under one attack of one strength.

    Attributes:
        attack: one of `ATTACKS`.
        strength: in (0, 1].
        changed: (n,) bool, in which the attack found something to change.
        before, after: (n,) bool, caught as published and under the attack.
    """

    attack: str
    strength: float
    changed: NDArray[np.bool_]
    before: NDArray[np.bool_]
    after: NDArray[np.bool_]


def measure(
    scorer: Scorer,
    violations: Sequence[tuple[Listing, str]],
    attack: Attack | None = None,
    words: Wordlist = NO_WORDS,
    track: Track = silent,
) -> list[Point]:
    """Every policy that has violations, under every attack at every strength.

    Args:
        scorer: a loaded bundle.
        violations: listings with the policy that each breaks, photos and all.
        attack: which attacks, how strong.
        words: terms and their slang.
        track: shows how far it is.
    """
    attack, ids = attack or Attack(), scorer.bundle.taxonomy.ids
    policies = _columns(scorer, violations)
    thresholds, outcomes = attack_all(scorer, violations, attack, words, track)
    certified = scorer.bundle.thresholds.act
    points = []
    for one in outcomes:
        for column in np.unique(policies).tolist():
            mine = policies == column
            points.append(
                Point(
                    ids[column], one.attack, one.strength, float(thresholds[column]),
                    ids[column] in certified, int(mine.sum()), int(one.changed[mine].sum()),
                    int(one.before[mine].sum()), int(one.after[mine].sum()),
                    kept(one.before[mine], one.after[mine], attack.seed),
                )
            )  # fmt: skip
    return points


def attack_all(
    scorer: Scorer,
    violations: Sequence[tuple[Listing, str]],
    attack: Attack,
    words: Wordlist = NO_WORDS,
    track: Track = silent,
) -> tuple[NDArray[np.float64], list[Outcome]]:
    """(k,) the threshold of each policy, and what every attack at every strength came to; as `measure`."""
    policies, listings = _columns(scorer, violations), [listing for listing, _ in violations]
    published = _own(scorer, listings, policies)
    thresholds = _thresholds(scorer, published, policies)
    before = published >= thresholds[policies]
    possible = [name for name in attack.attacks if name != SLANG or words.slang]
    jobs = [(name, strength) for name in possible for strength in attack.strengths]
    outcomes = []
    for name, strength in track(jobs, "attacking", len(jobs)):
        hit = [attacked(listing, name, strength, attack.seed, words) for listing in listings]
        changed = np.array([one != other for one, other in zip(hit, listings, strict=True)])
        after = _own(scorer, hit, policies) >= thresholds[policies]
        outcomes.append(Outcome(name, strength, changed, before, after))
    return thresholds, outcomes


def _columns(scorer: Scorer, violations: Sequence[tuple[Listing, str]]) -> NDArray[np.int64]:
    ids = scorer.bundle.taxonomy.ids
    return np.array([ids.index(policy) for _, policy in violations], dtype=np.int64)


def _own(scorer: Scorer, listings: Sequence[Listing], policies: NDArray[np.int64]) -> NDArray[np.float64]:
    """(n,) the score of each listing's own policy; 0 where nothing is left to score."""
    scored = (one.scores for one in scorer.score(listings))
    return np.array([0.0 if s is None else s[c] for s, c in zip(scored, policies.tolist(), strict=True)])


def _thresholds(
    scorer: Scorer, published: NDArray[np.float64], policies: NDArray[np.int64]
) -> NDArray[np.float64]:
    act, ids = scorer.bundle.thresholds.act, scorer.bundle.taxonomy.ids
    thresholds = np.full(len(ids), np.inf)
    for column, policy in enumerate(ids):
        if policy in act:
            thresholds[column] = act[policy]
        elif (mine := policies == column).any():
            thresholds[column] = np.quantile(published[mine], 1 - OPERATING, method="lower")
    return thresholds


def kept(before: NDArray[np.bool_], after: NDArray[np.bool_], seed: int) -> tuple[float, float, float]:
    """The share of recall that is kept, and its interval by bootstrap over listings."""
    if before.sum() < _LEAST:
        return (float("nan"),) * 3
    drawn = np.random.default_rng(seed).integers(len(before), size=(_REPLICATES, len(before)))
    caught = before[drawn].sum(axis=1)
    shares = after[drawn].sum(axis=1)[caught > 0] / caught[caught > 0]
    low, high = np.quantile(shares, [0.025, 0.975])
    return float(after.sum() / before.sum()), float(low), float(high)
