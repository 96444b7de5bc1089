"""The routes: HTTP in, HTTP out; what happens between is `service.py`."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ValidationError
from sqlalchemy import Engine as Database
from sqlalchemy.exc import SQLAlchemyError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect

from stallwart import __version__
from stallwart.core.decision import Decision
from stallwart.core.errors import (
    ConfigError,
    DataError,
    NotFoundError,
    OverloadedError,
    StallwartError,
    StoreError,
    TooLargeError,
)
from stallwart.core.settings import Settings
from stallwart.serving.gate import Gate, Receive, Send, answer_json, error_body, error_headers, header
from stallwart.serving.gate import Scope as Connection
from stallwart.serving.keys import Authenticator, Caller
from stallwart.serving.logs import say
from stallwart.serving.metrics import CONTENT_TYPE, Metrics
from stallwart.serving.openapi import describe
from stallwart.serving.schemas import (
    BatchOut,
    BatchRequest,
    BatchRow,
    DecisionRequest,
    ErrorBody,
    ErrorOut,
    FeedbackIn,
    FeedbackOut,
    ListingIn,
    PhotoIn,
)
from stallwart.serving.service import Service
from stallwart.store.database import reading
from stallwart.store.decisions import read_decision
from stallwart.store.feedback import add_feedback
from stallwart.store.keys import Scope

_Model = TypeVar("_Model", bound=BaseModel)
_Result = TypeVar("_Result")
_PLAIN_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorOut, "description": what}
    for status, what in {
        400: "An option is wrong",
        401: "No valid API key",
        403: "The key lacks the scope",
        404: "There is no such thing",
        408: "The request did not arrive in time",
        409: "The Idempotency-Key was used for something else",
        413: "Too many bytes or listings",
        415: "Neither JSON nor multipart",
        422: "The body is not what it should be",
        429: "The key's quota is used up",
        503: "Overloaded, or the answer could not be stored; try again after Retry-After",
    }.items()
}


@dataclass(frozen=True)
class Parts:
    """What the routes work with.

    Attributes:
        service: decides.
        keys: who may.
        database: what was decided.
        metrics: counts.
        now_ms: milliseconds since 1970, UTC.
        reload: loads the bundle's folder again; the digest of what decides now.
        ready: why the service takes no traffic; "" where it does.
        running: entered at start, left when the last request was answered.
    """

    service: Service
    keys: Authenticator
    database: Database
    metrics: Metrics
    now_ms: Callable[[], int]
    reload: Callable[[], str]
    ready: Callable[[], str]
    running: Callable[[], AbstractAsyncContextManager[None]]


def create_app(parts: Parts, settings: Settings) -> Gate:
    """The ASGI application."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with parts.running():
            yield

    app = FastAPI(
        title="Stallwart",
        version=__version__,
        description="Which policy a listing breaks, if any: one decision for each new or edited listing.",
        lifespan=lifespan,
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        openapi_url=None,  # served below, behind a key
    )
    routes = _Routes(parts, settings)
    for path, method, endpoint, scope, extra in routes.table():
        app.add_api_route(
            path,
            endpoint,
            methods=[method],
            responses=_REFUSALS,
            openapi_extra={"x-scope": scope.value} if scope else {"security": []},
            operation_id=endpoint.__name__,
            **extra,
        )
    app.add_exception_handler(StallwartError, _refused)
    app.add_exception_handler(HTTPException, _not_routed)
    app.add_exception_handler(SQLAlchemyError, _database_gone)
    app.add_exception_handler(Exception, _crashed)
    describe(app)
    return Gate(app, settings, parts.metrics, {("POST", "/v1/decisions"): routes.decide_directly})


