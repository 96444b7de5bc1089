"""Makes the plan of what the audit draws from recent traffic, and a new one when traffic has changed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Connection, Engine, Row, select

from stallwart.core.decision import PEOPLE
from stallwart.core.settings import Settings
from stallwart.estimate.audit_draw import default_plan
from stallwart.estimate.audit_replan import Traffic, Wanted, plan_of_traffic, spending, still_fits
from stallwart.store.audit_counts import DAY_MS, count_day, join_past_days
from stallwart.store.audit_plans import StoredPlan, add_plan, current_plan
from stallwart.store.database import reading, store_errors, writing
from stallwart.store.tables import decisions

_SAMPLE = 10_000
_FEWEST = 200  # decisions that say something of traffic
_LIKE_MS = 7 * DAY_MS  # age of a sample's oldest decision; scores of months ago are another model's
_SMALL_MS = 56 * DAY_MS  # the same, of a market that brings fewer than that in a week
_HOUR_MS = 3_600_000


@dataclass(frozen=True)
class Look:
    """What a look at traffic found.

    Attributes:
        plan: that is followed now.
        expected: decisions that it draws in a day of this traffic; None before there is enough.
        changed: whether it was made by this look.
    """

    plan: StoredPlan
    expected: float | None
    changed: bool


class AuditPlanner:
    """Keeps the plan at what traffic is; several may be at work on one database, and one of them wins.

    Args:
        engine: the database.
        settings: budget, and least shares of blocks.
        now_ms: milliseconds since 1970.
    """

    def __init__(self, engine: Engine, settings: Settings, now_ms: Callable[[], int]):
        self._engine, self._now_ms = engine, now_ms
        self._wanted = Wanted(settings.audit_budget, settings.audit_block_share, settings.audit_block_least)

    def first(self) -> StoredPlan:
        """The plan that is followed; the default one where there was none.

        Raises:
            StoreError: the database fails.
        """
        with store_errors("the audit's plan cannot be read"):
            with reading(self._engine) as connection:
                found = current_plan(connection)
            while found is None:
                plan = default_plan(self._wanted.budget, self._wanted.block_share)
                with writing(self._engine) as connection:
                    why = "nothing is known of the traffic yet"
                    add_plan(connection, plan, after=None, bundle="", why=why, now_ms=self._now_ms())
                    found = current_plan(connection)
            return found

    def look(self, *, anew: bool = False) -> Look:
        """Compare the plan with the traffic of late, and make another one where it no longer fits.

        Args:
            anew: cut bands anew even where the plan still fits.

        Raises:
            StoreError: the database fails.
        """
        before, now = self.first(), self._now_ms()
        with store_errors("the audit's plan could not be made"):
            with writing(self._engine) as connection:
                join_past_days(connection, now // DAY_MS)
            with reading(self._engine) as connection:
                rows = self._sample(connection, now)
                if len(rows) < _FEWEST:
                    return Look(before, None, changed=False)
                traffic = _traffic(rows, _per_day(connection, rows, now))
            bundle = _bundle(rows)
            same = before.plan if before.bundle == bundle and not anew else None
            fresh = plan_of_traffic(traffic, self._wanted, same)
            if same is not None and still_fits(same, fresh, traffic):
                return Look(before, spending(same, traffic), changed=False)
            with writing(self._engine) as connection:
                added = add_plan(
                    connection,
                    fresh,
                    after=before,
                    bundle=bundle,
                    why=_why(before, bundle, traffic, anew),
                    now_ms=now,
                )
            return Look(self.first(), spending(fresh, traffic), changed=added)

    def _sample(self, connection: Connection, now_ms: int) -> list[Row[Any]]:
        query = (
            select(
                decisions.c.action,
                decisions.c.policies,
                decisions.c.scores,
                decisions.c.bundle,
                decisions.c.decided_at_ms,
            )
            .where(decisions.c.cause.not_in([one.value for one in PEOPLE]))
            .order_by(decisions.c.seq.desc())
            .limit(_SAMPLE)
        )
        rows: list[Row[Any]] = list(connection.execute(query))
        late = [row for row in rows if row.decided_at_ms > now_ms - _LIKE_MS]
        if len(late) >= _FEWEST:
            return late
        return [row for row in rows[:_FEWEST] if row.decided_at_ms > now_ms - _SMALL_MS]


def _traffic(rows: list[Row[Any]], per_day: float) -> Traffic:
    return Traffic(
        actions=np.array([row.action for row in rows], dtype=np.str_),
        scores=np.array([max(row.scores.values()) if row.scores else np.nan for row in rows], np.float64),
        policies=[tuple(row.policies) for row in rows],
        per_day=per_day,
    )


def _per_day(connection: Connection, rows: list[Row[Any]], now_ms: int) -> float:
    """Decisions of about the last 24 hours; where there was nothing the day before, at the pace of late."""
    today, passed = now_ms // DAY_MS, now_ms % DAY_MS / DAY_MS
    yesterday = count_day(connection, today - 1)
    if yesterday:
        return count_day(connection, today) + yesterday * (1 - passed)
    since = max(_HOUR_MS, now_ms - min(int(row.decided_at_ms) for row in rows))
    return len(rows) * DAY_MS / since


def _bundle(rows: list[Row[Any]]) -> str:
    """The bundle that most of the sample was decided by."""
    names = [str(row.bundle) for row in rows]
    return max(sorted(set(names)), key=names.count)


def _why(before: StoredPlan, bundle: str, traffic: Traffic, anew: bool) -> str:
    if anew:
        reason = "asked for"
    elif before.bundle == bundle:
        reason = "traffic has changed"
    else:
        reason = "another bundle decides" if before.bundle else "there is traffic now"
    return f"{reason}; about {traffic.per_day:,.0f} decisions a day"
