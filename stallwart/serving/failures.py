"""What went wrong, as HTTP: every error of every route in one shape."""

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from stallwart.core.errors import StallwartError, StoreError
from stallwart.core.logs import say
from stallwart.serving.gate import error_body, error_headers


async def refused(request: Request, err: Exception) -> Response:
    """What the program says of itself: its errors, in the one shape."""
    assert isinstance(err, StallwartError)
    request.scope["metrics"].errors.labels(err.code).inc()
    body = error_body(err, request.scope["request_id"])
    return JSONResponse(body, err.http_status, headers=error_headers(err))


async def not_routed(request: Request, err: Exception) -> Response:
    """What the framework refused: no such route or method."""
    assert isinstance(err, HTTPException)
    code = {404: "not_found", 405: "method"}.get(err.status_code, "request")
    body = {"code": code, "message": err.detail, "request_id": request.scope["request_id"]}
    return JSONResponse({"error": body}, err.status_code, headers=err.headers)


async def database_gone(request: Request, err: Exception) -> Response:
    """A failure of the database that no layer below named."""
    say("database", request_id=request.scope["request_id"], error=type(err).__name__)
    return await refused(request, StoreError("the database does not answer; try again"))


async def crashed(request: Request, _: Exception) -> Response:
    """A fault of ours: in the log with its place, and without a word of what was sent."""
    request_id = request.scope["request_id"]
    say("crash", level=40, exc_info=True, request_id=request_id)
    request.scope["metrics"].errors.labels("internal").inc()
    body = {
        "code": "internal",
        "message": "a fault of the service; it is in its log",
        "request_id": request_id,
    }
    return JSONResponse({"error": body}, 500)
