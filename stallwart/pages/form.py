"""The form of a request, read up to a limit: urlencoded or multipart."""

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.types import Message

from stallwart.core.errors import DataError, TooLargeError
from stallwart.pages.site import Values
from stallwart.store.revisions import storable

_FIELDS, _FILES = 5_000, 8
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")

Files = dict[str, tuple[str, bytes]]


async def read_form(request: Request, limit: int) -> tuple[Values, Files]:
    """Values and files of a form; neither where there is no body.

    Args:
        request: whose body nobody has read.
        limit: bytes of the body at most, counted as they arrive.

    Raises:
        TooLargeError: there are more.
        DataError: it is no form.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    read = 0

    async def bounded() -> Message:
        nonlocal read
        message = await request.receive()
        read += len(message.get("body", b""))
        if read > limit:
            raise TooLargeError(f"this form takes {limit:,} bytes at most")
        return message

    told = Request(request.scope, bounded)
    if kind not in _FORMS:
        if await told.body():
            raise DataError("a form is sent as urlencoded or multipart; load the page and send it from there")
        return Values(), {}
    try:
        sent = await told.form(max_files=_FILES, max_fields=_FIELDS, max_part_size=limit)
    except (MultiPartException, HTTPException):
        raise DataError("the form cannot be read; load the page again and send it from there") from None
    pairs, files = [], {}
    for name, value in sent.multi_items():
        if isinstance(value, UploadFile):
            files[name] = (value.filename or "", await value.read())
        else:
            pairs.append((name, storable(value) or ""))
    await sent.close()
    return Values(pairs), files
