"""A ruling and what known entries say of a listing -> the ruling that holds; what is proven of each. Pure."""

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

import numpy as np

from stallwart.core.decision import Action
from stallwart.decide.decide import Ruling
from stallwart.estimate.bounds import lower_bound
from stallwart.estimate.change import fall_limit, fall_path

LADDER = {
    "photo": (0.0, 8.0, 16.0, 28.0),
    "text": (0.0, 0.05, 0.1, 0.15, 0.25),
    "meaning": (0.01, 0.05, 0.1, 0.15, 0.2),
}
"""Distances that are tried, from strict to lax; each kind ends where `index.known.LIMITS` does."""
UNCOMPARED = "could not be compared with what is known to be bad"
"""Why a listing that nothing else speaks against goes to a person."""


class Nearness(Protocol):
    """What one known entry says."""

    @property
    def policy(self) -> str:
        """That it breaks."""

    @property
    def kind(self) -> str:
        """What is alike."""

    @property
    def distance(self) -> float:
        """How far apart."""


N = TypeVar("N", bound=Nearness)


def certified_distance(
    kind: str, judged: Sequence[tuple[float, bool]], target: float, confidence: float = 0.95
) -> float | None:
    """The largest distance of the ladder up to which matches are right often enough; None where none is.

    Tried from strict to lax, each as one test of "precision is below the target", up to a first failure:
    fixed-sequence testing needs no correction for the search (arXiv 2110.01052).

    Args:
        kind: what is alike.
        judged: distance of each match that a person judged, and whether it was right.
        target: precision that the policy wants, in (0, 1].
        confidence: of the whole.
    """
    proven = None
    for step in LADDER[kind]:
        right = [is_right for distance, is_right in judged if distance <= step]
        if not right or lower_bound(sum(right), len(right), confidence) < target:
            return proven
        proven = step
    return proven


def blocking_distance(
    kind: str, judged: Sequence[tuple[float, bool]], target: float, offline: float | None = None
) -> float | None:
    """The largest distance up to which a match blocks; None where none does.

    What verdicts on matches prove, or what labelled listings proved and such verdicts have not refuted since,
    by the change detector that watches thresholds too.

    Args:
        kind: what is alike.
        judged: distance of each match that a person judged, and whether it was right; the latest first.
        target: precision that the policy wants, in (0, 1).
        offline: distance that labelled listings proved.
    """
    proven = certified_distance(kind, judged, target)
    if offline is None:
        return proven
    right = [is_right for distance, is_right in reversed(judged) if distance <= offline]
    if (fall_path(right, np.ones(len(right)), target) >= fall_limit(target)).any():
        return proven
    return offline if proven is None else max(proven, offline)


def with_known(
    ruling: Ruling, near: Sequence[N], certified: Mapping[tuple[str, str], float]
) -> tuple[Ruling, N | None]:
    """The ruling that holds, and the entry that called for it; None where the model's stands.

    A match within a certified distance blocks. Any other asks for a person, and takes back no block.

    Args:
        ruling: of the model.
        near: matches, the nearest first.
        certified: by policy and kind the distance up to which a match may block alone.
    """
    for one in near:
        if one.distance <= certified.get((one.policy, one.kind), -1.0):
            why = f"nearly the same {_thing(one)} was confirmed to break {one.policy}"
            return Ruling(Action.BLOCK, _first(one.policy, ruling), _after(why, ruling)), one
    if not near or ruling.action == Action.BLOCK:
        return ruling, None
    one = near[0]
    why = f"like a {_thing(one)} that was confirmed to break {one.policy}, which is not yet proven to suffice"
    return Ruling(Action.REVIEW, _first(one.policy, ruling), _after(why, ruling)), one


def uncompared(ruling: Ruling) -> Ruling:
    """The ruling where comparing failed: what was not seen is never allowed."""
    if ruling.action != Action.ALLOW:
        return Ruling(ruling.action, ruling.policies, f"{ruling.reason}; {UNCOMPARED}")
    return Ruling(Action.REVIEW, (), UNCOMPARED)


def _thing(one: Nearness) -> str:
    return {"photo": "photo", "text": "text"}.get(one.kind, "listing")


def _first(policy: str, ruling: Ruling) -> tuple[str, ...]:
    return (policy, *(name for name in ruling.policies if name != policy))


def _after(why: str, ruling: Ruling) -> str:
    return why if ruling.action == Action.ALLOW else f"{why}; {ruling.reason}"
