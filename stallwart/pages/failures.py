"""What went wrong, as one page, one fragment or one JSON body; a status says what it is."""

import json
import secrets
from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from stallwart.core.errors import AccessError, StallwartError, StoreError
from stallwart.core.logs import say
from stallwart.store.database import failure_of

_TITLES = {
    400: "This cannot be done as it was asked",
    401: "You are not signed in",
    403: "You may not do this",
    404: "There is nothing here",
    405: "This cannot be done here",
    409: "This was decided meanwhile",
    413: "This is too much",
    422: "Something is missing or wrong",
    429: "Not now",
    500: "A fault of the program",
    503: "The database does not answer",
}


class NotSignedInError(AccessError):
    """Nobody is signed in with this request, or not any more."""

    code = "not_signed_in"
    http_status = 401


class ForbiddenError(AccessError):
    """The person who asks may not, or the form is not from a page of theirs."""

    code = "forbidden"
    http_status = 403


@dataclass(frozen=True, slots=True)
class Failure:
    """What is told of an error.

    Attributes:
        status: of HTTP.
        code: for programs.
        title: in a few words.
        message: what, where and what to do next.
        headers: of the answer.
    """

    status: int
    code: str
    title: str
    message: str
    headers: dict[str, str]

    def json(self) -> bytes:
        """For scripts; of the same shape as the service's errors."""
        return json.dumps({"error": {"code": self.code, "message": self.message}}).encode()


def failure_from(err: Exception, path: str) -> Failure:
    """What is told of an error; what is our fault goes to the log, under a number that the page shows."""
    if isinstance(err, SQLAlchemyError):
        say("database", level=30, path=path, error=failure_of(err))
        err = StoreError("the database does not answer, and nothing was changed; try again in a moment")
    if isinstance(err, StallwartError):
        headers = err.headers if isinstance(err, AccessError) else {}
        if err.http_status == 503:
            headers = {"Retry-After": "2"}
        return _failure(err.http_status, err.code, str(err), headers)
    if isinstance(err, HTTPException):
        return _failure(err.status_code, "not_routed", "no page has this address", dict(err.headers or {}))
    number = secrets.token_hex(4)
    say("crash", level=40, exc_info=True, path=path, number=number)
    return _failure(500, "internal", f"it is in the log as {number}; tell whoever runs this site", {})


def _failure(status: int, code: str, message: str, headers: dict[str, str]) -> Failure:
    said = message[:1].upper() + message[1:]
    said = said if said.endswith((".", "?", "!")) else f"{said}."
    title = _TITLES.get(status, _TITLES[500])
    if status == 503 and code != StoreError.code:
        title = "Not available now"
    return Failure(status, code, title, said, headers)
