"""The page of certificates: which policy may act alone, what speaks for and against, and what is missing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stallwart.core.errors import ConfigError, NotFoundError
from stallwart.estimate.earning import thresholds_to_try
from stallwart.pages.roles import MEASURERS
from stallwart.pages.site import Answer, Ask, Page, Route
from stallwart.store.database import reading, writing
from stallwart.store.registry import Alias, alias
from stallwart.store.rights import (
    Right,
    State,
    read_right,
    read_rights,
    read_watched,
    start_earning,
    withdraw,
)

_PATH = "/certificates"
_WIDTH, _HEIGHT = 640.0, 120.0  # of the drawing, in its own units
_WORDS = {
    State.NONE: "never had it",
    State.CERTIFIED: "acts alone, certified offline",
    State.EARNED: "acts alone, earned by verdicts",
    State.WITHDRAWN: "withdrawn: its blocks go to review",
    State.EARNING: "is earning it",
}


class CertificatesSection:
    """Which policy may act alone."""

    title = "Monitoring"

    def routes(self) -> Sequence[Route]:
        """The page, and its two acts."""
        return (
            Route(_PATH, "GET", show, MEASURERS, nav="Certificates"),
            Route(f"{_PATH}/withdraw", "POST", take, MEASURERS),
            Route(f"{_PATH}/earn", "POST", earn, MEASURERS),
        )


@dataclass(frozen=True, slots=True)
class Line:
    """The detector's statistic over time, in the drawing's units.

    Attributes:
        path: of an SVG polyline.
        wrong: (x, y) of wrong blocks.
        limit_y: where the limit is.
        begins_ms: at the left edge, milliseconds since 1970.
        ends_ms: at the right edge.
    """

    path: str
    wrong: tuple[tuple[float, float], ...]
    limit_y: float
    begins_ms: int
    ends_ms: int


def show(ask: Ask) -> Page:
    """All policies of the bundle that decides, and of the challenger where one wants to."""
    bundles = []
    with reading(ask.database) as connection:
        for name in (Alias.CHAMPION, Alias.CHALLENGER):
            digest = alias(connection, name)
            if digest is None:
                continue
            watched = read_watched(connection, digest)
            rights = read_rights(connection, [digest])
            bundles.append(
                {
                    "alias": name.value,
                    "digest": digest,
                    "rights": [_shown(one, watched.get(one.policy)) for one in rights],
                    "looked_at_ms": max((one["looked_at_ms"] for one in watched.values()), default=None),
                }
            )
    at_work = [state for state in State if state.acts or state is State.EARNING]
    return Page("certificates.html", {"bundles": bundles, "at_work": at_work})


def take(ask: Ask) -> Answer:
    """Withdraw a right, or stop an attempt.

    Raises:
        ConfigError: without a reason.
        ConflictError: somebody else moved it.
    """
    with writing(ask.database) as connection:
        right = _seen(ask, read_right(connection, ask.form.get("bundle"), ask.form.get("policy")))
        why = ask.form.get("why").strip()
        withdraw(connection, right, who=ask.user.name, why=why, now_ms=ask.now_ms)
    acted = "acts alone" if right.state.acts else "earns a right"
    return Answer.redirect(_PATH, f"{right.policy} no longer {acted}; the service follows within seconds")


def earn(ask: Ask) -> Answer:
    """Begin an attempt to earn a right, with four scores from the nearest to a proof on.

    Raises:
        ConfigError: without a reason.
        ConflictError: somebody else moved it.
    """
    with writing(ask.database) as connection:
        right = _seen(ask, read_right(connection, ask.form.get("bundle"), ask.form.get("policy")))
        why = ask.form.get("why").strip()
        tried = thresholds_to_try(right.offered)
        start_earning(connection, right, tried, who=ask.user.name, why=why, now_ms=ask.now_ms)
    return Answer.redirect(_PATH, f"would-be blocks of {right.policy} are drawn for verdicts from now on")


def _seen(ask: Ask, right: Right) -> Right:
    """The right, where it is as the person saw it: what was moved meanwhile is not moved again unseen."""
    try:
        version = int(ask.form.get("version"))
    except ValueError:
        raise ConfigError("the form names no version; load the page again") from None
    if right.version != version:
        raise NotFoundError("somebody moved this right meanwhile; load the page again")
    return right


def _shown(right: Right, watched: dict[str, Any] | None) -> dict[str, Any]:
    fits = watched is not None and watched["kind"] == ("acting" if right.state.acts else "earning")
    told = watched if fits and (right.state.acts or right.state is State.EARNING) else None
    return {
        "right": right,
        "words": _WORDS[right.state],
        "told": told,
        "line": line(told["points"], told["limit"]) if told and told["kind"] == "acting" else None,
        "soonest": _soonest(told) if told and told["kind"] == "earning" else None,
        "suggested": thresholds_to_try(right.offered),
    }


def _soonest(told: dict[str, Any]) -> dict[str, Any] | None:
    """The threshold that needs the fewest verdicts more, and in how many days at the present rate."""
    open_ones = [one for one in told["thresholds"] if one["more"] is not None and not one["proven"]]
    if not open_ones:
        return None
    nearest: dict[str, Any] = min(open_ones, key=lambda one: one["more"])
    share = nearest["verdicts"] / told["verdicts"] if told["verdicts"] else 1.0
    rate = told["a_day"] * share
    return {**nearest, "days": nearest["more"] / rate if rate else None}


def line(points: Sequence[Sequence[float]], limit: float) -> Line | None:
    """The drawing of [milliseconds, statistic, 1 if right]; None without points."""
    if not points:
        return None
    begins, ends = points[0][0], max(points[-1][0], points[0][0] + 1)
    top = max(limit * 1.15, *(one[1] for one in points))

    def at(one: Sequence[float]) -> tuple[float, float]:
        x = (one[0] - begins) / (ends - begins) * _WIDTH
        return round(x, 1), round(_HEIGHT * (1 - one[1] / top), 1)

    places = [at(one) for one in points]
    return Line(
        path=" ".join(f"{x},{y}" for x, y in places),
        wrong=tuple(place for place, one in zip(places, points, strict=True) if not one[2]),
        limit_y=round(_HEIGHT * (1 - limit / top), 1),
        begins_ms=int(begins),
        ends_ms=int(ends),
    )
