"""Which decisions are drawn for the audit, and how each is counted: one draw for all who need it.

The standing sample draws by action and score; a rollout draws its exposures by their action alone. Both ask
the same place in [0, 1) of a decision, and it is drawn where that lies below the larger of the two chances:
that one is the draw's probability. What lies below the rollout's own chance carries the rollout's name, so
that those rows are just what the rollout would have drawn alone.
"""

from collections.abc import Callable

from sqlalchemy import Engine as Database

from stallwart.core.decision import Decision
from stallwart.core.logs import say
from stallwart.core.settings import Settings
from stallwart.estimate.audit_draw import position
from stallwart.rollout.plan import Plan
from stallwart.store.audit_counts import DAY_MS, Kind, policies_text
from stallwart.store.audit_planner import AuditPlanner
from stallwart.store.audit_plans import StoredPlan, current_plan
from stallwart.store.database import reading, store_errors
from stallwart.store.draws import Draw
from stallwart.store.exposures import Exposure


class Sampling:
    """The plan that this process follows.

    Args:
        database: where plans are kept.
        settings: of the first plan, and of later ones.
        now_ms: milliseconds since 1970, UTC.
    """

    def __init__(self, database: Database, settings: Settings, now_ms: Callable[[], int]):
        self._database = database
        self._planner = AuditPlanner(database, settings, now_ms)
        self.now: StoredPlan = self._planner.first()

    def read(self) -> None:
        """Follow the plan that the database has.

        Raises:
            StoreError: it cannot be read; the plan that was read last goes on.
        """
        with store_errors("the audit's plan cannot be read"), reading(self._database) as connection:
            found = current_plan(connection)
        if found is not None and found.version != self.now.version:
            self.now = found

    def replan(self) -> None:
        """Look whether the plan still fits traffic, and make another where it does not.

        Raises:
            StoreError: the database fails.
        """
        told = self._planner.look()
        if told.changed:
            self.now = told.plan
            say("audit plan", version=told.plan.version, expected_a_day=round(told.expected or 0, 1))

    def drawn(
        self, decision: Decision, plan: Plan | None, exposure: Exposure | None, at_least: float = 0.0
    ) -> tuple[Draw | None, Kind]:
        """The draw of a decision, if it is drawn, and what it is counted as.

        Args:
            decision: as it will be stored.
            plan: of the rollout that it counts in, or None.
            exposure: what counts it there, or None.
            at_least: smallest probability that it is to have, as a would-be block of a policy that earns its
                right.
        """
        now = self.now
        score = max(decision.scores.values(), default=None) if decision.scores else None
        place = now.plan.place(decision.action, decision.policies, score)
        rollout = plan.audit.probability(decision.action) if plan and exposure else 0.0
        probability = max(place.probability, rollout, at_least)
        kind = Kind(
            day=decision.decided_at_ms // DAY_MS,
            bundle=decision.bundle,
            stratum=place.stratum,
            action=decision.action.value,
            policies=policies_text(decision.policies) if decision.policies else "[]",
            probability=probability,
        )
        at = position(now.key, decision.decision_id)
        if at >= probability:
            return None, kind
        named = exposure if exposure and at < rollout else None
        draw = Draw(
            decision_id=decision.decision_id,
            probability=probability,
            stratum=place.stratum,
            rollout_id=named.rollout_id if named else None,
            step=named.step if named else None,
            drawn_at_ms=decision.decided_at_ms,
        )
        return draw, kind
