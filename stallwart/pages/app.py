"""The site as an ASGI application: who asks, whether they may, the endpoint in a thread, the answer."""

import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from anyio import CapacityLimiter, to_thread
from sqlalchemy import Engine
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route as Path
from starlette.types import ASGIApp

from stallwart.core.errors import StallwartError
from stallwart.core.logs import say
from stallwart.core.settings import Settings
from stallwart.pages.apart import Apart
from stallwart.pages.background import Background, Failing, Job
from stallwart.pages.cookies import Cookies
from stallwart.pages.failures import ForbiddenError, NotSignedInError, failure_from
from stallwart.pages.form import Files, read_form
from stallwart.pages.headers import Headers
from stallwart.pages.render import Frame, Renderer, navigation_of
from stallwart.pages.signing import SIGN_IN, Signing, asks_for_part, came_from_here, way_back
from stallwart.pages.site import Answer, Ask, Page, Route, Section, Values
from stallwart.store.database import reading, store_errors
from stallwart.store.passwords import Passwords
from stallwart.store.people import Role
from stallwart.store.sessions import Session, read_session, touch

_TOLD = 1_000  # people who have something to be told with their next page
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Parts:
    """What a site works with.

    Attributes:
        database: its own.
        settings: its own.
        passwords: verifies them.
        now_ms: milliseconds since 1970, UTC.
        secure: whether people come over TLS.
        jobs: work behind the pages.
        apart: the same in a process of its own, or None.
    """

    database: Engine
    settings: Settings
    passwords: Passwords
    now_ms: Callable[[], int]
    secure: bool = False
    jobs: Sequence[Job] = ()
    apart: Apart | None = None


def create_site(sections: Sequence[Section], parts: Parts) -> ASGIApp:
    """The application; its first route in the navigation that a person may open is their start page.

    Raises:
        ValueError: two routes have one path and method, a GET and a POST aside, or two files have one name.
    """
    site = _Site(sections, parts)
    return Headers(site.app, parts.secure)


