"""Backwards with a policy: stored listings that nobody called for it, the likeliest first."""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stallwart.core.decision import Limits
from stallwart.core.errors import ConfigError
from stallwart.replay.run import Replayed
from stallwart.replay.tally import share_of


@dataclass
class Hunted:
    """What a hunt came to.

    Attributes:
        policy: its id.
        looked_at: listings that were scored and whose stored decision does not name the policy.
        would_block: of those, how many reach the policy's block threshold; 0 where it has none.
        would_review: how many reach its review threshold and do not block.
        candidates: the likeliest, highest score first, as facts.
    """

    policy: str
    looked_at: int = 0
    would_block: int = 0
    would_review: int = 0
    candidates: list[dict[str, Any]] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        """Plain dicts, strings and numbers; each share with its count and interval."""
        return {
            "policy": self.policy,
            "looked_at": self.looked_at,
            "would_block": share_of(self.would_block, self.looked_at),
            "would_review": share_of(self.would_review, self.looked_at),
            "candidates": self.candidates,
        }


def hunt(
    replayed: Iterable[Replayed],
    policy: str,
    limits: dict[str, Limits],
    top: int,
    show_words: bool = False,
) -> Hunted:
    """The `top` listings with the highest score of a policy, among those not decided by it.

    Args:
        replayed: by a bundle that knows the policy.
        policy: its id.
        limits: of that bundle, in the order of the scores.
        top: how many are kept.
        show_words: add each listing's title.

    Raises:
        ConfigError: the bundle does not know the policy.
    """
    if policy not in limits:
        raise ConfigError(f"the bundle knows no policy {policy!r}; it knows {', '.join(limits)}")
    found, column, limit = Hunted(policy), list(limits).index(policy), limits[policy]
    best: list[tuple[float, int, Replayed]] = []
    for one in replayed:
        if one.scores is None or policy in one.stored.policies or not np.isfinite(one.scores[column]):
            continue
        score = float(one.scores[column])
        found.looked_at += 1
        blocks = limit.block is not None and score >= limit.block
        found.would_block += blocks
        found.would_review += not blocks and limit.review is not None and score >= limit.review
        heapq.heappush(best, (score, -one.stored.seq, one))
        if len(best) > top:
            heapq.heappop(best)
    found.candidates = [_told(score, one, show_words) for score, _, one in sorted(best, reverse=True)]
    return found


def _told(score: float, one: Replayed, show_words: bool) -> dict[str, Any]:
    stored = one.stored
    told = {
        "score": score,
        "listing_id": stored.revision.listing_id,
        "decision_id": stored.decision_id,
        "seller_id": stored.revision.seller_id,
        "action": stored.action.value,
        "policies": list(stored.policies),
        "would_be": one.ruling.action.value,
        "bundle": stored.bundle,
    }
    return {**told, "title": stored.revision.title} if show_words else told
