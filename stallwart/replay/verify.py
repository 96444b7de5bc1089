"""Stored decisions against a replay by the bundle that made them: the same, or the first that are not."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from stallwart.replay.run import Replayed

SHOWN = 20
"""Differences that are kept."""


@dataclass
class Verified:
    """What a verification came to.

    Attributes:
        compared: decisions that were made again.
        equal: of those, the ones that came out the same.
        by_action: of those compared, how many had each action.
        differences: the first that did not, each as facts without the listing's words.
    """

    compared: int = 0
    equal: int = 0
    by_action: Counter[str] = field(default_factory=Counter)
    differences: list[dict[str, Any]] = field(default_factory=list)


def verify(replayed: Iterable[Replayed], policies: tuple[str, ...]) -> Verified:
    """Compares action, policies and scores, all of them exactly.

    Args:
        replayed: by the bundle that decided, with the thresholds of then.
        policies: its k policies, in the order of the scores.
    """
    found = Verified()
    for one in replayed:
        found.compared += 1
        found.by_action[one.stored.action.value] += 1
        differs = _differences(one, policies)
        if not differs:
            found.equal += 1
        elif len(found.differences) < SHOWN:
            stored = one.stored
            found.differences.append(
                {"decision_id": stored.decision_id, "listing_id": stored.revision.listing_id, **differs}
            )
    return found


def _differences(one: Replayed, policies: tuple[str, ...]) -> dict[str, Any]:
    """What differs, each as [stored, replayed]."""
    stored, ruling = one.stored, one.ruling
    then = stored.scores and {name: value for name, value in stored.scores.items() if value is not None}
    now: dict[str, float] = {}
    if one.scores is not None:  # a score that is no number is stored as none
        pairs = zip(policies, one.scores.tolist(), strict=True)
        now = {name: value for name, value in pairs if math.isfinite(value)} | dict(one.added)
    pairs_of: dict[str, tuple[Any, Any]] = {
        "action": (stored.action.value, ruling.action.value),
        "policies": (list(stored.policies), list(ruling.policies)),
        "scores": (then or {}, now),
    }
    return {name: list(pair) for name, pair in pairs_of.items() if pair[0] != pair[1]}
