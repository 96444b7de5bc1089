"""What is known to be bad: the list with the listings that it is of, and the removal of an entry."""

from collections.abc import Sequence

from stallwart.index.search import Filters, search
from stallwart.pages.roles import JUDGES, LEADS
from stallwart.pages.site import Answer, Ask, Page, Route
from stallwart.review.finding import Finding
from stallwart.store.database import reading, store_errors, writing
from stallwart.store.known import list_known, remove_known
from stallwart.store.views import View, add_views

_PAGE = 50


class KnownSection:
    """Pages of known-bad things.

    Args:
        finding: shows the listings.
    """

    title = "Search"

    def __init__(self, finding: Finding):
        self._finding = finding

    def routes(self) -> Sequence[Route]:
        """The list, and a removal."""
        return (
            Route("/known", "GET", self.known, JUDGES, nav="Known to be bad"),
            Route("/known/remove", "POST", self.remove, LEADS),
        )

    def known(self, ask: Ask) -> Page:
        """Entries that count, the newest first; each listing that is shown counts as seen."""
        given = ask.query.get("before")
        before = int(given) if given.isascii() and given.isdigit() and len(given) < 19 else None
        policy = ask.query.get("policy") or None
        with store_errors("known entries cannot be read"), reading(ask.database) as connection:
            entries = list_known(connection, policy=policy, before=before, limit=_PAGE + 1)
        shown, more = entries[:_PAGE], len(entries) > _PAGE
        listings = tuple(dict.fromkeys(one.listing_id for one in shown))
        hits = search(ask.database, Filters(listings=listings), _PAGE).rows
        with store_errors("listings cannot be read"), reading(ask.database) as connection:
            found = {one.hit.listing_id: one for one in self._finding.shown(connection, hits)}
        with writing(ask.database) as connection:
            seen = [one.hit for one in found.values()]
            user, now = ask.user.user_id, ask.now_ms
            add_views(connection, [View(user, hit.listing_id, "known", now, hit.decision_id) for hit in seen])
        return Page(
            "known.html",
            {
                "entries": shown,
                "found": found,
                "more": shown[-1].seq if more else None,
                "policy": policy,
                "may": ask.user.role in LEADS,
            },
        )

    def remove(self, ask: Ask) -> Answer:
        """Let an entry count no more.

        Raises:
            NotFoundError: there is no such entry that counts.
            ConfigError: the reason is empty or too long.
        """
        with store_errors("the entry could not be removed"), writing(ask.database) as connection:
            remove_known(
                connection,
                ask.form.get("entry"),
                who=ask.user.name,
                why=ask.form.get("why"),
                now_ms=ask.now_ms,
            )
        return Answer.redirect("/known", said="It counts no more; services know within seconds.")
