"""What a caller sends: headers and bodies in, checked requests out, bounded in time."""

import asyncio
import re
from collections.abc import Coroutine
from hashlib import sha256
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect, Request

from stallwart.core.errors import ConfigError, DataError, OverloadedError
from stallwart.core.settings import Settings
from stallwart.serving.gate import Receive, Scope, header
from stallwart.serving.keys import Caller
from stallwart.serving.schemas import DecisionRequest, PhotoIn

_Model = TypeVar("_Model", bound=BaseModel)
_Result = TypeVar("_Result")
_PLAIN_KEY = re.compile(r"[\x21-\x7e]{1,255}")


class LateError(OverloadedError):
    """The request did not arrive in time."""

    code = "late"
    http_status = 408


class MediaTypeError(DataError):
    """The body is of a kind that is not read here."""

    code = "media_type"
    http_status = 415


def deadline_seconds(scope: Scope, settings: Settings) -> float:
    """How long an answer is of use, from `Stallwart-Deadline-Ms`.

    Raises:
        ConfigError: it is no number of milliseconds.
    """
    given = header(scope, b"stallwart-deadline-ms")
    wanted = settings.deadline_ms
    if given is not None:
        if not (given.isascii() and given.isdigit()) or not 1 <= len(given) <= 9 or int(given) < 1:
            raise ConfigError("Stallwart-Deadline-Ms is no number of milliseconds; send one, as 500")
        wanted = int(given)
    return min(wanted, settings.max_deadline_ms) / 1e3


def wants_refusal(scope: Scope) -> bool:
    """Whether the caller would rather hear an error than get a `review`, from `Stallwart-On-Failure`.

    In a header, and not only in the body, so that a busy service can refuse before it reads the photos.

    Raises:
        ConfigError: it is neither `error` nor `review`.
    """
    given = header(scope, b"stallwart-on-failure")
    if given not in (None, "error", "review"):
        raise ConfigError("Stallwart-On-Failure is error or review")
    return given == "error"


def request_key(scope: Scope, caller: Caller) -> str | None:
    """What names this request among all, from `Idempotency-Key`; None without one.

    Raises:
        ConfigError: the key holds what a header may not.
    """
    given = header(scope, b"idempotency-key")
    if given is None:
        return None
    if not _PLAIN_KEY.fullmatch(given):
        raise ConfigError("Idempotency-Key is 1 to 255 visible ASCII characters")
    return sha256(f"{caller.key_id}\n{scope['path']}\n{given}".encode()).hexdigest()


async def read_body(scope: Scope, receive: Receive, model: type[_Model], settings: Settings) -> _Model:
    """The body of a request, checked.

    Raises:
        DataError: it is not what the model wants; the message names the place and never the value.
        MediaTypeError: it is neither JSON nor, for one decision, multipart.
        LateError: it did not arrive within the longest deadline.
    """
    # Never taken for granted: a page of another site may send JSON to this machine only where it asks first,
    # and a body without a type it need not ask for
    given = header(scope, b"content-type") or ""
    kind = given.partition(";")[0].strip().lower()
    if kind == "multipart/form-data" and model is DecisionRequest:
        reading: Coroutine[Any, Any, Any] = _multipart(Request(scope, receive), settings)
    elif kind == "application/json":
        reading = _body(receive)
    else:
        raise MediaTypeError(
            f"{kind or 'a body without Content-Type'} is not read here; send application/json"
        )
    try:
        got = await _in_time(reading, settings)
        return model.model_validate_json(got) if isinstance(got, bytes) else got
    except ValidationError as err:
        raise DataError(_what_is_wrong(err)) from None


async def _in_time(reading: Coroutine[Any, Any, _Result], settings: Settings) -> _Result:
    """What is read of a request, given up where it takes longer than an answer may."""
    # A timer that cancels costs a fifth of asyncio.timeout, and this is on every request's path
    task, late = asyncio.current_task(), False
    assert task is not None

    def give_up() -> None:
        nonlocal late
        late = True
        task.cancel()

    timer = asyncio.get_running_loop().call_later(settings.max_deadline_ms / 1e3, give_up)
    try:
        return await reading
    except asyncio.CancelledError:
        if not late:
            raise
        task.uncancel()
        raise LateError("the request did not arrive in time; send it faster or smaller") from None
    finally:
        timer.cancel()


async def _multipart(request: Request, settings: Settings) -> DecisionRequest:
    limits = {"max_files": 100, "max_fields": 1, "max_part_size": settings.max_body_bytes}
    try:
        async with request.form(**limits) as form:
            told = form.get("request")
            words = await told.read() if isinstance(told, UploadFile) else told
            photos = [
                PhotoIn.model_construct(base64=await part.read())
                for part in form.getlist("photo")
                if isinstance(part, UploadFile)
            ]
    except (MultiPartException, HTTPException) as err:
        raise DataError(f"the multipart request does not parse ({getattr(err, 'detail', err)})") from None
    if words is None:
        raise DataError("the part named request is missing; it holds the JSON, parts named photo the photos")
    asked = DecisionRequest.model_validate_json(words)
    listing = asked.listing.model_copy(update={"photos": (*asked.listing.photos, *photos)})
    return asked.model_copy(update={"listing": listing})


async def _body(receive: Receive) -> bytes:
    parts, more = [], True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _what_is_wrong(err: ValidationError) -> str:
    """Where and what, without the value: it may be a listing's text."""
    said = []
    for one in err.errors(include_url=False, include_input=False, include_context=False)[:5]:
        where = ".".join(str(part) for part in one["loc"])
        said.append(f"{where}: {one['msg']}" if where else one["msg"])
    return "; ".join(said)
