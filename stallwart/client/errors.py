"""What a call of the service can end with instead of an answer, as one small tree.

    ServiceError
    ├── NoAnswerError    the connection failed or broke, or the deadline was over
    ├── TryLaterError    overloaded, not stored, quota used up: HTTP 408, 429, 502, 503, 504
    ├── RefusedError     the same request would be refused again: any other HTTP 4xx
    │   ├── NotAllowedError  no valid API key, or one without the scope: HTTP 401, 403
    │   ├── MissingError     there is no such decision: HTTP 404
    │   └── RepeatError      the Idempotency-Key was used for something else: HTTP 409
    └── FaultError       the service's own fault, or no answer of this service: anything else

All carry the service's `code` and message, the HTTP status and the request id that its log has.
"""

from stallwart.core.errors import StallwartError


class ServiceError(StallwartError):
    """A call ended without what was asked for.

    Attributes:
        code: the service's stable name of what happened; `no_answer` or `unknown` where it named nothing.
        message: in words.
        status: HTTP status; None where there was no answer, and for one row of a batch.
        request_id: what the service's log calls this request.
        retry_after_seconds: how long the service asks to be left alone; None where it does not say.
    """

    exit_code = 5
    http_status = 502

    def __init__(
        self,
        code: str,
        message: str,
        request_id: str,
        status: int | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code  # type: ignore[misc]  # here the service names it, not the class
        self.message, self.request_id, self.status = message, request_id, status
        self.retry_after_seconds = retry_after_seconds

    def __str__(self) -> str:
        return f"{self.message} (request {self.request_id})"


class NoAnswerError(ServiceError):
    """The connection failed or broke, or the deadline was over; whether it was decided is not known.

    The same call with the same Idempotency-Key is safe: what was decided is answered, not decided again.
    """


class TryLaterError(ServiceError):
    """Nothing was decided; the same request may be accepted later."""


class RefusedError(ServiceError):
    """The request is wrong or not allowed; the same request would be refused again."""


class NotAllowedError(RefusedError):
    """The API key is missing, not valid, or lacks the scope."""


class MissingError(RefusedError):
    """There is no such decision."""


class RepeatError(RefusedError):
    """The Idempotency-Key was used before, for another listing or revision."""


class FaultError(ServiceError):
    """A fault of the service, or an answer that is none of its own, as of a proxy."""


LATER = frozenset({408, 429, 502, 503, 504})
_BY_STATUS: dict[int, type[ServiceError]] = {
    **dict.fromkeys(LATER, TryLaterError),
    401: NotAllowedError,
    403: NotAllowedError,
    404: MissingError,
    409: RepeatError,
}
# One row of a batch has a code and no status of its own
_BY_CODE: dict[str, type[ServiceError]] = {
    "overloaded": TryLaterError,
    "late": TryLaterError,
    "store": TryLaterError,
    "bundle": TryLaterError,
    "conflict": RepeatError,
    "data": RefusedError,
    "config": RefusedError,
    "too_large": RefusedError,
}


def kind_of(status: int) -> type[ServiceError]:
    """The error that an HTTP status stands for."""
    return _BY_STATUS.get(status, RefusedError if 400 <= status < 500 else FaultError)


def kind_of_row(code: str) -> type[ServiceError]:
    """The error that the code of one row of a batch stands for."""
    return _BY_CODE.get(code, FaultError)
