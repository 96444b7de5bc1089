"""What is asked and how the answer is read: pure, the same for both clients.

A `Call` is a request that has not been sent and the function that reads its answer.
"""

import json
import math
import re
import secrets
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Generic, Literal, TypedDict, TypeVar
from urllib.parse import quote

from pydantic import ValidationError

from stallwart.client.errors import FaultError, ServiceError, kind_of, kind_of_row
from stallwart.core.decision import Decision
from stallwart.core.errors import ConfigError, DataError
from stallwart.core.listing import Listing

Evidence = Literal["none", "words", "full"]
OnFailure = Literal["review", "error"]
Kind = Literal["appeal", "upheld", "overturned", "report", "outcome"]
Photo = bytes | str
"""The encoded image file, its URL, or the sha256 (64 hexadecimal characters) of one that was sent before."""

_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_Result = TypeVar("_Result")


class Fields(TypedDict, total=False):
    """A listing as plain fields; `listing_id` is needed, every other may be missing."""

    listing_id: str
    revision: str | None
    title: str | None
    description: str | None
    photos: Sequence[Photo]
    seller_id: str | None
    price: float | None
    language: str | None
    listed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, read to its end; `headers` by lower-case name."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Call(Generic[_Result]):
    """One request and how to read its answer.

    Attributes:
        method: of HTTP.
        path: below the service's URL.
        body: JSON, or None.
        headers: those of this call; the same at each attempt.
        request_id: names it in the service's log.
        read: the result, from an answer below 400.
    """

    method: str
    path: str
    body: bytes | None
    headers: Mapping[str, str]
    request_id: str
    read: Callable[[Answer], _Result]


def decide_call(
    listing: Listing | Fields, fields: Fields, options: Mapping[str, Any], key: str | None
) -> Call[Decision]:
    """Ask for one decision.

    Raises:
        DataError: the listing has no id, or something that cannot be sent.
        ConfigError: `key` cannot be an Idempotency-Key.
    """
    if isinstance(listing, Listing) and fields:
        raise DataError("give a Listing or its fields, not both; dataclasses.replace changes a Listing")
    plain = listing if isinstance(listing, Listing) else Fields(**{**listing, **fields})
    return _post("/v1/decisions", {"listing": _sent(plain), **options}, key, _read_decision)


def batch_call(
    listings: Sequence[Listing | Fields], options: Mapping[str, Any], key: str | None
) -> Call[list[Decision | ServiceError]]:
    """Ask for several decisions at once; errors as of `decide_call`."""
    body = {"listings": [_sent(one) for one in listings], **options}
    return _post("/v1/decisions:batch", body, key, _read_batch)


def decision_call(decision_id: str) -> Call[Decision]:
    """Ask what was answered."""
    path = f"/v1/decisions/{quote(decision_id, safe='')}"
    return Call("GET", path, None, {}, secrets.token_hex(8), _read_decision)


def photo_words_call(decision_id: str, words: str) -> Call[Decision]:
    """Say what was read in the photos of a listing; a repeat changes nothing."""
    path = f"/v1/decisions/{quote(decision_id, safe='')}/photo-words"
    return _post(path, {"words": words}, None, _read_decision)


def feedback_call(said: Mapping[str, str | None], key: str | None) -> Call[str]:
    """Say something of a decision."""
    body = {name: value for name, value in said.items() if value is not None}
    return _post("/v1/feedback", body, key, lambda answer: str(_json(answer)["feedback_id"]))


def read(call: Call[_Result], answer: Answer) -> _Result:
    """The result of a call.

    Raises:
        FaultError: the answer is none of this service.
    """
    try:
        return call.read(answer)
    except (ValueError, KeyError, TypeError, ValidationError):
        raise FaultError(
            "unknown", "the answer is none of this service; is the URL right?", call.request_id, answer.status
        ) from None


def failure(call: Call[Any], answer: Answer) -> ServiceError | None:
    """The error that an answer says; None where it is a result."""
    if 200 <= answer.status < 300:
        return None
    try:
        said = _json(answer)["error"]
        code, message, request_id = str(said["code"]), str(said["message"]), str(said["request_id"])
    except (ValueError, KeyError, TypeError):  # a proxy's page, or a redirect
        code, message, request_id = "unknown", f"HTTP {answer.status}", call.request_id
    return kind_of(answer.status)(code, message, request_id, answer.status, _retry_after(answer))


