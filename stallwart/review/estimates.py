"""What slips through: prevalence, recall and precision, as the audit estimates them."""

from collections.abc import Mapping, Sequence
from typing import Any

from stallwart.core.errors import NotFoundError
from stallwart.estimate.audit import Estimate
from stallwart.estimate.audit_figures import About, Figures
from stallwart.pages.roles import MEASURERS
from stallwart.pages.site import Ask, Page, Route
from stallwart.review.charts import Chart, Point, chart
from stallwart.review.estimate_board import DAYS, WEEKS, EstimateBoard, Told
from stallwart.store.audit_plans import current_plan
from stallwart.store.database import reading

_WHAT: Mapping[str, str] = {
    "prevalence": "Prevalence",
    "recall": "Recall",
    "precision": "Precision",
}


class EstimatesSection:
    """Pages of the audit's figures.

    Args:
        board: where they are worked out.
    """

    title = "Monitoring"

    def __init__(self, board: EstimateBoard):
        self._board = board

    def routes(self) -> Sequence[Route]:
        """All figures, and those of one policy."""
        return (
            Route("/estimates", "GET", self.estimates, MEASURERS, nav="Estimates"),
            Route("/estimates/{policy}", "GET", self.policy, MEASURERS),
        )

    def estimates(self, ask: Ask) -> Page:
        """The last weeks: overall, by week, by policy, by bundle and by day."""
        about = _about(ask)
        told = self._board.latest(about)
        with reading(ask.database) as connection:
            plan = current_plan(connection)
        context = {
            "about": about,
            "told": told,
            "plan": plan,
            "budget": ask.settings.audit_budget,
            "n_days": DAYS,
            "n_weeks": WEEKS,
            "charts": _charts(told.weeks[None]) if told else (),
            "row": row,
        }
        return Page("estimates.html", context)

    def policy(self, ask: Ask) -> Page:
        """One policy, week by week.

        Raises:
            NotFoundError: nothing is known of such a policy.
        """
        about, policy = _about(ask), ask.path["policy"]
        told = self._board.latest(about)
        if told is None or policy not in told.weeks:
            raise NotFoundError("the audit knows nothing of such a policy yet")
        context = {
            "about": about,
            "policy": policy,
            "told": told,
            "overall": _of(told, policy),
            "weeks": told.weeks[policy],
            "charts": _charts(told.weeks[policy]),
            "n_days": DAYS,
            "row": row,
        }
        return Page("estimates_policy.html", context)


_WIDEST = 0.5  # of an interval beside which a single number would say more than is known


def row(estimate: Estimate) -> dict[str, Any]:
    """A figure as a cell of a table shows it: `value` and `bounds` in words, and the counts behind them.

    Where nearly everything is possible the interval stands alone.
    """
    if not estimate.verdicts:
        return {"value": "not known yet", "bounds": "", "counts": ""}
    bounds = f"{percent(estimate.lower)} to {percent(estimate.upper)}"
    value = _single(estimate)
    return {
        "value": bounds if value is None else percent(value),
        "bounds": "" if value is None else bounds,
        "counts": f"{estimate.violating:,} of {estimate.verdicts:,} verdicts say yes",
    }


def _single(estimate: Estimate) -> float | None:
    """The figure as one number, where its interval leaves it one."""
    return estimate.value if estimate.upper - estimate.lower <= _WIDEST else None


def percent(share: float) -> str:
    """A share of 1 with as many digits as tell small ones apart."""
    return f"{100 * share:.2f} %" if share < 0.1 else f"{100 * share:.0f} %"


def _about(ask: Ask) -> About:
    return "calls" if ask.query.get("about") == "calls" else "blocks"


def _of(told: Told, policy: str) -> Figures | None:
    return next((one for one in told.policies if one.name == policy), None)


def _charts(weeks: Sequence[Figures]) -> list[Chart]:
    made = []
    for name, title in _WHAT.items():
        points = [_point(one, getattr(one.audit, name)) for one in weeks]
        known = [one for one in points if one is not None]
        drawn = chart(f"{title} by week", known, None if name == "prevalence" else 1.0)
        if drawn is not None:
            made.append(drawn)
    return made


def _point(one: Figures, estimate: Estimate) -> Point | None:
    if not estimate.verdicts:
        return None
    told = row(estimate)
    said = f"week of {one.name}: {told['value']} {told['bounds']}, {told['counts']}"
    return Point(one.name[5:], _single(estimate), estimate.lower, estimate.upper, said)
