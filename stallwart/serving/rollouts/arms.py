"""Which runtime decides about a listing: the champion's, or the challenger's where a rollout says so.

What is read of the database is swapped in whole, so that one listing never sees half of a move. A process
that has not loaded the challenger, or could not read the rollout for some seconds, decides with the champion
and counts nothing: it must not look like a shifted split. Where it could not read rights for some seconds,
nothing is blocked: a right that was withdrawn meanwhile must not act on, so people see what it would block.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from stallwart.core.listing import Listing
from stallwart.core.rollout import Arm, Rollout, Stage
from stallwart.rollout.plan import Plan
from stallwart.rollout.routing import arm, position, unit_name
from stallwart.serving.runtime import Runtime


@dataclass(frozen=True, slots=True)
class Routing:
    """What routes at one moment.

    Attributes:
        champion: what decides.
        challenger: what wants to; None where there is none, or it is not loaded yet.
        rollout: as it was read last; None where none runs.
        plan: the rollout's.
        read_at: when the rollout was read, in seconds of the clock.
        rights_at: when rights were.
        cautious: the champion without any block, for when rights cannot be read; None before they first were.
        aside: policies whose right was moved while the rollout ran: its guards leave them out.
        earning: by bundle, policies that earn their right, and the score from which they would block.
    """

    champion: Runtime
    challenger: Runtime | None = None
    rollout: Rollout | None = None
    plan: Plan | None = None
    read_at: float = -math.inf
    rights_at: float = -math.inf
    cautious: Runtime | None = None
    aside: frozenset[str] = frozenset()
    earning: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Route:
    """Where one listing goes.

    Attributes:
        runtime: decides about it.
        other: the runtime that does not, where a rollout compares the two; else None.
        rollout: in which it counts; None where it counts in none.
        plan: the rollout's.
        arm: who decides.
        unit: its name among exposures.
        shadowed: whether `other` scores it too.
    """

    runtime: Runtime
    other: Runtime | None = None
    rollout: Rollout | None = None
    plan: Plan | None = None
    arm: Arm = Arm.CHAMPION
    unit: str = ""
    shadowed: bool = False


class Arms:
    """Routes listings.

    Args:
        champion: what decides until anything else is read.
        follow_seconds: age of what was read from which the champion decides, or nothing is blocked.
        clock: seconds, monotonic.
    """

    def __init__(self, champion: Runtime, follow_seconds: float, clock: Callable[[], float]):
        self.now = Routing(champion)
        self._follow_seconds, self._clock = follow_seconds, clock

    def use(self, routing: Routing) -> None:
        """Route like this from the next listing on."""
        self.now = routing

    def route(self, listing: Listing) -> Route:
        """Where a listing goes now."""
        now = self.now
        rollout, plan = now.rollout, now.plan
        oldest = self._clock() - self._follow_seconds
        if now.rights_at < oldest and now.cautious is not None:
            return Route(now.cautious)
        if rollout is None or plan is None or now.challenger is None or now.read_at < oldest:
            return Route(now.champion)
        seller = plan.unit == "seller" and listing.seller_id
        # Told apart, so that a seller's id that is also a listing's gets a place of its own
        at = position(rollout.routing_key, f"s:{listing.seller_id}" if seller else f"l:{listing.listing_id}")
        who = arm(at, rollout.share)
        champion_decides = who is Arm.CHAMPION
        return Route(
            now.champion if champion_decides else now.challenger,
            now.challenger if champion_decides else now.champion,
            rollout,
            plan,
            who,
            unit_name(at),
            rollout.stage is Stage.SHADOW and at < rollout.shadow_share,
        )
