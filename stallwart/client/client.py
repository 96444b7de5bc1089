"""The clients: the same calls for synchronous and for asynchronous programs.

    with Client("http://127.0.0.1:8000", key) as client:
        decision = client.decide(listing_id="L1", title="Brass desk lamp", photos=[jpeg])

A call is done within `deadline_ms` or raises, retries included. What differs between the two is only how
they send and how they wait; what is sent, read and tried again is in `calls` and `attempts`.
"""

import asyncio
import random
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Self, TypeVar, Unpack

import httpx

from stallwart import __version__
from stallwart.client import calls
from stallwart.client.attempts import Lost, Manner, Send, attempts
from stallwart.client.calls import Answer, Call, Evidence, Fields, Kind, OnFailure
from stallwart.client.errors import ServiceError
from stallwart.core.decision import Decision
from stallwart.core.errors import ConfigError
from stallwart.core.listing import Listing

_VISIBLE = re.compile(r"[\x21-\x7e]+")
_Result = TypeVar("_Result")


class _Left(dict[str, float]):
    """httpx's timeouts, each as long as the call has left when a step of it begins.

    httpx bounds every step alone: with plain numbers connecting, sending and reading could each take the
    whole deadline.
    """

    def __init__(self, until: float, clock: Callable[[], float]) -> None:
        super().__init__()
        self._until, self._clock = until, clock

    def get(self, key: str, default: Any = None) -> float:  # noqa: ARG002 - the signature of dict
        """Seconds left, above 0: 0 would mean a socket that never waits, which fails in other ways."""
        return max(0.001, self._until - self._clock())


def _checked_url(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, TypeError):
        parsed = httpx.URL()
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ConfigError("the service's URL begins with http:// or https://, as http://127.0.0.1:8000")
    return url.rstrip("/")


def _headers(key: str | None) -> dict[str, str]:
    headers = {"Accept": "application/json", "User-Agent": f"stallwart-client/{__version__}"}
    if key is None:
        return headers
    if not _VISIBLE.fullmatch(key):
        raise ConfigError("the API key holds a blank, a line end or nothing; copy it whole and alone")
    return {**headers, "Authorization": f"Bearer {key}"}


def _manner(
    deadline_ms: int, retries: int, clock: Callable[[], float], jitter: Callable[[], float]
) -> Manner:
    if deadline_ms < 1 or retries < 0:
        raise ConfigError("deadline_ms is at least 1 and retries at least 0")
    return Manner(deadline_ms, retries, clock, jitter)


def _request(
    http: httpx.Client | httpx.AsyncClient, url: str, call: Call[Any], step: Send, manner: Manner
) -> httpx.Request:
    named = {
        **call.headers, "X-Request-Id": call.request_id, "Stallwart-Deadline-Ms": str(step.deadline_ms)
    }  # fmt: skip
    request = http.build_request(call.method, url + call.path, content=call.body, headers=named)
    request.extensions["timeout"] = _Left(step.until, manner.clock)
    return request


def _options(evidence: Evidence, rescan: bool, on_failure: OnFailure) -> Mapping[str, Any]:
    return {"evidence": evidence, "rescan": rescan, "on_failure": on_failure}


def _lost(err: Exception) -> Lost:
    """Why there is no answer, without what httpx says of addresses and of the caller's environment."""
    if isinstance(err, httpx.ConnectError):
        return Lost("the service cannot be reached")
    if isinstance(err, httpx.TimeoutException | TimeoutError):
        return Lost("the deadline was over")
    return Lost("the connection broke")


