"""Values of a row -> text, times, numbers and photos of a listing, or the reason why not.

Knows nothing of files of rows; photos given as paths are read here, and only below one folder.
"""

import base64
import binascii
import math
import re
import stat
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Any

_OLDEST = datetime(1990, 1, 1, tzinfo=UTC)
_LONGEST_ID = 200
_LONGEST_PATH = 1_000
_DATA_URI = re.compile(r"data:image/[\w.+-]{1,40};base64,")
# How base64 of JPEG, PNG, GIF, WebP and BMP begins; nothing shorter than a header can be a photo.
_BASE64 = re.compile(r"(?:/9j/|iVBORw0KGgo|R0lGOD|UklGR|Qk)[A-Za-z0-9+/\s]{60,}={0,2}\s*")


class RejectError(ValueError):
    """A value cannot be used.

    Attributes:
        reason: one of a few fixed phrases, to be counted by.
        detail: what was found, without the listing's own words.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


def as_id(value: Any, field: str) -> str | None:
    """An id as text; None where it is missing.

    Raises:
        RejectError: it is neither text nor a whole number, too long, or not printable.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    text = as_text(value, field)
    if text is None or not (text := text.strip()):
        return None
    if len(text) > _LONGEST_ID or not text.isprintable():
        raise RejectError(f"{field} too long or not printable", f"{len(text):,} characters")
    return text


def as_text(value: Any, field: str) -> str | None:
    """Text; None where it is missing.

    Raises:
        RejectError: it is something else.
    """
    if value is None:
        return None
    if type(value) is not str:
        raise RejectError(f"{field} is no text", type(value).__name__)
    return value


def as_number(value: Any, field: str) -> float | None:
    """A finite number, also written as text; None where it is missing.

    Raises:
        RejectError: it is something else.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal, str)):
        raise RejectError(f"{field} is no number", type(value).__name__)
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise RejectError(f"{field} is no number", type(value).__name__) from None
    if not math.isfinite(number):
        raise RejectError(f"{field} is no number", str(number))
    return number


def as_time(value: Any, field: str, now: datetime) -> datetime | None:
    """A time in UTC, from a time stamp, a date or ISO 8601 text; UTC where no zone is named; None if missing.

    Raises:
        RejectError: it is something else, before 1990, or over a day after `now`.
    """
    if value is None:
        return None
    time = _time(value, field)
    if time < _OLDEST:
        raise RejectError(f"{field} before 1990", str(time.date()))
    if time > now + timedelta(days=1):
        raise RejectError(f"{field} in the future", str(time.date()))
    return time


def _time(value: Any, field: str) -> datetime:
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if type(value) is str:
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            raise RejectError(f"{field} is no ISO 8601 date", f"{len(value)} characters") from None
    if not isinstance(value, datetime):
        raise RejectError(f"{field} is no ISO 8601 date", f"{type(value).__name__} {str(value)[:30]}")
    try:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except (OverflowError, ValueError):
        raise RejectError(f"{field} is no ISO 8601 date", "outside the years 1 to 9999") from None


def photo_values(value: Any) -> Iterator[bytes | str]:
    """The photos in a cell as bytes or as text (base64 or a path), in order; nothing where there is none.

    Raises:
        RejectError: the cell holds something else.
    """
    if value is None:
        return
    if isinstance(value, dict):  # {"bytes": ..., "path": ...}, as Hugging Face data sets store images
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        yield value
    elif type(value) is str:
        yield from filter(None, (part.strip() for part in _DATA_URI.sub("", value).split(";")))
    elif isinstance(value, list):
        for part in value:
            yield from photo_values(b"" if part is None else part)  # a gap in a list is a reject
    elif value is None:
        yield b""  # a dict with neither
    else:
        raise RejectError("images is neither bytes nor text", type(value).__name__)


def as_photo(value: bytes | str, folder: Path, max_bytes: int) -> bytes:
    """The encoded photo in a value: bytes as they are, base64 decoded, or the file at a path below `folder`.

    Raises:
        RejectError: the base64 is broken; the path is a URL, absolute, leaves the folder (also through a
            symbolic link), is no ordinary file, or is larger than `max_bytes`.
    """
    if isinstance(value, bytes):
        return value
    if _BASE64.match(value):
        if len(value) > 2 * max_bytes:
            raise RejectError("photo too large", f"{len(value):,} characters of base64")
        try:
            return base64.b64decode("".join(value.split()), validate=True)
        except (binascii.Error, ValueError):
            raise RejectError("photo is no valid base64") from None
    return _read_below(value, folder, max_bytes)


def _read_below(path: str, folder: Path, max_bytes: int) -> bytes:
    if "://" in path[:20]:
        raise RejectError("photo is a URL, which is never fetched here")
    inside = PurePosixPath(path.replace("\\", "/"))
    if len(path) > _LONGEST_PATH or not path.isprintable():
        raise RejectError("photo is neither a path nor base64", f"{len(path):,} characters")
    if inside.is_absolute() or ".." in inside.parts or ":" in path.split("/")[0]:
        raise RejectError("photo path leaves the file's folder")
    try:
        file = (folder / inside).resolve(strict=True)
        if not file.is_relative_to(folder.resolve()):
            raise RejectError("photo path leaves the file's folder")
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe or device would never end
            raise RejectError("photo path is no ordinary file")
        if status.st_size > max_bytes:
            raise RejectError("photo too large", f"{status.st_size:,} bytes")
        with file.open("rb") as content:
            return content.read(
                max_bytes + 1
            )  # one more, so that a file that grew is still seen as too large
    except (OSError, RuntimeError) as err:
        reason = (
            "photo file is not there" if isinstance(err, FileNotFoundError) else "photo file cannot be read"
        )
        raise RejectError(reason, type(err).__name__) from None
