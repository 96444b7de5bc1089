"""What every request passes: a request id, bounds on its bytes as they arrive and on how many there are.

Plain ASGI, because it is on the path of every request.
"""

import json
import random
import re
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from prometheus_client import Counter, Histogram

from stallwart.core.errors import OverloadedError, StallwartError, TooLargeError
from stallwart.core.logs import say
from stallwart.core.settings import Settings
from stallwart.serving.metrics import Metrics

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
# All bodies that one process holds at a time, as a multiple of the largest one
_BODIES = 8


class Gate:
    """The application behind it, with bounds in front.

    Args:
        app: what answers.
        settings: the bounds.
        metrics: where requests are counted.
        direct: what answers a method and path without the application's layers, which cost more than all
            the rest of a request that needs no model.
    """

    def __init__(
        self,
        app: App,
        settings: Settings,
        metrics: Metrics,
        direct: Mapping[tuple[str, str], App] | None = None,
    ):
        self.app, self.settings, self.metrics = app, settings, metrics
        self._direct = direct or {}
        self._open, self._bytes = 0, 0
        self._counters: dict[tuple[str, int], tuple[Counter, Histogram]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the application's start and stop."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, app = time.perf_counter(), self.app
        scope["by_name"] = dict(scope["headers"])  # of several with one name the last
        given = header(scope, b"x-request-id") or ""
        request_id = given if _REQUEST_ID.fullmatch(given) else f"{random.getrandbits(64):016x}"
        scope["request_id"], scope["metrics"] = request_id, self.metrics
        taken, status = 0, 500

        async def counted() -> MutableMapping[str, Any]:
            nonlocal taken
            message = await receive()
            size_bytes = len(message.get("body", b""))
            taken += size_bytes
            self._bytes += size_bytes
            if taken > self.settings.max_body_bytes:
                raise too_large(self.settings.max_body_bytes)
            if self._bytes > _BODIES * self.settings.max_body_bytes:
                raise OverloadedError("the service holds as many bytes of requests as it may; try again")
            return message

        async def named(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        self._open += 1
        try:
            if self._open > self.settings.max_connections:
                self.metrics.errors.labels(OverloadedError.code).inc()
                await refuse(named, OverloadedError("too many requests are open; try again"), request_id)
            elif int(header(scope, b"content-length") or 0) > self.settings.max_body_bytes:
                self.metrics.errors.labels(TooLargeError.code).inc()
                await refuse(named, too_large(self.settings.max_body_bytes), request_id)
            else:
                app = self._direct.get((scope["method"], scope["path"]), self.app)
                await app(scope, counted, named)
        finally:
            self._open -= 1
            self._bytes -= taken
            seconds = time.perf_counter() - started
            route = scope["path"] if app is not self.app else getattr(scope.get("route"), "path", "none")
            requests, took = self._counted(route, status)
            requests.inc()
            took.observe(seconds)
            if status >= 400:
                say("request", route=route, status=status, ms=round(seconds * 1e3, 1), request_id=request_id)

    def _counted(self, route: str, status: int) -> tuple[Counter, Histogram]:
        """The counters of a route and status, looked up once; routes and statuses are few."""
        key = (route, status)
        if key not in self._counters:
            metrics = self.metrics
            self._counters[key] = metrics.requests.labels(*key), metrics.request_seconds.labels(route)
        return self._counters[key]


def header(scope: Scope, name: bytes) -> str | None:
    """A request header by its name in lower case, or None; behind a `Gate` only."""
    value = scope["by_name"].get(name)
    return None if value is None else value.decode("latin-1")


def too_large(max_bytes: int) -> TooLargeError:
    """The error of a body over the bound."""
    return TooLargeError(f"the request has more than {max_bytes:,} bytes; send fewer or smaller photos")


def error_body(err: StallwartError, request_id: str) -> dict[str, Any]:
    """The one shape of every error."""
    return {"error": {"code": err.code, "message": str(err), "request_id": request_id}}


def error_headers(err: StallwartError) -> dict[str, str]:
    """What a caller's HTTP library understands of an error."""
    headers = {}
    if (seconds := getattr(err, "retry_after_seconds", None)) is not None:
        headers["retry-after"] = str(max(1, round(seconds)))
    if err.http_status == 401:
        headers["www-authenticate"] = 'Bearer realm="stallwart"'
    return headers


async def answer_json(send: Send, body: bytes) -> None:
    """Answer 200 with a JSON document."""
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def refuse(send: Send, err: StallwartError, request_id: str) -> None:
    """Answer with an error without reading the request."""
    body = json.dumps(error_body(err, request_id)).encode()
    headers = {"content-type": "application/json", "connection": "close", **error_headers(err)}
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": err.http_status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})
