"""Erasure: a preview of what goes, a confirmation by typing the id again, and the certificate."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from stallwart.core.errors import DataError
from stallwart.model.seen import erase_tools
from stallwart.pages.roles import ADMINS
from stallwart.pages.site import Answer, Ask, Page, Route
from stallwart.store import erasing
from stallwart.store.database import reading
from stallwart.store.erased import TOMBSTONES, Kind, keep_beside
from stallwart.store.erasing import Tools, certificate_digest

_LONGEST = 256


class ErasureSection:
    """Pages of admins.

    Args:
        gone: told the id of each listing that went, for what this process has in memory.
    """

    title = "Erasure"

    def __init__(self, gone: Callable[[str], object]):
        self._gone = gone

    def routes(self) -> Sequence[Route]:
        """The form with what was erased, a preview, the act, and a certificate."""
        return (
            Route("/erasure", "GET", self.overview, ADMINS, nav="Erase"),
            Route("/erasure/preview", "POST", self.look, ADMINS),
            Route("/erasure", "POST", self.erase, ADMINS),
            Route("/erasure/resume", "POST", self.resume, ADMINS),
            Route("/erasure/{erasure_id}", "GET", self.certificate, ADMINS),
        )

    def overview(self, ask: Ask) -> Page:
        """The form, and what was erased."""
        with reading(ask.database) as connection:
            found = erasing.list_erasures(connection)
        kind = ask.query.get("kind", Kind.LISTING.value)
        return Page("erasure.html", {"erasures": found, "kind": kind, "kinds": list(Kind)})

    def look(self, ask: Ask) -> Page:
        """What would go; nothing does yet."""
        kind, name = _asked(ask)
        found = erasing.preview(ask.database, kind, name)
        return Page("erasure_preview.html", {"kind": kind, "name": name, "found": found})

    def erase(self, ask: Ask) -> Answer:
        """Erase it, once its id was typed again.

        Raises:
            DataError: it was typed in another way.
            ConfigError: the reason is empty, or names what is to be erased.
        """
        kind, name = _asked(ask)
        if ask.form.get("again").strip() != name:
            raise DataError("nothing was erased: the id was typed in another way; go back and type it again")
        why = ask.form.get("why")
        done = erasing.erase(ask.database, self._tools(ask), kind, name, who=ask.user.name, why=why)
        keep_beside(ask.database, ask.settings.data_dir / TOMBSTONES)
        said = "It is erased." if done.ended_at_ms else "Its rows are erased; photos that are young wait."
        return Answer.redirect(f"/erasure/{done.erasure_id}", said)

    def resume(self, ask: Ask) -> Answer:
        """Go on with what was stopped or waits."""
        done = erasing.resume(ask.database, self._tools(ask))
        ended = sum(one.ended_at_ms is not None for one in done)
        return Answer.redirect("/erasure", f"{ended} of {len(done)} erasures came to their end.")

    def certificate(self, ask: Ask) -> Page:
        """What was removed, which bundles had seen it, and the entry of the audit log that says so."""
        with reading(ask.database) as connection:
            found = erasing.read_erasure(connection, ask.path["erasure_id"])
        digest = certificate_digest(found.certificate) if found.certificate else None
        return Page("erasure_certificate.html", {"erasure": found, "digest": digest})

    def _tools(self, ask: Ask) -> Tools:
        tools = erase_tools(ask.database, ask.settings, lambda: ask.now_ms)
        return replace(tools, gone=self._gone)


def _asked(ask: Ask) -> tuple[Kind, str]:
    kind, name = ask.form.get("kind"), ask.form.get("name").strip()
    if kind not in [one.value for one in Kind]:
        raise DataError("say whether it is a listing or a seller")
    if not name or len(name) > _LONGEST or "\0" in name:
        raise DataError(f"give the id, of 1 to {_LONGEST} characters, as the market names it")
    return Kind(kind), name
