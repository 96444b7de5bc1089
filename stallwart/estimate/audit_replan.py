"""A plan of draws from what came lately: bands, chances, and whether the plan that there is still fits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log2

import numpy as np
from numpy.typing import NDArray

from stallwart.core.decision import Action
from stallwart.estimate.audit_draw import AuditPlan
from stallwart.estimate.audit_plan import Band, Floats, band_edges, drawing_probabilities

BANDS: Mapping[Action, int] = {Action.ALLOW: 4, Action.REVIEW: 2, Action.BLOCK: 2}
TO_CALLED = 0.15
"""Share of the budget for blocks, which precision rests on; more where their least share takes more."""
_ROWS_OF_A_BAND = 40
_UNSEEN = 0.05  # chance of what was not met in the sample: there is little of it
_LEAST = 1e-4
_GRID = (
    4  # chances are powers of 2 ** (1 / 4), so that those of later plans are the same and their strata join
)
_FAR = 1.5  # how far off chances or spending may be before a plan is changed


@dataclass(frozen=True)
class Traffic:
    """A sample of recent decisions, n of them.

    Attributes:
        actions: (n,) str.
        scores: (n,) float64, the highest probability of any policy; NaN where nothing was scored.
        policies: of each decision those that called for it.
        per_day: decisions expected in the time that the budget is for, > 0.
    """

    actions: NDArray[np.str_]
    scores: NDArray[np.float64]
    policies: Sequence[tuple[str, ...]]
    per_day: float

    def __post_init__(self) -> None:
        if not len(self.actions) == len(self.scores) == len(self.policies) or self.per_day <= 0:
            raise ValueError("traffic needs columns of one length, and more than 0 decisions a day")


@dataclass(frozen=True)
class Wanted:
    """What an operator wants drawn.

    Attributes:
        budget: decisions in the same time, >= 0; 0 draws blocks alone.
        block_share: of each policy's blocks, in [0, 1], whatever the budget is.
        block_least: blocks of each policy that blocks, >= 0, where it has as many.
    """

    budget: float
    block_share: float = 0.0
    block_least: float = 0.0


def plan_of_traffic(traffic: Traffic, wanted: Wanted, like: AuditPlan | None = None) -> AuditPlan:
    """The plan that spends the budget on this traffic.

    Blocks get `TO_CALLED` of the budget, or what their least share takes; the rest gets what is left, and
    half of the budget at least. What was drawn is then more than the budget, since the least share of blocks
    is what the certificates of acting policies are watched by.

    Args:
        traffic: at least one decision.
        wanted: by the operator.
        like: a plan whose bands are kept, so that strata stay the same.
    """
    floors = _floors(traffic, wanted)
    edges = {action: like.edges[action] if like else _edges(traffic, action) for action in Action}
    chances, unscored = _chances(traffic, wanted, edges, floors)
    return AuditPlan(
        edges=edges,
        chances=chances,
        unscored=unscored,
        blocks=floors,
        new_blocks=max(wanted.block_share, 0.25) if wanted.block_share or wanted.block_least else 0.0,
    )


def still_fits(plan: AuditPlan, fresh: AuditPlan, traffic: Traffic) -> bool:
    """Whether a plan is near enough to the one that would be made now: a change would only split strata.

    Args:
        plan: the one that is followed.
        fresh: made of the same traffic, with the same bands.
        traffic: what comes.
    """
    pairs = [(plan.unscored, fresh.unscored), (plan.new_blocks, fresh.new_blocks)]
    for action in Action:
        # A chance below every policy's least share draws nothing more
        least = min(fresh.blocks.values(), default=0.0) if action is Action.BLOCK else 0.0
        for one, other in zip(plan.chances[action], fresh.chances[action], strict=True):
            pairs.append((max(one, least), max(other, least)))
    for policy in {*plan.blocks, *fresh.blocks}:
        pairs.append((plan.blocks.get(policy, plan.new_blocks), fresh.blocks.get(policy, fresh.new_blocks)))
    pairs.append((spending(plan, traffic), spending(fresh, traffic)))
    return all(_near(one, other) for one, other in pairs)


def spending(plan: AuditPlan, traffic: Traffic) -> float:
    """Decisions that a plan draws of this traffic, expected in its time."""
    columns = zip(traffic.actions.tolist(), traffic.scores.tolist(), traffic.policies, strict=True)
    drawn = sum(
        plan.place(Action(action), policies, None if np.isnan(score) else score).probability
        for action, score, policies in columns
    )
    return float(drawn) * traffic.per_day / len(traffic.scores)


def _near(one: float, other: float) -> bool:
    return one == other or (min(one, other) > 0 and max(one, other) <= _FAR * min(one, other))


def _edges(traffic: Traffic, action: Action) -> tuple[float, ...]:
    scores = traffic.scores[(traffic.actions == action.value) & ~np.isnan(traffic.scores)]
    count = min(BANDS[action], max(1, len(scores) // _ROWS_OF_A_BAND))
    # Three digits are what a stratum is named by
    edges = {float(f"{edge:.3g}") for edge in band_edges(scores, count)} if len(scores) else set()
    return tuple(sorted(edge for edge in edges if edge > 0))


def _floors(traffic: Traffic, wanted: Wanted) -> dict[str, float]:
    """The least chance of each policy's blocks."""
    blocks: dict[str, int] = {}
    for action, policies in zip(traffic.actions.tolist(), traffic.policies, strict=True):
        if action == Action.BLOCK.value:
            for policy in policies:
                blocks[policy] = blocks.get(policy, 0) + 1
    each = traffic.per_day / len(traffic.scores)
    return {
        policy: _on_grid(min(1.0, max(wanted.block_share, wanted.block_least / (count * each))))
        for policy, count in sorted(blocks.items())
    }


