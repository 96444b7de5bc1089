"""Acts on many listings: what one would change, how far it is, what became of it, and its undo."""

from collections.abc import Sequence
from typing import Any

from stallwart.core.decision import Action
from stallwart.core.errors import AccessError
from stallwart.index.search import Filters, search
from stallwart.pages.roles import JUDGES, LEADS
from stallwart.pages.site import Answer, Ask, Page, Route
from stallwart.review.finding import Finding
from stallwart.store import bulk
from stallwart.store.bulk import AT_WORK, Act
from stallwart.store.database import reading, store_errors, writing
from stallwart.store.views import View, add_views

_EXAMPLES = 8
WORDS = {
    "ruled": "decided",
    "repeated": "decided before",
    "edited": "edited since, left alone",
    "outranked": "decided by somebody since, left alone",
    "undecided": "left alone",
    "missing": "gone, left alone",
}
"""Of `rulings.Outcome`, for people."""


class BulkSection:
    """Pages of acts on many listings.

    Args:
        finding: shows examples.
    """

    title = "Search"

    def __init__(self, finding: Finding):
        self._finding = finding

    def routes(self) -> Sequence[Route]:
        """The list, one act, and what can be done with it."""
        return (
            Route("/bulk", "GET", self.acts, JUDGES, nav="Acts on many"),
            Route("/bulk/{bulk_id}", "GET", self.act, JUDGES),
            Route("/bulk/{bulk_id}/begin", "POST", self.begin, JUDGES),
            Route("/bulk/{bulk_id}/undo", "POST", self.undo, JUDGES),
            Route("/bulk/{bulk_id}/drop", "POST", self.drop, JUDGES),
        )

    def acts(self, ask: Ask) -> Page:
        """The last acts."""
        with store_errors("acts cannot be read"), reading(ask.database) as connection:
            return Page("bulks.html", {"acts": bulk.list_acts(connection)})

    def act(self, ask: Ask) -> Page:
        """One act; before it is begun, what it would change, with examples that count as seen.

        Raises:
            NotFoundError: there is no such act.
        """
        with store_errors("the act cannot be read"), reading(ask.database) as connection:
            act = bulk.read_act(connection, ask.path["bulk_id"])
            facts = _facts(ask, act, bulk.progress(connection, act.bulk_id))
            examples = bulk.listings_of(connection, act.bulk_id, _EXAMPLES)
        if ask.is_htmx:
            return Page("bulk_progress.html", facts, fragment=True)
        shown = []
        if act.state == "prepared":
            hits = search(ask.database, Filters(listings=tuple(examples)), _EXAMPLES).rows
            with reading(ask.database) as connection:
                shown = self._finding.shown(connection, hits)
            with writing(ask.database) as connection:
                add_views(
                    connection,
                    [
                        View(ask.user.user_id, one.hit.listing_id, "bulk", ask.now_ms, one.hit.decision_id)
                        for one in shown
                    ],
                )
        return Page("bulk.html", {**facts, "shown": shown})

    def begin(self, ask: Ask) -> Answer:
        """Do it, in the background.

        Raises:
            NotFoundError: there is no such act.
            AccessError: another person prepared it.
            ConflictError: it is not waiting to be begun.
        """
        act = self._mine(ask)
        with store_errors("the act could not be begun"), writing(ask.database) as connection:
            bulk.begin(connection, act.bulk_id, who=ask.user.name, now_ms=ask.now_ms)
        return Answer.redirect(f"/bulk/{act.bulk_id}")

    def undo(self, ask: Ask) -> Answer:
        """Take it back, in the background; errors as of `begin`, and a lead may take back anybody's."""
        act = self._mine(ask)
        with store_errors("the act could not be taken back"), writing(ask.database) as connection:
            bulk.take_back(connection, act.bulk_id, who=ask.user.name, now_ms=ask.now_ms)
        return Answer.redirect(f"/bulk/{act.bulk_id}")

    def drop(self, ask: Ask) -> Answer:
        """Let it go before it is begun; errors as of `begin`."""
        act = self._mine(ask)
        with store_errors("the act could not be let go"), writing(ask.database) as connection:
            bulk.drop(connection, act.bulk_id)
        return Answer.redirect("/search", said="Nothing was done.")

    def _mine(self, ask: Ask) -> Act:
        with store_errors("the act cannot be read"), reading(ask.database) as connection:
            act = bulk.read_act(connection, ask.path["bulk_id"])
        if act.user_id != ask.user.user_id and not (ask.user.role in LEADS and act.state != "prepared"):
            raise AccessError("another person prepared this act; only they can go on with it")
        return act


def _facts(ask: Ask, act: Act, found: bulk.Progress) -> dict[str, Any]:
    done = sum((found.undone if act.state in ("undoing", "undone") else found.outcomes).values())
    changed = sum(found.outcomes.get(name, 0) for name in ("ruled", "repeated"))
    return {
        "act": act,
        "found": found,
        "done": done,
        "of": changed if act.state in ("undoing", "undone") else act.listings,
        "same": found.before.get(str(act.action), 0) if act.action != Action.BLOCK else 0,
        "at_work": act.state in AT_WORK,
        "words": WORDS,
        "may": act.user_id == ask.user.user_id or ask.user.role in LEADS,
    }
