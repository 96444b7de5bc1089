"""The routes: HTTP in, HTTP out; what happens between is `service.py`."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from sqlalchemy import Engine as Database
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from stallwart import __version__
from stallwart.core.decision import Decision
from stallwart.core.errors import (
    NotFoundError,
    StallwartError,
    StoreError,
    TooLargeError,
)
from stallwart.core.settings import Settings
from stallwart.reasons.give import Statements
from stallwart.serving.failures import crashed, database_gone, not_routed, refused
from stallwart.serving.gate import Gate, Receive, Send, answer_json, header
from stallwart.serving.gate import Scope as Connection
from stallwart.serving.keys import Authenticator, Caller
from stallwart.serving.metrics import CONTENT_TYPE, Metrics
from stallwart.serving.openapi import describe
from stallwart.serving.request import deadline_seconds, read_body, request_key, wants_refusal
from stallwart.serving.rollouts.page import PageRoutes
from stallwart.serving.rollouts.routes import RolloutRoutes
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
    Options,
    PhotoWordsIn,
    StatementOut,
)
from stallwart.serving.service import Service
from stallwart.store.database import reading
from stallwart.store.decisions import Revision, read_decision, standing_decision
from stallwart.store.feedback import add_feedback
from stallwart.store.keys import Scope

_Asked = TypeVar("_Asked", bound=Options)
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
        410: "The listing or its seller was erased",
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
        statements: gives statements of reasons.
        ready: why the service takes no traffic; "" where it does.
        running: entered at start, left when the last request was answered.
    """

    service: Service
    keys: Authenticator
    database: Database
    metrics: Metrics
    now_ms: Callable[[], int]
    reload: Callable[[], str]
    statements: Statements
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
    rollouts = RolloutRoutes(parts.database, settings, parts.now_ms, routes.caller, routes.from_store)
    page = PageRoutes(parts.database, parts.now_ms, routes.caller, routes.from_store)
    for path, method, endpoint, scope, extra in (*routes.table(), *rollouts.table(), *page.table()):
        app.add_api_route(
            path,
            endpoint,
            methods=[method],
            responses=_REFUSALS,
            openapi_extra={"x-scope": scope.value} if scope else {"security": []},
            operation_id=endpoint.__name__,
            **extra,
        )
    app.add_exception_handler(StallwartError, refused)
    app.add_exception_handler(HTTPException, not_routed)
    app.add_exception_handler(SQLAlchemyError, database_gone)
    app.add_exception_handler(Exception, crashed)
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
                "/v1/decisions/{decision_id}/statement",
                "GET",
                self.statement,
                Scope.READ,
                {"response_model": StatementOut},
            ),
            (
                "/v1/decisions/{decision_id}/photo-words",
                "POST",
                self.photo_words,
                Scope.SCORE,
                {"response_model": Decision},
            ),
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
            response = await refused(Request(scope), err)
        except SQLAlchemyError as err:
            response = await database_gone(Request(scope), err)
        except Exception as err:  # noqa: BLE001 - answered and logged like any other route's
            response = await crashed(Request(scope), err)
        await response(scope, receive, send)

    async def _decided(self, scope: Connection, receive: Receive) -> bytes:
        caller = await self.caller(scope, Scope.SCORE)
        deadline = self._until(scope)
        asked = await self._asked(scope, receive, DecisionRequest, deadline)
        key = request_key(scope, caller)
        decision = await self.parts.service.decide(asked.listing, asked, deadline, key)
        return decision.model_dump_json().encode()

    async def _asked(
        self, scope: Connection, receive: Receive, model: type[_Asked], deadline: float
    ) -> _Asked:
        """What is asked, unless the caller wants to be refused at once and there is no room."""
        refuse = wants_refusal(scope)
        if refuse:
            self.parts.service.check_room(deadline)
        asked = await read_body(scope, receive, model, self.settings)
        return asked.model_copy(update={"on_failure": "error"}) if refuse else asked

    async def decide_batch(self, request: Request) -> Response:
        """Decide about several listings, each with a result of its own."""
        caller = await self.caller(request.scope, Scope.SCORE)
        deadline = self._until(request.scope)
        asked = await self._asked(request.scope, request.receive, BatchRequest, deadline)
        if len(asked.listings) > self.settings.max_listings:
            raise TooLargeError(
                f"{len(asked.listings)} listings, and a request takes"
                f" {self.settings.max_listings}; send fewer"
            )
        key = request_key(request.scope, caller)
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
        await self.caller(request.scope, Scope.READ)

        def read() -> Decision | None:
            with reading(self.parts.database) as connection:
                return read_decision(connection, decision_id)

        decision = await self.from_store(read)
        if decision is None:
            raise NotFoundError("there is no such decision; ids begin with d_ and come with each answer")
        return Response(decision.model_dump_json(), media_type="application/json")

    async def photo_words(self, request: Request, decision_id: str) -> Response:
        """Score a listing again with the words that were read in its photos.

        Where that calls for more than the listing's decision does, it gets a new one, whose cause is
        `rescan`; the answer is the decision that stands. `stallwart read` sends these.
        """
        await self.caller(request.scope, Scope.SCORE)
        deadline = self._until(request.scope)
        said = await read_body(request.scope, request.receive, PhotoWordsIn, self.settings)

        def read() -> tuple[Decision, Revision]:
            with reading(self.parts.database) as connection:
                return standing_decision(connection, decision_id)

        standing, revision = await self.from_store(read)
        if standing.revision == revision.revision:  # or it was edited, and these are not its photos
            standing = await self.parts.service.reread(standing, revision, said.words, deadline)
        return Response(standing.model_dump_json(), media_type="application/json")

    async def statement(self, request: Request, decision_id: str, language: str | None = None) -> Response:
        """The statement of reasons of a block: made when it is first asked for, and the same ever after."""
        await self.caller(request.scope, Scope.READ)
        given = await self.from_store(
            self.parts.statements.give, self.parts.database, decision_id, self.parts.now_ms(), language
        )
        return Response(StatementOut.model_validate(given).model_dump_json(), media_type="application/json")

    async def feedback(self, request: Request) -> Response:
        """Take an appeal, a report or an outcome about a decision."""
        caller = await self.caller(request.scope, Scope.FEEDBACK)
        said = await read_body(request.scope, request.receive, FeedbackIn, self.settings)
        feedback_id = await self.from_store(
            add_feedback,
            self.parts.database,
            said.model_dump(),
            caller.key_id,
            request_key(request.scope, caller),
            self.parts.now_ms(),
        )
        return JSONResponse({"feedback_id": feedback_id}, 201)

    async def reload(self, request: Request) -> Response:
        """Load the bundle's folder again in this process; every process also does so when it changes."""
        await self.caller(request.scope, Scope.ADMIN)
        return JSONResponse({"bundle": await asyncio.to_thread(self.parts.reload)})

    async def openapi(self, request: Request) -> Response:
        """This description."""
        await self.caller(request.scope, Scope.READ)
        return JSONResponse(request.app.openapi())

    async def metrics(self, request: Request) -> Response:
        """All figures, for Prometheus."""
        await self.caller(request.scope, Scope.READ)
        return Response(await asyncio.to_thread(self.parts.metrics.text), media_type=CONTENT_TYPE)

    async def healthz(self) -> Response:
        """Whether the process answers."""
        return JSONResponse({"status": "ok"})

    async def readyz(self) -> Response:
        """Whether it takes traffic: the bundle is warm and the database is there."""
        try:
            why = await self.from_store(self.parts.ready)
        except StoreError as err:
            why = str(err)
        return JSONResponse({"status": why or "ready"}, 503 if why else 200)

    async def caller(self, connection: Connection, scope: Scope) -> Caller:
        authorization = header(connection, b"authorization")
        caller = self.parts.keys.cached(authorization, scope)
        if caller is None:
            caller = await self.from_store(self.parts.keys.load, authorization, scope)
        return caller

    async def from_store(self, work: Callable[..., _Result], *args: Any) -> _Result:
        """What a call that asks the database gives; given up where that takes longer than an answer may."""
        try:
            async with asyncio.timeout(self.settings.deadline_ms / 1e3):
                return await asyncio.to_thread(work, *args)
        except TimeoutError:
            raise StoreError("the database did not answer in time; send it again") from None

    def _until(self, scope: Connection) -> float:
        """When the answer is due, on the service's clock."""
        return self.parts.service.tools.clock() + deadline_seconds(scope, self.settings)