class _Routes:
    """One method for each route; each first asks who calls."""

    def __init__(self, parts: Parts, settings: Settings):
        self.parts, self.settings = parts, settings

    def table(self) -> list[tuple[str, str, Callable[..., Any], Scope | None, dict[str, Any]]]:
        """Path, method, endpoint, needed scope (None is open to all), and what describes the route."""
        return [
            ("/v1/decisions", "POST", self.decide, Scope.SCORE, {"response_model": Decision}),
            ("/v1/decisions:batch", "POST", self.decide_batch, Scope.SCORE, {"response_model": BatchOut}),
            ("/v1/decisions/{decision_id}", "GET", self.replay, Scope.READ, {"response_model": Decision}),
            (
                "/v1/feedback",
                "POST",
                self.feedback,
                Scope.FEEDBACK,
                {"response_model": FeedbackOut, "status_code": 201},
            ),
            ("/v1/admin/reload", "POST", self.reload, Scope.ADMIN, {}),
            ("/v1/openapi.json", "GET", self.openapi, Scope.READ, {}),
            ("/metrics", "GET", self.metrics, Scope.READ, {"response_class": Response}),
            ("/healthz", "GET", self.healthz, None, {}),
            ("/readyz", "GET", self.readyz, None, {}),
        ]

    async def decide(self, request: Request) -> Response:
        """Decide about one listing; the decision is stored before it is answered.

        The same listing with the same content is answered with the same decision. Photos come as base64, as
        a URL, by the hash of one sent before, or as parts named `photo` of a multipart request whose part
        `request` holds the JSON.
        """
        return Response(await self._decided(request.scope, request.receive), media_type="application/json")

    async def decide_directly(self, scope: Connection, receive: Receive, send: Send) -> None:
        """The same as `decide`, past the layers of FastAPI."""
        try:
            await answer_json(send, await self._decided(scope, receive))
            return
        except ClientDisconnect:
            return
        except StallwartError as err:
            response = await _refused(Request(scope), err)
        except SQLAlchemyError as err:
            response = await _database_gone(Request(scope), err)
        except Exception as err:  # noqa: BLE001 - answered and logged like any other route's
            response = await _crashed(Request(scope), err)
        await response(scope, receive, send)

    async def _decided(self, scope: Connection, receive: Receive) -> bytes:
        caller = await self._caller(scope, Scope.SCORE)
        deadline = self._deadline(scope)
        asked = await self._read(scope, receive, DecisionRequest)
        key = self._request_key(scope, caller)
        decision = await self.parts.service.decide(asked.listing, asked, deadline, key)
        return decision.model_dump_json().encode()

    async def decide_batch(self, request: Request) -> Response:
        """Decide about several listings, each with a result of its own."""
        caller = await self._caller(request.scope, Scope.SCORE)
        deadline = self._deadline(request.scope)
        asked = await self._read(request.scope, request.receive, BatchRequest)
        if len(asked.listings) > self.settings.max_listings:
            raise TooLargeError(
                f"{len(asked.listings)} listings, and a request takes"
                f" {self.settings.max_listings}; send fewer"
            )
        key = self._request_key(request.scope, caller)
        rows = await asyncio.gather(
            *(
                self._row(request, one, asked, deadline, f"{key}:{place}" if key else None)
                for place, one in enumerate(asked.listings)
            )
        )
        return Response(BatchOut(results=tuple(rows)).model_dump_json(), media_type="application/json")

    async def _row(
        self, request: Request, one: ListingIn, asked: BatchRequest, deadline: float, key: str | None
    ) -> BatchRow:
        try:
            decision = await self.parts.service.decide(one, asked, deadline, key)
            return BatchRow(listing_id=one.listing_id, decision=decision)
        except StallwartError as err:
            self.parts.metrics.errors.labels(err.code).inc()
            body = ErrorBody(code=err.code, message=str(err), request_id=request.scope["request_id"])
            return BatchRow(listing_id=one.listing_id, error=body)

    async def replay(self, request: Request, decision_id: str) -> Response:
        """What was answered."""
        await self._caller(request.scope, Scope.READ)

        def read() -> Decision | None:
            with reading(self.parts.database) as connection:
                return read_decision(connection, decision_id)

        decision = await self._from_store(read)
        if decision is None:
            raise NotFoundError("there is no such decision; ids begin with d_ and come with each answer")
        return Response(decision.model_dump_json(), media_type="application/json")

    async def feedback(self, request: Request) -> Response:
        """Take an appeal, a report or an outcome about a decision."""
        caller = await self._caller(request.scope, Scope.FEEDBACK)
        said = await self._read(request.scope, request.receive, FeedbackIn)
        feedback_id = await self._from_store(
            add_feedback,
            self.parts.database,
            said.model_dump(),
            caller.key_id,
            self._request_key(request.scope, caller),
            self.parts.now_ms(),
        )
        return JSONResponse({"feedback_id": feedback_id}, 201)

    async def reload(self, request: Request) -> Response:
        """Load the bundle's folder again in this process; every process also does so when it changes."""
        await self._caller(request.scope, Scope.ADMIN)
        return JSONResponse({"bundle": await asyncio.to_thread(self.parts.reload)})

    async def openapi(self, request: Request) -> Response:
        """This description."""
        await self._caller(request.scope, Scope.READ)
        return JSONResponse(request.app.openapi())

    async def metrics(self, request: Request) -> Response:
        """All figures, for Prometheus."""
        await self._caller(request.scope, Scope.READ)
        return Response(await asyncio.to_thread(self.parts.metrics.text), media_type=CONTENT_TYPE)

    async def healthz(self) -> Response:
        """Whether the process answers."""
        return JSONResponse({"status": "ok"})

    async def readyz(self) -> Response:
        """Whether it takes traffic: the bundle is warm and the database is there."""
        try:
            why = await self._from_store(self.parts.ready)
        except StoreError as err:
            why = str(err)
        return JSONResponse({"status": why or "ready"}, 503 if why else 200)

    async def _caller(self, connection: Connection, scope: Scope) -> Caller:
        authorization = header(connection, b"authorization")
        caller = self.parts.keys.cached(authorization, scope)
        if caller is None:
            caller = await self._from_store(self.parts.keys.load, authorization, scope)
        return caller

    async def _from_store(self, work: Callable[..., _Result], *args: Any) -> _Result:
        """What a call that asks the database gives; given up where that takes longer than an answer may."""
        try:
            async with asyncio.timeout(self.settings.deadline_ms / 1e3):
                return await asyncio.to_thread(work, *args)
        except TimeoutError:
            raise StoreError("the database did not answer in time; send it again") from None

    def _deadline(self, connection: Connection) -> float:
        """Until when the answer is wanted, from `Stallwart-Deadline-Ms`, counted from now."""
        given = header(connection, b"stallwart-deadline-ms")
        wanted = self.settings.deadline_ms
        if given is not None:
            if not (given.isascii() and given.isdigit()) or not 1 <= len(given) <= 9 or int(given) < 1:
                raise ConfigError("Stallwart-Deadline-Ms is no number of milliseconds; send one, as 500")
            wanted = int(given)
        return self.parts.service.tools.clock() + min(wanted, self.settings.max_deadline_ms) / 1e3

    def _request_key(self, connection: Connection, caller: Caller) -> str | None:
        given = header(connection, b"idempotency-key")
        if given is None:
            return None
        if not _PLAIN_KEY.fullmatch(given):
            raise ConfigError("Idempotency-Key is 1 to 255 visible ASCII characters")
        return sha256(f"{caller.key_id}\n{connection['path']}\n{given}".encode()).hexdigest()

    async def _read(self, connection: Connection, receive: Receive, model: type[_Model]) -> _Model:
        given = header(connection, b"content-type") or "application/json"
        kind = given.partition(";")[0].strip().lower()
        if kind == "multipart/form-data" and model is DecisionRequest:
            reading: Coroutine[Any, Any, Any] = self._multipart(Request(connection, receive))
        elif kind == "application/json":
            reading = _body(receive)
        else:
            raise _MediaTypeError(f"{kind} is not read here; send application/json")
        try:
            got = await self._in_time(reading)
            return model.model_validate_json(got) if isinstance(got, bytes) else got
        except ValidationError as err:
            raise DataError(_what_is_wrong(err)) from None

    async def _in_time(self, reading: Coroutine[Any, Any, _Result]) -> _Result:
        """What is read of a request, given up where it takes longer than an answer may."""
        # A timer that cancels costs a fifth of asyncio.timeout, and this is on every request's path
        task, late = asyncio.current_task(), False
        assert task is not None

        def give_up() -> None:
            nonlocal late
            late = True
            task.cancel()

        timer = asyncio.get_running_loop().call_later(self.settings.max_deadline_ms / 1e3, give_up)
        try:
            return await reading
        except asyncio.CancelledError:
            if not late:
                raise
            task.uncancel()
            raise _LateError("the request did not arrive in time; send it faster or smaller") from None
        finally:
            timer.cancel()

    async def _multipart(self, request: Request) -> DecisionRequest:
        limits = {"max_files": 100, "max_fields": 1, "max_part_size": self.settings.max_body_bytes}
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
            raise DataError(
                "the part named request is missing; it holds the JSON, parts named photo the photos"
            )
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