def _post(path: str, body: Any, key: str | None, reader: Callable[[Answer], _Result]) -> Call[_Result]:
    name = secrets.token_hex(16) if key is None else key
    if not _KEY.fullmatch(name):
        raise ConfigError("idempotency_key is 1 to 255 visible ASCII characters")
    headers = {"Content-Type": "application/json", "Idempotency-Key": name}
    if body.get("on_failure") == "error":  # so that a busy service refuses before it reads the photos
        headers["Stallwart-On-Failure"] = "error"
    try:
        content = json.dumps(body, separators=(",", ":"), allow_nan=False).encode()
    except (ValueError, TypeError) as err:
        raise DataError(f"the listing cannot be sent as JSON: {err}") from None
    return Call("POST", path, content, headers, secrets.token_hex(8), reader)


def _sent(listing: Listing | Fields) -> dict[str, Any]:
    """A listing as the service takes it; fields that are None are left out."""
    given: Mapping[str, Any] = _fields(listing) if isinstance(listing, Listing) else listing
    if unknown := sorted(set(given) - set(Fields.__annotations__)):
        raise DataError(f"a listing has no field {unknown[0]!r}; it has: {', '.join(Fields.__annotations__)}")
    if not given.get("listing_id"):
        raise DataError("a listing needs a listing_id")
    plain = {name: value for name, value in given.items() if value is not None}
    if "photos" in plain:
        plain["photos"] = [_photo(photo) for photo in plain["photos"]]
    if isinstance(at := plain.get("listed_at"), datetime):
        plain["listed_at"] = at.isoformat()
    return plain


def _fields(listing: Listing) -> Mapping[str, Any]:
    if listing.unread:  # the service could not know of them, and might allow what nobody saw
        raise DataError(
            f"listing {listing.listing_id}: {len(listing.unread)} photos were not read; send bytes or URLs"
        )
    return {name: getattr(listing, name) for name in Fields.__annotations__ if name != "revision"}


def _photo(photo: Any) -> dict[str, str]:
    if isinstance(photo, bytes | bytearray | memoryview):
        return {"base64": b64encode(photo).decode("ascii")}
    if isinstance(photo, str) and _DIGEST.fullmatch(photo):
        return {"sha256": photo}
    if isinstance(photo, str) and photo.startswith(("http://", "https://")):
        return {"url": photo}
    raise DataError(
        "a photo is the bytes of an image file, an http(s):// URL, or the sha256 of one sent before"
    )


def _json(answer: Answer) -> Any:
    return json.loads(answer.body)


def _decision(said: Mapping[str, Any]) -> Decision:
    # A newer service may say more than this client knows
    return Decision.model_validate({name: said[name] for name in Decision.model_fields if name in said})


def _read_decision(answer: Answer) -> Decision:
    return _decision(_json(answer))


def _read_batch(answer: Answer) -> list[Decision | ServiceError]:
    return [_row(row) for row in _json(answer)["results"]]


def _row(row: Mapping[str, Any]) -> Decision | ServiceError:
    if (said := row.get("error")) is None:
        return _decision(row["decision"])
    code = str(said["code"])
    return kind_of_row(code)(code, str(said["message"]), str(said["request_id"]))


def _retry_after(answer: Answer) -> float | None:
    """Seconds of pause that are asked for, stated as such or as a date (RFC 9110, 10.2.3)."""
    stated = answer.headers.get("retry-after", "").strip()
    try:
        return max(0.0, float(stated)) if math.isfinite(float(stated)) else None
    except ValueError:
        pass
    try:  # against the answer's own date: this machine's clock may be wrong
        until, now = (parsedate_to_datetime(value) for value in (stated, answer.headers.get("date", "")))
        return max(0.0, (_utc(until) - _utc(now)).total_seconds())
    except ValueError:
        return None


def _utc(at: datetime) -> datetime:
    return at if at.tzinfo else at.replace(tzinfo=UTC)
