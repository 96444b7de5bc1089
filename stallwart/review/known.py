"""What is known to be bad: the list, and the removal of an entry."""

from collections.abc import Sequence

from stallwart.pages.roles import JUDGES, LEADS
from stallwart.pages.site import Answer, Ask, Page, Route
from stallwart.store.database import reading, store_errors, writing
from stallwart.store.known import list_known, remove_known

_PAGE = 50


class KnownSection:
    """Pages of known-bad things."""

    title = "Search"

    def routes(self) -> Sequence[Route]:
        """The list, and a removal."""
        return (
            Route("/known", "GET", self.known, JUDGES, nav="Known to be bad"),
            Route("/known/remove", "POST", self.remove, LEADS),
        )

    def known(self, ask: Ask) -> Page:
        """Entries that count, the newest first."""
        given = ask.query.get("before")
        before = int(given) if given.isascii() and given.isdigit() and len(given) < 19 else None
        policy = ask.query.get("policy") or None
        with store_errors("known entries cannot be read"), reading(ask.database) as connection:
            entries = list_known(connection, policy=policy, before=before, limit=_PAGE + 1)
        shown, more = entries[:_PAGE], len(entries) > _PAGE
        return Page(
            "known.html",
            {
                "entries": shown,
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