class _LateError(OverloadedError):
    code = "late"
    http_status = 408


class _MediaTypeError(DataError):
    code = "media_type"
    http_status = 415


def _what_is_wrong(err: ValidationError) -> str:
    """Where and what, without the value: it may be a listing's text."""
    said = []
    for one in err.errors(include_url=False, include_input=False, include_context=False)[:5]:
        where = ".".join(str(part) for part in one["loc"])
        said.append(f"{where}: {one['msg']}" if where else one["msg"])
    return "; ".join(said)


async def _refused(request: Request, err: Exception) -> Response:
    assert isinstance(err, StallwartError)
    request.scope["metrics"].errors.labels(err.code).inc()
    body = error_body(err, request.scope["request_id"])
    return JSONResponse(body, err.http_status, headers=error_headers(err))


async def _not_routed(request: Request, err: Exception) -> Response:
    assert isinstance(err, HTTPException)
    code = {404: "not_found", 405: "method"}.get(err.status_code, "request")
    body = {"code": code, "message": err.detail, "request_id": request.scope["request_id"]}
    return JSONResponse({"error": body}, err.status_code, headers=err.headers)


async def _database_gone(request: Request, err: Exception) -> Response:
    say("database", request_id=request.scope["request_id"], error=type(err).__name__)
    return await _refused(request, StoreError("the database does not answer; try again"))


async def _crashed(request: Request, _: Exception) -> Response:
    request_id = request.scope["request_id"]
    say("crash", level=40, exc_info=True, request_id=request_id)
    request.scope["metrics"].errors.labels("internal").inc()
    body = {
        "code": "internal",
        "message": "a fault of the service; it is in its log",
        "request_id": request_id,
    }
    return JSONResponse({"error": body}, 500)
