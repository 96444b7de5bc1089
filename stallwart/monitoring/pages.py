"""The pages of monitoring: online figures, drift, alerts; `novelty_page` has novelty."""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, select

from stallwart.core.errors import DataError, NotFoundError
from stallwart.estimate.audit_figures import figures as figures_of
from stallwart.monitoring.detect import SHARES
from stallwart.monitoring.lines import Line, chart
from stallwart.monitoring.online import Online, Vital, oldest_task_ms, online, read_vitals
from stallwart.monitoring.sketches import photo_place
from stallwart.monitoring.watcher import LEASE, read_steps
from stallwart.pages.roles import MEASURERS, OPERATORS
from stallwart.pages.site import Answer, Ask, Page, Route
from stallwart.store.alerts import DRIFT, close_alert, open_alerts, past_alerts, read_alert
from stallwart.store.audit_counts import DAY_MS
from stallwart.store.audit_sample import read_sample
from stallwart.store.database import reading, writing
from stallwart.store.hourly import HOUR_MS
from stallwart.store.leases import read_lease
from stallwart.store.photos import PhotoStore
from stallwart.store.revisions import Revision, read_revision
from stallwart.store.tables import decisions, drift_looks
from stallwart.store.views import View, add_views

SPANS = {"day": (24, 1), "week": (168, 6), "month": (720, 24), "quarter": (2_160, 24)}
"""Hours that the figures go back, and hours of a period."""
_SHOWN = 12
_AUDITED = 28  # days
_DAYS = 60
_LONGEST_WHY = 1_000


