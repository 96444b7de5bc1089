"""For leads: what waits, how fast people read, and who looked at what."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stallwart.pages.roles import LEADS
from stallwart.pages.site import Ask, Page, Route
from stallwart.review.policies import Policies
from stallwart.store.board import Board, finished_since
from stallwart.store.database import reading, store_errors
from stallwart.store.people import Role, User, list_users
from stallwart.store.revisions import storable
from stallwart.store.tasks import Count
from stallwart.store.views import read_views

_HOUR_MS, _DAY_MS = 3_600_000, 86_400_000
_VIEWS = 100


@dataclass(frozen=True, slots=True)
class Pace:
    """How many tasks a person finished lately."""

    user: User
    hour: int
    day: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """Open tasks of one kind or of one policy.

    Attributes:
        name: of the kind or the policy.
        waiting: how many are open.
        overdue: how many of them are past their deadline.
        oldest_due_ms: the earliest deadline.
        share: of the largest in its table, in hundredths, for the bar.
    """

    name: str
    waiting: int
    overdue: int
    oldest_due_ms: int
    share: float = 0.0


class QueueSection:
    """Pages of leads about the queue.

    Args:
        board: counts open tasks behind the pages.
        policies: the rulebook.
    """

    title = "Queue"

    def __init__(self, board: Board, policies: Policies):
        self._board, self._policies = board, policies

    def routes(self) -> Sequence[Route]:
        """The queue and the looks."""
        return (
            Route("/queue", "GET", self.queue, LEADS, nav="What waits"),
            Route("/views", "GET", self.views, LEADS, nav="Who looked"),
        )

    def queue(self, ask: Ask) -> Page:
        """Open tasks by kind and policy, and people's pace."""
        counted = self._board.latest()
        with store_errors("the queue cannot be read"), reading(ask.database) as connection:
            judges = [
                user
                for user in list_users(connection)
                if user.disabled_at_ms is None and user.role in (Role.REVIEWER, Role.LEAD, Role.ADMIN)
            ]
            ids = [user.user_id for user in judges]
            hour = finished_since(connection, ids, ask.now_ms - _HOUR_MS)
            day = finished_since(connection, ids, ask.now_ms - _DAY_MS)
        pace = [Pace(user, hour[user.user_id], day[user.user_id]) for user in judges]
        context = {
            "kinds": _together((one.kind.value, one) for one in counted.counts),
            "policies": _together(
                (self._policies.title(one.policy) if one.policy else "of no policy", one)
                for one in counted.counts
            ),
            "waiting": sum(one.waiting for one in counted.counts),
            "overdue": sum(one.overdue for one in counted.counts),
            "counted_at_ms": counted.at_ms,
            "pace": sorted(pace, key=lambda one: (-one.day, one.user.name)),
        }
        return Page("queue.html", context)

    def views(self, ask: Ask) -> Page:
        """The last looks at listings: all, of one listing, or of one person."""
        listing, name, before = (ask.query.get(field).strip() for field in ("listing", "person", "before"))
        with store_errors("looks cannot be read"), reading(ask.database) as connection:
            people = {user.user_id: user for user in list_users(connection)}
            wanted = next((user.user_id for user in people.values() if user.name == name), name or None)
            seen = read_views(
                connection, listing_id=storable(listing) or None, user_id=wanted,
                before=int(before) if before.isdecimal() and len(before) < 18 else None, limit=_VIEWS,
            )  # fmt: skip
        context = {
            "seen": [(view, people.get(view.user_id)) for _, view in seen],
            "listing": listing,
            "person": name,
            "people": sorted(user.name for user in people.values()),
            "before": seen[-1][0] if len(seen) == _VIEWS else None,
        }
        return Page("views.html", context)


def _together(counts: Iterable[tuple[str, Count]]) -> list[Waiting]:
    """Counts of one name added up, the largest first."""
    found: dict[str, Waiting] = {}
    for name, one in counts:
        before = found.get(name, Waiting(name, 0, 0, one.oldest_due_ms))
        found[name] = Waiting(
            name,
            before.waiting + one.waiting,
            before.overdue + one.overdue,
            min(before.oldest_due_ms, one.oldest_due_ms),
        )
    most = max((one.waiting for one in found.values()), default=1)
    rows = (
        Waiting(one.name, one.waiting, one.overdue, one.oldest_due_ms, round(100 * one.waiting / most, 2))
        for one in found.values()
    )
    return sorted(rows, key=lambda one: (-one.waiting, one.name))