class _Site:
    """All that one process holds open for its pages."""

    def __init__(self, sections: Sequence[Section], parts: Parts):
        self._parts = parts
        self._renderer = Renderer(sections)
        self._navigation = navigation_of(sections)
        self._background = Background(parts.jobs, parts.now_ms)
        self._cookies = Cookies(parts.secure)
        self._told: OrderedDict[str, str] = OrderedDict()
        self._telling = threading.Lock()
        self._room = CapacityLimiter(parts.settings.review_threads)
        signing = Signing(parts.database, parts.settings, parts.passwords, parts.now_ms, self._cookies)
        paths = [
            Path("/", self._start, methods=["GET"]),
            Path("/healthz", self._healthz, methods=["GET"]),
            Path("/static/{name}", self._file, methods=["GET"]),
            Path(SIGN_IN, self._guarded(self._sign_in_page(signing)), methods=["GET"]),
            Path(SIGN_IN, self._guarded(self._sign_in(signing)), methods=["POST"]),
            Path("/sign-out", self._guarded(self._sign_out(signing)), methods=["POST"]),
        ]
        known: set[tuple[str, str]] = set()
        for route in (route for section in sections for route in section.routes()):
            if (route.path, route.method) in known:
                raise ValueError(f"{route.method} {route.path}: there are two of it")
            known.add((route.path, route.method))
            paths.append(Path(route.path, self._guarded(self._endpoint(route)), methods=[route.method]))

        @asynccontextmanager
        async def lifespan(_: Starlette) -> AsyncIterator[None]:
            async with AsyncExitStack() as running:
                await running.enter_async_context(self._background.running())
                if parts.apart is not None:
                    await running.enter_async_context(parts.apart.running())
                yield

        async def not_routed(request: Request, err: Exception) -> Response:
            return self._failed(request, err)

        self.app = Starlette(routes=paths, lifespan=lifespan, exception_handlers={HTTPException: not_routed})

    def _failing(self) -> list[Failing]:
        apart = self._parts.apart
        return self._background.failing() + (apart.failing() if apart else [])

    def _guarded(
        self, work: Callable[[Request], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """The same, with errors as pages."""

        async def guarded(request: Request) -> Response:
            try:
                return await work(request)
            except ClientDisconnect:
                return Response(status_code=400)
            except Exception as err:  # noqa: BLE001 - answered as a page, and logged where it is our fault
                return self._failed(request, err)

        return guarded

    def _endpoint(self, route: Route) -> Callable[[Request], Awaitable[Response]]:
        settings = self._parts.settings
        limit = route.max_body_bytes or settings.review_body_bytes

        async def endpoint(request: Request) -> Response:
            posted = await read_form(request, limit) if route.method == "POST" else (Values(), {})
            return await self._in_thread(lambda: self._work(request, route, *posted))

        return endpoint

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        return await to_thread.run_sync(work, limiter=self._room)

    def _work(self, request: Request, route: Route, form: Values, files: Files) -> Response:
        """One request of one person, from the session to the answer."""
        session, now_ms = self._session(request), self._parts.now_ms()
        if session.user.role not in route.roles:
            may = ", ".join(role for role in Role if role in route.roles)
            raise ForbiddenError(f"this is for {may}; you are signed in as {session.user.role}")
        if route.method == "POST":
            _check_form(request, session, form)
        ask = Ask(
            session=session,
            path=Values((name, str(value)) for name, value in request.path_params.items()),
            query=Values(request.query_params.multi_items()),
            form=form,
            files=files,
            is_htmx="hx-request" in request.headers,
            address=request.client.host if request.client else "",
            now_ms=now_ms,
            database=self._parts.database,
            settings=self._parts.settings,
        )
        answered = route.endpoint(ask)
        if isinstance(answered, Page):
            response = self._page(answered, request, session)
        else:
            response = self._answer(answered, request, session)
        self._touch(session, now_ms)
        return response

    def _session(self, request: Request) -> Session:
        token = self._cookies.token(request)
        if token:
            with store_errors("the database does not answer"), reading(self._parts.database) as connection:
                session = read_session(connection, token, self._parts.settings, self._parts.now_ms())
            if session is not None:
                return session
        raise NotSignedInError("sign in, and come back; a session ends after some time without requests")

    def _touch(self, session: Session, now_ms: int) -> None:
        try:
            with store_errors("it could not be kept when somebody was last seen"):
                touch(self._parts.database, session, now_ms)
        except StallwartError as err:  # what was asked is done: the answer is worth more
            say("sessions", level=30, error=str(err))

    def _page(self, page: Page, request: Request, session: Session | None) -> Response:
        said = None
        if session is not None and not page.fragment:
            with self._telling:
                said = self._told.pop(session.session_id, None)
        frame = Frame(
            user=session.user if session else None,
            csrf=session.csrf if session else "",
            navigation=self._navigation[session.user.role] if session else (),
            here=request.url.path,
            now_ms=self._parts.now_ms(),
            failing=self._failing(),
            said=said,
        )
        html = self._renderer.html(page, frame)
        return Response(html, page.status, media_type="text/html", headers={"vary": "HX-Request"})

    def _answer(self, answer: Answer, request: Request, session: Session) -> Response:
        if answer.said is not None:
            with self._telling:
                self._told[session.session_id] = answer.said
                while len(self._told) > _TOLD:
                    self._told.popitem(last=False)
        headers, status = dict(answer.headers), answer.status
        if "hx-request" in request.headers and "Location" in headers:
            headers["HX-Redirect"], status = headers.pop("Location"), 204
        if isinstance(answer.body, bytes):
            return Response(answer.body or None, status, headers, answer.media_type)
        return StreamingResponse(answer.body, status, headers, answer.media_type)

    def _failed(self, request: Request, err: Exception) -> Response:
        """An error as what was asked for: a page, or JSON for a script."""
        if isinstance(err, NotSignedInError) and not asks_for_part(request):
            return RedirectResponse(f"{SIGN_IN}{way_back(request)}", 303)
        told = failure_from(err, request.url.path)
        if asks_for_part(request):
            extra = {"HX-Redirect": SIGN_IN} if told.status == 401 and "hx-request" in request.headers else {}
            return Response(told.json(), told.status, {**told.headers, **extra}, "application/json")
        session = None
        if told.status < 500:  # else nobody knows whether the database is there
            try:
                session = self._session(request)
            except StallwartError:
                session = None
        response = self._page(Page("error.html", {"failure": told}, status=told.status), request, session)
        response.headers.update(told.headers)
        return response

    def _sign_in_page(self, signing: Signing) -> Callable[[Request], Awaitable[Response]]:
        async def page(request: Request) -> Response:
            return await self._in_thread(lambda: self._with_form(signing, request, None, 200))

        return page

    def _with_form(self, signing: Signing, request: Request, refused: str | None, status: int) -> Response:
        token = self._cookies.form_token(request)
        page = signing.page(request, token, refused, status)
        response = self._page(page, request, None)
        self._cookies.keep_form_token(response, token)
        return response

    def _sign_in(self, signing: Signing) -> Callable[[Request], Awaitable[Response]]:
        async def sign_in(request: Request) -> Response:
            form, _ = await read_form(request, 10_000)

            def work() -> Response:
                try:
                    return signing.sign_in(request, form)
                except StallwartError as err:
                    if err.http_status not in (401, 403, 429):
                        raise
                    response = self._with_form(signing, request, str(err), err.http_status)
                    response.headers.update(failure_from(err, SIGN_IN).headers)
                    return response

            return await self._in_thread(work)

        return sign_in

    def _sign_out(self, signing: Signing) -> Callable[[Request], Awaitable[Response]]:
        async def sign_out(request: Request) -> Response:
            form, _ = await read_form(request, 10_000)

            def work() -> Response:
                session = self._session(request)
                _check_form(request, session, form)
                return signing.sign_out(session)

            return await self._in_thread(work)

        return sign_out

    async def _start(self, request: Request) -> Response:
        """To the first page of whoever asks."""

        def work() -> Response:
            groups = self._navigation[self._session(request).user.role]
            return RedirectResponse(groups[0].links[0].path if groups else SIGN_IN, 303)

        return await self._guarded(lambda _: self._in_thread(work))(request)

    async def _file(self, request: Request) -> Response:
        try:
            file = self._renderer.file(request.path_params["name"])
        except StallwartError as err:
            return self._failed(request, err)
        return Response(file.body, 200, dict(file.headers), file.media_type)

    async def _healthz(self, _: Request) -> Response:
        """Whether the process answers, and what behind the pages does not work."""
        failing = self._failing()
        names = ", ".join(one.name for one in failing)
        return Response(f"failing: {names}\n" if failing else "ok\n", media_type="text/plain")


def _check_form(request: Request, session: Session, form: Values) -> None:
    """Return where a form came from a page of this session.

    Raises:
        ForbiddenError: it did not, or from a page of before this person signed in again.
    """
    given = request.headers.get("x-csrf-token") or form.get("csrf")
    if not came_from_here(request) or not session.csrf_matches(given):
        raise ForbiddenError("the form is not from this session; nothing was changed; load the page again")