class WatchSection:
    """Online figures, drift and alerts."""

    title = "Monitoring"

    def routes(self) -> Sequence[Route]:
        """The three pages, and the end of an alert."""
        return (
            Route("/figures", "GET", self.figures, MEASURERS, nav="Figures"),
            Route("/drift", "GET", self.drift, MEASURERS, nav="Drift"),
            Route("/alerts", "GET", self.alerts, MEASURERS, nav="Alerts"),
            Route("/alerts/{alert_id}", "GET", self.alert, MEASURERS),
            Route("/alerts/{alert_id}/resolve", "POST", self.resolve, OPERATORS),
            Route("/watch/photos/{decision_id}/{number}", "GET", self.photo, MEASURERS),
        )

    def figures(self, ask: Ask) -> Page:
        """Figures of a span, of all or of one policy.

        Raises:
            DataError: there is no such span.
        """
        span, policy = ask.query.get("span", "week"), ask.query.get("policy")
        if span not in SPANS:
            raise DataError(f"there is no span {span[:20]!r}; there are: {', '.join(SPANS)}")
        hours, by_hours = SPANS[span]
        with reading(ask.database) as connection:
            told = online(connection, ask.now_ms, hours, by_hours, policy)
            health = read_vitals(connection, told.moments, by_hours * HOUR_MS)
            oldest = oldest_task_ms(connection, ask.now_ms)
            watching = _watching(connection, ask.now_ms)
            tomorrow = ask.now_ms // DAY_MS + 1
            audited = read_sample(connection, tomorrow - _AUDITED, tomorrow)
        context = {
            "audited": [*figures_of(audited, "all"), *figures_of(audited, "policy")], "days": _AUDITED,
            "span": span, "spans": SPANS, "policy": policy, "told": told, "oldest": oldest,
            "charts": [*_traffic(told, by_hours, policy), *_health(told, health)],
            "watching": watching,
        }  # fmt: skip
        return Page("figures.html", context)

    def drift(self, ask: Ask) -> Page:
        """How each detector stands, what moved, and the listings that moved it most."""
        with reading(ask.database) as connection:
            rows = connection.execute(
                select(drift_looks)
                .where(drift_looks.c.at_ms >= ask.now_ms - _DAYS * 24 * HOUR_MS)
                .order_by(drift_looks.c.at_ms)
            ).all()
            alarms = open_alerts(connection, DRIFT)
            shown = [(one, listings_of(connection, one.detail.get("decisions", []))) for one in alarms]
            watching = _watching(connection, ask.now_ms)
        by_detector: dict[str, list[Any]] = {}
        for row in rows:
            by_detector.setdefault(row.detector, []).append(row)
        for _, listings in shown:
            keep_views(ask, listings)
        standing = [
            {"name": name, "last": looks[-1], "chart": _evidence(name, looks)}
            for name, looks in sorted(by_detector.items(), key=lambda item: _place(item[0]))
        ]
        context = {
            "standing": standing, "alarms": shown, "per_year": f"{ask.settings.drift_false_alarms:g}",
            "watching": watching,
        }  # fmt: skip
        return Page("drift.html", context)

    def alerts(self, ask: Ask) -> Page:
        """Open alerts and the last that were resolved."""
        with reading(ask.database) as connection:
            context = {
                "open": open_alerts(connection),
                "past": past_alerts(connection, 50),
                "watching": _watching(connection, ask.now_ms),
            }
        return Page("alerts.html", context)

    def alert(self, ask: Ask) -> Page:
        """One alert with what is behind it."""
        with reading(ask.database) as connection:
            alert = read_alert(connection, ask.path["alert_id"])
            shown = listings_of(connection, alert.detail.get("decisions", []))
        keep_views(ask, shown)
        plain = {name: value for name, value in alert.detail.items() if name not in ("decisions", "words")}
        context = {
            "alert": alert, "shown": shown, "facts": json.dumps(plain, indent=1),
            "may_resolve": ask.user.role in OPERATORS,
        }  # fmt: skip
        return Page("alert.html", context)

    def resolve(self, ask: Ask) -> Answer:
        """End an alert by hand; it comes back where what raised it is still there.

        Raises:
            DataError: without a reason.
            NotFoundError: there is no such alert.
        """
        why = ask.form.get("why").strip()
        if not why or len(why) > _LONGEST_WHY:
            raise DataError(f"say why in 1 to {_LONGEST_WHY:,} characters; go back and try again")
        with writing(ask.database) as connection:
            close_alert(connection, ask.path["alert_id"], who=ask.user.name, why=why, now_ms=ask.now_ms)
        return Answer.redirect("/alerts", said="The alert is resolved.")

    def photo(self, ask: Ask) -> Answer:
        """A photo of a listing that drift or novelty shows; who looked is kept.

        Raises:
            NotFoundError: there is none, or retention deleted it.
        """
        number = ask.path["number"]
        with writing(ask.database) as connection:
            row = connection.execute(
                select(decisions.c.revision, decisions.c.listing_id).where(
                    decisions.c.decision_id == ask.path["decision_id"]
                )
            ).one_or_none()
            revision = None if row is None else read_revision(connection, row.revision)
            if (
                row is None
                or revision is None
                or not number.isdecimal()
                or len(number) > 3
                or int(number) >= len(revision.photos)
            ):
                raise NotFoundError("there is no such photo, or it was deleted")
            seen = View(ask.user.user_id, row.listing_id, "watch", ask.now_ms, ask.path["decision_id"])
            add_views(connection, [seen])
        photos = PhotoStore(photo_place(ask.settings))
        body = photos.get(revision.photos[int(number)])
        kind = next((kind for start, kind in _KINDS if body.startswith(start)), None)
        if kind is None:
            raise NotFoundError("the photo is of a kind that is not shown")
        return Answer(body, kind, headers={"Cache-Control": "private, max-age=3600"})


_KINDS = (
    (b"\xff\xd8", "image/jpeg"),
    (b"\x89PNG", "image/png"),
    (b"GIF8", "image/gif"),
    (b"RIFF", "image/webp"),
)


def _watching(connection: Connection, now_ms: int) -> dict[str, Any]:
    """Whether a watcher is at work, and how its steps went."""
    lease = read_lease(connection, LEASE)
    steps = list(read_steps(connection).values())
    ran = max((one.ran_at_ms for one in steps), default=None)
    alive = lease is not None and lease.until_ms > now_ms
    return {"alive": alive, "ran_at_ms": ran, "failing": [one for one in steps if one.failures]}


