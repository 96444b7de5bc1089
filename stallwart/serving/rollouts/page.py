"""The live page of a rollout: a shell without data, open to all, its files, and the panel behind a key.

The shell asks for an API key, keeps it in the tab, and fetches the panel every two seconds.
"""

import hashlib
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Any

import jinja2
from fastapi import Request, Response
from sqlalchemy import Engine as Database

from stallwart.core.errors import NotFoundError
from stallwart.serving.keys import Caller
from stallwart.serving.rollouts.operate import status
from stallwart.serving.rollouts.panel import panel_of
from stallwart.store.keys import Scope

_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:;"
    " form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _CSP,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_FILES = {
    "page.css": "text/css",
    "page.js": "text/javascript",
    "htmx-2.0.11.min.js": "text/javascript",
    "idiomorph-0.8.0.min.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
_OWN = ("page.css", "page.js")  # the others are shared with the pages of review
_FOR_EVER = "public, max-age=31536000, immutable"  # its address has the digest of what is in it
_POINTS = 120  # of a line over a rollout's life: its width in pixels
_LINES_MS = 15_000  # between two readings of all of these; the last look is read for every answer
_ID = 64  # characters of a rollout's id at most


class PageRoutes:
    """One method for each route.

    Args:
        database: the service's.
        now_ms: milliseconds since 1970, UTC.
        caller: who calls, if they have a scope.
        from_store: runs what asks the database, within the time of an answer.
    """

    def __init__(
        self,
        database: Database,
        now_ms: Callable[[], int],
        caller: Callable[[Any, Scope], Awaitable[Caller]],
        from_store: Callable[..., Awaitable[Any]],
    ):
        self._database, self._now_ms = database, now_ms
        self._caller, self._from_store = caller, from_store
        own, shared = (files(name) / "static" for name in ("stallwart.serving.rollouts", "stallwart.pages"))
        self._files = {name: ((own if name in _OWN else shared) / name).read_bytes() for name in _FILES}
        self._pages = jinja2.Environment(
            loader=jinja2.PackageLoader("stallwart.serving.rollouts"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        digests = {name: hashlib.sha256(body).hexdigest()[:12] for name, body in self._files.items()}
        self._shell = self._pages.get_template("shell.html").render(digests=digests)
        self._panel = self._pages.get_template("panel.html")
        self._looks: tuple[str, int, list[dict[str, Any]]] = ("", 0, [])

    def table(self) -> list[tuple[str, str, Callable[..., Any], Scope | None, dict[str, Any]]]:
        """Path, method, endpoint, needed scope (None is open to all), and what describes the route."""
        hidden: dict[str, Any] = {"include_in_schema": False}  # for people, who may change it any day
        return [
            ("/rollout", "GET", self.shell, None, hidden),
            ("/rollout/panel", "GET", self.panel, Scope.READ, hidden),
            ("/rollout/static/{name}", "GET", self.file, None, hidden),
        ]

    async def shell(self) -> Response:
        """The page without any data."""
        return Response(self._shell, media_type="text/html", headers=_HEADERS)

    async def file(self, name: str) -> Response:
        """A script, the style or the icon."""
        if name not in _FILES:
            raise NotFoundError("the page has no such file")
        headers = {**_HEADERS, "Cache-Control": _FOR_EVER}
        return Response(self._files[name], media_type=_FILES[name], headers=headers)

    async def panel(self, request: Request, rollout_id: str | None = None) -> Response:
        """The running rollout, or else the last one, as HTML that the shell takes in."""
        caller = await self._caller(request.scope, Scope.READ)
        named = rollout_id[:_ID] if rollout_id else None
        html = await self._from_store(self._render, named, caller)
        return Response(html, media_type="text/html", headers=_HEADERS)

    def _render(self, named: str | None, caller: Caller) -> str:
        now_ms = self._now_ms()
        try:
            told = status(self._database, named)
        except NotFoundError:
            if named is not None:
                raise
            return self._panel.render(panel=None, caller=caller)
        panel = panel_of(told, self._over_time(told, now_ms), Scope.ADMIN in caller.scopes, now_ms)
        return self._panel.render(panel=panel, caller=caller)

    def _over_time(self, told: dict[str, Any], now_ms: int) -> list[dict[str, Any]]:
        """Looks over the rollout's life. All of them are much to read, so viewers share a reading."""
        rollout_id = told["rollout"]["rollout_id"]
        read_id, read_at_ms, looks = self._looks
        if read_id != rollout_id or not 0 <= now_ms - read_at_ms < _LINES_MS:
            looks = status(self._database, rollout_id, looks=_POINTS)["looks"]
            self._looks = (rollout_id, now_ms, looks)
        last = told["look"]
        return looks if last is None or (looks and looks[-1]["at_ms"] >= last["at_ms"]) else [*looks, last]
