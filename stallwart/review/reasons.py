"""Statements of reasons as people see them: the last blocks, and what each seller was told."""

from collections.abc import Sequence

from stallwart.core.settings import Settings
from stallwart.pages.roles import LEADS
from stallwart.pages.site import Ask, Page, Route
from stallwart.reasons.give import Statements
from stallwart.store.database import reading, store_errors, writing
from stallwart.store.decisions import read_decisions
from stallwart.store.given import last_blocks
from stallwart.store.views import View, add_views

_PAGE = 50


class ReasonsSection:
    """Pages of leads.

    Args:
        settings: of statements.

    Raises:
        ConfigError: a template does not work.
    """

    title = "Statements"

    def __init__(self, settings: Settings):
        self._statements = Statements(settings)

    def routes(self) -> Sequence[Route]:
        """The last blocks, and one statement."""
        return (
            Route("/statements", "GET", self.overview, LEADS, nav="Statements"),
            Route("/statements/{decision_id}", "GET", self.statement, LEADS),
        )

    def overview(self, ask: Ask) -> Page:
        """The newest blocks, a page of them."""
        before = ask.query.get("before")
        with store_errors("blocks cannot be read"), reading(ask.database) as connection:
            place = int(before) if before.isdecimal() and len(before) < 19 else None
            found = list(last_blocks(connection, _PAGE + 1, place))
            decided = read_decisions(connection, [one for _, one in found[:_PAGE]])
        rows = [decided[one] for _, one in found[:_PAGE]]
        onward = found[_PAGE - 1][0] if len(found) > _PAGE else None
        return Page("statements.html", {"blocks": rows, "onward": onward})

    def statement(self, ask: Ask) -> Page:
        """What the seller is told; opening it gives it, if nobody asked for it before."""
        language = ask.query.get("language") or None
        given = self._statements.give(ask.database, ask.path["decision_id"], ask.now_ms, language)
        with writing(ask.database) as connection:
            add_views(
                connection,
                [View(ask.user.user_id, given.listing_id, "statement", ask.now_ms, given.decision_id)],
            )
        languages = self._statements.templates.languages
        return Page("statement.html", {"given": given, "languages": languages})
