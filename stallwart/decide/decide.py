"""One listing's scores -> `allow`, `review` or `block`."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stallwart.core.decision import Action


@dataclass(frozen=True)
class Thresholds:
    """From which score what happens, per policy.

    Attributes:
        act: certified score in [0, 1] from which a policy blocks alone; a policy without one never does.
        review: score in [0, 1] from which a policy asks for a person; 1 or more asks never.
    """

    act: Mapping[str, float]
    review: Mapping[str, float]


@dataclass(frozen=True)
class Ruling:
    """What was decided and why.

    Attributes:
        action: what to do.
        policies: the policies that call for it, the highest score first; empty for `allow`.
        reason: in plain words, with all that could not be read.
    """

    action: Action
    policies: tuple[str, ...]
    reason: str


def decide(
    scores: NDArray[np.float64] | None,
    policies: tuple[str, ...],
    thresholds: Thresholds,
    failures: tuple[str, ...] = (),
) -> Ruling:
    """The ruling on one listing.

    Block where a policy may act alone and its score reaches its certified threshold; review where a score
    reaches the review threshold, where nothing could be scored, and where a photo could not be read: what
    was not seen is never allowed.

    Args:
        scores: (k,) calibrated probabilities in the order of `policies`; None where scoring failed.
        policies: the k policy ids.
        thresholds: of the bundle that scored.
        failures: what could not be read or scored, in plain words.
    """
    if scores is None or not np.all(np.isfinite(scores)):
        return Ruling(Action.REVIEW, (), "; ".join(failures) or "could not be scored")
    ranked = sorted(range(len(policies)), key=lambda column: (-scores[column], column))
    acting = tuple(policies[c] for c in ranked if scores[c] >= thresholds.act.get(policies[c], np.inf))
    if acting:
        return Ruling(Action.BLOCK, acting, _said(f"{acting[0]} reaches its certified threshold", failures))
    # Asked the other way round, so that a threshold that is no number asks for a person and never allows
    asking = tuple(policies[c] for c in ranked if not scores[c] < thresholds.review.get(policies[c], np.inf))
    if asking:
        why = f"{asking[0]} is too likely to pass and too uncertain to block"
        return Ruling(Action.REVIEW, asking, _said(why, failures))
    if failures:
        return Ruling(Action.REVIEW, (), "; ".join(failures))
    return Ruling(Action.ALLOW, (), "no policy is likely to be broken")


def _said(why: str, failures: tuple[str, ...]) -> str:
    """The reason with what the scores were made without."""
    return "; ".join((why, *failures))


def review_threshold(miss_cost: float, review_cost: float) -> float:
    """The calibrated probability from which a look costs less than the miss it prevents, in (0, 1].

    A review is worth its cost where probability * miss_cost >= review_cost.
    """
    return min(1.0, review_cost / miss_cost)
