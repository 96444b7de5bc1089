"""Signing in and out, and the way back to what was asked for."""

from collections.abc import Callable
from urllib.parse import quote

from sqlalchemy import Engine, select
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from stallwart.core.settings import Settings
from stallwart.pages.cookies import Cookies
from stallwart.pages.failures import ForbiddenError
from stallwart.pages.site import Page, Values
from stallwart.store.database import reading, store_errors, writing
from stallwart.store.passwords import Passwords
from stallwart.store.sessions import Session, sign_in, sign_out
from stallwart.store.tables import users

SIGN_IN = "/sign-in"
_LONGEST_WAY = 500


class Signing:
    """Begins and ends sessions.

    Args:
        database: the site's.
        settings: how long sessions last.
        passwords: verifies them.
        now_ms: milliseconds since 1970.
        cookies: keeps the token in the browser.
    """

    def __init__(
        self,
        database: Engine,
        settings: Settings,
        passwords: Passwords,
        now_ms: Callable[[], int],
        cookies: Cookies,
    ):
        self._database, self._settings, self._passwords = database, settings, passwords
        self._now_ms, self._cookies = now_ms, cookies

    def page(self, request: Request, token: str, refused: str | None, status: int) -> Page:
        """The form; where there is no account yet it says how to make one."""
        with store_errors("the database does not answer"), reading(self._database) as connection:
            somebody = connection.execute(select(users.c.user_id).limit(1)).first() is not None
        context = {
            "token": token,
            "refused": refused,
            "somebody": somebody,
            "next": safe_way(request.query_params.get("next", "")),
        }
        return Page("sign_in.html", context, status=status)

    def sign_in(self, request: Request, form: Values) -> Response:
        """A new session, and on to what was asked for.

        Raises:
            ForbiddenError: the form is not from a page of this browser.
            SignInError: name or password is wrong.
            LockedError: too many attempts failed.
        """
        if not came_from_here(request) or not self._cookies.form_matches(request, form.get("csrf")):
            raise ForbiddenError("the form was not from this page, or is old; send it again")
        with store_errors("the database does not answer"):
            new = sign_in(
                self._database, self._passwords, form.get("name"), form.get("password"),
                address=request.client.host if request.client else "", settings=self._settings,
                now_ms=self._now_ms(),
            )  # fmt: skip
        response = RedirectResponse(safe_way(form.get("next")) or "/", 303)
        self._cookies.keep(response, new.token, int(self._settings.session_hours * 3600))
        return response

    def sign_out(self, session: Session) -> Response:
        """The session is over; the browser forgets it, and all that it kept of these pages."""
        with store_errors("the database does not answer"), writing(self._database) as connection:
            sign_out(connection, session, self._now_ms())
        response = RedirectResponse(SIGN_IN, 303, {"Clear-Site-Data": '"cache"'})
        self._cookies.drop(response)
        return response


def asks_for_part(request: Request) -> bool:
    """Whether a script asks, which takes no whole page."""
    return "hx-request" in request.headers or "application/json" in request.headers.get("accept", "")


def came_from_here(request: Request) -> bool:
    """Whether a browser that says where a request came from says that it was a page of this site."""
    return request.headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none")


def way_back(request: Request) -> str:
    """The query that leads back to what was asked for, once its reader has signed in; of a POST none."""
    path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    if request.method != "GET" or path == "/" or not safe_way(path):
        return ""
    return f"?next={quote(path, safe='')}"


def safe_way(path: str) -> str:
    """The path where it is one of this site, else "": a link must lead nobody elsewhere as they sign in."""
    is_own = path.startswith("/") and not path.startswith(("//", "/\\")) and len(path) <= _LONGEST_WAY
    return path if is_own and path.isprintable() and "\\" not in path else ""
