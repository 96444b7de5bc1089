"""Every error a user can cause or meet, as one small tree.

    StallwartError
    ├── ConfigError    a setting, recipe, option or policy file is wrong       exit 2, HTTP 400
    ├── DataError      listings, labels or photos cannot be used as they are    exit 3, HTTP 422
    ├── BundleError    a bundle is foreign, truncated or tampered with          exit 4, HTTP 503
    └── GateError      a gate was not met: the work is done, the answer is no   exit 1, HTTP 409

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