def _traffic(told: Online, by_hours: int, policy: str) -> list[Any]:
    at, periods = told.moments, told.periods
    precision = [one.precision for one in periods]
    shares = [
        Line("blocked", [one.blocked.value for one in periods], tone="alarm"),
        Line("sent to review", [one.reviewed.value for one in periods], tone="other"),
    ]
    first = [
        chart(
            f"Decisions in {_period(by_hours)}", at, [Line("all", [float(one.decided) for one in periods])]
        ),
        chart("Share blocked and sent to review", at, shares, unit="%"),
    ]
    if policy:
        first = [
            chart(
                f"Decisions that it called for, in {_period(by_hours)}",
                at,
                [
                    Line("blocks", [float(one.count("block")) for one in periods], tone="alarm"),
                    Line("reviews", [float(one.count("review")) for one in periods], tone="other"),
                ],
            )
        ]
    return [
        *first,
        chart(
            "Precision of blocks that were drawn for the audit",
            at,
            [
                Line(
                    "precision",
                    [one.value for one in precision],
                    [one.interval.lower if one.interval else None for one in precision],
                    [one.interval.upper if one.interval else None for one in precision],
                    "good",
                )
            ],
            unit="%",
            top=1.0,
        ),
        chart(
            "Appeals, overturned decisions, reports by users",
            at,
            [
                Line("appeals", [float(one.count("appeal")) for one in periods]),
                Line("overturned", [float(one.count("overturned")) for one in periods], tone="alarm"),
                Line("reports", [float(one.count("report")) for one in periods], tone="other"),
            ],
        ),
    ]  # fmt: skip


def _period(hours: int) -> str:
    return "an hour" if hours == 1 else "a day" if hours == 24 else f"{hours} hours"


def _health(told: Online, health: list[Vital | None]) -> list[Any]:
    at = told.moments
    if not any(health):
        return []

    def of(name: str, factor: float = 1.0) -> list[float | None]:
        return [
            None if one is None or getattr(one, name) is None else factor * getattr(one, name)
            for one in health
        ]

    return [
        chart(
            "Latency of a decision",
            at,
            [Line("p50", of("p50_ms")), Line("p99", of("p99_ms"), tone="other")],
            unit="ms",
        ),
        chart("Oldest listing in the service's queue", at, [Line("wait", of("queue_age_s"))], unit="s"),
        chart("Processor, of one core", at, [Line("in use", of("cores"))], unit="%"),
        chart("Memory of all processes", at, [Line("held", of("resident_bytes", 1e-6))], unit="MB"),
    ]  # fmt: skip


def _evidence(name: str, looks: list[Any]) -> Any:
    at = [row.at_ms for row in looks]
    lines = [
        Line("evidence", [min(row.evidence, 30.0) for row in looks]),
        Line("alarm above", [row.limit for row in looks], tone="alarm"),
    ]
    return chart(name.replace("scores/", "Scores of ").capitalize(), at, lines)


def _place(name: str) -> tuple[int, str]:
    names = list(SHARES)
    return names.index(name.split("/")[0]) if name.split("/")[0] in names else len(names), name


def listings_of(
    connection: Connection, decision_ids: Sequence[str], most: int = _SHOWN
) -> list[dict[str, Any]]:
    """Listings of decisions with their words and photos, those that retention left."""
    found = []
    for decision_id in list(decision_ids)[:most]:
        row = connection.execute(
            select(decisions.c.revision, decisions.c.action, decisions.c.policies).where(
                decisions.c.decision_id == decision_id
            )
        ).one_or_none()
        revision: Revision | None = None if row is None else read_revision(connection, row.revision)
        if row is not None and revision is not None and revision.purged_at_ms is None:
            found.append(
                {
                    "decision_id": decision_id,
                    "revision": revision,
                    "action": row.action,
                    "policies": row.policies,
                }
            )
    return found


def keep_views(ask: Ask, shown: Sequence[dict[str, Any]]) -> None:
    """Keep that this person was shown these listings' words."""
    views = [
        View(ask.user.user_id, one["revision"].listing_id, "watch", ask.now_ms, one["decision_id"])
        for one in shown
    ]
    if views:
        with writing(ask.database) as connection:
            add_views(connection, views)
