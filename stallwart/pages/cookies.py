"""Cookies: the session's, and the one that makes a sign-in form somebody's own.

Both are HttpOnly and SameSite=Strict; over TLS they are Secure and have the prefix `__Host-`, so that no
other host and no plain answer can set them.
"""

import hmac
import secrets

from starlette.requests import Request
from starlette.responses import Response

_SESSION, _FORM = "stallwart", "stallwart-form"


class Cookies:
    """Reads and sets them.

    Args:
        secure: whether people come over TLS.
    """

    def __init__(self, secure: bool):
        self._secure = secure

    def token(self, request: Request) -> str | None:
        """The session's token that a request carries."""
        return request.cookies.get(self._name(_SESSION))

    def keep(self, response: Response, token: str, seconds: int) -> None:
        """Sign in: the browser sends the token from now on."""
        self._set(response, _SESSION, token, seconds)

    def drop(self, response: Response) -> None:
        """Sign out."""
        self._set(response, _SESSION, "", 0)

    def form_token(self, request: Request) -> str:
        """What the sign-in form of this browser has to carry; a new one where it has none yet."""
        known = request.cookies.get(self._name(_FORM), "")
        return known if len(known) == 43 else secrets.token_urlsafe(32)

    def keep_form_token(self, response: Response, token: str) -> None:
        """Let the browser show that it was the one that got the form."""
        self._set(response, _FORM, token, None)

    def form_matches(self, request: Request, given: str) -> bool:
        """Whether a sign-in form came from a page of this browser."""
        known = request.cookies.get(self._name(_FORM), "")
        return len(known) == 43 and hmac.compare_digest(known.encode(), given.encode(errors="replace"))

    def _name(self, name: str) -> str:
        return f"__Host-{name}" if self._secure else name

    def _set(self, response: Response, name: str, value: str, seconds: int | None) -> None:
        response.set_cookie(
            self._name(name), value, max_age=seconds, path="/", secure=self._secure, httponly=True,
            samesite="strict",
        )  # fmt: skip