def _chances(
    traffic: Traffic, wanted: Wanted, edges: Mapping[Action, tuple[float, ...]], floors: Mapping[str, float]
) -> tuple[dict[Action, tuple[float, ...]], float]:
    """Chances of each action's bands, and of what has no scores."""
    keys, bands, floor_cost = _bands(traffic, edges, floors)
    total = sum(band.population for band in bands)
    to_called = TO_CALLED * wanted.budget
    if floor_cost >= to_called:  # the least shares are more than blocks would get anyway
        to_called = 0.0
    to_others = max(wanted.budget - max(to_called, floor_cost), wanted.budget / 2)
    if wanted.budget > 0:
        budget = to_called + to_others
        least = min(_LEAST, 0.1 * wanted.budget / max(total, 1.0))
        found = drawing_probabilities(bands, budget, to_called / budget, least=least)
    else:
        found = np.zeros(len(bands))
    made = {
        key: 0.0 if wanted.budget <= 0 else _on_grid(float(one)) if band.population else _UNSEEN
        for key, band, one in zip(keys, bands, found, strict=True)
    }
    chances = {
        action: tuple(made[action, place] for place in range(len(edges[action]) + 1)) for action in Action
    }
    return chances, made[None, 0]


def _bands(
    traffic: Traffic, edges: Mapping[Action, tuple[float, ...]], floors: Mapping[str, float]
) -> tuple[list[tuple[Action | None, int]], list[Band], float]:
    """Names of the bands, the bands, and what the least shares of blocks take."""
    each = traffic.per_day / len(traffic.scores)
    keys: list[tuple[Action | None, int]] = [(None, 0)]
    unscored = np.isnan(traffic.scores)
    bands = [Band(False, float(unscored.sum()) * each, 0.05)]
    for action in Action:
        scores = traffic.scores[(traffic.actions == action.value) & ~unscored]
        inside = np.digitize(scores, edges[action])
        for place in range(len(edges[action]) + 1):
            own: Floats = scores[inside == place]
            keys.append((action, place))
            predicted = float(own.mean()) if len(own) else 0.0
            bands.append(Band(action is Action.BLOCK, len(own) * each, min(max(predicted, 0.0), 1.0)))
    least = sum(
        max((floors[policy] for policy in policies), default=0.0)
        for action, policies in zip(traffic.actions.tolist(), traffic.policies, strict=True)
        if action == Action.BLOCK.value
    )
    return keys, bands, least * each


def _on_grid(chance: float) -> float:
    if chance <= 0:
        return 0.0
    return float(min(1.0, 2 ** (round(_GRID * log2(chance)) / _GRID)))
