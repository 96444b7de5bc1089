"""Every error a user can cause or meet, as one small tree.

    StallwartError
    ├── ConfigError    a setting, recipe, option or policy file is wrong       exit 2, HTTP 400
    ├── DataError      listings, labels or photos cannot be used as they are    exit 3, HTTP 422
    │   ├── TooLargeError      more bytes or rows than the service takes                HTTP 413
    │   └── NotFoundError      there is no such decision, photo or route                HTTP 404
    ├── ErasedError    the listing or its seller was erased, and stays so       exit 3, HTTP 410
    ├── ConflictError  a key was used before, for something else                exit 3, HTTP 409
    ├── OverloadedError    no room, or the deadline is over before the work is  exit 5, HTTP 503
    ├── StoreError     the database is gone, locked or full; nothing was half kept   exit 5, HTTP 503
    ├── BundleError    a bundle is foreign, truncated or tampered with          exit 4, HTTP 503
    ├── GateError      a gate was not met: the work is done, the answer is no   exit 1, HTTP 409
    └── AccessError    who asks may not, or not now                             exit 2
        ├── UnauthenticatedError   no valid API key                             HTTP 401
        ├── ScopeError             the key lacks what the route needs           HTTP 403
        ├── QuotaError             the key's quota of this minute is used up    HTTP 429
        ├── SignatureError         a webhook was not signed with its secret     HTTP 401
        ├── SignInError            name or password is wrong                    HTTP 401
        └── LockedError            too many wrong passwords: wait               HTTP 429

A message says what is wrong, where, and what to do next. Anything outside this tree is our bug and
keeps its traceback.
"""

from typing import ClassVar


class StallwartError(Exception):
    """Base of all errors that are reported in one line, without a traceback."""

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1
    http_status: ClassVar[int] = 500


class ConfigError(StallwartError):
    """A setting, recipe, option or policy file is wrong."""

    code = "config"
    exit_code = 2
    http_status = 400


class DataError(StallwartError):
    """Listings, labels or photos cannot be used as they are."""

    code = "data"
    exit_code = 3
    http_status = 422


class BundleError(StallwartError):
    """A bundle is foreign, truncated or was changed after it was written."""

    code = "bundle"
    exit_code = 4
    http_status = 503


class GateError(StallwartError):
    """A gate was not met: the work was done and its answer is no."""

    code = "gate"
    exit_code = 1
    http_status = 409


class TooLargeError(DataError):
    """More bytes or more rows than the service takes."""

    code = "too_large"
    http_status = 413


class NotFoundError(DataError):
    """There is no such decision, photo or route."""

    code = "not_found"
    http_status = 404


class ConflictError(StallwartError):
    """A key was used before, for something else."""

    code = "conflict"
    exit_code = 3
    http_status = 409


class ErasedError(StallwartError):
    """The listing or its seller was erased, and nothing of it is taken any more."""

    code = "erased"
    exit_code = 3
    http_status = 410


class OverloadedError(StallwartError):
    """No room, or the deadline is over before the work is."""

    code = "overloaded"
    exit_code = 5
    http_status = 503

    def __init__(self, message: str, retry_after_seconds: float = 1.0):
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class StoreError(StallwartError):
    """The database is gone, locked or full: nothing was half written; the same request may be sent again."""

    code = "store"
    exit_code = 5
    http_status = 503
    retry_after_seconds: ClassVar[float] = 1.0


class AccessError(StallwartError):
    """Who asks may not, or not now; `headers` belong to the HTTP answer."""

    code = "access"
    exit_code = 2
    http_status = 403

    @property
    def headers(self) -> dict[str, str]:
        """HTTP headers that tell a program what to do next."""
        return {}


class UnauthenticatedError(AccessError):
    """There is no API key, or none that is valid now."""

    code = "unauthenticated"
    http_status = 401

    def __init__(self, message: str, *, presented: bool = True) -> None:
        super().__init__(message)
        self.presented = presented

    @property
    def headers(self) -> dict[str, str]:
        """What to present; RFC 6750 names an error only where a key was presented."""
        return {"WWW-Authenticate": 'Bearer realm="stallwart"' + ', error="invalid_token"' * self.presented}


class ScopeError(AccessError):
    """The key is valid and lacks the scope that is needed."""

    code = "scope"
    http_status = 403

    def __init__(self, message: str, scope: str) -> None:
        super().__init__(message)
        self.scope = scope

    @property
    def headers(self) -> dict[str, str]:
        """The scope that is missing, as RFC 6750 says it."""
        return {
            "WWW-Authenticate": f'Bearer realm="stallwart", error="insufficient_scope", scope="{self.scope}"'
        }


class QuotaError(AccessError):
    """The key's quota of this minute is used up."""

    code = "quota"
    http_status = 429

    def __init__(self, message: str, retry_after_seconds: int) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds

    @property
    def headers(self) -> dict[str, str]:
        """When to ask again."""
        return {"Retry-After": str(self.retry_after_seconds)}


class SignatureError(AccessError):
    """A webhook is not from who it says, was changed on its way, or is too old."""

    code = "signature"
    http_status = 401


class SignInError(AccessError):
    """Name or password is wrong, or the account is disabled: which of them is not said."""

    code = "sign_in"
    http_status = 401


class LockedError(AccessError):
    """Too many attempts to sign in have failed."""

    code = "locked"
    http_status = 429

    def __init__(self, message: str, retry_after_seconds: int) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds

    @property
    def headers(self) -> dict[str, str]:
        """When to try again."""
        return {"Retry-After": str(self.retry_after_seconds)}
