"""Which decisions the audit draws: the plan that every replica follows, and the chance it gives a decision.

A decision's place in [0, 1) is a keyed hash of its id. It is drawn where that lies below its chance: the same
decision is drawn whoever asks, and of two chances the larger one draws all that the smaller one does.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from stallwart.core.decision import Action


@dataclass(frozen=True, slots=True)
class Place:
    """Where a decision stands in a plan.

    Attributes:
        stratum: its action and the score from which its band begins.
        probability: in [0, 1], with which it is drawn; 0 only where its operator draws nothing.
    """

    stratum: str
    probability: float


@dataclass(frozen=True)
class AuditPlan:
    """Bands of scores, and the chance of each.

    Attributes:
        edges: for each action the increasing inner edges of its bands, in (0, 1]; one belongs to the band
            above it. The score is the highest calibrated probability of any policy.
        chances: for each action the probability of each band, one more than it has edges.
        unscored: the probability of a decision without scores.
        blocks: for a policy the least probability with which its blocks are drawn.
        new_blocks: the same for policies that are not named.
    """

    edges: Mapping[Action, tuple[float, ...]]
    chances: Mapping[Action, tuple[float, ...]]
    unscored: float
    blocks: Mapping[str, float] = field(default_factory=dict)
    new_blocks: float = 0.0

    def __post_init__(self) -> None:
        for action in Action:
            edges, chances = self.edges.get(action, ()), self.chances.get(action, ())
            if len(chances) != len(edges) + 1 or any(low >= high for low, high in pairwise(edges)):
                raise ValueError(
                    f"{action}: {len(edges)} edges need to increase and {len(edges) + 1} chances,"
                    f" got {len(chances)}"
                )
        every = [*(one for some in self.chances.values() for one in some), *self.blocks.values()]
        if not all(0 <= one <= 1 for one in (*every, self.unscored, self.new_blocks)):
            raise ValueError("chances must be in [0, 1]")

    def place(self, action: Action, policies: tuple[str, ...], score: float | None) -> Place:
        """The stratum of a decision, and the probability with which it is drawn.

        Args:
            action: what was decided.
            policies: that called for it.
            score: the highest of its scores; None where it has none.
        """
        if score is None:
            name, probability = f"{action.value} unscored", self.unscored
        else:
            edges = self.edges[action]
            band = bisect_right(edges, score)
            name, probability = _NAMES(action, edges, band), self.chances[action][band]
        if action is Action.BLOCK:
            least = [self.blocks.get(policy, self.new_blocks) for policy in policies]
            probability = max(probability, *least) if least else probability
        return Place(name, probability)


def position(key: str, decision_id: str) -> float:
    """Where a decision lies in [0, 1), uniform over keys.

    Args:
        key: of the installation, hexadecimal.
        decision_id: which one.
    """
    digest = hashlib.blake2b(decision_id.encode(), key=bytes.fromhex(key), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53  # as many bits as a float tells apart


def default_plan(budget: float, block_share: float) -> AuditPlan:
    """What is drawn before traffic is known: little, since nobody knows how much will come.

    Args:
        budget: 0 draws blocks alone.
        block_share: least share of blocks, in [0, 1].
    """
    on = 1.0 if budget > 0 else 0.0
    return AuditPlan(
        edges={Action.ALLOW: (0.001, 0.01, 0.05), Action.REVIEW: (), Action.BLOCK: ()},
        chances={
            Action.ALLOW: (0.001 * on, 0.002 * on, 0.005 * on, 0.01 * on),
            Action.REVIEW: (0.02 * on,),
            Action.BLOCK: (0.05 * on,),
        },
        unscored=0.02 * on,
        new_blocks=max(block_share, 0.25) if block_share else 0.0,
    )


class _Names:
    """Names of strata, made once each: the same text for the same band is less to store and to compare."""

    def __init__(self) -> None:
        self._made: dict[tuple[Action, tuple[float, ...], int], str] = {}

    def __call__(self, action: Action, edges: tuple[float, ...], band: int) -> str:
        key = (action, edges, band)
        if key not in self._made:
            self._made[key] = f"{action.value} from {edges[band - 1] if band else 0:.3g}"
        return self._made[key]


_NAMES = _Names()
