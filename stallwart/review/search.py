"""Search: listings by words, seller, policy, score, decision, time and likeness; and what to do with them."""

from collections.abc import Sequence
from urllib.parse import urlencode

from stallwart.core.decision import Action
from stallwart.core.errors import DataError
from stallwart.core.settings import Settings
from stallwart.index.search import Filters, Hits, search
from stallwart.pages.roles import JUDGES, LEADS
from stallwart.pages.site import Answer, Ask, Page, Route
from stallwart.review.finding import BY, FIELDS, Finding, Wanted, policies_of
from stallwart.store import bulk
from stallwart.store.database import reading, store_errors, writing
from stallwart.store.findable import Hit
from stallwart.store.people import Role
from stallwart.store.views import View, add_views

_PAGE = 24
_SET_DEADLINE_MS = 3_000  # to find all that an act is about


class SearchSection:
    """The page of search.

    Args:
        finding: reads searches.
    """

    title = "Search"

    def __init__(self, finding: Finding):
        self._finding = finding

    def routes(self) -> Sequence[Route]:
        """The search, and the preparation of an act on what was found."""
        return (
            Route("/search", "GET", self.search, JUDGES, nav="Search"),
            Route("/search/act", "POST", self.prepare, JUDGES),
        )

    def search(self, ask: Ask) -> Page:
        """What is found, a page of it; each listing that is shown counts as seen."""
        error, hits = "", Hits(())
        wanted = Wanted({name: ask.query.get(name) for name in FIELDS if ask.query.get(name)}, Filters())
        try:
            wanted = self._finding.wanted(ask.query)
            hits = search(ask.database, wanted.filters, _PAGE, _place(ask.query.get("before")))
        except DataError as err:
            error = str(err)
        with store_errors("listings cannot be read"), reading(ask.database) as connection:
            shown = self._finding.shown(connection, hits.rows, wanted)
            policies = policies_of(connection)
        if shown:
            with writing(ask.database) as connection:
                add_views(connection, [_view(ask, one.hit) for one in shown])
        onward = {**wanted.given, "before": str(hits.rows[-1].seq)} if hits.more else {}
        return Page(
            "search.html",
            {
                "given": {name: wanted.given.get(name, "") for name in FIELDS},
                "asked": wanted.given,
                "shown": shown,
                "given_up": hits.given_up,
                "error": error,
                "onward": f"/search?{urlencode(onward)}" if onward else "",
                "policies": policies,
                "actions": [str(action) for action in Action],
                "ways": BY,
                "limit": limit_of(ask.user.role, ask.settings),
            },
        )

    def prepare(self, ask: Ask) -> Answer:
        """An act on what was found or chosen, prepared; nothing is done before its page says so.

        Raises:
            DataError: no act, nothing chosen, or more than this person may do at once.
            ConfigError: the reason is empty or too long.
        """
        action = _act(ask.form.get("act"))
        wanted = self._finding.wanted(ask.form)
        limit = limit_of(ask.user.role, ask.settings)
        hits = _found(ask, wanted, limit)
        policies = tuple(
            dict.fromkeys(part.strip() for part in ask.form.get("for").split(",") if part.strip())
        )
        with reading(ask.database) as connection:
            known = policies_of(connection)
        if unknown := [name for name in policies if name not in known]:
            raise DataError(f"there is no policy {unknown[0]!r} among those of decided listings")
        with store_errors("the act could not be prepared"), writing(ask.database) as connection:
            bulk_id = bulk.prepare(
                connection,
                hits,
                user_id=ask.user.user_id,
                who=ask.user.name,
                action=action,
                policies=policies if action == Action.BLOCK else (),
                why=ask.form.get("why"),
                filters=dict(wanted.given),
                now_ms=ask.now_ms,
            )
        return Answer.redirect(f"/bulk/{bulk_id}")


def limit_of(role: Role, settings: Settings) -> int:
    """How many listings a person may act on at once."""
    return settings.bulk_limit_leads if role in LEADS else settings.bulk_limit_reviewers


def _found(ask: Ask, wanted: Wanted, limit: int) -> tuple[Hit, ...]:
    """The set: all that is found, or what of it was chosen."""
    filters = wanted.filters
    if ask.form.get("what") != "found":
        picked = tuple(dict.fromkeys(ask.form.all("pick")))
        if not picked:
            raise DataError("no listing was chosen; choose some, or act on all that were found")
        filters = Filters(listings=picked[: limit + 1])
    hits = search(ask.database, filters, limit, deadline_ms=_SET_DEADLINE_MS)
    if hits.given_up:
        raise DataError("finding all of them takes too long; narrow the search, as by seller, policy or days")
    if hits.more:
        raise DataError(
            f"there are more than {limit:,}, the most that you may act on at once; narrow the search"
        )
    return hits.rows


def _act(given: str) -> Action:
    try:
        return Action(given)
    except ValueError:
        raise DataError(f"say what is to be done: {', '.join(Action)}") from None


def _place(given: str) -> int | None:
    return int(given) if given.isascii() and given.isdigit() and len(given) < 19 else None


def _view(ask: Ask, hit: Hit) -> View:
    return View(ask.user.user_id, hit.listing_id, "search", ask.now_ms, hit.decision_id)