class Client:
    """Calls the service from a synchronous program; safe to share between threads.

    Args:
        url: of the service, as http://127.0.0.1:8000.
        key: API key; None for a service that asks for none.
        deadline_ms: for one call, all its attempts and pauses included.
        retries: attempts after the first; only what is safe is tried again.
        transport: of httpx, instead of the network.
        clock: seconds, monotonic.
        sleep: pauses for seconds.
        jitter: uniform in [0, 1).

    Raises:
        ConfigError: one of these cannot be used.
    """

    def __init__(
        self,
        url: str,
        key: str | None,
        deadline_ms: int = 2_000,
        retries: int = 3,
        transport: httpx.BaseTransport | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._url, self._manner, self._sleep = (
            _checked_url(url),
            _manner(deadline_ms, retries, clock, jitter),
            sleep,
        )
        self._http = httpx.Client(headers=_headers(key), transport=transport)

    def decide(
        self,
        listing: Listing | Fields = Fields(),  # noqa: B008 - never written to
        *,
        evidence: Evidence = "none",
        rescan: bool = False,
        on_failure: OnFailure = "review",
        idempotency_key: str | None = None,
        **fields: Unpack[Fields],
    ) -> Decision:
        """The stored decision on one listing, given as a `Listing` or by its fields.

        Args:
            listing: with photos as bytes; or fields as a mapping.
            evidence: none, words, or full; costs up to a hundred times a score.
            rescan: decide again about a revision that has a decision.
            on_failure: what overload or a missed deadline gives: a decision `review`, or an error.
            idempotency_key: names this request; give your own to repeat it safely in another process.
            **fields: the listing's fields, if it is not given otherwise; `photos` are bytes, URLs or sha256.

        Raises:
            ServiceError: there is no decision; see `stallwart.client.errors`.
            DataError: the listing cannot be sent.
        """
        options = _options(evidence, rescan, on_failure)
        return self._result(calls.decide_call(listing, fields, options, idempotency_key))

    def decide_batch(
        self,
        listings: Sequence[Listing | Fields],
        *,
        evidence: Evidence = "none",
        rescan: bool = False,
        on_failure: OnFailure = "review",
        idempotency_key: str | None = None,
    ) -> list[Decision | ServiceError]:
        """One row for each listing, in their order: its decision, or its error (returned, not raised).

        The same batch with the same `idempotency_key` decides only what was not decided before.

        Raises:
            ServiceError: the whole batch failed.
            DataError: a listing cannot be sent.
        """
        options = _options(evidence, rescan, on_failure)
        return self._result(calls.batch_call(listings, options, idempotency_key))

    def decision(self, decision_id: str) -> Decision:
        """What was answered, by its id.

        Raises:
            MissingError: there is no such decision.
            ServiceError: it could not be read.
        """
        return self._result(calls.decision_call(decision_id))

    def photo_words(self, decision_id: str, words: str) -> Decision:
        """The decision that stands once words were read in the photos of a listing.

        Raises:
            MissingError: there is no such decision, or its content is not kept any more.
            ServiceError: the words could not be taken; a repeat is safe.
        """
        return self._result(calls.photo_words_call(decision_id, words))

    def feedback(
        self,
        decision_id: str,
        kind: Kind,
        *,
        policy: str | None = None,
        note: str | None = None,
        idempotency_key: str | None = None,
    ) -> str:
        """The id under which an appeal, a report or an outcome was stored.

        Raises:
            ServiceError: it was not stored, or it is not known whether it was.
        """
        said = {"decision_id": decision_id, "kind": kind, "policy": policy, "note": note}
        return self._result(calls.feedback_call(said, idempotency_key))

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _result(self, call: Call[_Result]) -> _Result:
        steps = attempts(call, self._manner)
        step = next(steps)
        try:
            while True:
                if isinstance(step, Send):
                    step = steps.send(self._sent(call, step))
                else:
                    self._sleep(step)
                    step = steps.send(None)
        except StopIteration as end:
            return calls.read(call, end.value)

    def _sent(self, call: Call[Any], step: Send) -> Answer | Lost:
        body = bytearray()
        try:
            request = _request(self._http, self._url, call, step, self._manner)
            response = self._http.send(request, stream=True)
            try:
                for part in response.iter_bytes():
                    body += part
                    if self._manner.clock() >= step.until:
                        return Lost("the deadline was over")
            finally:
                response.close()
        except httpx.RequestError as err:
            return _lost(err)
        return Answer(response.status_code, response.headers, bytes(body))


class AsyncClient:
    """The same calls for asyncio; arguments, results and errors as of `Client`, `sleep` is a coroutine."""

    def __init__(
        self,
        url: str,
        key: str | None,
        deadline_ms: int = 2_000,
        retries: int = 3,
        transport: httpx.AsyncBaseTransport | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._url, self._manner, self._sleep = (
            _checked_url(url),
            _manner(deadline_ms, retries, clock, jitter),
            sleep,
        )
        self._http = httpx.AsyncClient(headers=_headers(key), transport=transport)

    async def decide(
        self,
        listing: Listing | Fields = Fields(),  # noqa: B008 - never written to
        *,
        evidence: Evidence = "none",
        rescan: bool = False,
        on_failure: OnFailure = "review",
        idempotency_key: str | None = None,
        **fields: Unpack[Fields],
    ) -> Decision:
        """See `Client.decide`."""
        options = _options(evidence, rescan, on_failure)
        return await self._result(calls.decide_call(listing, fields, options, idempotency_key))

    async def decide_batch(
        self,
        listings: Sequence[Listing | Fields],
        *,
        evidence: Evidence = "none",
        rescan: bool = False,
        on_failure: OnFailure = "review",
        idempotency_key: str | None = None,
    ) -> list[Decision | ServiceError]:
        """See `Client.decide_batch`."""
        options = _options(evidence, rescan, on_failure)
        return await self._result(calls.batch_call(listings, options, idempotency_key))

    async def decision(self, decision_id: str) -> Decision:
        """See `Client.decision`."""
        return await self._result(calls.decision_call(decision_id))

    async def photo_words(self, decision_id: str, words: str) -> Decision:
        """See `Client.photo_words`."""
        return await self._result(calls.photo_words_call(decision_id, words))

    async def feedback(
        self,
        decision_id: str,
        kind: Kind,
        *,
        policy: str | None = None,
        note: str | None = None,
        idempotency_key: str | None = None,
    ) -> str:
        """See `Client.feedback`."""
        said = {"decision_id": decision_id, "kind": kind, "policy": policy, "note": note}
        return await self._result(calls.feedback_call(said, idempotency_key))

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _result(self, call: Call[_Result]) -> _Result:
        steps = attempts(call, self._manner)
        step = next(steps)
        try:
            while True:
                if isinstance(step, Send):
                    step = steps.send(await self._sent(call, step))
                else:
                    await self._sleep(step)
                    step = steps.send(None)
        except StopIteration as end:
            return calls.read(call, end.value)

    async def _sent(self, call: Call[Any], step: Send) -> Answer | Lost:
        try:
            request = _request(self._http, self._url, call, step, self._manner)
            async with asyncio.timeout(max(0.0, step.until - self._manner.clock())):
                response = await self._http.send(request)
        except (httpx.RequestError, TimeoutError) as err:
            return _lost(err)
        return Answer(response.status_code, response.headers, response.content)
